"""The MSRP codec: bytes in, events out; frames in, bytes out (RFC 4975 section 9). No I/O, no clock.

    parser = Parser()
    for event in parser.feed(data):      # data: whatever one read returned
        ...                              # Request, Data, End, Response, Malformed, Broken

A SEND that lies in the fed bytes as a whole is one `Request` with `body` and `flag` set. One that does not is a `Request`
with `flag` None, then `Data` as the body arrives, then one `End`. Requests of other methods
and responses are small (section 7.1) and always come whole. `Malformed` stands for a frame that breaks the
grammar but whose end is known: the caller may answer it, the frames after it are read. After `Broken` the
framing is lost: the caller closes the connection, further input is ignored.

`feed_batches` gives the same, but runs of frames that repeat each other as one `Chunks` or `Answers`, which costs less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .end_lines import find_end_line, possible_end_line
from .frames import (
    HNAME,
    MAX_NON_SEND_BODY,
    MAX_TRANSACTION_ID,
    NO,
    PARTIAL,
    UTF8_TEXT,
    YES,
    Answers,
    Batch,
    Broken,
    Chunks,
    Data,
    End,
    Event,
    Malformed,
    Request,
    Response,
    is_media_type,
    match_ident,
    parse_status,
)
from .ranges import parse_byte_range
from .usual import MAX_FIELDS, START, ChunkHead, chunk_head, read_responses, read_send

MAX_START_LINE = 256
"""Octets of a start line with its CRLF; the expression below allows 244."""
_END_LINE_SLACK = 7 + MAX_TRANSACTION_ID + 5
"""Octets of an end-line with both its CRLFs, at most."""

# msrp-request = req-start headers [content-stuff] end-line
# msrp-response = resp-start headers end-line
# req-start  = pMSRP SP transact-id SP method CRLF                      ; method = 1*UPALPHA
# resp-start = pMSRP SP transact-id SP status-code [SP comment] CRLF    ; comment = utf8text
_START: Final = re.compile(
    rb"MSRP ([A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) "
    rb"(?:([A-Z]{1,32})|([0-9]{3})(?: ([\t\x20-\x7e\x80-\xfd]{0,200}))?)\r\n"
)
_PATHS: Final = re.compile(rb"(?i)To-Path: ([\x20-\x7e]{1,2048})\r\nFrom-Path: ([\x20-\x7e]{1,2048})(?:\r\n|$)").match
_FAILURE_REPORT: Final = re.compile(rb"(?i)\r\nFailure-Report: (yes|no|partial)(?:\r\n|$)").search

_KNOWN: Final = {
    name.lower(): name
    for name in (
        "To-Path",
        "From-Path",
        "Message-ID",
        "Byte-Range",
        "Success-Report",
        "Failure-Report",
        "Status",
        "Content-Type",
    )
}
"""Names compare without case: they are quoted strings of the ABNF."""


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """What one frame may cost before it is refused."""

    header_bytes: int = 16_384
    """From the start line to the end of the header section, in bytes."""
    header_count: int = 64
    """Header fields of one frame, the two paths included."""


DEFAULT_LIMITS: Final = CodecLimits()


class _HeaderError(Exception):
    """A header section outside the grammar; turned into Malformed by the parser."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Parser:
    """Incremental parser of one direction of a connection.

    It holds at most one header section, one non-SEND body or one possible end-line between two calls.
    """

    __slots__ = ("_buffer", "_discard", "_head", "_limits", "_marker", "_responses", "_skip", "broken", "shortcuts")

    def __init__(self, limits: CodecLimits | None = None, *, shortcuts: bool = True) -> None:
        """`shortcuts` False takes every frame the general way; for the tests that compare both."""
        self._limits = limits or DEFAULT_LIMITS
        self._buffer = b""
        self._marker: bytes | None = None
        """CRLF, seven hyphens and the transaction id, while the body of a SEND is being read."""
        self._skip = 0
        """2 while the CRLF that ended the header section still stands before the body, else 0."""
        self._discard = False
        """True while the rest of a malformed SEND is skipped."""
        self.broken = False
        self.shortcuts = shortcuts
        self._responses = False
        """The last frame of a usual form was a response."""
        self._head: ChunkHead | None = None
        """Of the last chunk that was not the last of its message."""

    @property
    def in_frame(self) -> bool:
        """True where the input so far ends inside a frame."""
        return bool(self._buffer) or self._marker is not None

    def feed(self, data: bytes) -> list[Event]:
        """Take the bytes of one read; return the events they complete, in order."""
        events: list[Event] = []
        for event in self.feed_batches(data):
            if isinstance(event, Chunks):
                events += event.events
            elif isinstance(event, Answers):
                events += event.responses
            else:
                events.append(event)
        return events

    def feed_batches(self, data: bytes) -> list[Event | Batch]:
        """As `feed`, with runs of frames that repeat each other in one."""
        if self.broken:
            return []
        events: list[Event | Batch] = []
        buffer = self._buffer + data if self._buffer else data
        size = len(buffer)
        position = 0
        while position < size:
            if self._marker is not None:
                position = self._body(buffer, position, self._marker, events)
            elif self.shortcuts and (after := self._usual_frames(buffer, position, events)):
                position = after
            else:
                position = self._frame(buffer, position, events)
            if position < 0:  # wait for more, and keep what begins at the complement
                position = ~position
                break
        self._buffer = buffer[position:]
        return events

    def _usual_frames(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """Take frames of a usual form; returns the position after them, or 0 where the general way has to look at the
        frame at `position`. A connection mostly carries one kind in a row, so the kind that came last is tried first."""
        header_bytes = self._limits.header_bytes
        head = self._head
        if head is not None:
            start = START(buffer, position)
            if start is not None and buffer.startswith(head.before, start.end()):
                after = head.read(buffer, start, header_bytes, events)
                if head.over:
                    self._head = None
                if head.cut:
                    head.cut = False
                    self._marker = head.marker
                    self._skip = head.skip
                    return ~after
                if after:
                    return after
        if self._responses:
            after = read_responses(buffer, position, header_bytes, events)
            if after:
                return after
        usual = read_send(buffer, position, header_bytes) if self._limits.header_count >= MAX_FIELDS else None
        if usual is not None:
            request, body_at, after = usual
            self._responses = False
            events.append(request)
            if request.flag == "+":
                self._head = chunk_head(request, buffer, position, body_at)
            return after
        if self._responses:
            return 0
        after = read_responses(buffer, position, header_bytes, events)
        self._responses = after > 0
        return after

    def _frame(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """Read the frame that starts at position, the general way.

        Returns the position after it, or the complement of the position from which to keep the buffer.
        """
        start = _START.match(buffer, position)
        if start is None:
            return self._await_start_line(buffer, position, events)
        headers_at = start.end()
        marker = b"\r\n-------" + start[1]
        end = find_end_line(buffer, marker, headers_at - 2)
        after = end + len(marker)
        if end < 0:
            return self._partial_frame(buffer, position, start, marker, events)
        # The second CRLF of the blank line may be the one that begins the end-line: an empty body whose own
        # CRLF was forgotten. When the cut falls between the two, streaming has to read it the same way.
        blank = buffer.find(b"\r\n\r\n", headers_at - 2, end + 2)
        header_end = end if blank < 0 else blank
        if header_end - position > self._limits.header_bytes:
            return self._break(f"header section over {self._limits.header_bytes} bytes", buffer, events)
        body = None if blank < 0 else buffer[blank + 4 : end]
        if body is not None and len(body) > MAX_NON_SEND_BODY and start[2] != b"SEND":
            return self._break(f"body over {MAX_NON_SEND_BODY} bytes outside SEND", buffer, events)
        event = self._build(start, buffer[headers_at:header_end], body, chr(buffer[after]))
        events.append(event)
        if type(event) is Request and event.flag == "+":
            self._head = chunk_head(event, buffer, position, blank + 4)
        return after + 3

    def _await_start_line(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """No start line at position: wait if the bytes so far can become one, else give up the stream."""
        waiting = len(buffer) - position
        if (
            waiting >= MAX_START_LINE
            or buffer.find(b"\r\n", position) >= 0
            or not buffer.startswith(b"MSRP "[:waiting], position)
        ):
            return self._break(f"not a start line: {buffer[position : position + 60]!r}", buffer, events)
        return ~position

    def _partial_frame(
        self, buffer: bytes, position: int, start: re.Match[bytes], marker: bytes, events: list[Event | Batch]
    ) -> int:
        """The end-line of the frame at position is not there yet: begin to stream a SEND, else wait."""
        blank = buffer.find(b"\r\n\r\n", start.end() - 2)
        if blank < 0:
            if len(buffer) - position > self._limits.header_bytes + _END_LINE_SLACK:
                return self._break(f"header section over {self._limits.header_bytes} bytes", buffer, events)
            return ~position
        if blank - position > self._limits.header_bytes:
            return self._break(f"header section over {self._limits.header_bytes} bytes", buffer, events)
        if start[2] != b"SEND":
            if len(buffer) - blank > MAX_NON_SEND_BODY + _END_LINE_SLACK:
                return self._break(f"body over {MAX_NON_SEND_BODY} bytes outside SEND", buffer, events)
            return ~position
        event = self._build(start, buffer[start.end() : blank], None, None)
        events.append(event)
        self._discard = type(event) is Malformed
        if type(event) is Request:
            self._head = chunk_head(event, buffer, position, blank + 4)
        self._marker = marker
        self._skip = 2
        return blank + 2

    def _body(self, buffer: bytes, position: int, marker: bytes, events: list[Event | Batch]) -> int:
        """Hand on the body of a SEND as far as it has come; returns as `_frame` does."""
        begin = position + self._skip
        end = find_end_line(buffer, marker, position)
        if end >= 0:
            after = end + len(marker)
            if not self._discard:
                if end > begin:
                    events.append(Data(buffer[begin:end]))
                events.append(End(chr(buffer[after])))
            self._marker = None
            self._skip = 0
            self._discard = False
            return after + 3
        keep = possible_end_line(buffer, marker, position)
        if keep == position:
            return ~position
        if keep > begin and not self._discard:
            events.append(Data(buffer[begin:keep]))
        self._skip = 0
        return ~keep

    def _break(self, reason: str, buffer: bytes, events: list[Event | Batch]) -> int:
        self.broken = True
        self._marker = None
        events.append(Broken(reason))
        return ~len(buffer)

    def _build(
        self, start: re.Match[bytes], block: bytes, body: bytes | None, flag: str | None
    ) -> Request | Response | Malformed:
        """The event for one header section; `block` is without the CRLF of its last line."""
        transaction_id = start[1].decode("ascii")
        method = start[2]
        request = Request(transaction_id, "" if method is None else method.decode("ascii"), "", "", b"")
        try:
            self._read_headers(block, request)
            if method is None:
                if body is not None:
                    raise _HeaderError("response with a body")
                comment = start[4]
                return Response(
                    transaction_id,
                    int(start[3]),
                    None if comment is None else comment.decode(),
                    request.to_path,
                    request.from_path,
                    request.headers,
                )
            request.body = body
            request.flag = flag
            if body is None and flag is not None:
                if request.content_type is not None:
                    raise _HeaderError("Content-Type without a body")
            elif request.content_type is None:
                raise _HeaderError("body without Content-Type")
            elif request.message_id is None and request.method == "SEND":
                raise _HeaderError("SEND without Message-ID")
            if request.method == "REPORT" and (request.status is None or request.message_id is None):
                raise _HeaderError("REPORT without Status or Message-ID")
        except (_HeaderError, UnicodeDecodeError) as error:
            wish = _FAILURE_REPORT(block)  # it may stand after the field that failed
            paths = _PATHS(block)
            if paths is not None:  # what failed may stand after them, so there is somebody to answer
                request.to_path, request.from_path = paths[1].decode(), paths[2].decode()
            return Malformed(
                transaction_id,
                request.method or None,
                400,
                str(error) if isinstance(error, _HeaderError) else "header section is not UTF-8",
                request.to_path or None,
                request.from_path or None,
                request.failure_report if wish is None else wish[1].decode().lower(),
            )
        return request

    def _read_headers(self, block: bytes, request: Request) -> None:
        """Fill the request from its header section; raises _HeaderError or UnicodeDecodeError."""
        # headers = To-Path CRLF From-Path CRLF 1*( header CRLF )
        lines = block.decode().split("\r\n")
        if len(lines) > self._limits.header_count:
            raise _HeaderError(f"more than {self._limits.header_count} header fields")
        if len(lines) < 2:
            raise _HeaderError("no To-Path and From-Path")
        name, colon, value = lines[0].partition(": ")
        if (name != "To-Path" and name.lower() != "to-path") or not value:
            raise _HeaderError("To-Path is not the first header field")
        request.to_path = value
        name, colon, value = lines[1].partition(": ")
        if (name != "From-Path" and name.lower() != "from-path") or not value:
            raise _HeaderError("From-Path is not the second header field")
        request.from_path = value
        headers: list[tuple[str, str]] = []
        request.headers = headers
        for line in lines[2:]:
            name, colon, value = line.partition(": ")
            if not colon:
                raise _HeaderError(f"not a header field: {line[:40]!r}")
            headers.append((name, value))
            if name == "Message-ID":
                if request.message_id is not None or match_ident(value) is None:
                    raise _HeaderError("bad Message-ID")
                request.message_id = value
            elif name == "Byte-Range":
                if request.byte_range is not None:
                    raise _HeaderError("two Byte-Range header fields")
                request.byte_range = parse_byte_range(value)
                if request.byte_range is None:
                    raise _HeaderError("bad Byte-Range")
            elif name == "Content-Type":
                if request.content_type is not None or not is_media_type(value):
                    raise _HeaderError("bad Content-Type")
                request.content_type = value
            else:
                self._read_other(name, value, request)
        # What is left without plain text must be the line breaks: no control characters, no CR or LF alone.
        if block.translate(None, UTF8_TEXT) != b"\r\n" * (len(lines) - 1):
            raise _HeaderError("control character in the header section")

    def _read_other(self, name: str, value: str, request: Request) -> None:
        """The less frequent header fields, and the frequent ones in other spellings."""
        known = _KNOWN.get(name.lower())
        if known is None:
            if HNAME.fullmatch(name) is None:
                raise _HeaderError(f"bad header name: {name[:40]!r}")
        elif known == "Failure-Report":
            # Failure-Report = "Failure-Report:" SP ("yes" / "no" / "partial" )
            value = value.lower()
            if value not in (YES, NO, PARTIAL):
                raise _HeaderError("bad Failure-Report")
            request.failure_report = value
        elif known == "Success-Report":
            # Success-Report = "Success-Report:" SP ("yes" / "no" )
            value = value.lower()
            if value not in (YES, NO):
                raise _HeaderError("bad Success-Report")
            request.success_report = value == YES
        elif known == "Status":
            request.status = parse_status(value)
            if request.status is None:
                raise _HeaderError("bad Status")
        elif known == "Message-ID":
            if request.message_id is not None or match_ident(value) is None:
                raise _HeaderError("bad Message-ID")
            request.message_id = value
        elif known == "Byte-Range":
            if request.byte_range is not None:
                raise _HeaderError("two Byte-Range header fields")
            request.byte_range = parse_byte_range(value)
            if request.byte_range is None:
                raise _HeaderError("bad Byte-Range")
        elif known == "Content-Type":
            if request.content_type is not None or not is_media_type(value):
                raise _HeaderError("bad Content-Type")
            request.content_type = value
        else:
            raise _HeaderError(f"two {known} header fields")
