"""What a session tells its user. Subclass `SessionHandler` and override what matters.

All methods are called from inside `Link.receive`, `Link.take`, `Link.tick` or `Link.lost`: they must not
block and may call any method of any session. One handler may serve many sessions: each call names its
session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import Request
    from .incoming import IncomingMessage
    from .outgoing import OutgoingMessage
    from .session import Session

DEFERRED = -1
"""Returned by `message` or `end`: the response follows later, by `Session.answer`."""


class SessionHandler:
    """Takes what happens in a session. The default accepts everything and keeps nothing.

    A message arrives either as one `message` call (it fits `SessionOptions.collect`, or came as one
    chunk), or as `begin`, then `data` in order without gaps or overlaps, then `end` or `aborted`. Where
    these return a status, None means to go on; a code such as 413 refuses the message and is the answer
    to its sender.
    """

    __slots__ = ()

    def bound(self, session: Session) -> None:
        """The session has its connection."""

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """A complete message. None: 200 and, if asked for and `auto_report`, a success report. Or
        DEFERRED."""
        refused = self.begin(session, message)
        if refused is None and body:
            refused = self.data(session, message, body)
        return self.end(session, message) if refused is None else refused

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """The first bytes of a message that will come in parts."""
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """The next bytes. `message.position` is the offset of their first one."""
        return None

    def pieces(self, session: Session, message: IncomingMessage, pieces: Sequence[bytes]) -> bool:
        """The next bytes in pieces, none of them empty, that came in one read: for those to whom it makes no difference,
        as it costs less. False: nothing was taken, they come by `data` one after the other. True: all were, and the
        session goes on."""
        return False

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """All bytes have come; as `message` otherwise."""
        return None

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        """A message that began will not be completed: its sender gave up, or the session ended."""

    def done(self, session: Session, message: OutgoingMessage) -> None:
        """The outcome of a message sent is known: `message.status`, 200 or an error.

        Not called for a handle that had failed already when `send` or `open` returned it.
        """

    def report(self, session: Session, report: Request, message: OutgoingMessage | None) -> None:
        """A REPORT came; `message` is None if it is not one still kept. `report.status` is never None."""

    def request(self, session: Session, request: Request) -> int | None:
        """A request that is neither SEND nor REPORT. Returns the response code, None for no response."""
        return 501  # MED-01

    def writable(self, session: Session) -> None:
        """The queue of the session is short again after it was congested."""

    def closed(self, session: Session, reason: str) -> None:
        """The session ended; called once. All its messages have had `done` or `aborted` before."""
