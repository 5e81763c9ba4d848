"""Messages for coroutines: iterate over what a session receives, await what became of what it sent.

Where speed counts, or thousands of sessions, write a `SessionHandler` instead: no task, no queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from .frames import YES
from .handler import SessionHandler
from .incoming import IncomingMessage
from .outgoing import OutgoingMessage
from .session import Session

BUFFER_BYTES = 262_144
"""Received bytes waiting for their reader at which the session is put on hold."""


class MessageAborted(Exception):  # noqa: N818
    """The message being read will not be completed; the text says why."""


class ReceivedMessage:
    """A message being received: `await read()` for all of it, or iterate over the pieces as they come."""

    def __init__(self, stream: MessageStream, message: IncomingMessage) -> None:
        self.message = message
        """Content-Type, Message-ID and the other header fields."""
        self.complete = False
        self.aborted: str | None = None
        self.refused: int | None = None
        self._stream = stream
        self._pieces: deque[bytes] = deque()

    @property
    def content_type(self) -> str:
        """The value of Content-Type."""
        return self.message.content_type

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces; raises MessageAborted where the sender gives up or the session ends first."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._stream.taken(len(piece))
                yield piece
            if self.complete:
                return
            if self.aborted is not None:
                raise MessageAborted(self.aborted)
            await self._stream.changed()

    async def read(self, limit: int = 1_048_576) -> bytes:
        """The whole content; more than `limit` bytes are refused, and ValueError raised."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > limit:
                self.refuse()
                raise ValueError(f"message of more than {limit} bytes")
        return bytes(body)

    def refuse(self, code: int = 413) -> None:
        """Tell the sender to stop, with the next bytes that come; what has come is thrown away."""
        self.refused = code
        self._stream.taken(sum(map(len, self._pieces)))
        self._pieces.clear()

    def add(self, piece: bytes) -> None:
        """For MessageStream."""
        self._pieces.append(piece)


class MessageStream(SessionHandler):
    """The handler of one session for coroutines: `async for message in stream` until the session ends."""

    def __init__(self) -> None:
        self.session: Session | None = None
        """Once bound or heard of."""
        self.ended: str | None = None
        """Why the session ended."""
        self._messages: deque[ReceivedMessage] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._buffered = 0
        self._bound = False

    async def __aiter__(self) -> AsyncIterator[ReceivedMessage]:
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self.ended is not None:
                return
            await self.changed()

    async def wait_bound(self) -> None:
        """Return once the session has its connection; raises ConnectionError if it ended first."""
        while not self._bound:
            if self.ended is not None:
                raise ConnectionError(self.ended)
            await self.changed()

    async def changed(self) -> None:
        """Return when something new has come."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def taken(self, size: int) -> None:
        """`size` buffered bytes went to their reader."""
        self._buffered -= size
        if self.session is not None and self.session.on_hold and self._buffered <= BUFFER_BYTES // 2:
            self.session.hold(on=False)

    # --- SessionHandler -----------------------------------------------------------------------------------

    def bound(self, session: Session) -> None:
        self.session = session
        self._bound = True
        self._tell()

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        self.begin(session, message)
        if body:
            self.data(session, message, body)
        return self.end(session, message)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        self.session = session
        received = ReceivedMessage(self, message)
        message.context = received
        self._messages.append(received)
        self._tell()
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        received = message.context
        assert isinstance(received, ReceivedMessage)
        if received.refused is not None:
            return received.refused
        received.add(data)
        self._buffered += len(data)
        if self._buffered > BUFFER_BYTES:
            session.hold()
        self._tell()
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        received = message.context
        assert isinstance(received, ReceivedMessage)
        received.complete = True
        self._tell()
        return received.refused

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        received = message.context
        assert isinstance(received, ReceivedMessage)
        received.aborted = reason
        self._tell()

    def closed(self, session: Session, reason: str) -> None:
        self.ended = reason
        self._tell()

    def _tell(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


async def send_from(
    session: Session,
    source: AsyncIterable[bytes],
    content_type: str,
    *,
    total: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
    message_id: str | None = None,
    success_report: bool = False,
    failure_report: str = YES,
) -> OutgoingMessage:
    """Send a message whose content comes from `source`, no faster than the session takes it.

    Returns when all of it is queued, or earlier when the message failed: see its `status`. An exception
    of the source aborts the message and is passed on.
    """
    message = session.open(
        content_type,
        total=total,
        headers=headers,
        message_id=message_id,
        success_report=success_report,
        failure_report=failure_report,
    )
    try:
        async for piece in source:
            if not message.write(piece):
                if message.status is not None:
                    return message
                await _writable(session)
        message.finish()
    except BaseException:
        message.abort()
        raise
    return message


async def outcome(message: OutgoingMessage) -> int:
    """Wait for `message.status`: 200, or why it failed."""
    return await _when(message, "on_done", lambda: message.status)


async def reported(message: OutgoingMessage) -> int:
    """Wait for the REPORT on the whole message, 200 or an error; 408 where the session ends before it comes. A message
    that failed needs no report."""
    status = await outcome(message)
    return status if status != 200 else await _when(message, "on_report", lambda: message.reported)


async def _writable(session: Session) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    session.outbox.when_writable(lambda: None if future.done() else future.set_result(None))
    await future


async def _when(message: OutgoingMessage, hook: str, value: Callable[[], int | None]) -> int:
    known = value()
    if known is not None:
        return known
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    before: Callable[[OutgoingMessage], None] | None = getattr(message, hook)

    def settle(settled: OutgoingMessage) -> None:
        if before is not None:
            before(settled)
        if not future.done():
            future.set_result(None)

    setattr(message, hook, settle)
    await future
    known = value()
    assert known is not None
    return known
