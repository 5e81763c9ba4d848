"""The MSRP switch of a conference (RFC 7701): every message goes to all the others, or to the one it names.
No I/O.

    switch = Switch(("sip:room-7@example.com",), RoomPolicy(), observer)
    switch.join(Participant(session, Address("sip:alice@example.com"), private_messages=True))
    switch.tick(now)            # about once a second

Messages are message/cpim; From must be the participant, To the room or one participant. Copies share the
bytes of the content: what differs per recipient is the frame around each chunk. Messages of one sender keep
their order, as each session sends in order. Long messages pass as they arrive, at the pace of their slowest
recipient; one that stops reading is cut after `RoomPolicy.stall_seconds`, or at once when its queue is full
(`SessionOptions.queue_bytes`).
"""

from __future__ import annotations

from collections.abc import Sequence

from msrp_worker import cpim
from msrp_worker.content_types import IS_COMPOSING
from msrp_worker.cpim import CpimError, Envelope, Header

from .address_key import address_key
from .fanout import Stream
from .frames import Request, encode_request
from .handler import SessionHandler
from .incoming import IncomingMessage
from .media_types import CPIM, essence
from .nicknames import MALFORMED, Nicknames
from .outgoing import OutgoingMessage
from .ranges import ByteRange
from .reports import wants_report
from .room import FailureReports, Participant, RoomObserver, RoomPolicy, SwitchedMessage
from .session import Session

FORBIDDEN = 403
UNKNOWN_RECIPIENT = 404
UNSUPPORTED_TYPE = 415
NO_PRIVATE_MESSAGES = 428

CUT = "does not read what it is sent"


