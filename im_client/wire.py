"""SIP messages to and from bytes, on the message classes of `sipmessage`.

`sipmessage` gives the classes and the typed headers; what the network sends is wider than its parser: header
bytes that are not UTF-8, folded lines, quoted strings with separators in them, a Via with a bare IPv6
address. So the split into start line, header fields and body is done here, and header bytes outside UTF-8
travel as surrogate escapes, which `encode` turns back into the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sipmessage import URI, Headers, Request, Response
from sipmessage.message import COMPACT_FORMS

from .errors import MalformedMessageError

COOKIE = "z9hG4bK"
"""Every branch of an RFC 3261 element begins so (section 8.1.1.7)."""

MAX_PORT = 65535
MAX_FIELDS = 500
"""Header fields of one message; its headers are searched one by one, so that many of them cost time."""

_FOLD = re.compile(rb"\r\n[ \t]+")
_LINE_BREAK = re.compile(r"[\r\n\0]")
_DIGITS = re.compile(r"[0-9]{1,10}")  # RFC 3261: Content-Length = 1*DIGIT; ten digits are beyond any limit
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
# RFC 3261: sent-protocol LWS sent-by *( SEMI via-params )
_VIA = re.compile(
    r"SIP\s*/\s*2\.0\s*/\s*(?P<transport>[^\s/;]+)\s+"
    r"(?P<host>\[[^\]]*\]|[^\s;:]+)\s*(?::\s*(?P<port>[0-9]{1,5}))?\s*(?P<rest>;.*)?$"
)


def parse(data: bytes, *, datagram: bool) -> Request | Response:
    """One SIP message from bytes.

    With `datagram`, bytes beyond Content-Length are dropped and missing ones are an error (RFC 3261
    section 18.3); on a stream the framer has cut the message already. Raises MalformedMessageError.
    """
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise MalformedMessageError("the header section does not end")
    text = _FOLD.sub(b" ", head).decode("utf-8", "surrogateescape")
    start, *lines = text.split("\r\n")
    message, bad_uri = _start_line(start)
    if len(lines) > MAX_FIELDS:
        raise MalformedMessageError(f"more than {MAX_FIELDS} header fields")
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip()
        if not colon or not _TOKEN.fullmatch(name):
            raise MalformedMessageError(f"not a header field: {line[:60]!r}")
        message.headers.add(COMPACT_FORMS.get(name.lower(), name), value.strip())
    request = message if isinstance(message, Request) else None
    try:
        message.body = _body(message.headers, body) if datagram else body
    except MalformedMessageError as error:
        error.request = request
        raise
    if bad_uri:
        raise MalformedMessageError(f"unusable Request-URI: {bad_uri[:60]!r}", 416, request)
    return message


def encode(message: Request | Response) -> bytes:
    """The bytes of a message, with its Content-Length set.

    Raises ValueError where a field would break the framing.
    """
    message.headers.set("Content-Length", str(len(message.body)))
    for name in header_names(message.headers):
        for value in message.headers.getlist(name):
            if _LINE_BREAK.search(value) or not _TOKEN.fullmatch(name):
                raise ValueError(f"header field {name!r} holds a line break, a NUL or an invalid name")
    if isinstance(message, Request):
        start = f"{message.method} {message.uri} SIP/2.0"
    else:
        start = f"SIP/2.0 {message.code} {message.phrase}"
    if _LINE_BREAK.search(start):
        raise ValueError("the start line holds a line break or a NUL")
    return f"{start}\r\n{message.headers}".encode("utf-8", "surrogateescape") + message.body


def _start_line(line: str) -> tuple[Request | Response, str]:
    """The empty message, and the Request-URI where it cannot be used."""
    first, _, rest = line.partition(" ")
    second, _, third = rest.partition(" ")
    if first == "SIP/2.0":
        if not re.fullmatch(r"[1-6][0-9]{2}", second):
            raise MalformedMessageError(f"not a status code: {second[:20]!r}")
        return Response(int(second), third), ""
    if third != "SIP/2.0":
        raise MalformedMessageError(f"neither request nor response: {line[:60]!r}")
    if not _TOKEN.fullmatch(first):
        raise MalformedMessageError(f"not a method: {first[:40]!r}")
    try:
        return Request(first, parse_uri(second)), ""
    except ValueError:
        return Request(first, URI("sip", "invalid.invalid")), second or " "


def _body(headers: Headers, body: bytes) -> bytes:
    length = content_length(headers)
    if length is None:
        return body
    if length > len(body):
        raise MalformedMessageError("the datagram ends before the body")
    return body[:length]


def content_length(headers: Headers) -> int | None:
    """Content-Length, or None where the field is absent.

    Raises MalformedMessageError for anything but one number.
    """
    values = set(headers.getlist("Content-Length"))
    if not values:
        return None
    if len(values) > 1 or not _DIGITS.fullmatch(value := values.pop()):
        raise MalformedMessageError("Content-Length is not one number")
    return int(value)


def parse_uri(text: str) -> URI:
    """A SIP, SIPS or tel URI.

    Raises ValueError with the text in it; the scheme may be in any case (RFC 3261 19.1.4).
    """
    scheme, colon, rest = text.strip().partition(":")
    try:
        return URI.parse(f"{scheme.lower()}{colon}{rest}")
    except (ValueError, TypeError):  # COMPAT(sipmessage 0.7): a parameter named "self" ends in a TypeError
        raise ValueError(f"not a SIP URI: {text!r} (expected like sip:alice@example.com)") from None


# --- header values ------------------------------------------------------------------------------------------


def header_names(headers: Headers) -> list[str]:
    """The field names of a message in order of their first appearance."""
    names: list[str] = headers.keys()
    return names


def split_outside_quotes(text: str, separator: str) -> Iterator[str]:
    """The parts of a field value between `separator`, which does not count inside "…" or <…>."""
    start, quoted, angle, escaped = 0, False, False, False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            angle = True
        elif char == ">":
            angle = False
        elif char == separator and not angle:
            yield text[start:index].strip()
            start = index + 1
    yield text[start:].strip()


def unquote(text: str) -> str:
    """The content of a quoted-string, or the text itself where it is not one."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def quote(text: str) -> str:
    """A quoted-string (RFC 3261 section 25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parameters(parts: Iterable[str]) -> dict[str, str | None]:
    """`name[=value]` parts as a dict: names in lower case, values without quotes, None for a flag."""
    found: dict[str, str | None] = {}
    for part in parts:
        name, equal, value = part.partition("=")
        if name.strip():
            found.setdefault(name.strip().lower(), unquote(value) if equal else None)
    return found


def values(headers: Headers, name: str) -> list[str]:
    """All values of a header field, those in one line separated by commas included."""
    return [part for line in headers.getlist(name) for part in split_outside_quotes(line, ",") if part]


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, P-Asserted-Identity and their like, read leniently.

    `uri` is the text between the angle brackets as received, `parameters` those of the header field.
    """

    uri: str
    name: str
    parameters: dict[str, str | None]

    @property
    def tag(self) -> str | None:
        return self.parameters.get("tag")


