"""MSRP frames as values, and their encoding (RFC 4975 section 9). No I/O.

The event classes are what `codec.Parser` produces. `encode_request`, `encode_response` and `end_line` build
frames. They trust their arguments; `check_header` is for text that comes from elsewhere and might break out
of its line. Header fields keep their order and spelling, unknown ones included. Text is UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .ranges import ByteRange

MAX_NON_SEND_BODY = 10_240
"""Octets in the body of a request that is not SEND (RFC 4975 section 7.1)."""
MAX_TRANSACTION_ID = 32
"""Characters: ident = ALPHANUM 3*31ident-char."""

# ident = ALPHANUM  3*31ident-char      ; ident-char = ALPHANUM / "." / "-" / "+" / "%" / "="
match_ident: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}").fullmatch

# hname = ALPHA *token       ; token = 1*(%x21 / %x23-27 / %x2A-2B / %x2D-2E / %x30-39 / %x41-5A / %x5E-7E)
HNAME: Final = re.compile(r"[A-Za-z][!#-'*+\-.0-9A-Z^-~]*")
# utf8text = *(HTAB / %x20-7E / UTF8-NONASCII)
UTF8_TEXT: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))

# Status = "Status:" SP namespace SP status-code [SP comment]        ; namespace = 3(DIGIT)
_STATUS: Final = re.compile(r"([0-9]{3}) ([0-9]{3})(?: (.*))?", re.ASCII)

# Content-Type = "Content-Type:" SP media-type
# media-type = type "/" subtype *( ";" gen-param )    ; gen-param = pname [ "=" pval ]
# pval  = token / quoted-string
# COMPAT(clients that take the value from a MIME library): white space around ";", which RFC 4975 has not.
_TKN = r"[!#-'*+\-.0-9A-Z^-~]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\U0010ffff]|\\["\\])*"'
_MEDIA_TYPE: Final = re.compile(rf"{_TKN}/{_TKN}(?:[ \t]*;[ \t]*{_TKN}(?:=(?:{_TKN}|{_QUOTED}))?)*")

YES: Final = "yes"
NO: Final = "no"
PARTIAL: Final = "partial"

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    413: "Message Too Large",
    415: "Unsupported Media Type",
    423: "Parameter Out Of Bounds",
    481: "Session Does Not Exist",
    501: "Not Implemented",
    506: "Session Already In Use",
}
"""Comments of the response codes of RFC 4975 section 10."""


@dataclass(slots=True)
class Status:
    """Value of a Status header: in namespace "000" `code` is an MSRP response code (section 7.1.3)."""

    namespace: str
    code: int
    comment: str | None = None


class Request:
    """A request, or its beginning where `flag` is None (SEND only).

    `to_path` and `from_path` are the header values as received; their syntax is not checked here, so that a
    session which has seen them before compares two strings and is done.
    """

    __slots__ = (
        "_block",
        "_headers",
        "body",
        "byte_range",
        "content_type",
        "failure_report",
        "flag",
        "from_path",
        "message_id",
        "method",
        "status",
        "success_report",
        "to_path",
        "transaction_id",
        "usual",
    )

    def __init__(
        self,
        transaction_id: str,
        method: str,
        to_path: str,
        from_path: str,
        block: bytes,
        message_id: str | None = None,
    ) -> None:
        """`block`: the header fields after the paths, as received; valid, and split only when asked for."""
        self.transaction_id = transaction_id
        self.method = method
        self.to_path = to_path
        self.from_path = from_path
        self._block = block
        self._headers: list[tuple[str, str]] | None = None
        self.message_id = message_id
        self.byte_range: ByteRange | None = None
        self.success_report = False
        self.failure_report = YES
        """YES, NO or PARTIAL."""
        self.content_type: str | None = None
        self.status: Status | None = None
        self.body: bytes | None = None
        """The whole body; None where there is none, or where it follows as `Data`."""
        self.flag: str | None = None
        """`$`, `+` or `#`; None while the frame goes on."""
        self.usual = False
        """True where `headers` are known to hold none but those that have attributes of their own."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All header fields but the paths, in order, unknown ones included."""
        if self._headers is None:
            fields = [line.partition(": ") for line in self._block.decode().split("\r\n") if line]
            self._headers = [(name, value) for name, _, value in fields]
        return self._headers

    @headers.setter
    def headers(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    @property
    def has_body(self) -> bool:
        """True where the frame carries content, perhaps empty, perhaps not yet arrived."""
        return self.body is not None or self.flag is None

    def without_body(self) -> Request:
        """The same as far as it was known when the body began."""
        request = Request(self.transaction_id, self.method, self.to_path, self.from_path, self._block, self.message_id)
        request._headers = self._headers
        request.byte_range = self.byte_range
        request.success_report = self.success_report
        request.failure_report = self.failure_report
        request.content_type = self.content_type
        request.status = self.status
        request.usual = self.usual
        return request

    def set_range(self, where: ByteRange) -> None:
        """Replace the value of the Byte-Range that is there already."""
        if self._headers is None:
            self._block = self._block.replace(f"Byte-Range: {self.byte_range}".encode(), f"Byte-Range: {where}".encode(), 1)
        else:
            self._headers = [(name, str(where) if name == "Byte-Range" else value) for name, value in self._headers]
        self.byte_range = where

    def _values(self) -> tuple[object, ...]:
        rest = (getattr(self, name) for name in self.__slots__ if not name.startswith("_") and name != "usual")
        return (*rest, self.headers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.transaction_id} {self.headers} {self.body!r:.60} {self.flag}>"


class Chunks:
    """SENDs one after the other whose heads are that of an earlier one, but for transaction id and Byte-Range.

    What they stand for are the `events`; who knows what to do with the message needs only what is in `rows`.
    """

    __slots__ = ("like", "rows", "taken")

    def __init__(self, like: Request, rows: list[tuple[str, int, int | None, bytes, str | None]]) -> None:
        self.like = like
        """The earlier one, without its body."""
        self.rows = rows
        """Of each chunk: transaction id, first and last byte as in `ByteRange`, content, flag. The last one of all may be
        only begun: the content as far as it has come, flag None; `Data` and `End` follow."""
        self.taken = 0
        """For the use of whoever takes them: how many have been."""

    def events_of(self, number: int) -> list[Event]:
        """What a row stands for, as it is read without looking at the ones before it: the SEND, and apart from it the
        content of one that is only begun."""
        transaction_id, start, end, body, flag = self.rows[number]
        request = self.like.without_body()
        request.transaction_id = transaction_id
        assert request.byte_range is not None
        request.set_range(ByteRange(start, end, request.byte_range.total))
        if flag is None:
            return [request, Data(body)] if body else [request]
        request.body = body
        request.flag = flag
        return [request]

    @property
    def events(self) -> list[Event]:
        """All of them."""
        return [event for number in range(len(self.rows)) for event in self.events_of(number)]


class Answers:
    """Responses one after the other that differ in their transaction id alone."""

    __slots__ = ("like", "transaction_ids")

    def __init__(self, like: Response, transaction_ids: list[str]) -> None:
        self.like = like
        """One of them but for its transaction id."""
        self.transaction_ids = transaction_ids

    def response(self, number: int) -> Response:
        """One of them."""
        same = self.like
        return Response(self.transaction_ids[number], same.code, same.comment, same.to_path, same.from_path, [])

    @property
    def responses(self) -> list[Response]:
        """All of them."""
        return [self.response(number) for number in range(len(self.transaction_ids))]


@dataclass(slots=True)
class Data:
    """More of the body of the request that began last. Never empty."""

    data: bytes


@dataclass(slots=True)
class End:
    """The end-line of the request that began last."""

    flag: str


@dataclass(slots=True)
class Response:
    """A response. Its paths are as received, unchecked."""

    transaction_id: str
    code: int
    comment: str | None
    to_path: str
    from_path: str
    headers: list[tuple[str, str]]


@dataclass(slots=True)
class Malformed:
    """A frame outside the grammar, skipped to its end-line. `status` is what to answer.

    `method` is None for a response, which is never answered. The paths are None where they could not be read;
    without a From-Path there is nobody to answer. `failure_report` is that of the frame, as far as readable.
    """

    transaction_id: str
    method: str | None
    status: int
    reason: str
    to_path: str | None = None
    from_path: str | None = None
    failure_report: str = YES


@dataclass(slots=True)
class Broken:
    """The stream is not MSRP any more: close it. `reason` is for the log."""

    reason: str


Event = Request | Data | End | Response | Malformed | Broken

Batch = Chunks | Answers


@lru_cache(maxsize=256)
def is_media_type(value: str) -> bool:
    """True for a `media-type` of the grammar. Remembered, as sessions use the same few over and over."""
    return _MEDIA_TYPE.fullmatch(value) is not None


def is_ident(value: str) -> bool:
    """True for an `ident`: transaction id or Message-ID."""
    return match_ident(value) is not None


def parse_status(value: str) -> Status | None:
    """The value of a Status header field; None outside the grammar."""
    match = _STATUS.fullmatch(value)
    return None if match is None else Status(match[1], int(match[2]), match[3])


def check_header(name: str, value: str) -> None:
    """Raise ValueError for a header field outside the grammar, above all one with a line break."""
    text = value.encode()  # raises UnicodeEncodeError, a ValueError, for lone surrogates
    if HNAME.fullmatch(name) is None or text.translate(None, UTF8_TEXT):
        raise ValueError(f"not a header field: {name!r}: {value[:60]!r}")


def encode_request(
    method: str,
    transaction_id: str,
    to_path: str,
    from_path: str,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str | None = None,
    body: bytes | None = None,
    flag: str | None = "$",
) -> bytes:
    """One request, complete where `flag` is given; without it only up to the end of `body` so far.

    Content-Type is written last, as section 7.1 asks. `body` None means no body at all; b"" is an empty one.
    """
    lines = [f"MSRP {transaction_id} {method}\r\nTo-Path: {to_path}\r\nFrom-Path: {from_path}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    if body is None and flag is not None:
        lines.append(f"-------{transaction_id}{flag}\r\n")
        return "".join(lines).encode()
    lines.append(f"Content-Type: {content_type}\r\n\r\n")
    head = "".join(lines).encode() + (body or b"")
    return head if flag is None else head + end_line(transaction_id, flag)


def end_line(transaction_id: str, flag: str) -> bytes:
    """The end-line of a request with a body, with the CRLF that precedes it."""
    return f"\r\n-------{transaction_id}{flag}\r\n".encode("ascii")


def encode_response(transaction_id: str, code: int, to_path: str, from_path: str, comment: str | None = None) -> bytes:
    """One response; `comment` None takes the usual one for the code."""
    text = REASONS.get(code) if comment is None else comment
    return (
        f"MSRP {transaction_id} {code:03d}{' ' + text if text else ''}\r\nTo-Path: {to_path}\r\n"
        f"From-Path: {from_path}\r\n-------{transaction_id}$\r\n"
    ).encode()
