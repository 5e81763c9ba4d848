"""What an IM session at the focus is: `step(session, event, now) -> (session, effects)`, pure.

A session has seats, one for each SIP leg: of who asked to come in, of who was invited. The life of a seat is a table; what
is not in it changes nothing, so that an event which comes late or twice needs no code. After each event the rules of
the session are looked at once: who waits may be let in, everybody has failed, the release policy.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.controlling.release_policy import ReleasePolicy, SessionKind, Why, fewest, judge
from msrp_worker.controlling.seat import PENDING, TABLE, Do, Seat, Stage, What
from msrp_worker.controlling.session_events import (
    Accept,
    Admit,
    Answered,
    Asked,
    Changed,
    Close,
    Connected,
    Dial,
    Effect,
    Event,
    Expel,
    Failed,
    Invited,
    Left,
    Lost,
    Offer,
    Over,
    Rang,
    Refuse,
    Release,
    Remove,
    Ring,
    Tick,
    Unseat,
)

MEDIA_S = 45.0
"""How long a participant may be without an MSRP connection after the 200: more than the 30 s clients try (CNF-08)."""
LOST_S = 20.0
"""How long a participant whose MSRP connection broke has for another one, after a new offer (CNF-21)."""
CHALLENGES = frozenset({401, 407})
"""Meant for the focus: the initiator has been authenticated, and could not answer them."""
NO_ANSWER = (480, "Temporarily Unavailable")
"""What the initiator hears when those invited failed with nothing that can be passed on, such as redirections (CNF-08)."""


class ImSession(Struct, frozen=True, kw_only=True):
    """One session; changed only by `step`."""

    kind: SessionKind
    initiator: str
    """Canonical address of who set it up."""
    policy: ReleasePolicy
    limit: int
    """Most participants, users counted once."""
    began: float
    """On the clock of `now`."""
    patience: float = 0.0
    """Who asks is let in when nobody is called any more, or so many seconds after the first answer, and who has not
    answered by then is called no more: a large message begins but once (LRG-02). 0: at the first answer."""
    answered_at: float | None = None
    """When the first of those invited answered."""
    open: bool = False
    """Who joins is let in at once, even as the only one: nobody is invited when it begins."""
    seats: dict[int, Seat] = {}
    admitted: frozenset[str] = frozenset()
    """Who may come (again) by the IM Session Identity of an ad-hoc session: the initiator and all invited (CNF-15)."""
    lowest: tuple[int, str] | None = None
    """Lowest final response of who was invited, 400 and above."""
    thinned: bool = False
    """Somebody left or did not come, and the session has not filled since."""
    over: Why | None = None
    # what the seats come to, kept so that a step costs the same in a large session
    connected: dict[str, int] = {}
    """Users who take part, with how many seats."""
    inside: dict[str, int] = {}
    """Users who take part or wait for our 200, with how many seats."""
    called: dict[str, int] = {}
    """Users whose invitation has no final response, and its seat."""
    asking: frozenset[int] = frozenset()
    """Seats that wait for our 200."""

    @property
    def participants(self) -> frozenset[str]:
        """Users who take part."""
        return frozenset(self.connected)

    @property
    def everybody(self) -> frozenset[str]:
        """Users with a seat of any kind."""
        return frozenset(self.inside) | frozenset(self.called)

    def has(self, key: str) -> bool:
        """Whether a user has a seat of any kind."""
        return key in self.inside or key in self.called

    @property
    def pending(self) -> int:
        """Invitations without a final response."""
        return len(self.called)

    def has_room(self, key: str) -> bool:
        """Whether a user may come in (CNF-16): with a second client always."""
        return key in self.inside or len(self.inside) < self.limit

    def next_deadline(self) -> float | None:
        """When `Tick` has something to do, None for never."""
        times = [seat.media_by for seat in self.seats.values()]
        if self.policy.max_seconds:
            times.append(self.began + self.policy.max_seconds)
        if self.patience and self.answered_at is not None and self.asking:
            times.append(self.answered_at + self.patience)
        first = min(times, default=float("inf"))
        return None if first == float("inf") else first


def step(session: ImSession, event: Event, now: float) -> tuple[ImSession, list[Effect]]:
    """The session and its effects after `event` at `now`, seconds of a clock that does not jump."""
    turn = _Turn(session, now)
    if session.over is not None:
        if isinstance(event, Asked):
            turn.effects.append(Refuse(event.seat, 404, "Not Found", "The session is over", "CNF-20"))
        return session, turn.effects
    turn.take(event)
    turn.settle()
    return turn.result()


class _Turn:
    """One step under way."""

    def __init__(self, session: ImSession, now: float) -> None:
        self.session = session
        self.seats = dict(session.seats)
        self.connected = dict(session.connected)
        self.inside = dict(session.inside)
        self.called = dict(session.called)
        self.asking = set(session.asking)
        self.now = now
        self.effects: list[Effect] = []
        self.thinned = session.thinned
        self.initiator_left = False

    def result(self) -> tuple[ImSession, list[Effect]]:
        after = replace(
            self.session,
            seats=self.seats,
            connected=self.connected,
            inside=self.inside,
            called=self.called,
            asking=frozenset(self.asking),
            thinned=self.thinned,
        )
        return after, self.effects

    def put(self, number: int, seat: Seat | None) -> None:
        """Set a seat, or take it away; what the seats come to follows."""
        before = self.seats.get(number)
        if before is not None:
            self._count(number, before, -1)
        if seat is None:
            self.seats.pop(number, None)
        else:
            self.seats[number] = seat
            self._count(number, seat, 1)

    def _count(self, number: int, seat: Seat, by: int) -> None:
        if seat.stage in PENDING:
            if by > 0:
                self.called[seat.key] = number
            else:
                self.called.pop(seat.key, None)
            return
        _add(self.inside, seat.key, by)
        if seat.stage is Stage.CONNECTED:
            _add(self.connected, seat.key, by)
        elif by > 0:
            self.asking.add(number)
        else:
            self.asking.discard(number)

    def has_room(self, key: str) -> bool:
        """See `ImSession.has_room`."""
        return key in self.inside or len(self.inside) < self.session.limit

    # --- events

    def take(self, event: Event) -> None:
        match event:
            case Asked():
                self._asked(event)
            case Invited(seats):
                self._invited(seats)
            case Rang(seat):
                self._rang(seat)
            case Answered(seat):
                self._answered(seat)
            case Failed():
                self._failed(event)
            case Connected(seat):
                if seat in self.seats:
                    self.put(seat, replace(self.seats[seat], media_by=float("inf")))
            case Lost(seat):
                self._lost(seat)
            case Left(seat):
                self._move(seat, What.LEFT)
            case Remove(seat, why):
                self._move(seat, What.REMOVE, why)
            case Expel(key, why):
                self.session = replace(self.session, admitted=self.session.admitted - {key})
                for seat in [number for number, one in self.seats.items() if one.key == key]:
                    self._move(seat, What.REMOVE, why)
            case Close(why):
                self._end(why)
            case Tick():
                for seat in [number for number, one in self.seats.items() if one.media_by <= self.now]:
                    self._move(seat, What.REMOVE, Why.NO_MEDIA)  # CNF-08

    def _asked(self, event: Asked) -> None:
        if not self.has_room(event.key):
            self.effects.append(Refuse(event.seat, 486, "Busy Here", "Too many participants", "CNF-16"))
            return
        self.put(event.seat, Seat(event.key, Stage.ASKING))
        called = self.called.get(event.key)
        if called is not None:  # who comes by himself needs to be called no more
            self.put(called, None)
            self.effects.append(Release(called, Why.ELSEWHERE))
        if event.invites:
            self._invited(event.invites)

    def _invited(self, seats: tuple[tuple[int, str], ...]) -> None:
        fresh = []
        for seat, key in seats:
            if key in self.inside or key in self.called:
                continue
            fresh.append(key)
            self.put(seat, Seat(key, Stage.DIALING))
            self.effects += [Dial(seat, key), Changed(key)]
        kind = self.session.kind
        if kind is SessionKind.ONE_TO_ONE and len(self.inside.keys() | self.called.keys()) > 2:
            kind = SessionKind.AD_HOC
        self.session = replace(self.session, kind=kind, admitted=self.session.admitted.union(fresh))

    def _lost(self, number: int) -> None:
        seat = self.seats.get(number)
        if seat is not None and seat.stage is Stage.CONNECTED:
            self.put(number, replace(seat, media_by=min(seat.media_by, self.now + LOST_S)))
            self.effects.append(Offer(number))

    def _rang(self, seat: int) -> None:
        self._move(seat, What.RANG)
        for number in sorted(self.asking):
            if not self.seats[number].rung:
                self.put(number, replace(self.seats[number], rung=True))
                self.effects.append(Ring(number))  # CNF-07: once

    def _answered(self, seat: int) -> None:
        one = self.seats.get(seat)
        if one is None or one.stage not in PENDING:
            return
        if not self.has_room(one.key):
            self._move(seat, What.REMOVE, Why.TOO_MANY)  # CNF-16: others were faster
            return
        if self.session.answered_at is None:
            self.session = replace(self.session, answered_at=self.now)
        self._move(seat, What.ANSWERED)

    def _failed(self, event: Failed) -> None:
        one = self.seats.get(event.seat)
        if one is None:
            return
        if event.status >= 400 and event.status not in CHALLENGES:
            found = (event.status, event.reason)
            lowest = self.session.lowest
            self.session = replace(self.session, lowest=found if lowest is None or found < lowest else lowest)
        self._move(event.seat, What.FAILED, Why.FAILED)

    # --- moves

    def _move(self, number: int, what: What, why: Why = Why.REMOVED) -> None:
        seat = self.seats.get(number)
        row = None if seat is None else TABLE.get((seat.stage, what))
        if seat is None or row is None:
            return
        stage, doing = row
        if stage is None:
            self.put(number, None)
            self._gone(seat)
        else:
            media_by = self.now + MEDIA_S if stage is Stage.CONNECTED else seat.media_by
            self.put(number, replace(seat, stage=stage, media_by=media_by))
        for do in doing:
            self._do(do, number, seat, why)

    def _gone(self, seat: Seat) -> None:
        if seat.stage not in PENDING and seat.key == self.session.initiator and seat.key not in self.inside:
            self.initiator_left = True

    def _do(self, do: Do, number: int, seat: Seat, why: Why) -> None:
        match do:
            case Do.ACCEPT:
                self.effects.append(Accept(number))
            case Do.ADMIT:
                # Who waits is let in first, so that nothing the new one sends is lost.
                self._let_in_others(seat.key)
                self.effects.append(Admit(number))
            case Do.REFUSE:
                self.effects.append(Refuse(number, *NO_ANSWER))
            case Do.RELEASE:
                self.effects.append(Release(number, why))
            case Do.UNSEAT:
                self.effects.append(Unseat(number))
            case Do.CHANGED:
                if self.session.over is None:
                    self.effects.append(Changed(seat.key))
            case Do.THIN:
                # An invitation that comes to nothing does not thin out a session that began with one participant.
                self.thinned = self.thinned or seat.stage is Stage.CONNECTED or not self.session.open

    def _let_in_others(self, key: str) -> None:
        if self.session.patience:
            return  # see `settle`
        for number in [number for number in sorted(self.asking) if self.seats[number].key != key]:
            self._move(number, What.LET_IN)

    # --- rules of the session, after each event

    def settle(self) -> None:
        """Let in who may come in, refuse them when nobody else comes, release what is to be released."""
        if self.session.over is not None:
            return
        for number in sorted(self.asking):
            if (self.session.open or len(self.inside) > 1) and not self._is_waiting():
                self._move(number, What.LET_IN)  # CNF-07, CNF-18
                self._call_no_more()
        if self.asking and not self.called:
            self._all_failed()
            return
        if not self.inside:
            self._end(Why.TOO_FEW)
            return
        why = judge(
            self.session.kind,
            self.session.policy,
            participants=len(self.connected),
            pending=len(self.called),
            thinned=self.thinned,
            initiator_left=self.initiator_left,
            age=self.now - self.session.began,
        )
        if why is not None:
            self._end(why)
        elif self.thinned and len(self.connected) > fewest(self.session.kind, self.session.policy):
            self.thinned = False

    def _is_waiting(self) -> bool:
        """Whether who asks waits on for further answers."""
        session = self.session
        if not session.patience or not self.called:
            return False
        return session.answered_at is None or self.now < session.answered_at + session.patience

    def _call_no_more(self) -> None:
        if self.session.patience:
            for number in sorted(self.called.values()):
                self._move(number, What.REMOVE, Why.TOO_LATE)  # LRG-02

    def _all_failed(self) -> None:  # CNF-08
        status, reason = self.session.lowest or NO_ANSWER
        for number in sorted(self.asking):
            self.put(number, None)
            self.effects.append(Refuse(number, status, reason, requirement="CNF-08"))
        self._end(Why.FAILED)

    def _end(self, why: Why) -> None:
        """Release the session and all in it (7.2.2.5)."""
        self.session = replace(self.session, over=why)
        for number in list(self.seats):
            self._move(number, What.REMOVE, why)  # CNF-26, CNF-30
        self.effects.append(Over(why))


def _add(counts: dict[str, int], key: str, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
