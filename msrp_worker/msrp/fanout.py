"""One long message on its way through a switch to many recipients (RFC 7701 section 6.1). No I/O."""

from __future__ import annotations

from msrp_worker.cpim import HeadReader

from .media_types import CPIM
from .outgoing import OutgoingMessage
from .room import SwitchedMessage
from .session import Session


class Stream:
    """The copies of one message, written as its content arrives.

    The recipients are those of the first bytes: who joins later gets none of it, who leaves gets no more.
    While a recipient is congested nothing more is read from the sender, so that the copies never hold more
    than the queue of one session; the switch cuts a recipient that stays so.
    """

    __slots__ = ("_congested", "_copies", "_expected", "_written", "head", "sender", "taken")

    def __init__(self, sender: Session) -> None:
        self.sender = sender
        self.head = HeadReader()
        self.taken: SwitchedMessage | None = None
        """Set once the envelope is read and admitted."""
        self._copies: list[OutgoingMessage] = []
        self._congested: set[Session] = set()
        self._expected: int | None = None
        """Bytes of a whole copy, if announced."""
        self._written = 0

    def open(self, taken: SwitchedMessage, head_size: int, reports_failure: bool) -> list[OutgoingMessage]:
        """Begin the copies; returns those that failed at once, since the queue of their session is full.
        `head_size`: of the envelope as it came, which may be longer than the one sent on."""
        self.taken = taken
        total = taken.incoming.total
        if total is not None:
            self._expected = total - head_size + len(taken.envelope.head)
        failed: list[OutgoingMessage] = []
        for recipient in taken.recipients:
            copy = recipient.session.open(CPIM, total=self._expected, context=taken if reports_failure else None)
            (self._copies if copy.status is None else failed).append(copy)
        return failed

    def write(self, data: bytes) -> bool:
        """Add bytes to all copies. False: more than was announced, nothing was written."""
        self._written += len(data)
        if self._expected is not None and self._written > self._expected:
            return False
        lost = False
        for copy in self._copies:
            if not copy.write(data):
                if copy.status is None:
                    self._congested.add(copy.session)
                else:
                    lost = True
        if lost:
            self._copies = [copy for copy in self._copies if copy.status is None]
        return True

    @property
    def is_congested(self) -> bool:
        """True while a recipient has more to read than it should."""
        return bool(self._congested)

    @property
    def is_complete(self) -> bool:
        """True where as much came as was announced."""
        return self._expected is None or self._written == self._expected

    def finish(self) -> None:
        """All of it came."""
        for copy in self._copies:
            if copy.status is None:
                copy.finish()

    def abort(self, reason: str) -> None:
        """The rest will not come."""
        for copy in self._copies:
            copy.context = None  # its sender knows
            copy.abort(413, reason)

    def caught_up(self, session: Session) -> None:
        """A recipient reads again, or is gone."""
        self._congested.discard(session)
