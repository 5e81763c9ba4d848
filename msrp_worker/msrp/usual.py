"""The usual frames, read with few steps: short messages, the chunks of a long one, the answers to both. No I/O.

What is read here is narrower than the grammar; the general way (`codec`) reads it to the same events, which a property
test holds. Most frames are matched in one step instead of twenty. Long messages repeat themselves: the head of a chunk
is that of the chunk before but for two numbers, a response is the one before but for the transaction id. So these are
compared as bytes and not parsed again.
"""

from __future__ import annotations

import re
from typing import Final

from .end_lines import FLAGS, WINDOW, find_end_line
from .frames import PARTIAL, YES, Answers, Batch, Chunks, Event, Request, Response, is_media_type
from .ranges import MAX_POSITION_DIGITS, ByteRange, parse_byte_range

_IDENT = rb"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"
_START: Final = re.compile(rb"MSRP (%b) " % _IDENT).match
_SEND: Final = re.compile(
    rb"MSRP (%b) SEND\r\n"
    rb"To-Path: ([\x20-\x7e]{1,2048})\r\nFrom-Path: ([\x20-\x7e]{1,2048})\r\n"
    rb"(Message-ID: (%b)\r\n"
    rb"(?:Byte-Range: ([0-9*/-]{5,60})\r\n)?((?:(?:Success|Failure)-Report: (?:yes|no|partial)\r\n){0,2})"
    rb"Content-Type: ([\x20-\x7e]{3,200}))\r\n\r\n" % (_IDENT, _IDENT)
).match
_MAX_FIELDS: Final = 7
"""Header fields of the above, at most."""
_ANSWER: Final = re.compile(
    rb"([0-9]{3}) ([\x20-\x7e]{0,200})\r\n"
    rb"To-Path: ([\x20-\x7e]{1,2048})\r\nFrom-Path: ([\x20-\x7e]{1,2048})\r\n-------"
).match
_RANGE: Final = re.compile(rb"([1-9][0-9]{0,17})-(?:\*|([1-9][0-9]{0,17}))").match
_BYTE_RANGE: Final = b"\r\nByte-Range: "
_MAX_HEAD: Final = 2_048
"""Octets of a head that is remembered: several times what clients write, and no burden where thousands are."""
_NOTHING_YET: Final = b"\r"
"""No frame continues so after its transaction id."""
_NO_RESPONSE: Final = Response("", 0, None, "", "", [])


