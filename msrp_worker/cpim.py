"""Message/CPIM (RFC 3862): the envelope of messages in conferences and of IMDN.

An envelope is immutable in transit (RFC 3862 2.2, 6): what is read keeps its bytes (`Envelope.head`), header
order, unknown headers and namespaces, and only privacy (`anonymised`) makes a new one. The body is opaque
bytes and never held here: `Envelope.head` ends where the body begins, so a chunked message is understood
from its first chunk on.

    m   MSRP or SIP Content-Type: message/cpim      (not here)
    h   message headers     \\
    e   content headers     / Envelope.head, parsed
    e   body                the rest of the stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAX_HEAD_BYTES = 32_768
"""Largest head (message and content headers with their blank lines) in bytes: 16 times the largest seen of a
client."""
MAX_HEADERS = 256
"""Most headers of one head; bounds the work of resolving namespaces."""

MAX_REMEMBERED = 256
"""Characters of an address that is kept parsed, since a participant sends the same two over and over; longer
ones would let a stranger fill the memory."""

NAMESPACE = "urn:ietf:params:cpim-headers:"
IMDN_NAMESPACE = "urn:ietf:params:imdn"
ANONYMOUS_URI = "sip:anonymous@anonymous.invalid"
"""RFC 3323 4.1.1.3, for a sender whose room gives out no anonymous URI of its own."""

# NAMECHAR = %x21 / %x23-27 / %x2a-2b / %x2d / %x5e-60 / %x7c / %x7e / ALPHA / DIGIT
_NAME = r"[!#-'*+\-^-`|~0-9A-Za-z]+"
# Header = Header-name ":" *( ";" Parameter ) SP Header-value CRLF ; COMPAT(several clients): the SP missing
# or doubled
_HEADER = re.compile(rf'^((?:{_NAME}\.)?{_NAME}):((?:;(?:[^\s";]|"(?:[^"\\\n]|\\.)*")*)*) ?([^\n]*)$', re.MULTILINE)
_CONTENT_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*(.*)", re.DOTALL)
_ADDRESS = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^<>"]*?))\s*<\s*([^<>\s]+)\s*>')
_BARE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^<>\s\"]+")
_NAMESPACE_VALUE = re.compile(rf"({_NAME})?\s*<([^<>\s]+)>")
# An NS header without prefix: names without one are of another namespace from there on (3.4).
_NEW_DEFAULT = re.compile(rb"^NS:(?:;[^\n]*)? *<", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))?", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}
_ESCAPES = {"\\": "\\\\", **{value: f"\\{key}" for key, value in _ESCAPED.items()}}


class CpimError(ValueError):
    """Not a message/cpim that we read. `status` is the MSRP or SIP response that says so."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Address(NamedTuple):
    """`[Formal-name] "<" URI ">"`, unescaped."""

    uri: str
    name: str = ""

    def build(self) -> str:
        """The header value. The name is always written as a quoted string where there is one."""
        if not self.name:
            return f"<{self.uri}>"
        return f'"{escape(self.name).replace(chr(34), chr(92) + chr(34))}" <{self.uri}>'


