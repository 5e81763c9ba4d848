"""What a connection sends: responses and reports first, then the messages of all sessions in turns.

Chunks are cut here (RFC 4975 section 7.1.1). A message of a session with a chunk size goes out in whole
chunks of that size, others taking their turn in between. Without a chunk size it is one chunk, written as
its content comes, and ended early (`+`) only when something else has to go. No I/O: `take` gives the
bytes to write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from .chunks import UNINTERRUPTED_BYTES, encode_chunks
from .frames import NO, PARTIAL, YES, Response, encode_response, end_line
from .outgoing import OutgoingMessage
from .transaction import TRANSACTION_SECONDS, PendingRequest, Transaction

if TYPE_CHECKING:
    from .session import Session

TURN_BYTES = 16_384
"""Content one message may send before the next one has its turn."""
TAKE_BYTES = 131_072
"""Bytes gathered for one write."""


class Shell(Protocol):
    """What owns the socket of a link."""

    def wake(self) -> None:
        """There is output to take, or a reason to close; called once until the next `take`."""

    def hold(self, on: bool) -> None:
        """Stop reading from the socket, or go on."""


class Output:
    """The sending half of a link."""

    __slots__ = (
        "_active",
        "_at_once",
        "_closed",
        "_idents",
        "_open",
        "_open_marker",
        "_open_start",
        "_open_tail",
        "_open_transaction",
        "_out",
        "_out_size",
        "_requests",
        "_shell",
        "_single_frames",
        "_transactions",
        "_unsent",
        "_woken",
        "writable",
    )

    def __init__(self, idents: Iterator[str], shell: Shell, *, single_frames: bool) -> None:
        self._idents = idents
        self._shell = shell
        self._single_frames = single_frames
        self.writable = True
        """False: the transport is full; `take` then gives only what cannot wait, responses and reports."""
        self._out: list[bytes] = []
        self._out_size = 0
        self._woken = False
        self._active: deque[OutgoingMessage] | None = None
        """Messages with something to send, in the order of their turns."""
        self._transactions: dict[str, Transaction] = {}
        """In the order of their deadlines: they all wait equally long, and chunks do not overlap."""
        self._requests: dict[str, PendingRequest] | None = None
        """Requests other than SEND that wait for their response."""
        self._unsent: list[PendingRequest] | None = None
        """Of these the ones just written; `take` sets their deadlines."""
        self._closed: list[Transaction] | None = None
        """Of chunks just ended; `take` sets their deadlines."""
        self._at_once: list[Transaction] | None = None
        """Of whole messages just written; likewise."""
        self._open: OutgoingMessage | None = None
        """The message whose chunk is being written, if that has not ended."""
        self._open_transaction: Transaction | None = None
        self._open_marker = b""
        self._open_start = 0
        self._open_tail = b""
        """The last bytes written, in which the end-line may have begun."""

    def wake(self) -> None:
        """There is output to take."""
        if not self._woken:
            self._woken = True
            self._shell.wake()

    def emit(self, frame: bytes) -> None:
        """Send a whole frame that does not wait: a response or a REPORT."""
        if self._open is not None:
            self._interrupt()
        self._out.append(frame)
        self._out_size += len(frame)
        if not self._woken:
            self._woken = True
            self._shell.wake()

    def emit_all(self, frames: list[str]) -> None:
        """As `emit` of each of them in turn."""
        if self._open is not None:
            self._interrupt()
        pieces = [frame.encode() for frame in frames] if self._single_frames else ["".join(frames).encode()]
        self._out += pieces
        self._out_size += sum(map(len, pieces))
        self.wake()

    def respond(self, transaction_id: str, code: int, to_path: str, from_path: str, comment: str | None = None) -> None:
        """Send a response."""
        self.emit(encode_response(transaction_id, code, to_path, from_path, comment))

    def schedule(self, message: OutgoingMessage) -> None:
        """The message has something to send. For Session only."""
        if self._active is None:
            self._active = deque()
        self._active.append(message)
        if not self._woken:
            self._woken = True
            self._shell.wake()

    def stop(self, message: OutgoingMessage, *, tell: bool) -> None:
        """The message sends no more; `tell` ends it with `#` even if no chunk of it is open. For Session
        only."""
        message.scheduled = False
        if self._open is message:
            self._end_open("#")
        elif tell:
            start = message.position + 1
            total = "*" if message.total is None else message.total
            ident = next(self._idents)
            self.emit(self._chunk_head(message, ident, f"{start}-{start - 1}/{total}") + end_line(ident, "#"))

    def send_bodiless(self, message: OutgoingMessage) -> None:
        """Send a SEND without a body; its transaction is that of `message`."""
        ident = next(self._idents)
        transaction = Transaction(message, None)
        self.emit(
            f"MSRP {ident} SEND\r\n{message.session.path_block}Message-ID: {message.message_id}\r\n"
            f"-------{ident}$\r\n".encode()
        )
        self._expect(ident, transaction)
        if self._closed is None:
            self._closed = []
        self._closed.append(transaction)

    def send_at_once(self, message: OutgoingMessage, body: bytes) -> bool:
        """Write a short message as one chunk now; False where it has to wait for its turn. For Session only.

        Most messages are short and meet an idle connection. They need no place in a queue.
        """
        session = message.outbox.session
        size = len(body)
        if (
            self._active is not None
            or self._open is not None
            or not self.writable
            or self._out_size >= TAKE_BYTES
            or size > (session.options.chunk_size or UNINTERRUPTED_BYTES)
            or message.failure_report == NO  # it would be over before its sender has the handle
            or not message.outbox.can_send
        ):
            return False
        ident = next(self._idents)
        while (mark := ident.encode()) in body:  # the sender MUST ensure that the end-line is not
            ident = next(self._idents)
        last = size if size <= UNINTERRUPTED_BYTES else "*"
        head = self._chunk_head(message, ident, f"1-{last}/{size}")
        frame = b"".join((head, body, b"\r\n-------", mark, b"$\r\n"))
        message.position = size
        message.finished = True
        message.scheduled = True  # until it is taken
        transaction = Transaction(message, None)
        if self._at_once is None:
            self._at_once = []
        self._at_once.append(transaction)
        self._expect(ident, transaction)
        self._out.append(frame)
        self._out_size += len(frame)
        if not self._woken:
            self._woken = True
            self._shell.wake()
        return True

    def request(
        self,
        session: Session,
        method: str,
        headers: Iterable[tuple[str, str]],
        on_answer: Callable[[Response], None],
    ) -> None:
        """Send a request that is neither SEND nor REPORT, without a body. `on_answer` gets the response, or
        408 where none came or the connection was lost."""
        ident = next(self._idents)
        path = session.path_block.encode()
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.emit(f"MSRP {ident} {method}\r\n".encode() + path + f"{fields}-------{ident}$\r\n".encode())
        request = PendingRequest(session, on_answer)
        if self._requests is None:
            self._requests = {}
        self._requests[ident] = request
        if self._unsent is None:
            self._unsent = []
        self._unsent.append(request)

    def take(self, now: float) -> list[bytes]:
        """The bytes to write now. Call again after the transport took them, until nothing comes."""
        self._woken = False
        if self._active is not None and self.writable:
            self._fill(self._active, now)
        if self._closed is not None:
            for transaction in self._closed:
                transaction.deadline = now + TRANSACTION_SECONDS
            self._closed = None
        if self._at_once is not None:
            for transaction in self._at_once:
                transaction.deadline = now + TRANSACTION_SECONDS
                transaction.message.scheduled = False
            self._at_once = None
        if self._unsent is not None:
            for request in self._unsent:
                request.deadline = now + TRANSACTION_SECONDS
            self._unsent = None
        out = self._out
        if out:
            self._out = []
            self._out_size = 0
        return out

    def answered(self, response: Response) -> None:
        """A response came; those to nothing we know are ignored."""
        transaction = self._transactions.pop(response.transaction_id, None)
        if transaction is not None:
            self._end_transaction(transaction, response.code, response.comment)
        elif self._requests is not None and (request := self._requests.pop(response.transaction_id, None)):
            request.on_answer(response)

    def answered_send(self, transaction_id: str, code: int, comment: str | None) -> bool:
        """As `answered`; False, and nothing done, where it is no response to a SEND of ours."""
        transaction = self._transactions.pop(transaction_id, None)
        if transaction is None:
            return False
        self._end_transaction(transaction, code, comment)
        return True

    def answered_ok(self, idents: list[str], number: int) -> int:
        """As `answered_send` with 200 for those from `number` on that are chunks written together; returns how many."""
        transactions = self._transactions
        transaction = transactions.pop(idents[number], None)
        if transaction is None:
            return 0
        after = number + 1
        while after < len(idents) and transactions.get(idents[after]) is transaction:
            del transactions[idents[after]]
            after += 1
        self._end_transaction(transaction, 200, None, after - number)
        return after - number

    @property
    def waiting_bytes(self) -> int:
        """Bytes of responses and reports that `take` has not given out yet."""
        return self._out_size

    @property
    def has_more(self) -> bool:
        """True where `take` may give more at once."""
        return bool(self._out) or (self._active is not None and self.writable)

    @property
    def awaits_answers(self) -> bool:
        """True while a transaction is under way."""
        return bool(self._transactions or self._requests)

    def tick(self, now: float) -> None:
        """Let transactions time out."""
        while self._transactions:
            ident, transaction = next(iter(self._transactions.items()))
            if transaction.deadline is None or transaction.deadline > now:
                break
            del self._transactions[ident]
            # With Failure-Report partial no answer is a good answer.
            timed_out = transaction.message.failure_report == YES
            self._end_transaction(transaction, 408 if timed_out else 200, "no response" if timed_out else None)
        self._fail_requests(lambda request: request.deadline is not None and request.deadline <= now)

    def forget(self, session: Session) -> None:
        """The session ended; a chunk of it that is open is aborted."""
        self._fail_requests(lambda request: request.session is session)
        if self._open is not None and self._open.session is session:
            self._end_open("#")
            self.wake()

    def clear(self) -> None:
        """The connection is gone."""
        self._active = None
        self._open = None
        self._out = []
        self._out_size = 0
        self._transactions.clear()
        self._fail_requests(lambda _: True)

    def _fail_requests(self, which: Callable[[PendingRequest], bool]) -> None:
        """Give up requests that will not be answered."""
        if self._requests is None:
            return
        failed = [ident for ident, request in self._requests.items() if which(request)]
        for ident in failed:
            request = self._requests.pop(ident)
            request.on_answer(Response(ident, 408, "no response", "", "", []))

    def _end_transaction(self, transaction: Transaction, code: int, comment: str | None, count: int = 1) -> None:
        if transaction is self._open_transaction:
            self._open_transaction = None  # answered before its end-line
        transaction.message.outbox.answered(transaction, code, comment, count)

    def _fill(self, active: deque[OutgoingMessage], now: float) -> None:
        """Let the messages take turns until there is enough for one write."""
        while active and self._out_size < TAKE_BYTES:
            message = active.popleft()
            if not message.scheduled or message.status is not None:
                continue
            outbox = message.outbox
            if not outbox.can_send:
                if outbox.session.link is not None:
                    outbox.wait_for_window(message)
                continue
            if (
                message.finished
                and self._open is None
                and message.queued <= (outbox.session.options.chunk_size or UNINTERRUPTED_BYTES)
            ):
                self._whole_chunks(message, message.queued, 1, "$", now)
            elif self._turn(message, now):
                active.append(message)
        if not active:
            self._active = None

    def _turn(self, message: OutgoingMessage, now: float) -> bool:
        """Send a part of the message; True if it wants another turn."""
        if self._open is not None and self._open is not message:
            self._end_open("+")
        options = message.session.options
        size = message.queued
        limit = options.chunk_size or UNINTERRUPTED_BYTES
        if message.finished and size <= limit:
            if self._open is not message:
                self._whole_chunks(message, size, 1, "$", now)
                return False
        elif options.chunk_size or self._single_frames:
            # One byte is kept back until the end is known, or the last chunk would have to be an empty one.
            if size <= limit:
                message.scheduled = False
                return False
            self._chunks(message, limit, now)
            if message.queued <= limit and not message.finished:
                message.scheduled = False
            return message.scheduled
        return self._streamed(message, now)

    def _chunk_head(self, message: OutgoingMessage, ident: str, byte_range: str) -> bytes:
        return (
            f"MSRP {ident} SEND\r\n{message.session.path_block}Message-ID: {message.message_id}\r\n"
            f"Byte-Range: {byte_range}\r\n{message.head}"
        ).encode()

    def _chunks(self, message: OutgoingMessage, limit: int, now: float) -> None:
        """Write one turn of complete chunks of `limit` bytes, and the last one with the rest within the turn, so that
        messages of a few chunks keep their order. There is more than one chunk in the queue."""
        room = TURN_BYTES if self._active else TAKE_BYTES - self._out_size
        count = min(message.outbox.window_left, max(1, room // limit), (message.queued - 1) // limit)
        if message.failure_report == PARTIAL:
            count = 1  # others may be settled by each
        self._whole_chunks(message, limit, count, "+", now)
        if message.finished and message.queued <= limit and message.status is None and message.outbox.can_send:
            self._whole_chunks(message, message.queued, 1, "$", now)

    def _whole_chunks(self, message: OutgoingMessage, size: int, count: int, flag: str, now: float) -> None:
        """Write `count` complete chunks of `size` bytes."""
        outbox = message.outbox
        start = message.position
        bodies = message.consume_chunks(size, count)
        idents, pieces = encode_chunks(message, bodies, start, flag, self._idents, single_frames=self._single_frames)
        self._out += pieces
        self._out_size += sum(map(len, pieces))
        transaction = Transaction(message, now + TRANSACTION_SECONDS)
        if message.failure_report == YES:
            self._transactions.update(dict.fromkeys(idents, transaction))
            outbox.expect_answers(message, count)
        elif message.failure_report == PARTIAL:
            self._expect(idents[-1], transaction)
        if flag == "$":
            message.scheduled = False
        outbox.chunk_sent(size * count)
        if flag == "$":
            outbox.message_sent(message)

    def _expect(self, ident: str, transaction: Transaction) -> None:
        """A response may come, with Failure-Report yes it has to."""
        self._transactions[ident] = transaction
        forgotten = transaction.message.outbox.expect(transaction.message, ident)
        if forgotten is not None and (old := self._transactions.pop(forgotten, None)) is not None:
            self._end_transaction(old, 200, None)

    def _streamed(self, message: OutgoingMessage, now: float) -> bool:
        """Write as much of an interruptible chunk as there is; True if the message wants another turn."""
        outbox = message.outbox
        if self._open is None:
            if not message.queued and not message.finished:
                message.scheduled = False
                return False
            self._begin_open(message)
        room = TURN_BYTES
        while message.queued and room > 0 and message.status is None:
            piece = message.consume_piece(room)
            room -= len(piece)
            self._write_open(message, piece)
            outbox.chunk_sent(len(piece))
        if message.status is not None:
            return False
        if message.queued:
            return True
        message.scheduled = False
        if message.finished:
            self._end_open("$")
            outbox.message_sent(message)
        return False

    def _begin_open(self, message: OutgoingMessage) -> None:
        ident = next(self._idents)
        total = "*" if message.total is None else message.total
        head = self._chunk_head(message, ident, f"{message.position + 1}-*/{total}")
        self._out.append(head)
        self._out_size += len(head)
        self._open = message
        self._open_start = message.position
        self._open_marker = b"-------" + ident.encode()
        self._open_tail = b""
        if message.failure_report != NO:
            self._open_transaction = Transaction(message, None)
            self._expect(ident, self._open_transaction)

    def _write_open(self, message: OutgoingMessage, piece: bytes) -> None:
        """Write content into the open chunk; where it holds the end-line, the chunk ends before it."""
        marker = self._open_marker
        keep = len(marker) - 1
        while marker in piece or marker in self._open_tail + piece[:keep]:
            position, message.position = message.position, message.position - len(piece)
            self._end_open("+")
            self._begin_open(message)
            message.position = position
            marker = self._open_marker
        self._out.append(piece)
        self._out_size += len(piece)
        self._open_tail = piece[-keep:] if len(piece) >= keep else (self._open_tail + piece)[-keep:]

    def _interrupt(self) -> None:
        """Something else has to go: end the open chunk, not before it has a decent size if that is
        possible."""
        message = self._open
        assert message is not None
        missing = UNINTERRUPTED_BYTES - (message.position - self._open_start)
        if missing > 0 and message.queued:
            piece = message.consume(missing)
            self._write_open(message, piece)
            message.outbox.chunk_sent(len(piece))
        if self._open is message:
            self._end_open("+")

    def _end_open(self, flag: str) -> None:
        message = self._open
        assert message is not None
        line = b"\r\n" + self._open_marker + flag.encode() + b"\r\n"
        self._out.append(line)
        self._out_size += len(line)
        self._open = None
        transaction, self._open_transaction = self._open_transaction, None
        if transaction is not None:
            if self._closed is None:
                self._closed = []
            self._closed.append(transaction)
