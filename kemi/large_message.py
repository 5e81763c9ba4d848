"""Which INVITEs bring a large message or file (9.1.1.2, 9.4, 10.3.2.2). Pure; the worker reads the whole description."""

from __future__ import annotations

import re
from dataclasses import dataclass

# An attribute line, whatever follows it; line ends as SDP allows them (RFC 8866 section 5).
_SENDONLY = re.compile(r"^a=sendonly[ \t\r]*$", re.MULTILINE)
_RECVONLY = re.compile(r"^a=recvonly[ \t\r]*$", re.MULTILINE)
_SIZE = re.compile(r"^a=(?:filesize:|filelength:|file-selector:.*\bsize:)", re.MULTILINE | re.IGNORECASE)
_MESSAGE = re.compile(r"^m=message ", re.MULTILINE | re.IGNORECASE)


_NUMBER = re.compile(
    r"^a=(?:filesize:[ \t]*|filelength:[ \t]*|file-selector:(?:.*\s)?size:)([0-9]{1,18})(?![0-9])",
    re.MULTILINE | re.IGNORECASE,
)
_TYPE = re.compile(
    r"^a=(?:filetype:[ \t]*|file-selector:(?:.*\s)?type:)\"?([\w!#$&^.+-]+/[\w!#$&^.+-]+)", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class LargeMessage:
    """What the offer of a large message announces: bytes of each message or file, and their types as far as told."""

    sizes: tuple[int, ...] = ()
    types: tuple[str, ...] = ()


def read_large_message(body: str) -> LargeMessage | None:
    """The large message that a body offers: MSRP that is sendonly, or that announces content of some size to be sent."""
    if _MESSAGE.search(body) is None:
        return None
    sends = _SENDONLY.search(body) is not None or (_SIZE.search(body) is not None and _RECVONLY.search(body) is None)
    if not sends:
        return None
    return LargeMessage(tuple(int(number) for number in _NUMBER.findall(body)), tuple(_TYPE.findall(body)))
