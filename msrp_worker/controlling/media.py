"""The media of one participant: its line in SDP, its MSRP session, its seat at the switch (7.2.1, RFC 7701)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from msrp_worker.controlling.refusal import Refused, not_acceptable
from msrp_worker.controlling.terms import RoomTerms, carried, read, taken_by, wrapped_of
from msrp_worker.cpim import Address
from msrp_worker.media_session import accepted_session, new_session_id, offered_session, settle
from msrp_worker.msrp import DEFERRED, IncomingMessage, MsrpEndpoint, Session, SessionHandler, State
from msrp_worker.msrp.room import Participant
from msrp_worker.msrp.switch import Switch
from msrp_worker.offer_answer import Answer, LocalPolicy, Negotiated, Refusal, answer, conclude, offer
from msrp_worker.sdp import Line, Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import ACTIVE_PORT
from msrp_worker.tally import Tally

log = logging.getLogger("im.controlling")

EARLY_S = 2.0
"""How long reading waits for a 200 that MSRP has overtaken, in seconds: others may use the same connection."""
MOST_EARLY = 16
"""Messages kept of who answered by MSRP before its 200 was seen here; they are what one read of a socket brought."""
EARLY = 403
"""Response to a long message in that moment: its sender has to try again."""


@dataclass(frozen=True, slots=True)
class Room:
    """What all seats of one session share. `start` runs a coroutine in the background."""

    endpoint: MsrpEndpoint
    switch: Switch
    terms: RoomTerms
    start: Callable[[Coroutine[Any, Any, None]], object]
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An offer of ours, and the MSRP session in it."""

    description: SessionDescription
    session: Session
    early: Early | None


