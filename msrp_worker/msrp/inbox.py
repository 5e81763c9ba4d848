"""What a session receives: chunks to messages, refusals, responses and reports (RFC 4975 sections 7.1.3
to 7.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import YES, Chunks, Request
from .handler import DEFERRED
from .incoming import IncomingMessage, Progress
from .media_types import CPIM, MAX_CPIM_HEADER, cpim_inner_type, essence
from .ranges import ByteRange
from .reports import encode_report, wants_report, wants_response

if TYPE_CHECKING:
    from .session import Session

MESSAGE_IDLE_SECONDS = 300.0
"""A message of which no chunk came for this long is given up; a sender that lives would have resumed it."""


class Inbox:
    """The receiving half of a session."""

    __slots__ = ("_arriving", "_incoming", "_reply_middle", "_reply_path", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self._incoming: dict[str, IncomingMessage] | None = None
        """Incomplete messages by Message-ID."""
        self._arriving: IncomingMessage | None = None
        """The message whose chunk is arriving right now."""
        self._reply_path = ""
        """The From-Path that `_reply_middle` answers."""
        self._reply_middle = ""

    def receive_send(self, request: Request, now: float) -> None:
        """A SEND, whole or its beginning."""
        flag = request.flag
        ident = request.message_id
        if flag is not None and request.body is None:
            self._bodiless(request)
            return
        assert ident is not None  # the codec refuses content without Message-ID
        known = self._incoming.get(ident) if self._incoming is not None else None
        byte_range = request.byte_range
        start = 0 if byte_range is None else byte_range.start - 1
        if flag == "$" and known is None and start == 0:
            self._receive_whole(request, now)
            return
        self._begin_chunk(request, known, start, now)
        if flag is not None:
            if request.body:
                body, request.body = request.body, None
                self.receive_data(body, now)
            self.receive_end(flag)

    def receive_chunks(self, chunks: Chunks, now: float) -> bool:
        """Take chunks as long as they are the next ones of a message that is being handed on; the others go by
        `receive_send`. True where the last one is taken and goes on: `receive_data` and `receive_end` follow."""
        incoming = self._incoming
        message = None if incoming is None else incoming.get(chunks.like.message_id or "")
        if message is None or message.held or message.size is not None:
            return False
        session = self.session
        link = session.link
        if link is None:
            return False
        streaming = Progress.STREAMING
        limit = session.options.max_size
        answered = message.request.failure_report == YES
        message.touched = now
        self._receive_run(message, chunks)
        while message.progress is streaming and chunks.taken < len(chunks.rows) and link.refused_because is None:
            ident, start, _, body, flag = chunks.rows[chunks.taken]
            position = message.position
            end = position + len(body)
            if start != position + 1 or (limit is not None and end > limit):
                return False
            chunks.taken += 1
            message.transaction_id = ident
            message.chunk_position = end
            self._arriving = message
            refused = session.handler.data(session, message, body) if body else None
            message.position = end
            if refused is not None:
                self._refuse(message, refused, None)
            if flag is None:
                return True
            if flag == "+" and message.progress is streaming:
                self._arriving = None
                if answered:
                    self._respond_ok(message.request, ident)
                continue
            self.receive_end(flag)
        return False

    def _receive_run(self, message: IncomingMessage, chunks: Chunks) -> None:
        """Take all in one that is neither the end nor wrong, if the handler takes it so."""
        session = self.session
        idents: list[str] = []
        bodies: list[bytes] = []
        end = message.position
        for ident, start, _, body, flag in chunks.rows[chunks.taken :]:
            if start != end + 1 or flag != "+" or not body:
                break
            end += len(body)
            idents.append(ident)
            bodies.append(body)
        limit = session.options.max_size
        if len(bodies) < 2 or message.progress is not Progress.STREAMING or (limit is not None and end > limit):
            return
        chunks.taken += len(bodies)
        if not session.handler.pieces(session, message, bodies):
            chunks.taken -= len(bodies)
            return
        self._arriving = None
        message.transaction_id = idents[-1]
        message.chunk_position = message.position = end
        if message.request.failure_report == YES:
            self._respond_ok_to_all(message.request, idents)

    def _receive_whole(self, request: Request, now: float) -> None:
        """A message of one chunk that is all there: the usual case, with as few steps as can be."""
        session = self.session
        options = session.options
        body = request.body or b""
        message = IncomingMessage(request, now)
        message.size = len(body)
        message.progress = Progress.OVER
        result: int | None = None
        if not options.accept.any_root or options.max_size is not None:
            result = self._refusal(message, body) or self._content_refusal(message, body) or None
        if result is None:
            result = session.handler.message(session, message, body)
        if result is not None or request.success_report:
            self._conclude(message, result)
        elif request.failure_report == YES:
            self._respond_ok(request, request.transaction_id)

    def receive_data(self, data: bytes, now: float) -> None:
        """More of the body of the chunk that is arriving."""
        message = self._arriving
        if message is None or message.progress is Progress.REFUSED:
            return
        message.touched = now
        limit = self.session.options.max_size
        if limit is not None and message.chunk_position + len(data) > limit:
            self._refuse(message, 413, f"more than {limit} bytes")  # MED-12
            return
        if message.progress is Progress.STREAMING and message.follows:
            message.chunk_position += len(data)  # the usual case, with as few steps as can be
            refused = self.session.handler.data(self.session, message, data)
            message.position += len(data)
            if refused is not None:
                self._refuse(message, refused, None)
            return
        pieces = message.in_order(data)
        if pieces is None:
            self._refuse(message, 413, "too many bytes out of order")
            return
        for piece in pieces:
            self._deliver(message, piece)

    def receive_end(self, flag: str) -> None:
        """The end-line of the chunk that is arriving."""
        message, self._arriving = self._arriving, None
        if message is None:
            return
        if message.progress is Progress.REFUSED:
            if flag != "+" and self._incoming is not None:
                self._incoming.pop(message.message_id, None)
            return
        if flag == "#":
            self._forget(message)
            self._respond(message, 200)
            self._drop(message, "aborted by its sender")
            return
        if flag == "$":
            message.size = message.chunk_position
        if message.size is None or message.position < message.size:
            self._respond(message, 200)
            return
        self._forget(message)
        collected = message.collected
        message.progress = Progress.OVER
        if collected is not None:
            message.collected = None
            body = bytes(collected)
            result = self._content_refusal(message, body) or self.session.handler.message(self.session, message, body)
        else:
            result = self.session.handler.end(self.session, message)
        self._conclude(message, result)

    def answer(self, message: IncomingMessage, code: int, comment: str | None = None) -> None:
        """Respond to the last chunk of a message, once; after 200 the success report goes out, if
        `auto_report`.

        Which of both is sent depends on what the sender asked for.
        """
        self._respond(message, code, comment)
        if code == 200 and self.session.options.auto_report:
            self.report(message, 200)

    def report(
        self,
        message: IncomingMessage,
        code: int,
        comment: str | None = None,
        byte_range: ByteRange | None = None,
    ) -> None:
        """Send a REPORT on a received message, if its sender wants one with this code; by default on all
        of it."""
        link = self.session.link
        request = message.request
        if link is None or not message.message_id:
            return
        if not wants_report(request.success_report, request.failure_report, code):
            return  # MED-02
        if byte_range is None:
            end = message.position if message.size is None else message.size
            byte_range = ByteRange(1, end, message.size if message.size is not None else message.total)
        link.output.emit(
            encode_report(
                next(self.session.idents),
                request.from_path,
                self.session.local_text,
                message.message_id,
                byte_range,
                code,
                comment,
            )
        )

    @property
    def has_open_messages(self) -> bool:
        """True while a message is on its way in."""
        return bool(self._incoming)

    def expire(self, now: float) -> bool:
        """Give up messages that stopped arriving; True while some are still open."""
        incoming = self._incoming
        if not incoming:
            return False
        for message in [m for m in incoming.values() if m.touched + MESSAGE_IDLE_SECONDS <= now]:
            if message is not self._arriving:
                self._forget(message)
                self._drop(message, "no more of it came")
        return bool(incoming)

    def close(self, reason: str) -> None:
        """The session ended: incomplete messages are dropped."""
        incoming, self._incoming = self._incoming, None
        self._arriving = None
        for message in (incoming or {}).values():
            self._drop(message, reason)

    def _begin_chunk(self, request: Request, message: IncomingMessage | None, start: int, now: float) -> None:
        if message is None:
            message = IncomingMessage(request, now)
            if self._incoming is None:
                self._incoming = {}
            if len(self._incoming) >= self.session.options.open_messages:
                self._arriving = message
                self._refuse(message, 413, "too many open messages")
                return
            self._incoming[message.message_id] = message
            self._arriving = message
            total = message.total
            if refused := self._refusal(message, b""):
                self._refuse(message, refused, None)
            elif self._is_screened(message) or (total or 0) <= (self.session.options.collect or -1):
                message.collected = bytearray()
            else:
                self._stream(message)
        else:
            message.transaction_id = request.transaction_id
            message.touched = now
            self._arriving = message
            if request.byte_range is None and message.progress is not Progress.REFUSED:
                # All chunks but the first MUST have one (section 7.1.1).
                self._refuse(message, 400, "chunk without Byte-Range")
                return
            if message.progress is Progress.REFUSED:
                self._respond(message, message.status)
        message.chunk_position = start

    def _deliver(self, message: IncomingMessage, piece: bytes) -> None:
        """Hand on the next bytes in order."""
        if message.progress is Progress.REFUSED:
            return
        if message.collected is not None:
            limit = self.session.options.collect
            if self._is_screened(message):
                limit = max(limit, MAX_CPIM_HEADER)
            if message.position + len(piece) <= limit:
                message.collected += piece
                message.position += len(piece)
                return
            collected, message.collected = bytes(message.collected), None
            message.position = 0
            if refused := self._content_refusal(message, collected + piece[:MAX_CPIM_HEADER]):
                self._refuse(message, refused, None)
                return
            self._stream(message)
            if collected:
                self._hand_on(message, collected)
        self._hand_on(message, piece)

    def _stream(self, message: IncomingMessage) -> None:
        refused = self.session.handler.begin(self.session, message)
        if refused is not None:
            self._refuse(message, refused, None)
        elif message.progress is Progress.COLLECTING:  # the session may have been closed meanwhile
            message.progress = Progress.STREAMING

    def _hand_on(self, message: IncomingMessage, piece: bytes) -> None:
        if message.progress is not Progress.STREAMING:
            return
        refused = self.session.handler.data(self.session, message, piece)
        message.position += len(piece)
        if refused is not None:
            self._refuse(message, refused, None)

    def _bodiless(self, request: Request) -> None:
        """Binds the session or keeps it alive, and is answered like any SEND; `#` also ends a message."""
        message = IncomingMessage(request, 0.0)
        open_one = (self._incoming or {}).get(message.message_id)
        if request.flag == "#" and open_one is not None:
            self._forget(open_one)
            self._drop(open_one, "aborted by its sender")
        self._respond(message, 200)

    def _is_screened(self, message: IncomingMessage) -> bool:
        """True for a message whose first bytes have to be kept until the type they wrap can be seen."""
        return not self.session.options.accept.any_wrapped and essence(message.content_type) == CPIM

    def _refusal(self, message: IncomingMessage, body: bytes) -> int:
        """The code for which a message is refused by its head, or 0."""  # MED-12
        limit = self.session.options.max_size
        if limit is not None and max(message.total or 0, len(body)) > limit:
            return 413
        if not self.session.options.accept.accepts(message.content_type):
            return 415
        return 0

    def _content_refusal(self, message: IncomingMessage, body: bytes) -> int:
        """The code for which a message is refused by what its container holds, or 0."""  # MED-12
        accept = self.session.options.accept
        if accept.any_wrapped or not body or essence(message.content_type) != CPIM:
            return 0
        inner = cpim_inner_type(body)
        return 415 if inner is not None and not accept.accepts_wrapped(inner) else 0

    def _refuse(self, message: IncomingMessage, code: int, reason: str | None) -> None:
        """Tell the sender to stop, at once, even in the middle of a chunk."""
        streaming = message.progress is Progress.STREAMING
        message.progress = Progress.REFUSED
        message.status = code
        message.collected = None
        message.held = None
        self._respond(message, code, reason)
        if streaming:
            self.session.handler.aborted(self.session, message, reason or f"refused with {code}")

    def _conclude(self, message: IncomingMessage, result: int | None) -> None:
        """Answer a complete message as the handler wants."""
        if result != DEFERRED:
            self.answer(message, 200 if result is None else result)

    def _forget(self, message: IncomingMessage) -> None:
        if self._incoming is not None:
            self._incoming.pop(message.message_id, None)

    def _drop(self, message: IncomingMessage, reason: str) -> None:
        streaming = message.progress is Progress.STREAMING
        message.progress = Progress.OVER
        message.collected = None
        message.held = None
        if streaming:
            self.session.handler.aborted(self.session, message, reason)

    def _respond(self, message: IncomingMessage, code: int, comment: str | None = None) -> None:
        """Respond to the chunk that came last, if its sender wants that."""
        link = self.session.link
        request = message.request
        if link is None or not wants_response(request.failure_report, code):  # MED-02
            return
        if code == 200 and comment is None:
            self._respond_ok(request, message.transaction_id)
            return
        link.output.respond(
            message.transaction_id,
            code,
            request.from_path.partition(" ")[0],
            self.session.local_text,
            comment,
        )

    def _respond_ok(self, request: Request, ident: str) -> None:
        """The usual answer, assembled from parts that stay the same for the whole session."""
        link = self.session.link
        if link is None:
            return
        if request.from_path != self._reply_path:
            self._prepare_reply(request.from_path)
        link.output.emit(f"MSRP {ident}{self._reply_middle}{ident}$\r\n".encode())

    def _respond_ok_to_all(self, request: Request, idents: list[str]) -> None:
        """The usual answer to several requests like this one."""
        link = self.session.link
        if link is None:
            return
        if request.from_path != self._reply_path:
            self._prepare_reply(request.from_path)
        middle = self._reply_middle
        link.output.emit_all([f"MSRP {ident}{middle}{ident}$\r\n" for ident in idents])

    def _prepare_reply(self, path: str) -> None:
        first = path.partition(" ")[0]
        self._reply_middle = f" 200 OK\r\nTo-Path: {first}\r\nFrom-Path: {self.session.local_text}\r\n-------"
        self._reply_path = path
