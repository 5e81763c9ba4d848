"""A message on its way out: bytes waiting to be cut into chunks (RFC 4975 section 7.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .frames import NO, PARTIAL, YES, check_header, is_ident, is_media_type
from .ranges import RangeSet

if TYPE_CHECKING:
    from .outbox import Outbox
    from .session import Session

_SMALL_PIECE = 2_048
"""Bytes up to which pieces written one after the other are joined, so that tiny writes do not make long
lists."""


class OutgoingMessage:
    """Handle of a message being sent; made by `Session.send` and `Session.open`.

    `status` is None until the outcome is known, then 200, or the error code of the response, of the failure
    report, or 408 for a time-out or a lost connection. With Failure-Report yes, 200 means that the next
    hop has taken every chunk; with partial, that no error came in time; with no, only that it was sent.
    """

    __slots__ = (
        "comment",
        "context",
        "covered",
        "failure_report",
        "finished",
        "head",
        "message_id",
        "offset",
        "on_done",
        "on_report",
        "outbox",
        "pieces",
        "position",
        "queued",
        "report_missing",
        "reported",
        "scheduled",
        "status",
        "success_report",
        "total",
        "unanswered",
    )

    def __init__(
        self,
        outbox: Outbox,
        message_id: str,
        head: str,
        total: int | None,
        success_report: bool,
        failure_report: str,
    ) -> None:
        self.outbox = outbox
        self.message_id = message_id
        self.head = head
        """The header fields after Byte-Range, with the blank line that ends them."""
        self.total = total
        """Bytes of the whole message, None while unknown."""
        self.success_report = success_report
        self.failure_report = failure_report
        self.position = 0
        """Bytes already cut into chunks."""
        self.pieces: list[bytes] = []
        self.offset = 0
        """Bytes of the first piece already taken."""
        self.queued = 0
        """Bytes waiting in `pieces`."""
        self.finished = False
        self.scheduled = False
        self.unanswered = 0
        self.status: int | None = None
        self.comment: str | None = None
        self.covered: RangeSet | None = None
        """Bytes for which success reports came."""
        self.reported: int | None = None
        """Code of the report that settled the message: 200 once success reports cover it, or an error; 408 where none
        came until the session ended."""
        self.report_missing = False
        """True where `reported` is not the word of the peer: no report came."""
        self.on_done: Callable[[OutgoingMessage], None] | None = None
        """Called once with the outcome, before the handler."""
        self.on_report: Callable[[OutgoingMessage], None] | None = None
        """Called once when `reported` is known."""
        self.context: object = None
        """For the user of the handle."""

    @property
    def session(self) -> Session:
        """The session it is sent in."""
        return self.outbox.session

    def write(self, data: bytes) -> bool:
        """Append content. False: the session is congested, hold on until `SessionHandler.writable`.

        Raises ValueError beyond the announced total or after `finish`.
        """
        if self.finished:
            raise ValueError("message is finished")
        if self.status is not None:
            return False
        size = len(data)
        end = self.position + self.queued + size
        if self.total is not None and end > self.total:
            raise ValueError(f"more than the announced {self.total} bytes")
        if size:
            pieces = self.pieces
            if pieces and size < _SMALL_PIECE and len(pieces[-1]) < _SMALL_PIECE:
                pieces[-1] += data
            else:
                pieces.append(data)
            self.queued += size
        if end == self.total:
            self.finished = True
        return self.outbox.accept(self, size)

    def write_pieces(self, pieces: Sequence[bytes]) -> bool:
        """The same as `write` of each of them in turn; there is at least one."""
        size = sum(map(len, pieces))
        end = self.position + self.queued + size
        usual = not self.finished and self.status is None and min(map(len, pieces)) >= _SMALL_PIECE
        if not usual or (self.total is not None and end > self.total):
            return [self.write(piece) for piece in pieces][-1]
        self.pieces += pieces
        self.queued += size
        if end == self.total:
            self.finished = True
        return self.outbox.accept(self, size)

    def finish(self) -> None:
        """No more content follows. Raises ValueError if less than the announced total was written."""
        end = self.position + self.queued
        if self.total is not None and end != self.total:
            raise ValueError(f"{end} of {self.total} bytes written")
        if not self.finished and self.status is None:
            self.finished = True
            self.outbox.accept(self, 0)

    def abort(self, code: int = 413, comment: str | None = "aborted") -> None:
        """Give up: chunks under way end with `#`. The outcome is `code`, which never goes over the wire."""
        if self.status is None:
            self.outbox.stop(self, code, comment, tell=True)

    @property
    def is_sent(self) -> bool:
        """True where every byte has been handed to the connection."""
        return self.finished and not self.queued and not self.scheduled

    def consume_piece(self, limit: int) -> bytes:
        """Take at most `limit` bytes out as they were written, without joining or copying pieces."""
        piece = self.pieces[0]
        if not self.offset and len(piece) <= limit:
            del self.pieces[0]
            self.queued -= len(piece)
            self.position += len(piece)
            return piece
        return self.consume(min(limit, len(piece) - self.offset))

    def consume_chunks(self, size: int, count: int) -> list[bytes]:
        """Take `count` times `size` bytes out; there are as many."""
        if not size:
            return [b""] * count
        begun = [self.consume(size)]  # it may be in pieces, if a read of ours ended in the middle of it
        chunks = self.pieces[: count - 1]
        if self.offset or len(chunks) < count - 1 or not {*map(len, chunks)} <= {size}:
            return begun + [self.consume(size) for _ in range(count - 1)]
        del self.pieces[: count - 1]  # usual in a hop: pieces are chunks
        self.queued -= size * (count - 1)
        self.position += size * (count - 1)
        return begun + chunks

    def consume(self, limit: int) -> bytes:
        """Take at most `limit` queued bytes out. What is left of a long piece is not copied."""
        pieces = self.pieces
        if not self.offset:
            first = pieces[0]
            size = len(first)
            if size == limit or (size < limit and size == self.queued):  # usual in a hop: pieces are chunks
                del pieces[0]
                self.queued -= size
                self.position += size
                return first
        taken = []
        room = min(limit, self.queued)
        self.queued -= room
        self.position += room
        while room:
            first = pieces[0]
            left = len(first) - self.offset
            if left <= room:
                taken.append(first[self.offset :] if self.offset else first)
                del pieces[0]
                self.offset = 0
                room -= left
            else:
                taken.append(first[self.offset : self.offset + room])
                self.offset += room
                break
        return taken[0] if len(taken) == 1 else b"".join(taken)


def message_head(content_type: str, headers: Iterable[tuple[str, str]], success_report: bool, failure_report: str) -> str:
    """The header fields that every chunk of a message repeats; raises ValueError for text that is not one.

    Header fields of the caller come before the MIME ones, Content-Type last (section 7.1).
    """
    if not is_media_type(content_type):
        raise ValueError(f"not a media type: {content_type[:80]!r}")
    if failure_report not in (YES, NO, PARTIAL):
        raise ValueError(f"not a Failure-Report: {failure_report!r}")
    lines = []
    if success_report:
        lines.append("Success-Report: yes\r\n")
    if failure_report != YES:
        lines.append(f"Failure-Report: {failure_report}\r\n")
    for name, value in headers:
        check_header(name, value)
        lines.append(f"{name}: {value}\r\n")
    lines.append(f"Content-Type: {content_type}\r\n\r\n")
    return "".join(lines)


def check_message_id(message_id: str) -> None:
    """Raise ValueError for what is not an ident."""
    if not is_ident(message_id):
        raise ValueError(f"not a Message-ID: {message_id[:40]!r}")