class SeatMedia:
    """Everything ends with `close`. `on_lost` is told, once, when the MSRP session ends by itself."""

    def __init__(
        self, room: Room, host: str, number: int, address: Address, anonymous: str | None, on_lost: Callable[[str], None]
    ) -> None:
        """`number`: for the o= line, unlike those of the other seats."""
        self.address = address
        self.anonymous = anonymous
        self.negotiated: Negotiated | None = None
        self.participant: Participant | None = None
        self.rooms: frozenset[str] = frozenset()
        """See `Participant.rooms`."""
        self.nickname: str | None = None
        """Taken in the room; it goes along when the MSRP session changes."""
        self._room = room
        self._host = host
        self.number = number
        self._version = 0
        self._on_lost = on_lost
        self._session: Session | None = None
        self._offered: SessionDescription | None = None
        """The offer of the other side that waits for its answer."""
        self._judged: Answer | None = None
        """The answer to it, if nothing narrows it."""
        self._asked: _Asked | None = None
        """An offer of ours without its answer."""
        self._early: Early | None = None
        self._carried: tuple[Line, ...] = ()
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is an MSRP connection."""
        return self._session is not None and self._session.link is not None

    @property
    def is_agreed(self) -> bool:
        """Whether an offer was answered, so that another one may change what it came to."""
        return self._session is not None and self.negotiated is not None

    @property
    def wrapped(self) -> tuple[str, ...]:
        """The content types that the other side takes."""
        return ("*",) if self.negotiated is None else wrapped_of(self.negotiated.remote)

    # --- the other side offers

    def hear(self, offered: bytes) -> Refused | None:  # CNF-04
        """Judge an offer and keep it for `accept`; the refusal when it cannot be answered. Who offers nothing is offered
        something in the 200 (RFC 3261 section 13.3.1)."""
        if not offered:
            return None
        outcome = self._answer(offered, self._policy())
        if isinstance(outcome, Refused):
            return outcome
        self._offered, self._judged = self._read(offered), outcome
        self._carried = carried(self._offered)
        return None

    @property
    def carried(self) -> tuple[Line, ...]:
        """Attributes of the offer that go to those invited."""
        return self._carried

    def accept(self, narrowed: tuple[str, ...] = ()) -> bytes:
        """The answer to the offer that was heard; the participant is in the room from now on (CNF-07, CNF-09)."""
        if self._offered is None:
            return self.offer()
        outcome: Answer | Refusal | None = self._judged
        if narrowed not in ((), ("*",)):
            outcome = answer(self._offered, self._policy(narrowed))
        assert isinstance(outcome, Answer), "it was judged before, by the same policy"
        line = outcome.lines[0]
        self._session = accepted_session(self._room.endpoint, line, self._room.switch, self._room.terms.options)
        self._sit(self._session, line)
        return self._said(outcome.description)

    def renew(self, offered: bytes) -> bytes | Refused:  # CNF-21
        """The answer to new terms of the other side; what was agreed before holds until it is sent."""
        if not offered:
            return self._current()
        session = self._session
        assert session is not None and self.negotiated is not None
        outcome = self._answer(offered, self._policy(name=session.local.session_id or ""))
        if isinstance(outcome, Refused):
            return outcome
        line = outcome.lines[0]
        if line.remote.path == self.negotiated.remote.path and session.state is not State.CLOSED:
            self._change(line)
            return self._said(outcome.description)
        # An MSRP session is bound to its paths: with a new one comes a new session of ours.
        outcome = self._answer(offered, self._policy())
        assert isinstance(outcome, Answer), "the same policy but for the name"
        fresh = accepted_session(self._room.endpoint, outcome.lines[0], self._room.switch, self._room.terms.options)
        self._move(fresh, outcome.lines[0])
        return self._said(outcome.description)

    # --- the focus offers

    def offer(self, extra: tuple[Line, ...] = ()) -> bytes:
        """Our offer to who is invited, reachable from now on, or new terms with an MSRP session of their own (CNF-09)."""
        policy = self._policy()
        line = self._room.terms.line(policy)
        if line.port == ACTIVE_PORT:
            log.warning("no MSRP listener for offers")
        made = offer(policy.origin, self._host, [line])
        if extra:
            made = replace(made, media=tuple(replace(one, lines=(*one.lines, *extra)) for one in made.media))
        self.withdraw()
        early = None if self._is_lost else Early(self)
        session = offered_session(self._room.endpoint, line, early or self._room.switch, self._room.terms.options)
        self._asked = _Asked(made, session, early)
        if early is None and self.negotiated is not None:
            # Its seat is kept: what the others say until it is back waits in the new session.
            self._session = session
            self._sit(session, self.negotiated, connect=False)
        return self._said(made)

    @property
    def _is_lost(self) -> bool:
        """Whether the participant had an MSRP session and has none now."""
        return self._session is not None and self._session.state is State.CLOSED

    def heard_answer(self, answered: bytes) -> Refused | None:
        """The answer to our offer; the refusal when it cannot be used. The first one still needs `admit`."""
        if self._asked is None:
            return None
        asked, self._asked = self._asked, None
        session, self._early = asked.session, asked.early
        try:
            lines = conclude(asked.description, read(answered), self._policy())
        except SdpError as error:
            lines = Refusal(error.status, str(error))
        if not isinstance(lines, Refusal) and not lines[0].send_types:
            lines = Refusal(488, "no common content type")  # CNF-09
        if isinstance(lines, Refusal):
            session.close("answer not usable")
            return not_acceptable(lines.reason)
        if self._session is not None:
            self._move(session, lines[0])
            return None
        self._session, self.negotiated = session, lines[0]
        return None

    def admit(self) -> None:
        """Who answered takes part from now on; what it has sent before is passed on."""
        session, line = self._session, self.negotiated
        assert session is not None and line is not None
        settle(session, line)
        self._sit(session, line)
        self._read_on(session)

    def withdraw(self) -> None:
        """Our offer of new terms was refused: what was agreed before holds."""
        if self._asked is not None and self._asked.session is not self._session:
            self._asked.session.close("offer refused")
        self._asked = None

    # --- the end

    def close(self, reason: str) -> None:
        """End the MSRP session (7.2.1.9-1)."""
        self._closed = True
        self.withdraw()
        if self._session is not None:
            self._session.close(reason)

    def lost(self, session: Session, reason: str) -> None:
        """An MSRP session ended. Only the one in use matters."""
        if not self._closed and session is self._session:
            self._on_lost(reason)

    # --- inside

    def _read(self, offered: bytes) -> SessionDescription:
        """What of an offer is answered. SdpError."""
        return read(offered)

    def _answer(self, offered: bytes, policy: LocalPolicy) -> Answer | Refused:
        try:
            outcome = answer(self._read(offered), policy)
        except SdpError as error:
            if error.status == 488:
                return not_acceptable(str(error))
            return Refused(error.status, "Bad Request", "CNF-04", str(error))
        if isinstance(outcome, Refusal):
            reason = "Forbidden" if outcome.status == 403 else "Not Acceptable Here"
            return Refused(outcome.status, reason, "CNF-04", outcome.reason)
        return outcome

    def _policy(self, narrowed: tuple[str, ...] = (), name: str = "") -> LocalPolicy:
        kind = "IP6" if ":" in self._host else "IP4"
        origin = Origin("-", str(self.number), self._version + 1, self._host, kind)
        return self._room.terms.policy(self._host, origin, (name or new_session_id(),), narrowed)

    def _said(self, description: SessionDescription) -> bytes:
        """What is sent; the next one has the next version (RFC 3264 section 8)."""
        self._version += 1
        return description.build()

    def _current(self) -> bytes:
        """Our description as it stands, for a peer that asks for an offer: the same MSRP session."""
        assert self.negotiated is not None and self._session is not None
        policy = self._policy()
        made = offer(policy.origin, self._host, [self.negotiated.local])
        self._asked = _Asked(made, self._session, None)
        return self._said(made)

    def _sit(self, session: Session, line: Negotiated, *, connect: bool = True) -> None:
        participant = Participant(session, self.address, anonymous=self.anonymous, rooms=self.rooms, context=self)
        self.participant = participant
        self._change(line)
        self._room.switch.join(participant)
        if self.nickname is not None:
            self._room.switch.keep_nickname(participant, self.nickname)
        if connect:
            self._connect(session, line)

    def _change(self, line: Negotiated) -> None:
        """Take what the other side's half of the line says."""
        self.negotiated = line
        assert self.participant is not None
        describe_client(self.participant, line)

    def _move(self, session: Session, line: Negotiated) -> None:
        """Go on with another MSRP session; the old one ends once the new one is there."""
        old, self._session = self._session, session
        settle(session, line)
        if old is session:  # it sits there already
            self._change(line)
            self._connect(session, line)
            return
        if old is not None and self.nickname is not None:
            self._room.switch.nicknames.release(old, 0.0)
        self._sit(session, line)
        self._read_on(session)
        if old is not None:
            old.close("moved to a new session")

    def _read_on(self, session: Session) -> None:
        if self._early is not None:
            self._early.give_way(session, self._room.switch)
            self._early = None

    def _connect(self, session: Session, line: Negotiated) -> None:
        if line.active and session.link is None:
            self._room.start(self._connected(session, line))

    async def _connected(self, session: Session, line: Negotiated) -> None:
        try:
            await self._room.endpoint.connect(session, line.connect_to)
        except (OSError, TimeoutError) as error:
            log.info("no MSRP connection to %s: %s", line.connect_to, error)  # the switch hears that the session is closed