class UsualFrames:
    """Reads the complete frames of one direction of a connection that are of a usual form."""

    __slots__ = ("_answer", "_answered", "_head", "_header_bytes", "_responses", "_with_fields", "marker")

    def __init__(self, header_bytes: int, header_count: int) -> None:
        """The limits are those of `codec.CodecLimits`."""
        self._header_bytes = header_bytes
        self._with_fields = header_count >= _MAX_FIELDS
        self._responses = False
        """The last frame read here was a response: a connection mostly carries one kind in a row."""
        self._head: _ChunkHead | None = None
        """Of the last chunk that was not the last of its message."""
        self._answer = _NOTHING_YET
        """What stood between the two transaction ids of the last response."""
        self._answered = _NO_RESPONSE
        self.marker = b""
        """CRLF, seven hyphens and the transaction id of the chunk that began last."""

    def read(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """Take the frame that starts at `position`, and the ones after it that are alike.

        Returns the position after them, or 0 to have the frame read the general way. Of a chunk that goes on beyond
        the buffer the complement of where its blank line ends, less the CRLF that may begin the end-line: its body
        and end-line are to be read from there.
        """
        head = self._head
        if head is not None:
            start = _START(buffer, position)
            if start is not None and buffer.startswith(head.before, start.end()):
                after = self._read_chunks(buffer, start, head, events)
                if after:
                    return after
        if self._responses:
            return self._read_responses(buffer, position, events) or self._read_send(buffer, position, events)
        return self._read_send(buffer, position, events) or self._read_responses(buffer, position, events)

    def _read_responses(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """Take responses that differ in their transaction id alone. Returns as `read` does."""
        start = _START(buffer, position)
        if start is None:
            return 0
        if not buffer.startswith(self._answer, start.end()):
            answered = _ANSWER(buffer, start.end())
            if answered is None:
                return 0
            code, comment, to_path, from_path = answered.groups()
            self._answer = answered[0]
            self._answered = Response("", int(code), comment.decode(), to_path.decode(), from_path.decode(), [])
        self._responses = True
        answer = self._answer
        size = len(answer)
        idents: list[str] = []
        done = 0
        while start is not None:
            at = start.end()
            ident = start[1]
            after = at + size + len(ident) + 3
            if not buffer.startswith(answer, at) or buffer[at + size : after] != ident + b"$\r\n":
                break
            if after - start.start() > self._header_bytes:
                break
            idents.append(ident.decode())
            done = after
            start = _START(buffer, after) if after < len(buffer) else None
        same = self._answered
        if len(idents) == 1:
            events.append(Response(idents[0], same.code, same.comment, same.to_path, same.from_path, []))
        elif idents:
            events.append(Answers(same, idents))
        return done

    def _read_chunks(
        self, buffer: bytes, start: re.Match[bytes] | None, head: _ChunkHead, events: list[Event | Batch]
    ) -> int:
        """Take chunks that differ from the last one in transaction id and Byte-Range alone. Returns as `read` does."""
        before, rest, most = head.before, head.rest, head.most
        header_bytes = self._header_bytes
        rows: list[tuple[str, int, int | None, bytes, str | None]] = []
        done = 0
        while start is not None:
            at = start.end()
            # Most chunks follow the one before and are as long.
            first = head.next
            last = None if head.size is None else first + head.size - 1
            line = b"%b%d-*%b" % (before, first, rest) if last is None else b"%b%d-%d%b" % (before, first, last, rest)
            if buffer.startswith(line, at):
                body_at = at + len(line)
            else:
                where = _RANGE(buffer, at + len(before))
                if where is None or not buffer.startswith(before, at) or not buffer.startswith(rest, where.end()):
                    break
                body_at = where.end() + len(rest)
                first = int(where[1])
                last = None if where[2] is None else int(where[2])
            if (last is not None and last < first - 1) or (last or first - 1) > most:
                break
            ident = start[1]
            marker = b"\r\n-------" + ident
            end = buffer.find(marker, body_at - 2, body_at + WINDOW)
            after = end + len(marker) + 3
            flag = FLAGS.get(buffer[after - 3 : after])
            if end < 0 or flag is None:
                end = find_end_line(buffer, marker, body_at - 2)
                after = end + len(marker) + 3
                flag = FLAGS.get(buffer[after - 3 : after])
            if body_at - start.start() - 4 > header_bytes or body_at - 2 <= end < body_at:
                break
            head.size = None if last is None else last - first + 1
            if end < 0:
                self.marker = marker
                rows.append((ident.decode(), first, last, b"", None))
                head.next = first + (head.size or 0)
                done = 1 - body_at
                break
            rows.append((ident.decode(), first, last, buffer[body_at:end], flag))
            head.next = first + end - body_at
            done = after
            if flag != "+":
                self._head = None  # the message is over
                break
            start = _START(buffer, after) if after < len(buffer) else None
        if rows:
            events.append(Chunks(head.like, rows))
        return done

    def _read_send(self, buffer: bytes, position: int, events: list[Event | Batch]) -> int:
        """Take one SEND. Returns as `read` does."""
        fields = _SEND(buffer, position)
        if fields is None or not self._with_fields:
            return 0
        body_at = fields.end()
        marker = b"\r\n-------" + fields[1]
        end = buffer.find(marker, body_at - 2, body_at + WINDOW)
        after = end + len(marker) + 3
        flag = FLAGS.get(buffer[after - 3 : after])
        if end < body_at or flag is None or body_at - position - 4 > self._header_bytes:
            return 0
        ident, to_path, from_path, block, message_id, byte_range, reports, content_type = fields.groups()
        where = None
        if byte_range is not None:
            where = parse_byte_range(byte_range.decode())
            if where is None:
                return 0
        kind = content_type.decode()
        if not is_media_type(kind):
            return 0
        request = Request(ident.decode(), "SEND", to_path.decode(), from_path.decode(), block, message_id.decode())
        request.byte_range = where
        request.content_type = kind
        if reports:
            for line in reports.decode().split("\r\n")[:-1]:
                name, _, value = line.partition(": ")
                if name == "Failure-Report":
                    request.failure_report = value
                elif value == PARTIAL:
                    return 0
                else:
                    request.success_report = value == YES
        request.body = buffer[body_at:end]
        request.flag = flag
        request.usual = True
        self._responses = False
        events.append(request)
        if flag == "+" and where is not None:
            self.learn(request, buffer, position, body_at)
        return after

    def learn(self, request: Request, buffer: bytes, position: int, body_at: int) -> None:
        """Remember the head of a SEND, between `position` and `body_at`, as more chunks of its message will follow."""
        self._head = None
        where = request.byte_range
        at = position + 6 + len(request.transaction_id)
        if where is None or body_at - position > _MAX_HEAD:
            return
        text = str(where).encode()
        value = buffer.find(_BYTE_RANGE, at, body_at) + len(_BYTE_RANGE)
        if value > at and buffer.startswith(text + b"\r\n", value):
            rest = buffer[value + text.rindex(b"/") : body_at]
            self._head = _ChunkHead(request.without_body(), where, buffer[at:value], rest)


class _ChunkHead:
    """The head of a chunk: what comes before the numbers of its Byte-Range, what comes after them, and its meaning."""

    __slots__ = ("before", "like", "most", "next", "rest", "size")

    def __init__(self, like: Request, where: ByteRange, before: bytes, rest: bytes) -> None:
        self.like = like
        longest = 10**MAX_POSITION_DIGITS - 2
        self.most = longest if where.total is None else min(where.total, longest)
        """Where a chunk may end."""
        self.before = before
        """From the space after the transaction id to `Byte-Range: `."""
        self.rest = rest
        """From the slash to the blank line."""
        self.size = None if where.end is None else where.end - where.start + 1
        """Of the last chunk, as announced; None where it was not."""
        self.next = where.start + (self.size or 0)
        """Where the next chunk will probably start, as in `ByteRange`."""
