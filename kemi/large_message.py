"""Which INVITEs bring a large message or file (9.1.1.2, 9.4, 10.3.2.2). Pure; the worker reads the whole description."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MEDIA = re.compile(r"^m=", re.MULTILINE)
_MESSAGE = re.compile(r"message[ \t]+0*[1-9]", re.IGNORECASE)  # port 0: not wanted (RFC 3264 section 5.1)
# An attribute line, whatever follows it; line ends as SDP allows them (RFC 8866 section 5). In any case: COMPAT(OMA draft
# clients), 9.2.2 writes a=SendOnly.
_DIRECTION = re.compile(r"^a=(sendonly|recvonly|sendrecv|inactive)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_SIZE = re.compile(r"^a=(?:filesize:|filelength:|file-selector:.*\bsize:)", re.MULTILINE | re.IGNORECASE)


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
    """The large message that a body offers: MSRP that is sendonly, or that announces content of some size to be sent.
    What is said of other media beside it does not count."""
    session, *media = _MEDIA.split(body)
    of_all = _direction(session)
    sections = [one for one in media if _MESSAGE.match(one) is not None and _sends(one, of_all)]
    if not sections:
        return None
    sizes = tuple(int(number) for one in sections for number in _NUMBER.findall(one))
    return LargeMessage(sizes, tuple(kind for one in sections for kind in _TYPE.findall(one)))


def _sends(section: str, of_all: str) -> bool:
    direction = _direction(section) or of_all
    return direction == "sendonly" or (direction != "recvonly" and _SIZE.search(section) is not None)


def _direction(section: str) -> str:
    found = _DIRECTION.search(section)
    return found[1].lower() if found is not None else ""