class Switch(SessionHandler):
    """One room. It is the handler of the sessions of all its participants."""

    __slots__ = (
        "_by_key",
        "_held",
        "_keys",
        "_now",
        "_participants",
        "_streams",
        "_uri",
        "_uris",
        "nicknames",
        "observer",
        "policy",
    )

    def __init__(self, uris: Sequence[str], policy: RoomPolicy | None = None, observer: RoomObserver | None = None) -> None:
        """`uris`: all by which To may name the room, its IM Session Identity first."""
        self.policy = policy if policy is not None else RoomPolicy()
        self.observer = observer if observer is not None else RoomObserver()
        self.nicknames = Nicknames(self.policy.reserved_nicknames, self.policy.nickname_quarantine)
        self._uri = uris[0] if uris else ""
        self._uris = frozenset(map(address_key, uris))
        self._participants: dict[Session, Participant] = {}
        self._by_key: dict[str, list[Participant]] = {}
        """By the URI the others know."""
        self._keys: dict[Session, frozenset[str]] = {}
        """What each may write in From."""
        self._streams: list[Stream] = []
        self._held: set[Session] = set()
        """Senders from which nothing is read because a recipient of their message is congested."""
        self._now = 0.0

    @property
    def participants(self) -> list[Participant]:
        """All sessions in the room, in the order of joining."""
        return list(self._participants.values())

    def join(self, participant: Participant) -> bool:
        """Take a session into the room. False: its user is there already, and may not be twice."""
        key = address_key(participant.known_as)
        own = frozenset(map(address_key, (participant.address.uri, participant.known_as, *participant.aliases)))
        if not self.policy.multiple_sessions and any(own & keys for keys in self._keys.values()):
            return False
        session = participant.session
        self._participants[session] = participant
        self._by_key.setdefault(key, []).append(participant)
        self._keys[session] = own
        session.handler = self
        if session.link is not None:
            self.observer.connected(participant)
        return True

    def keep_nickname(self, participant: Participant, nickname: str) -> None:
        """A participant goes on in another session: the nickname of the old one, which has ended, stays theirs."""
        text = nickname.replace("\\", "\\\\").replace('"', '\\"')
        self.nicknames.use(participant.session, address_key(participant.address.uri), f'"{text}"', self._now)

    def leave(self, participant: Participant, reason: str = "left") -> None:
        """End the session of a participant."""
        participant.session.close(reason)

    def close(self, reason: str = "conference ended") -> None:
        """End the room."""
        for participant in self.participants:
            participant.session.close(reason)

    def tick(self, now: float) -> None:
        """Let time pass: recipients that stopped reading are cut (MED-08)."""
        self._now = now
        self.nicknames.tick(now)
        for participant in self.participants:
            if not participant.session.congested:
                participant.congested_since = None
            elif participant.congested_since is None:
                participant.congested_since = now
            elif now - participant.congested_since >= self.policy.stall_seconds:
                participant.session.close(CUT)  # MED-08

    def bound(self, session: Session) -> None:
        """The session of a participant has its connection."""
        participant = self._participants.get(session)
        if participant is not None:
            self.observer.connected(participant)

    # --- messages in --------------------------------------------------------------------------------------

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """A message that came whole."""
        if essence(message.content_type) != CPIM:
            return UNSUPPORTED_TYPE  # MED-07
        try:
            envelope, content = cpim.parse(body)
        except CpimError as error:
            return error.status
        taken = self._admit(session, message, envelope)
        if isinstance(taken, int):
            return taken
        if taken.envelope is not envelope:
            body = taken.envelope.head + content
        context = taken if self._reports_failure(taken) else None
        for recipient in taken.recipients:
            copy = recipient.session.send(body, CPIM, context=context)
            if copy.status is not None and copy.status != 200:
                self._failed(copy, context)
                recipient.session.close(CUT)  # MED-08
        if content:
            self.observer.data(taken, content)
        self.observer.end(taken)
        return None

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """A message that comes in parts: its recipients are known once its envelope is there."""
        if essence(message.content_type) != CPIM:
            return UNSUPPORTED_TYPE  # MED-07
        message.context = Stream(session)
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """The next bytes of it."""
        stream = message.context
        assert isinstance(stream, Stream)
        if stream.taken is not None:
            return self._pass_on(stream, stream.taken, data)
        try:
            found = stream.head.feed(data)
        except CpimError as error:
            return error.status
        if found is None:
            return None
        envelope, rest = found
        taken = self._admit(session, message, envelope)
        if isinstance(taken, int):
            return taken
        failed = stream.open(taken, len(envelope.head), self._reports_failure(taken))
        self._streams.append(stream)
        for copy in failed:
            self._failed(copy, copy.context)
            copy.session.close(CUT)  # MED-08
        stream.write(taken.envelope.head)
        return self._pass_on(stream, taken, rest) if rest else None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """All of it came."""
        stream = message.context
        assert isinstance(stream, Stream)
        if stream.taken is None:
            return 400  # it ended within its envelope
        if not stream.is_complete:
            self._stop(stream, "shorter than announced")
            return 400
        self._forget(stream)
        stream.finish()
        self.observer.end(stream.taken)
        return None

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        """Its sender gave up, or was refused in the middle."""
        stream = message.context
        if isinstance(stream, Stream) and stream in self._streams:
            self._stop(stream, reason)

    def request(self, session: Session, request: Request) -> int | None:
        """NICKNAME (RFC 7701 section 7.1); other methods are not known."""
        if request.method != "NICKNAME":
            return super().request(session, request)
        participant = self._participants.get(session)
        if participant is None or not self.policy.nicknames:
            return FORBIDDEN  # MED-07
        value = next((text for name, text in request.headers if name.lower() == "use-nickname"), None)
        if value is None:
            return MALFORMED
        before = self.nicknames.of(session)
        code = self.nicknames.use(session, address_key(participant.address.uri), value, self._now)
        after = self.nicknames.of(session)
        if after != before:
            self.observer.nickname(participant, after)
        return code

    # --- checks -------------------------------------------------------------------------------------------

    def _admit(self, session: Session, message: IncomingMessage, envelope: Envelope) -> SwitchedMessage | int:
        """The checks of RFC 7701 section 6, in their order; the response code of the first that fails."""
        sender = self._participants.get(session)
        try:
            origin, destinations = envelope.sender, envelope.recipients
        except CpimError as error:
            return error.status
        if sender is None or origin is None or address_key(origin.uri) not in self._keys[session]:
            return FORBIDDEN  # MED-07: From is not the participant (section 6.3)
        if len(destinations) > 1:
            return FORBIDDEN  # MED-07: several To (section 6.1)
        if not destinations:
            return UNKNOWN_RECIPIENT
        key = address_key(destinations[0].uri)
        private = key not in self._uris and key not in sender.rooms
        found = self._private_recipients(session, key) if private else self._others(sender)
        if isinstance(found, int):
            return found
        size, content_type = message.total, envelope.content_type
        recipients = [
            participant
            for participant in found
            if participant.accept.accepts_wrapped(content_type)  # section 6.1: SHOULD NOT forward
            and (participant.max_size is None or size is None or size <= participant.max_size)  # MED-12
        ]
        if private and not recipients:
            return UNSUPPORTED_TYPE  # MED-12
        if sender.anonymous is not None and address_key(origin.uri) != address_key(sender.anonymous):
            envelope = envelope.anonymised(sender.anonymous)  # IDN-04
        if not private and key not in self._uris:
            envelope = envelope.addressed(self._uri)  # IDN-04: the others learn nothing of the sender's own network
        recordable = essence(content_type) != IS_COMPOSING  # MED-09
        taken = SwitchedMessage(sender, envelope, recipients, private, recordable, message)
        refused = self.observer.begin(taken)
        return taken if refused is None else refused

    def _others(self, sender: Participant) -> list[Participant]:
        """Everybody but the sender, all of whose sessions are left out."""
        own = self._by_key[address_key(sender.known_as)]
        if len(own) == 1:
            return [other for other in self._participants.values() if other is not sender and other.receives]
        return [other for other in self._participants.values() if other.receives and other not in own]

    def _private_recipients(self, session: Session, key: str) -> list[Participant] | int:
        """The sessions of one user that take private messages (section 6.2)."""
        if not self.policy.private_messages:
            return FORBIDDEN
        found = [other for other in self._by_key.get(key, ()) if other.session is not session]
        if not found:
            return UNKNOWN_RECIPIENT  # MED-07
        able = [other for other in found if other.private_messages and other.receives]
        return able or NO_PRIVATE_MESSAGES  # MED-07

    # --- long messages ------------------------------------------------------------------------------------

    def _pass_on(self, stream: Stream, taken: SwitchedMessage, data: bytes) -> int | None:
        if not stream.write(data):
            self._stop(stream, "longer than announced")
            return 400
        if stream.is_congested:
            self._held.add(stream.sender)
            stream.sender.hold()  # MED-08
        self.observer.data(taken, data)
        return None

    def _stop(self, stream: Stream, reason: str) -> None:
        """The rest will not come: the copies end with `#`."""
        self._forget(stream)
        stream.abort(reason)
        if stream.taken is not None:
            self.observer.aborted(stream.taken, reason)

    def _forget(self, stream: Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        self._read_on()

    def _caught_up(self, session: Session) -> None:
        for stream in self._streams:
            stream.caught_up(session)
        self._read_on()

    def _read_on(self) -> None:
        """Read from those senders again whose messages nobody holds up any more."""
        waiting = {stream.sender for stream in self._streams if stream.is_congested}
        for sender in self._held - waiting:
            sender.hold(on=False)
        self._held = waiting

    # --- what became of the copies ------------------------------------------------------------------------

    def writable(self, session: Session) -> None:
        """A recipient has read half of its queue."""
        participant = self._participants.get(session)
        if participant is not None:
            participant.congested_since = None
        self._caught_up(session)

    def done(self, session: Session, message: OutgoingMessage) -> None:
        """A copy was taken by its recipient, or was not."""
        if message.status != 200 and message.context is not None:
            self._failed(message, message.context)

    def closed(self, session: Session, reason: str) -> None:
        """A participant's session ended."""
        self._caught_up(session)
        participant = self._participants.pop(session, None)
        if participant is None:
            return
        del self._keys[session]
        key = address_key(participant.known_as)
        self._by_key[key].remove(participant)
        if not self._by_key[key]:
            del self._by_key[key]
        self.nicknames.release(session, self._now)
        self.observer.left(participant, reason, cut=reason == CUT)

    def _reports_failure(self, taken: SwitchedMessage) -> bool:
        reports = self.policy.failure_reports
        return reports is FailureReports.ALL or (taken.private and reports is FailureReports.PRIVATE)

    def _failed(self, copy: OutgoingMessage, taken: object) -> None:
        """One recipient did not get it: the sender is told, once (RFC 7701 sections 6.2, 6.3)."""
        if not isinstance(taken, SwitchedMessage) or taken.failure_told or copy.status is None:
            return
        taken.failure_told = True
        message = taken.incoming
        request = message.request
        session = taken.sender.session
        if session.link is None or not wants_report(False, request.failure_report, copy.status):
            return
        end = message.position if message.size is None else message.size
        fields = [
            ("Message-ID", message.message_id),
            ("Byte-Range", str(ByteRange(1, end, message.size))),
            ("Status", f"000 {copy.status:03d}"),
        ]
        session.link.output.emit(
            encode_request(
                "REPORT",
                next(session.idents),
                request.from_path,
                session.local_text,
                fields,
                content_type=CPIM,
                body=_report_body(taken),
            )
        )


def _report_body(taken: SwitchedMessage) -> bytes:
    """From and To of the message reported on, in a wrapper of their own (RFC 7701 section 6.2)."""
    headers: list[Header] = [*taken.envelope.all("From"), *taken.envelope.all("To")]
    return cpim.build(headers, [("Content-Type", "text/plain")]).head
