"""The usual frames, read with few steps: short messages, the chunks of a long one, the answers to both. No I/O.

What is read here is narrower than the grammar; the general way (`codec`) reads it to the same events, which a property
test holds. Most frames are matched in one step instead of twenty. Long messages repeat themselves: the head of a chunk
is that of the chunk before but for two numbers, a response is the one before but for the transaction id. So these are
compared as bytes and not parsed again.
"""

from __future__ import annotations

import re
from typing import Final

from .end_lines import FLAGS, WINDOW, find_end_line, possible_end_line
from .frames import PARTIAL, YES, Answers, Batch, Chunks, Event, Request, Response, is_media_type
from .ranges import MAX_POSITION_DIGITS, ByteRange, parse_byte_range

_IDENT = rb"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"
START: Final = re.compile(rb"MSRP (%b) " % _IDENT).match
_SEND: Final = re.compile(
    rb"MSRP (%b) SEND\r\n"
    rb"To-Path: ([\x20-\x7e]{1,2048})\r\nFrom-Path: ([\x20-\x7e]{1,2048})\r\n"
    rb"(Message-ID: (%b)\r\n"
    rb"(?:Byte-Range: ([0-9*/-]{5,60})\r\n)?((?:(?:Success|Failure)-Report: (?:yes|no|partial)\r\n){0,2})"
    rb"Content-Type: ([\x20-\x7e]{3,200}))\r\n\r\n" % (_IDENT, _IDENT)
).match
MAX_FIELDS: Final = 7
"""Header fields of the above, at most."""
_RESPONSE: Final = re.compile(
    rb"MSRP (%b) ([0-9]{3}) ([\x20-\x7e]{0,200})\r\n"
    rb"To-Path: ([\x20-\x7e]{1,2048})\r\nFrom-Path: ([\x20-\x7e]{1,2048})\r\n-------\1\$\r\n" % _IDENT
).match
_RANGE: Final = re.compile(rb"([1-9][0-9]{0,17})-(?:\*|([1-9][0-9]{0,17}))").match
_BYTE_RANGE: Final = b"\r\nByte-Range: "
_MAX_HEAD: Final = 2_048
"""Octets of a head that is remembered: several times what clients write, and no burden where thousands are."""


def read_responses(buffer: bytes, position: int, header_bytes: int, events: list[Event | Batch]) -> int:
    """Take the response at `position`, and the ones after it that differ in their transaction id alone; returns the
    position after them, or 0 where the general way has to look at it."""
    usual = _RESPONSE(buffer, position)
    if usual is None:
        return 0
    done = usual.end()
    if done - position > header_bytes:
        return 0
    ident, code, comment, to_path, from_path = usual.groups()
    first = Response(ident.decode(), int(code), comment.decode(), to_path.decode(), from_path.decode(), [])
    size = done - position
    if len(buffer) - done < size:
        events.append(first)
        return done
    # To requests of one sender, whose transaction ids are mostly as long as each other.
    answer = buffer[usual.end(1) : done - len(ident) - 3]
    ident_end = 5 + len(ident)
    idents = [first.transaction_id]
    while True:
        ident = buffer[done + 5 : done + ident_end]
        if buffer[done : done + size] != b"MSRP %b%b%b$\r\n" % (ident, answer, ident) or not ident.isalnum():
            break
        idents.append(ident.decode())
        done += size
    events.append(Answers(first, idents) if len(idents) > 1 else first)
    return done


def read_send(buffer: bytes, position: int, header_bytes: int) -> tuple[Request, int, int] | None:
    """The SEND at `position`, where its body begins, and the position after it; None where the general way has to look
    at it."""
    fields = _SEND(buffer, position)
    if fields is None:
        return None
    body_at = fields.end()
    marker = b"\r\n-------" + fields[1]
    end = buffer.find(marker, body_at - 2, body_at + WINDOW)
    after = end + len(marker) + 3
    flag = FLAGS.get(buffer[after - 3 : after])
    if end < body_at or flag is None or body_at - position - 4 > header_bytes:
        return None
    ident, to_path, from_path, block, message_id, byte_range, reports, content_type = fields.groups()
    where = None
    if byte_range is not None:
        where = parse_byte_range(byte_range.decode())
        if where is None:
            return None
    kind = content_type.decode()
    if not is_media_type(kind):
        return None
    request = Request(ident.decode(), "SEND", to_path.decode(), from_path.decode(), block, message_id.decode())
    request.byte_range = where
    request.content_type = kind
    if reports:
        for line in reports.decode().split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            if name == "Failure-Report":
                request.failure_report = value
            elif value == PARTIAL:
                return None
            else:
                request.success_report = value == YES
    request.body = buffer[body_at:end]
    request.flag = flag
    request.usual = True
    return request, body_at, after


def chunk_head(request: Request, buffer: bytes, position: int, body_at: int) -> ChunkHead | None:
    """The head of a SEND, between `position` and `body_at`, to know the chunks of its message by that will follow; None
    where it cannot be used so."""
    where = request.byte_range
    at = position + 6 + len(request.transaction_id)
    if where is None or body_at - position > _MAX_HEAD:
        return None
    text = str(where).encode()
    value = buffer.find(_BYTE_RANGE, at, body_at) + len(_BYTE_RANGE)
    if value < at or not buffer.startswith(text + b"\r\n", value):
        return None
    rest = buffer[value + text.rindex(b"/") : body_at]
    return ChunkHead(request.without_body(), where, buffer[at:value], rest)