class Header(NamedTuple):
    """A message header as written: name with its prefix, value still escaped, parameters as in `;lang=fr`."""

    name: str
    value: str
    parameters: str = ""

    @property
    def text(self) -> str:
        """The value with its escapes resolved (RFC 3862 2.3)."""
        return unescape(self.value)

    @property
    def language(self) -> str | None:
        """The lang parameter (RFC 3862 3.3)."""
        for parameter in self.parameters.split(";"):
            key, _, value = parameter.partition("=")
            if key == "lang":
                return value
        return None

    def build(self) -> str:
        """The line without its end."""
        return f"{self.name}:{self.parameters} {self.value}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything before the body. `head` is the exact bytes read or to be written, blank lines included."""

    headers: tuple[Header, ...]
    content_headers: tuple[tuple[str, str], ...]
    head: bytes

    def named(self) -> Iterator[tuple[str, str, Header]]:
        """(namespace, local name, header) in order; prefixes are those declared before (RFC 3862 3.4).
        The namespace of an undeclared prefix is ''."""
        default = NAMESPACE
        prefixes: dict[str, str] = {}
        for header in self.headers:
            prefix, dot, local = header.name.rpartition(".")
            namespace = prefixes.get(prefix, "") if dot else default
            yield namespace, local, header
            if header.name == "NS":
                match = _NAMESPACE_VALUE.fullmatch(header.value.strip())
                if match is None:
                    raise CpimError("malformed NS header")
                if match[1] is None:
                    default = match[2]
                else:
                    prefixes[match[1]] = match[2]

    def all(self, name: str, namespace: str = NAMESPACE) -> list[Header]:
        """The headers of one name, which is case-sensitive (RFC 3862 2.2)."""
        if namespace == NAMESPACE and _NEW_DEFAULT.search(self.head) is None:
            return [header for header in self.headers if header.name == name]
        return [header for found, local, header in self.named() if local == name and found == namespace]

    def first(self, name: str, namespace: str = NAMESPACE) -> str | None:
        """Text of the first header of a name, None when there is none."""
        headers = self.all(name, namespace)
        return headers[0].text if headers else None

    @property
    def sender(self) -> Address | None:
        """From; None when absent. Raises CpimError when malformed or repeated."""
        found = self._addresses("From")
        if len(found) > 1:
            raise CpimError("several From headers")
        return found[0] if found else None

    @property
    def recipients(self) -> list[Address]:
        """To, one per header."""
        return self._addresses("To")

    @property
    def copies(self) -> list[Address]:
        """cc, one per header."""
        return self._addresses("cc")

    @property
    def date_time(self) -> str | None:
        """DateTime as written (RFC 3339)."""
        return self.first("DateTime")

    def subject(self, language: str | None = None) -> str | None:
        """The Subject in a language, or the first one."""
        subjects = self.all("Subject")
        for header in subjects:
            if language is not None and header.language == language:
                return header.text
        return subjects[0].text if subjects else None

    @property
    def message_id(self) -> str | None:
        """imdn.Message-ID (RFC 5438 6.3), whatever the prefix."""  # PAG-21
        value = self.first("Message-ID", IMDN_NAMESPACE)
        return None if value is None else value.strip()

    @property
    def disposition_notification(self) -> str | None:
        """imdn.Disposition-Notification (RFC 5438 6.2); `imdn.requested` reads it."""  # PAG-21
        return self.first("Disposition-Notification", IMDN_NAMESPACE)

    def content_header(self, name: str) -> str | None:
        """A MIME header of the content; names compare without case (RFC 2045)."""
        wanted = name.lower()
        return next((value for key, value in self.content_headers if key.lower() == wanted), None)

    @property
    def content_type(self) -> str:
        """The content's media type with parameters; text/plain where none is given (RFC 2045 5.2)."""
        return self.content_header("Content-Type") or "text/plain"

    def unknown_requirements(self, known: Iterable[str] = ()) -> list[str]:
        """What `Require` names (RFC 3862 3.5) and we do not know. `known` holds full names, namespace and
        local name joined, such as 'urn:ietf:params:imdnMessage-ID'; the headers of RFC 3862 are always
        known."""
        understood = {NAMESPACE + name for name in _OWN_HEADERS}.union(known)
        prefixes = self._prefixes()
        unknown = []
        for header in self.all("Require"):
            for name in header.text.replace(" ", "").split(","):
                prefix, dot, local = name.rpartition(".")
                full = (prefixes.get(prefix, "") if dot else NAMESPACE) + local
                if name and full not in understood:
                    unknown.append(name)
        return unknown

    def anonymised(self, uri: str = ANONYMOUS_URI, name: str = "Anonymous") -> Envelope:
        """This envelope with the sender replaced, all else in its order (IDN-04)."""
        return self._replaced("From", Address(uri, name))  # IDN-04

    def addressed(self, uri: str) -> Envelope:
        """This envelope with another URI in To, all else in its order."""
        return self._replaced("To", Address(uri))

    def _replaced(self, name: str, address: Address) -> Envelope:
        own = {id(header) for header in self.all(name)}
        other = Header(name, address.build())
        return _envelope([other if id(header) in own else header for header in self.headers], self.content_headers)

    def _addresses(self, name: str) -> list[Address]:
        return [parse_address(header.value) for header in self.all(name)]

    def _prefixes(self) -> Mapping[str, str]:
        found = {}
        for header in self.all("NS"):
            match = _NAMESPACE_VALUE.fullmatch(header.value.strip())
            if match is not None and match[1] is not None:
                found[match[1]] = match[2]
        return found


_OWN_HEADERS = ("From", "To", "cc", "DateTime", "Subject", "NS", "Require")


