"""Messages of a large message session on their way into files: the handler of its MSRP sessions, one for each m-line.

Content goes to a file as it comes, no faster than the disk takes it. The answer to the last chunk waits for the keeper.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from msrp_worker.deferred.large_message import largest
from msrp_worker.deferred.writer import ContentWriter
from msrp_worker.msrp import DEFERRED, IncomingMessage, Session, SessionHandler
from msrp_worker.store.content import ContentFiles

log = logging.getLogger("im.deferred")

TOO_LARGE = 413
"""MSRP status of a message that is larger than declared, or than there is room for (RFC 4975 section 10.5)."""

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@dataclass(slots=True, eq=False)
class Line:
    """One m-line: which it is in the offer, and the bytes that may still come on it."""

    index: int
    left: int


@dataclass(slots=True, eq=False)
class Arriving:
    """A message on its way in: at most `limit` bytes of it are taken."""

    session: Session
    message: IncomingMessage
    line: Line
    limit: int
    writer: ContentWriter


Keep = Callable[[Arriving], Awaitable[tuple[int, str | None]]]
"""Makes a message that has come durable; the MSRP status for its sender, and a comment."""


class Intake(SessionHandler):
    """Takes the messages of all lines. `on_life` is called when something has come, `on_rest` when nothing is under way
    any more, `on_closed` when the last MSRP session has ended."""

    def __init__(
        self,
        name: str,
        files: ContentFiles,
        node: str,
        start: Start,
        keep: Keep,
        *,
        on_life: Callable[[], None],
        on_rest: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._name = name
        self._files = files
        self._node = node
        self._start = start
        self._keep = keep
        self._on_life = on_life
        self._on_rest = on_rest
        self._on_closed = on_closed
        self._lines: dict[Session, Line] = {}
        self._arriving: set[Arriving] = set()

    @property
    def busy(self) -> bool:
        """Whether a message is arriving, being kept or being removed."""
        return bool(self._arriving)

    def add(self, session: Session, line: Line) -> None:
        """A session of an m-line is there."""
        self._lines[session] = line

    def close(self, reason: str) -> None:
        """End all sessions; what is not complete is removed."""
        for session in list(self._lines):
            session.close(reason)

    async def discard(self, arriving: Arriving) -> None:
        """Nothing is left of this message."""
        await arriving.writer.discard()
        self.forget(arriving)

    def forget(self, arriving: Arriving) -> None:
        """Nothing is to be done about this message any more."""
        self._arriving.discard(arriving)
        if not self._arriving:
            self._on_rest()

    # --- SessionHandler ---

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """See `SessionHandler`: a message that came in one piece."""
        refused = self.begin(session, message)
        if refused is not None or message.context is None:
            return refused
        refused = self.data(session, message, body) if body else None
        if refused is not None:
            self.aborted(session, message, f"refused with {refused}")
            return refused
        return self.end(session, message)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """See `SessionHandler`."""
        line = self._lines[session]
        limit = largest(message, line.left)
        if (message.total or 0) > limit:
            return TOO_LARGE  # LRG-06
        if message.size == 0 and line.left:
            return None  # a first SEND that only binds the session (RFC 4975 section 5.4)
        writer = ContentWriter(self._files, self._files.new_path(self._node), lambda on: session.hold(on=on), self._start)
        message.context = arriving = Arriving(session, message, line, limit, writer)
        self._arriving.add(arriving)
        self._on_life()
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """See `SessionHandler`."""
        arriving = message.context
        assert isinstance(arriving, Arriving)
        if arriving.writer.failed is not None:
            log.error("Call-ID %s: content cannot be written: %s", self._name, arriving.writer.failed)
            return TOO_LARGE
        if arriving.writer.size + len(data) > arriving.limit:
            return TOO_LARGE  # LRG-06
        arriving.writer.write(data)
        self._on_life()
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """See `SessionHandler`: all bytes have come, the answer follows when the message is durable."""
        if not isinstance(message.context, Arriving):
            return None
        self._start(self._conclude(message.context))
        return DEFERRED

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        """See `SessionHandler`."""
        if isinstance(message.context, Arriving):
            log.info("large message of Call-ID %s is not complete: %s", self._name, reason)
            self._start(self.discard(message.context))

    def closed(self, session: Session, reason: str) -> None:
        """See `SessionHandler`."""
        self._lines.pop(session, None)
        if not self._lines:
            self._on_closed()

    async def _conclude(self, arriving: Arriving) -> None:
        comment: str | None
        try:
            await arriving.writer.finish()
        except OSError as error:
            log.error("Call-ID %s: content cannot be written: %s", self._name, error)
            await arriving.writer.discard()
            code, comment = TOO_LARGE, "No room to keep it"
        else:
            code, comment = await self._keep(arriving)
        if code == 200:
            arriving.line.left = max(0, arriving.line.left - arriving.writer.size)
        arriving.session.answer(arriving.message, code, comment)  # LRG-04: 200 only for what is durable
        self.forget(arriving)
