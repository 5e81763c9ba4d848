"""Session descriptions (RFC 4566, RFC 8866): bytes in, a value out, and back.

Only the layer every media shares: lines in their order, session and media sections, unknown lines kept.
What an `m=message` section means is in `sdp_msrp`; who answers what is in `offer_answer`.

Text is UTF-8 with lossless escapes for other bytes (`surrogateescape`), since `s=` and `i=` may use the
charset of `a=charset` (RFC 8866 6.10): what came in goes out again, byte for byte but for the line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

MAX_BYTES = 65_535
"""Largest description read, in bytes: what a SIP message over UDP could carry at most."""
MAX_LINES = 1_000
"""Most lines read: far over any client's offer, low enough that a hostile one costs under a millisecond."""
MAX_MEDIA = 32
"""Most media sections read: a file transfer of many files has one per file (RFC 5547 8.1)."""

_DIGITS = re.compile(r"[0-9]{1,20}")
_LINE_END = re.compile(rb"\r\n|\n|\r")  # COMPAT(hand-written gateways): lone LF and lone CR end a line too
_MEDIA = re.compile(r"(\S+)\s+([0-9]{1,5})(?:/([0-9]{1,5}))?\s+(\S+)((?:\s+\S+)+)\s*")
_ENCODING = ("utf-8", "surrogateescape")


class SdpError(ValueError):
    """The description cannot be read. `status` is the SIP response that says so: 400, or 488 where it is well
    formed but nothing we could agree to (RFC 3264 6)."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its letter and all that follows the `=`."""

    letter: str
    value: str


def attribute(name: str, value: str | None = None) -> Line:
    """An `a=` line: a flag, or `name:value`."""
    return Line("a", name if value is None else f"{name}:{value}")


class _Section:
    """What session and media sections share: looking up lines and attributes."""

    __slots__ = ()
    lines: tuple[Line, ...]

    def first(self, letter: str) -> str | None:
        """Value of the first line with this letter, or None."""
        return next((line.value for line in self.lines if line.letter == letter), None)

    def attributes(self, name: str) -> Iterator[str]:
        """Values of all `a=` lines of this name in order; a flag has the value ''. Names compare without
        case: COMPAT(OMA draft clients) write `a=SendOnly`."""
        wanted = name.lower()
        first = wanted[:1] + wanted[:1].upper() + " \t"
        for line in self.lines:
            if line.letter == "a" and line.value[:1] in first:
                found, _, value = line.value.partition(":")
                if found.strip().lower() == wanted:
                    yield value.strip()

    def attribute(self, name: str) -> str | None:
        """Value of the first `a=` line of this name, '' for a flag, None when there is none."""
        return next(self.attributes(name), None)