class ChunkHead:
    """The head of a chunk: what comes before the numbers of its Byte-Range, what comes after them, and its meaning."""

    __slots__ = ("before", "cut", "like", "marker", "most", "next", "over", "rest", "size", "skip")

    def __init__(self, like: Request, where: ByteRange, before: bytes, rest: bytes) -> None:
        self.like = like
        longest = 10**MAX_POSITION_DIGITS - 2
        self.most = longest if where.total is None else min(where.total, longest)
        """Where a chunk may end."""
        self.before = before
        """From the method to `Byte-Range: `."""
        self.rest = rest
        """From the slash to the blank line."""
        self.size = None if where.end is None else where.end - where.start + 1
        """Of the last chunk, as announced; None where it was not."""
        self.next = where.start + (self.size or 0)
        """Where the next chunk will probably start, as in `ByteRange`."""
        self.marker = b""
        """CRLF, seven hyphens and the transaction id of the chunk that was cut last."""
        self.cut = False
        """The last chunk goes on beyond the buffer; for the parser to note and reset."""
        self.skip = 0
        """With `cut`: 2 where the CRLF before its body may begin its end-line, else 0."""
        self.over = False
        """The last chunk of the message has come."""

    def read(self, buffer: bytes, start: re.Match[bytes] | None, header_bytes: int, events: list[Event | Batch]) -> int:
        """Take the chunks from `start` on that differ from the last one in transaction id and Byte-Range alone.

        Returns the position after them, or 0 to have the frame read the general way. If the last one goes on beyond the
        buffer, `cut` is True, and the position is where its end-line might begin.
        """
        before, rest, most = self.before, self.rest, self.most
        rows: list[tuple[str, int, int | None, bytes, str | None]] = []
        done = 0
        while start is not None:
            at = start.end()
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
            end = find_end_line(buffer, marker, body_at - 2)
            if body_at - start.start() - 4 > header_bytes or body_at - 2 <= end < body_at:
                break
            self.size = None if last is None else last - first + 1
            if end < 0:
                done = self._cut(buffer, body_at, marker, (ident.decode(), first, last), rows)
                break
            done = end + len(marker) + 3
            flag = FLAGS[buffer[done - 3 : done]]
            rows.append((ident.decode(), first, last, buffer[body_at:end], flag))
            self.next = first + end - body_at
            if flag != "+":
                self.over = True
                break
            done = self._read_on(buffer, done, len(ident), header_bytes, rows)
            start = START(buffer, done) if done < len(buffer) and not self.cut else None
        if rows:
            events.append(Chunks(self.like, rows))
        return done

    def _read_on(
        self,
        buffer: bytes,
        position: int,
        ident_size: int,
        header_bytes: int,
        rows: list[tuple[str, int, int | None, bytes, str | None]],
    ) -> int:
        """Take the chunks from `position` on as long as each follows the one before, is announced to be as long, has a
        transaction id of `ident_size` letters and digits, and does not end with another flag than `+`: most do, and then
        the whole head is known beforehand. Returns as `read` does."""
        before, rest = f" {self.before.decode('latin-1')}", self.rest.decode("latin-1")
        first, size, most = self.next, self.size, self.most
        last = None
        following = b"+\r\n" + buffer[position : position + 5]
        while following == b"+\r\nMSRP ":
            at = position + 5 + ident_size
            ident = buffer[position + 5 : at]
            if size is None:
                line = f"{before}{first}-*{rest}".encode("latin-1")
            else:
                last = first + size - 1
                line = f"{before}{first}-{last}{rest}".encode("latin-1")
            body_at = at + len(line)
            if (
                buffer[at:body_at] != line
                or not ident.isalnum()
                or (last or first - 1) > most
                or body_at - position - 4 > header_bytes
            ):
                break
            marker = b"\r\n-------" + ident
            end = buffer.find(marker, body_at - 2, body_at + WINDOW)
            if end < 0 and len(buffer) <= body_at + WINDOW:
                return self._cut(buffer, body_at, marker, (ident.decode(), first, last), rows)
            after = end + len(marker) + 3
            following = buffer[after - 3 : after + 5]
            if end < body_at or following[:3] != b"+\r\n":
                break
            rows.append((ident.decode(), first, last, buffer[body_at:end], "+"))
            first += end - body_at
            position = after
        self.next = first
        return position

    def _cut(
        self,
        buffer: bytes,
        body_at: int,
        marker: bytes,
        row: tuple[str, int, int | None],
        rows: list[tuple[str, int, int | None, bytes, str | None]],
    ) -> int:
        """Take what the buffer has of a chunk whose end-line is not in it."""
        keep = possible_end_line(buffer, marker, body_at - 2)
        rows.append((*row, buffer[body_at:keep], None))
        self.next = row[1] + (self.size or 0)
        self.marker = marker
        self.skip = max(0, body_at - keep)
        self.cut = True
        return keep
