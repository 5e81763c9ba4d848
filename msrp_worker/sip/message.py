"""SIP messages as the legs read them: a tolerant reader of start line, header fields and body.

Kamailio has parsed the message before, so this reads what its parser lets pass: folded lines, compact names, several values
in one line, separators in quoted strings, parameters of any name, header bytes that are not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from msrp_worker.multipart import MultipartError, read_parts

MAX_FIELDS = 500
"""Header fields of one message; real ones have some thirty."""
MAX_CSEQ = 2**31 - 1
"""RFC 3261 section 8.1.1.5: the number is less than 2**31."""
MAX_SECONDS = 2**32 - 1
"""Largest delta-seconds (RFC 3261 section 20.19)."""

_FOLD = re.compile(rb"\r?\n[ \t]+")
_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(r"\r?\n")
_CSEQ = re.compile(r"([0-9]{1,10})\s+([!-~]+)")
_NUMBER = re.compile(r"[0-9]{1,10}")
_URI = re.compile(r"sips?:[!-;=?-~]+", re.IGNORECASE)  # visible ASCII without < and >
_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}


class MalformedMessage(ValueError):  # noqa: N818 - named after what it is
    """The bytes are not a SIP message that can be worked on; a request gets 400 for it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request (`method`, `request_uri`) or response (`status`, `reason`; `method` is that of CSeq).

    `fields` in order, names in lower case and full; bytes outside UTF-8 are surrogate escapes.
    """

    method: str
    request_uri: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    call_id: str
    cseq: int
    from_tag: str
    to_tag: str

    def first(self, name: str) -> str:
        """First value of a header field, empty when there is none."""
        for key, value in self.fields:
            if key == name:
                return value
        return ""

    def lines(self, name: str) -> list[str]:
        """Every header field line of this name."""
        return [value for key, value in self.fields if key == name]

    def values(self, name: str) -> list[str]:
        """Every value of a list header, those that share a line split."""
        return [part for line in self.lines(name) for part in split(line, ",") if part]

    def tokens(self, name: str) -> frozenset[str]:
        """Option tags or methods of a list header, in lower case (RFC 3261 section 7.3.1)."""
        return frozenset(part.lower() for part in self.values(name))

    def number(self, name: str) -> int | None:
        """A header that is one number, parameters ignored; None when absent or unreadable."""
        found = _NUMBER.match(self.first(name).strip())
        return min(int(found.group()), MAX_SECONDS) if found else None

    @property
    def contact(self) -> str:
        """URI of the first Contact, empty when there is none that can be used."""
        values = self.values("contact")
        return sip_uri(values[0]) if values else ""

    @property
    def sdp(self) -> bytes:
        """The session description: the body, or its part of type application/sdp; empty when there is none."""
        return _description(self.first("content-type"), self.body) if self.body else b""


@lru_cache(maxsize=32)
def _description(content_type: str, body: bytes) -> bytes:
    """The session description in a body; it is asked for several times while its message is worked on."""
    try:
        parts = read_parts(content_type, body)
    except MultipartError:
        return b""
    return next((part.body for part in parts if part.media_type == "application/sdp"), b"")


def read(data: bytes) -> Message:
    """A message from its bytes. MalformedMessage when what every message needs is missing or unreadable."""
    end = _END.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data, b"")
    start, *lines = _LINE.split(_FOLD.sub(b" ", head).decode("utf-8", "surrogateescape"))
    if len(lines) > MAX_FIELDS:
        raise MalformedMessage(f"more than {MAX_FIELDS} header fields")
    fields = tuple(_field(line) for line in lines if line)
    first = dict(reversed(fields))
    number = _CSEQ.fullmatch(first.get("cseq", ""))
    call_id = first.get("call-id", "")
    if not call_id or not _plain(call_id) or number is None or int(number[1]) > MAX_CSEQ:
        raise MalformedMessage("Call-ID or CSeq is missing or unreadable")
    method, request_uri, status, reason = _start_line(start)
    if status == 0 and method != number[2]:
        raise MalformedMessage("the method is not that of CSeq")
    tags = parameter(first.get("from", ""), "tag"), parameter(first.get("to", ""), "tag")
    if not all(map(_plain, tags)):
        raise MalformedMessage("a tag is not a token")
    length = first.get("content-length", "")
    if _NUMBER.fullmatch(length):
        body = body[: int(length)]
    return Message(number[2], request_uri, status, reason, fields, body, call_id, int(number[1]), *tags)


def _plain(text: str) -> bool:
    """What is written down and sent back as it is: visible ASCII."""
    return text.isascii() and text.isprintable()


def _start_line(line: str) -> tuple[str, str, int, str]:
    first, _, rest = line.partition(" ")
    second, _, third = rest.partition(" ")
    if first == "SIP/2.0" and len(second) == 3 and second.isascii() and second.isdigit() and second >= "100":
        return "", "", int(second), third
    if third != "SIP/2.0" or not second:
        raise MalformedMessage("neither a request nor a response")
    return first, second, 0, ""


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise MalformedMessage("a header field without a colon")
    key = name.strip().lower()
    return _COMPACT.get(key, key), value.strip()


def split(text: str, separator: str) -> Iterator[str]:
    """Parts of a header value between `separator`, which does not count in "…" or <…>."""
    if separator not in text:
        yield text.strip()
        return
    if '"' not in text and "<" not in text:
        yield from (part.strip() for part in text.split(separator))
        return
    start, quoted, angle, escaped = 0, False, False, False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"' and not angle:
            quoted = True
        elif char == "<":
            angle = True
        elif char == ">":
            angle = False
        elif char == separator and not angle:
            yield text[start:index].strip()
            start = index + 1
    yield text[start:].strip()


def address(value: str) -> str:
    """The URI of a name-addr or addr-spec, as it stands."""
    if value.startswith("<") and '"' not in value:  # as nearly all are
        return value[1:].partition(">")[0].strip()
    first = next(split(value, ";"))
    _, left, right = _after_name(first)
    return (right.partition(">")[0] if left else first).strip()


def name_of(value: str) -> str:
    """The display name of a name-addr as it stands, quotes and all; empty when there is none."""
    before, left, _ = _after_name(next(split(value, ";")))
    return before.strip() if left else ""


def _after_name(text: str) -> tuple[str, str, str]:
    """`text` around the first "<" that is outside a quoted display name."""
    quoted = escaped = False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            return text[:index], "<", text[index + 1 :]
    return text, "", ""


def sip_uri(value: str) -> str:
    """The URI of a Contact, Route or the like when it is a SIP or SIPS URI in plain ASCII, else empty."""
    uri = address(value)
    return uri if _URI.fullmatch(uri) else ""


def parameters(value: str) -> dict[str, str]:
    """Header parameters behind the first `;`: names in lower case, values without quotes, flags as empty strings."""
    found: dict[str, str] = {}
    if value.startswith("<") and '"' not in value and "<" not in (rest := value.partition(">")[2]):
        parts = iter(rest.split(";"))  # as nearly all are
    else:
        parts = split(value, ";")
    next(parts)
    for part in parts:
        name, _, text = part.partition("=")
        found.setdefault(name.strip().lower(), text.strip().strip('"'))
    return found


def parameter(value: str, name: str) -> str:
    """One header parameter, empty when absent."""
    return parameters(value).get(name, "") if name in value.lower() else ""