@dataclass(frozen=True, slots=True)
class Media(_Section):
    """One `m=` section: the line's fields, and every line under it in order."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    ports: int | None = None  # the number after the slash, RFC 8866 5.14

    @property
    def refused(self) -> bool:
        """Port 0: offered as not wanted, or refused in an answer (RFC 3264 5.1, 6)."""
        return self.port == 0

    def media_line(self) -> str:
        """The value of the `m=` line."""
        count = "" if self.ports is None else f"/{self.ports}"
        return f"{self.kind} {self.port}{count} {self.protocol} {' '.join(self.formats)}"

    def refuse(self) -> Media:
        """This section as an answer refuses it: same media, protocol and formats, port 0, no lines
        (CNF-04)."""
        return replace(self, port=0, ports=None, lines=())


@dataclass(frozen=True, slots=True)
class Origin:
    """The `o=` line. `version` grows with each change of the description within a session (RFC 8866 5.2)."""

    username: str
    session_id: str
    version: int
    address: str
    address_type: str = "IP4"
    network_type: str = "IN"

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.network_type} {self.address_type} {self.address}"


@dataclass(frozen=True, slots=True)
class SessionDescription(_Section):
    """A whole description: session lines in order (from `v=` on), then the media sections."""

    lines: tuple[Line, ...]
    media: tuple[Media, ...] = ()
    origin: Origin = field(kw_only=True)

    def connection(self, media: Media) -> str | None:
        """Address of the `c=` line that applies to a media section, None when there is none (RFC 8866
        5.7)."""
        value = media.first("c") or self.first("c")
        if value is None:
            return None
        fields = value.split()
        return fields[2].partition("/")[0] if len(fields) >= 3 else None

    def build(self) -> bytes:
        """The description as bytes, CRLF after every line."""
        return b"".join(
            f"{letter}={value}\r\n".encode(*_ENCODING)  # one flat pass: this runs once per INVITE and answer
            for letter, value in self._flat()
        )

    def _flat(self) -> Iterator[tuple[str, str]]:
        for line in self.lines:
            yield line.letter, line.value
        for media in self.media:
            yield "m", media.media_line()
            for line in media.lines:
                yield line.letter, line.value


def parse(data: bytes) -> SessionDescription:
    """Read a description. Raises SdpError for anything that is not one (SEC-05)."""
    session: list[Line] = []
    media: list[Media] = []
    current: list[Line] = session
    for line in _lines(data):
        if line.letter == "m":
            if len(media) >= MAX_MEDIA:
                raise SdpError(f"more than {MAX_MEDIA} media sections")
            _close(media, current, session)
            current = []
            media.append(_media(line.value))
        else:
            current.append(line)
    _close(media, current, session)
    if not session or session[0] != Line("v", "0"):
        raise SdpError("does not start with v=0")
    return SessionDescription(tuple(session), tuple(media), origin=_origin(session))


def describe(origin: Origin, address: str, media: Iterable[Media], times: str = "0 0") -> SessionDescription:
    """A description of our own: the mandatory session lines around media sections.

    `times` is the value of `t=`; an answer repeats the offer's (RFC 3264 6). `address` goes into `c=`.
    """
    lines = (
        Line("v", "0"),
        Line("o", str(origin)),
        Line("s", "-"),
        Line("c", f"IN {address_type(address)} {address}"),
        Line("t", times),
    )
    return SessionDescription(lines, tuple(media), origin=origin)


def address_type(address: str) -> str:
    """`IP6` for an IPv6 address, else `IP4`; a name counts as IP4, as RFC 8866's examples do."""
    return "IP6" if ":" in address else "IP4"


def bounded_integer(text: str, what: str) -> int:
    """Read a decimal of at most 20 digits; raises SdpError naming `what`."""
    text = text.strip()
    if not _DIGITS.fullmatch(text):
        raise SdpError(f"{what} is not a number")
    return int(text)


def _lines(data: bytes) -> Iterator[Line]:
    if len(data) > MAX_BYTES:
        raise SdpError(f"description over {MAX_BYTES} bytes", 413)
    if b"\0" in data:
        raise SdpError("NUL byte in description")  # RFC 8866 9: byte-string excludes NUL
    pieces = _LINE_END.split(data)
    if len(pieces) > MAX_LINES:
        raise SdpError(f"more than {MAX_LINES} lines")
    for piece in pieces:
        if not piece.strip():
            continue  # COMPAT(several): blank lines at the end or between
        if piece[1:2] != b"=" or not piece[:1].isalpha():
            raise SdpError("a line is not letter=value")
        yield Line(piece[:1].decode("ascii"), piece[2:].decode(*_ENCODING))


def _media(value: str) -> Media:
    # media-field = %s"m" "=" media SP port ["/" integer] SP proto 1*(SP fmt) CRLF
    match = _MEDIA.fullmatch(value)
    if match is None:
        raise SdpError("malformed m= line")
    kind, port, count, protocol, formats = match.groups()
    if int(port) > 65_535:
        raise SdpError("port out of range in m= line")
    return Media(kind, int(port), protocol, tuple(formats.split()), ports=int(count) if count else None)


def _close(media: list[Media], current: list[Line], session: list[Line]) -> None:
    if current is not session:
        media[-1] = replace(media[-1], lines=tuple(current))


def _origin(lines: list[Line]) -> Origin:
    # origin-field = %s"o" "=" username SP sess-id SP sess-version SP nettype SP addrtype SP unicast-address
    value = next((line.value for line in lines if line.letter == "o"), None)
    if value is None:
        raise SdpError("no o= line")
    fields = value.split()
    if len(fields) != 6:
        raise SdpError("malformed o= line")
    username, session_id, version, network_type, kind, address = fields
    return Origin(username, session_id, bounded_integer(version, "version in o="), address, kind, network_type)