def describe_client(participant: Participant, line: Negotiated) -> None:
    """Set what the other side's half of a line says of its client."""
    participant.accept = taken_by(line.remote)
    participant.private_messages = line.remote.takes_private_messages
    participant.max_size = line.max_send_size
    participant.receives = line.remote.direction.receives  # on hold nothing is sent there (CNF-21)


class Early(SessionHandler):
    """Handles the MSRP session of who is invited until its 200 is here: nothing is read from it, nothing of it is lost.

    Its SEND may overtake the 200, which goes through proxies.
    """

    __slots__ = ("_kept", "_media")

    def __init__(self, media: SeatMedia) -> None:
        self._media = media
        self._kept: list[tuple[IncomingMessage, bytes]] = []

    def bound(self, session: Session) -> None:
        session.hold()
        asyncio.get_running_loop().call_later(EARLY_S, partial(self._read_anyway, session))

    def _read_anyway(self, session: Session) -> None:
        if session.handler is self:
            session.hold(on=False)

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        if len(self._kept) >= MOST_EARLY:
            return EARLY
        self._kept.append((message, body))
        return DEFERRED

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        return EARLY

    def closed(self, session: Session, reason: str) -> None:
        self._media.lost(session, reason)

    def give_way(self, session: Session, switch: Switch) -> None:
        """The switch has taken over: pass on what came before, then read on."""
        for message, body in self._kept:
            code = switch.message(session, message, body)
            session.answer(message, 200 if code is None else code)
        self._kept.clear()
        session.hold(on=False)
