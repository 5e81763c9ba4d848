"""Reads what the store lists of a SIP message whose bytes it keeps. Kamailio has checked the message before."""

from __future__ import annotations

import re

LISTED = frozenset({"from", "to", "cseq", "subject", "priority", "content-type", "date"})
_COMPACT = {"f": "from", "t": "to", "s": "subject", "c": "content-type"}
_TAG = re.compile(r";\s*tag\s*=\s*([^\s;,>\"]+)", re.IGNORECASE)
_FOLDED = re.compile(rb"\r?\n[ \t]+")
_LINE_END = re.compile(rb"\r?\n")
_CREDENTIALS = re.compile(rb"\r?\n(?:Proxy-)?Authorization[ \t]*:[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


def header_fields(message: bytes) -> dict[str, str]:
    """First value of each header in LISTED, by full lower-case name; folded lines joined (RFC 3261 section 7.3.1).

    Bytes that are not UTF-8 become replacement characters: these values are shown, the message is what is delivered.
    """
    head = _END.split(message, 1)[0]
    fields: dict[str, str] = {}
    for line in _LINE_END.split(_FOLDED.sub(b" ", head))[1:]:
        name, colon, value = line.partition(b":")
        key = name.strip().lower().decode("ascii", "replace")
        key = _COMPACT.get(key, key)
        if colon and key in LISTED and key not in fields:
            fields[key] = value.strip().decode("utf-8", "replace")
    return fields


def tag_of(value: str) -> str:
    """The tag parameter of a From or To value, empty when there is none."""
    found = _TAG.search(value.rpartition(">")[2] if ">" in value else value)
    return found.group(1) if found else ""


def without_credentials(message: bytes) -> bytes:
    """The message without the credentials that this proxy has consumed (RFC 3261 section 22.3); every other byte is kept.

    They are for us, not for whoever the message is given to later.
    """
    end = _END.search(message)
    head, rest = (message[: end.start()], message[end.start() :]) if end else (message, b"")
    return _CREDENTIALS.sub(b"", head) + rest