def parse_name_addr(value: str) -> NameAddr:
    """One name-addr or addr-spec with its parameters.

    Raises MalformedMessageError where there is no address.
    """
    address, *rest = split_outside_quotes(value, ";")
    name, left, tail = address.rpartition("<")
    uri = tail.rstrip()[:-1] if left and tail.rstrip().endswith(">") else address
    if not uri.strip() or (left and uri is address):
        raise MalformedMessageError(f"not an address: {value[:60]!r}")
    return NameAddr(uri.strip(), unquote(name), parameters(rest))


@dataclass(frozen=True, slots=True)
class ViaEntry:
    """One Via value: the sent-by as (host, port or None) in lower case, parameters by lower-case name."""

    transport: str
    host: str
    port: int | None
    parameters: dict[str, str | None]
    text: str

    @property
    def branch(self) -> str:
        return self.parameters.get("branch") or ""

    @property
    def sent_by(self) -> tuple[str, int | None]:
        return self.host.lower(), self.port


def parse_vias(headers: Headers) -> list[ViaEntry]:
    """All Via values, topmost first.

    Raises MalformedMessageError where there is none or one cannot be read.
    """
    entries = []
    for text in values(headers, "Via"):
        match = _VIA.match(text)
        if match is None or not 0 < int(match["port"] or 5060) <= MAX_PORT:
            raise MalformedMessageError(f"not a Via: {text[:60]!r}")
        rest = split_outside_quotes((match["rest"] or "").lstrip(";"), ";")
        port = int(match["port"]) if match["port"] else None
        entries.append(ViaEntry(match["transport"].upper(), match["host"], port, parameters(rest), text))
    if not entries:
        raise MalformedMessageError("there is no Via")
    return entries


def parse_cseq(headers: Headers) -> tuple[int, str]:
    """CSeq as (number, method). Raises MalformedMessageError."""
    match = re.fullmatch(r"([0-9]{1,10})\s+(\S+)", headers.get("CSeq") or "")
    if match is None:
        raise MalformedMessageError("CSeq is missing or unreadable")
    return int(match[1]), match[2]


def host_text(host: str) -> str:
    """An IP address or name as it stands in a URI or Via: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