class HeadReader:
    """Collects the head of a message that arrives in pieces cut anywhere.

    `feed` answers None until the head is complete, then (envelope, the first bytes of the body). Holds at
    most MAX_HEAD_BYTES. Raises CpimError.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[Envelope, bytes] | None:
        """Add bytes. Call no more once it has answered."""
        self._buffer += data
        end = _head_end(self._buffer)
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise CpimError(f"headers over {MAX_HEAD_BYTES} bytes", 413)
            return None
        return _parse_head(bytes(self._buffer[:end])), bytes(self._buffer[end:])


def parse(data: bytes) -> tuple[Envelope, bytes]:
    """A whole message: envelope and body. Raises CpimError, also where the head is not complete."""
    end = _head_end(data)
    if end < 0:
        raise CpimError("headers without an end")
    if end > MAX_HEAD_BYTES:
        raise CpimError(f"headers over {MAX_HEAD_BYTES} bytes", 413)
    return _parse_head(data[:end]), data[end:]


def build(headers: Sequence[Header], content_headers: Sequence[tuple[str, str]]) -> Envelope:
    """An envelope of our own. Raises ValueError for names and values that would break the format."""
    for header in headers:
        match = _HEADER.fullmatch(header.build())
        if match is None or match.group(1, 2, 3) != (header.name, header.parameters, header.value):
            raise ValueError(f"not a CPIM header: {header.name!r}")
    for key, value in content_headers:
        if not _CONTENT_HEADER.fullmatch(f"{key}:") or value != value.strip():
            raise ValueError(f"not a MIME header: {key!r}")
    if any(_CONTROL.search(text) for text in _texts(headers, content_headers)):
        raise ValueError("control character in a header")
    return _envelope(headers, content_headers)


def compose(
    sender: Address,
    recipients: Sequence[Address],
    content_type: str,
    *,
    date_time: str | None = None,
    subject: str | None = None,
    message_id: str | None = None,
    disposition_notification: str | None = None,
    content_headers: Sequence[tuple[str, str]] = (),
) -> Envelope:
    """The envelope of a new message; its body follows `head` on the wire. `date_time` in RFC 3339 form is
    due where an IMDN is asked for (RFC 5438 7.1.1.2)."""
    headers = [Header("From", sender.build())]
    headers += [Header("To", recipient.build()) for recipient in recipients]
    if date_time is not None:
        headers.append(Header("DateTime", date_time))
    if subject is not None:
        headers.append(Header("Subject", escape(subject)))
    if message_id is not None or disposition_notification is not None:
        headers.append(Header("NS", f"imdn <{IMDN_NAMESPACE}>"))
    if message_id is not None:
        headers.append(Header("imdn.Message-ID", message_id))  # PAG-21
    if disposition_notification is not None:
        headers.append(Header("imdn.Disposition-Notification", disposition_notification))  # PAG-21
    return build(headers, [("Content-Type", content_type), *content_headers])


def parse_address(value: str) -> Address:
    """Read a From, To or cc value. Raises CpimError."""
    return _remembered_address(value) if len(value) <= MAX_REMEMBERED else _parse_address(value)


def _parse_address(value: str) -> Address:
    value = value.strip()
    match = _ADDRESS.fullmatch(value)
    if match is not None:
        quoted, tokens, uri = match.groups()
        return Address(unescape(uri), unescape(quoted if quoted is not None else tokens.strip()))
    if _BARE_URI.fullmatch(value):
        return Address(unescape(value))  # COMPAT(several clients): no angle brackets
    raise CpimError("malformed address")


_remembered_address = lru_cache(maxsize=2_048)(_parse_address)


def escape(text: str) -> str:
    """Text as a header value (RFC 3862 2.3.1)."""
    return "".join(_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if _CONTROL.match(c) else c) for c in text)


def unescape(value: str) -> str:
    """A header value as text; an unknown escape stands for its character, a last backslash for nothing."""
    if "\\" not in value:
        return value
    return _ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPED.get(match[2] or "", match[2] or ""),
        value,
    )


def _head_end(data: bytes | bytearray) -> int:
    """Offset of the body, -1 when the head is not complete."""
    start = _after_blank_line(data, 0)
    if start < 0:
        return -1
    # a blank line at once: no content headers
    if data[start : start + 2] == b"\r\n":
        return start + 2
    if data[start : start + 1] == b"\n":
        return start + 1
    return _after_blank_line(data, start)


def _after_blank_line(data: bytes | bytearray, start: int) -> int:
    """Offset after the first blank line, -1 without one. COMPAT(several clients): lone LF."""
    both = data.find(b"\n\r\n", start, MAX_HEAD_BYTES)
    lone = data.find(b"\n\n", start, MAX_HEAD_BYTES if both < 0 else both + 1)
    if lone >= 0:
        return lone + 2
    return -1 if both < 0 else both + 3


def _parse_head(head: bytes) -> Envelope:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CpimError("headers are not UTF-8") from error  # RFC 3862 2.2: MUST be used throughout
    text = text.replace("\r\n", "\n")
    if text.count("\n") > MAX_HEADERS:
        raise CpimError(f"more than {MAX_HEADERS} headers", 413)
    block, _, rest = text.partition("\n\n")
    found = _HEADER.findall(block)  # one match per line, or a line is none
    if len(found) != block.count("\n") + 1:
        raise CpimError("malformed message header")
    headers = tuple([Header(name, value, parameters) for name, parameters, value in found])
    return Envelope(headers, tuple(_content_headers(rest.split("\n"))), head)


def _content_headers(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += " " + line.strip()  # folding of RFC 5322 2.2.3
        elif line:
            unfolded.append(line)
    for line in unfolded:
        match = _CONTENT_HEADER.fullmatch(line)
        if match is None:
            raise CpimError("malformed content header")
        yield match[1], match[2].strip()


def _texts(headers: Iterable[Header], content_headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    for header in headers:
        yield header.value
        yield header.parameters
    for _, value in content_headers:
        yield value


def _envelope(headers: Sequence[Header], content_headers: Sequence[tuple[str, str]]) -> Envelope:
    lines = [header.build() for header in headers]
    lines += ["", *(f"{key}: {value}" for key, value in content_headers), "", ""]
    return Envelope(tuple(headers), tuple(content_headers), "\r\n".join(lines).encode())
