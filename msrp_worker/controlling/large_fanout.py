"""Large messages to many: the content of one sender goes as it is to everybody who accepted (9.3.1, 9.3.2). No I/O.

The answer to the last chunk waits until every recipient has answered for its copy, so that a sender that ends the session
upon it (9.1.3) takes nothing away from anybody, and knows what its message came to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from msrp_worker.msrp import DEFERRED, IncomingMessage, OutgoingMessage, Session, SessionHandler
from msrp_worker.msrp.fanout import Stream
from msrp_worker.msrp.frames import Request
from msrp_worker.msrp.room import Participant, RoomObserver, RoomPolicy
from msrp_worker.msrp.switch import CUT, FORBIDDEN, Switch
from msrp_worker.sdp import Line
from msrp_worker.sdp_msrp import MsrpMedia

POLICY: Final = RoomPolicy(nicknames=False, private_messages=False)
NOBODY = 480
"""MSRP status where nobody is there who could take the message."""
_OWN: Final = frozenset({"message-id", "byte-range", "content-type", "success-report", "failure-report"})
"""Fields of a SEND that each hop writes for itself; all others, such as Content-Disposition, go along (LRG-07)."""


class LargeStream(Stream):
    """One message on its way to many, with what became of its copies."""

    __slots__ = ("ended", "failed", "message", "taken_by", "waiting")

    def __init__(self, sender: Session, message: IncomingMessage) -> None:
        super().__init__(sender)
        self.message = message
        self.waiting: set[OutgoingMessage] = set()
        """Copies without an outcome."""
        self.taken_by = 0
        self.failed = 0
        """Status of the first copy that failed."""
        self.ended = False
        """All of it came from the sender."""

    def spread(self, recipients: Sequence[Participant]) -> None:
        """Begin the copies."""
        message = self.message
        self._expected = message.total
        headers = [(name, value) for name, value in message.headers if name.lower() not in _OWN]
        for one in recipients:
            copy = one.session.open(message.content_type, total=message.total, headers=headers, context=self)
            if copy.status is None:
                self._copies.append(copy)
                self.waiting.add(copy)
            else:
                self.failed = self.failed or copy.status
                one.session.close(CUT)

    def settled(self, copy: OutgoingMessage) -> None:
        """A copy has its outcome."""
        if copy not in self.waiting:
            return
        self.waiting.discard(copy)
        if copy.status == 200:
            self.taken_by += 1
        else:
            self.failed = self.failed or copy.status or NOBODY


class SentFile(NamedTuple):
    """One file of the message, as its sender describes it."""

    line: MsrpMedia
    carried: tuple[Line, ...] = ()
    """Attributes of the line that are for those who receive."""


class LargeSwitch(Switch):
    """The room of a large message: one sends, the others receive. Each file has MSRP sessions of its own."""

    __slots__ = ("_numbers", "files")

    def __init__(self, uris: Sequence[str], observer: RoomObserver) -> None:
        super().__init__(uris, POLICY, observer)
        self.files: tuple[SentFile, ...] = ()
        """What is sent, by number."""
        self._numbers: dict[Session, int] = {}
        """Which file goes through an MSRP session."""

    def take(self, participant: Participant, number: int) -> None:
        """Take a session for one file into the room."""
        self._numbers[participant.session] = number
        self.join(participant)

    def wanted(self) -> frozenset[int]:
        """The files that somebody takes; all of them while nobody is there."""
        found = {self._numbers.get(one.session, 0) for one in self.participants if one.receives}
        return frozenset(found or range(len(self.files)))

    def closed(self, session: Session, reason: str) -> None:
        """See `SessionHandler`."""
        self._numbers.pop(session, None)
        super().closed(session, reason)

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """A message that came in one piece."""
        return SessionHandler.message(self, session, message, body)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """Whom it goes to: those who are here now; who is still called has been too late (LRG-02)."""
        sender = next((one for one in self.participants if one.session is session), None)
        if sender is None or sender.receives:
            return FORBIDDEN  # a recipient
        if message.size == 0:
            return None  # only binds the session (RFC 4975 section 5.4)
        number = self._numbers.get(session, 0)
        recipients = [one for one in self.participants if one.receives and self._numbers.get(one.session, 0) == number]
        if not recipients:
            return NOBODY
        message.context = stream = LargeStream(session, message)
        self._streams.append(stream)
        stream.spread(recipients)
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """The next bytes: no faster than the slowest recipient reads (LRG-06)."""
        stream = message.context
        if not isinstance(stream, LargeStream):
            return None
        if not stream.write(data):
            self._stop(stream, "longer than announced")
            return 400
        if not stream.waiting and not stream.taken_by:  # nobody is left to send the rest for
            self._forget(stream)
            return stream.failed or NOBODY
        if stream.is_congested:
            self._held.add(stream.sender)
            stream.sender.hold()  # MED-08
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """All of it came; the answer follows when all copies have arrived."""
        stream = message.context
        if not isinstance(stream, LargeStream):
            return None
        if not stream.is_complete:
            self._stop(stream, "shorter than announced")
            return 400
        self._forget(stream)
        stream.finish()
        stream.ended = True
        if stream.waiting:
            return DEFERRED
        if not stream.taken_by:
            return stream.failed or NOBODY
        session.report(message, stream.failed or 200)
        return None

    def done(self, session: Session, message: OutgoingMessage) -> None:
        """A recipient has taken its copy, or has not."""
        stream = message.context
        if not isinstance(stream, LargeStream):
            return
        stream.settled(message)
        if stream.ended and not stream.waiting:
            self._conclude(stream)

    def request(self, session: Session, request: Request) -> int | None:
        """Nothing beside SEND and REPORT."""
        return SessionHandler.request(self, session, request)

    @staticmethod
    def _conclude(stream: LargeStream) -> None:
        """Tell the sender: 200 when anybody has it, and by a report whether all have (LRG-07)."""
        session, message = stream.sender, stream.message
        if not stream.taken_by:
            session.answer(message, stream.failed or NOBODY)
            return
        session.answer(message, 200)
        session.report(message, stream.failed or 200)
