"""What a session does about what happens: tables of events and effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msrp_worker.controlling.im_session import LOST_S, MEDIA_S, ImSession, step
from msrp_worker.controlling.release_policy import ReleasePolicy, SessionKind, Why
from msrp_worker.controlling.seat import TABLE, Do, Stage, What
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

ALICE, BOB, CAROL, DAVE = "sip:alice@h", "sip:bob@h", "sip:carol@h", "sip:dave@h"
A, B, C, D = 1, 2, 3, 4
USERS = {A: ALICE, B: BOB, C: CAROL, D: DAVE}
NOW = 1000.0


class Script:
    """A session with its effects, event by event."""

    def __init__(self, kind: SessionKind = SessionKind.AD_HOC, **options: object) -> None:
        values: dict[str, object] = {
            "kind": kind,
            "initiator": ALICE,
            "policy": ReleasePolicy(),
            "limit": 10,
            "began": NOW,
            "admitted": frozenset({ALICE}),
            **options,
        }
        self.session = ImSession(**values)  # type: ignore[arg-type]
        self.now = NOW

    def do(self, *events: Event) -> list[Effect]:
        """The effects of the last event; what others see of it is left out."""
        effects: list[Effect] = []
        for event in events:
            before = self.session
            self.session, effects = step(before, event, self.now)
            assert step(before, event, self.now) == (self.session, effects), "a step depends on nothing else"
        return [effect for effect in effects if not isinstance(effect, Changed)]

    def invites(self, *seats: int) -> Asked:
        """The INVITE of the initiator with a list."""
        return Asked(A, ALICE, tuple((seat, USERS[seat]) for seat in seats))

    def stages(self) -> dict[int, Stage]:
        """Where the seats are."""
        return {number: seat.stage for number, seat in self.session.seats.items()}


def asking(*others: int, **options: object) -> Script:
    """Alice has asked for a session with others, who are being called."""
    script = Script(**options)  # type: ignore[arg-type]
    script.do(script.invites(*others))
    return script


def talking(*others: int, **options: object) -> Script:
    """All of them take part."""
    script = asking(*others, **options)
    script.do(*(Answered(seat) for seat in others))
    return script


@pytest.mark.requirement("CNF-06", "CNF-07")
def test_set_up() -> None:
    """Everybody is called; the first 180 and the first 200 reach the initiator, the later ones do not."""
    script = Script()
    assert script.do(script.invites(B, C)) == [Dial(B, BOB), Dial(C, CAROL)]
    assert script.do(Rang(B)) == [Ring(A)]
    assert script.do(Rang(C)) == []
    assert script.do(Rang(B)) == []
    assert script.do(Answered(C)) == [Accept(A), Admit(C)], "who waits is let in before who answers can speak"
    assert script.do(Answered(B)) == [Admit(B)]
    assert script.stages() == {A: Stage.CONNECTED, B: Stage.CONNECTED, C: Stage.CONNECTED}


@pytest.mark.requirement("CNF-08")
@pytest.mark.parametrize(
    ("failures", "heard"),
    [
        ([(486, "Busy Here"), (480, "Away")], (480, "Away")),
        ([(603, "Decline"), (486, "Busy Here")], (486, "Busy Here")),
        ([(302, "Moved"), (603, "Decline")], (603, "Decline")),
        ([(302, "Moved"), (300, "Choices")], (480, "Temporarily Unavailable")),
        ([(488, "Not Acceptable Here"), (503, "Service Unavailable")], (488, "Not Acceptable Here")),
    ],
)
def test_everybody_fails(failures: list[tuple[int, str]], heard: tuple[int, str]) -> None:
    """The lowest final response goes to who waits, once all are in, and nothing is left."""
    script = asking(B, C)
    (first, second) = (Failed(seat, *failure) for seat, failure in zip((B, C), failures, strict=True))
    assert script.do(first) == [Unseat(B)]
    assert script.do(second) == [Unseat(C), Refuse(A, *heard, requirement="CNF-08"), Over(Why.FAILED)]
    assert script.session.seats == {}


@pytest.mark.requirement("CNF-08", "CNF-29")
def test_the_last_invited_fails_after_the_200() -> None:
    """Bob came and went while Carol rang; when she declines, the initiator is released."""
    script = asking(B, C)
    script.do(Answered(B))
    assert script.do(Left(B)) == [Unseat(B)], "Carol may still come"
    assert script.do(Failed(C, 603, "Decline")) == [Unseat(C), Release(A, Why.TOO_FEW), Over(Why.TOO_FEW)]


@pytest.mark.requirement("CNF-08")
def test_no_msrp_connection() -> None:
    """A 200 whose sender never connects: removed in time, and with it the session that has nobody else."""
    script = talking(B)
    script.do(Connected(A))
    assert script.session.next_deadline() == NOW + MEDIA_S
    script.now += MEDIA_S
    assert script.do(Tick()) == [Release(B, Why.NO_MEDIA), Release(A, Why.TOO_FEW), Over(Why.TOO_FEW)]


@pytest.mark.requirement("CNF-21")
def test_a_connection_breaks() -> None:
    """A new one is offered; the participant is removed when none comes, and stays when one does."""
    script = talking(B, C)
    script.do(Connected(A), Connected(B), Connected(C))
    assert script.session.next_deadline() is None
    assert script.do(Lost(B)) == [Offer(B)]
    assert script.do(Connected(B)) == []
    assert script.session.next_deadline() is None
    script.do(Lost(B))
    script.now += LOST_S
    assert script.do(Tick()) == [Release(B, Why.NO_MEDIA)]


@pytest.mark.requirement("CNF-30")
def test_the_initiator_cancels() -> None:
    """All who are called are cancelled, and nobody is told anything else."""
    script = asking(B, C)
    script.do(Rang(B))
    assert script.do(Left(A)) == [Unseat(A), Release(B, Why.TOO_FEW), Release(C, Why.TOO_FEW), Over(Why.TOO_FEW)]


@pytest.mark.requirement("CNF-30")
def test_an_answer_crosses_the_cancel() -> None:
    """The 200 of who was called comes when the session is over: its leg is ended already, nothing follows here."""
    script = asking(B)
    script.do(Left(A))
    assert script.do(Answered(B)) == []
    assert script.do(Asked(7, BOB)) == [Refuse(7, 404, "Not Found", "The session is over", "CNF-20")]


RELEASES: list[tuple[str, Callable[[], Script], list[Event], Why | None]] = [
    ("a ad-hoc", lambda: talking(B, C), [Left(A)], Why.INITIATOR_LEFT),
    ("a one-to-one", lambda: talking(B, kind=SessionKind.ONE_TO_ONE), [Left(A)], Why.TOO_FEW),
    ("b auto-release", lambda: talking(B, C, kind=SessionKind.PREDEFINED, policy=auto()), [Left(A)], Why.INITIATOR_LEFT),
    ("b without", lambda: talking(B, C, kind=SessionKind.PREDEFINED), [Left(A)], None),
    ("b not ad-hoc's", lambda: talking(B, C, policy=auto()), [Left(B)], None),
    ("c one-to-one", lambda: talking(B, kind=SessionKind.ONE_TO_ONE, policy=few(0)), [Left(B)], Why.TOO_FEW),
    ("d one left", lambda: talking(B, C), [Left(B), Left(C)], Why.TOO_FEW),
    ("d two left", lambda: talking(B, C), [Left(B)], None),
    ("d none may be left", lambda: talking(B, C, policy=few(0)), [Left(B), Left(C)], None),
    ("d two are too few", lambda: talking(B, C, policy=few(2)), [Left(B)], Why.TOO_FEW),
    ("d predefined", lambda: talking(B, kind=SessionKind.PREDEFINED), [Left(B)], Why.TOO_FEW),
    ("d not public", lambda: public(), [Left(B)], None),
    ("public is empty", lambda: public(), [Left(B), Left(A)], Why.TOO_FEW),
    ("f group deleted", lambda: talking(B, kind=SessionKind.PREDEFINED), [Close(Why.GROUP_DELETED)], Why.GROUP_DELETED),
    ("operator", lambda: talking(B), [Close(Why.OPERATOR)], Why.OPERATOR),
    ("removed", lambda: talking(B, C), [Expel(BOB, Why.NOT_ALLOWED)], None),
    ("media", lambda: talking(B), [Remove(B, Why.NO_MEDIA)], Why.TOO_FEW),
    ("group of one waits", lambda: lone(), [], None),
    ("whom it adds declines", lambda: lone(), [Invited(((B, BOB),)), Failed(B, 603, "Decline")], None),
    ("whom it adds leaves", lambda: lone(), [Invited(((B, BOB),)), Answered(B), Left(B)], Why.TOO_FEW),
]


def auto() -> ReleasePolicy:
    return ReleasePolicy(auto_release=True)


def few(remaining: int) -> ReleasePolicy:
    return ReleasePolicy(remaining=remaining)


def public() -> Script:
    script = Script(SessionKind.PUBLIC, open=True)
    assert script.do(Asked(A, ALICE)) == [Accept(A)]
    assert script.do(Asked(B, BOB)) == [Accept(B)]
    return script


def lone() -> Script:
    script = Script(SessionKind.PREDEFINED, open=True)
    assert script.do(Asked(A, ALICE)) == [Accept(A)]
    return script


@pytest.mark.requirement("CNF-29", "CNF-10", "CNF-19", "CNF-26", "CNF-27")
@pytest.mark.parametrize(("name", "make", "events", "why"), RELEASES, ids=[row[0] for row in RELEASES])
def test_release_policy(name: str, make: Callable[[], Script], events: list[Event], why: Why | None) -> None:
    """Rules a) to f), and what is none of them; who is left gets the reason."""
    script = make()
    left = len(script.session.participants)
    effects = script.do(*events) if events else []
    assert script.session.over is why
    if why is None:
        assert Over not in map(type, effects)
        return
    assert effects[-1] == Over(why)
    released = [effect for effect in effects if isinstance(effect, Release) and effect.why is why]
    assert len(released) <= left and not script.session.seats


@pytest.mark.requirement("CNF-29")
def test_longest_session() -> None:
    """Rule e."""
    script = talking(B, C, policy=ReleasePolicy(max_seconds=60))
    script.do(Connected(A), Connected(B), Connected(C))
    assert script.session.next_deadline() == NOW + 60
    script.now += 59
    assert script.do(Tick()) == []
    script.now += 1
    assert script.do(Tick())[-1] == Over(Why.TIME_OVER)


@pytest.mark.requirement("CNF-16", "CNF-18")
def test_room_is_counted_once_for_all() -> None:
    """Two ask for the last place in one moment: the second is refused; a second client of a participant is not."""
    script = talking(B, kind=SessionKind.PREDEFINED, limit=3)
    assert script.do(Asked(C, CAROL)) == [Accept(C)]
    assert script.do(Asked(D, DAVE)) == [Refuse(D, 486, "Busy Here", "Too many participants", "CNF-16")]
    assert script.do(Asked(9, CAROL)) == [Accept(9)]
    assert script.session.participants == {ALICE, BOB, CAROL}
    script.do(Left(C))
    assert script.session.participants == {ALICE, BOB, CAROL}, "she is still here with the other one"


@pytest.mark.requirement("CNF-16")
def test_who_answers_when_it_is_full() -> None:
    """Others came by themselves while Bob's phone rang."""
    script = asking(B, kind=SessionKind.PREDEFINED, limit=2)
    assert script.do(Asked(C, CAROL)) == [Accept(A), Accept(C)]
    assert script.do(Answered(B)) == [Release(B, Why.TOO_MANY)]


@pytest.mark.requirement("CNF-17")
def test_who_is_called_comes_by_himself() -> None:
    """Two members begin in one moment: the second is in the first one's session, and is not called any more."""
    script = asking(B, C, kind=SessionKind.PREDEFINED)
    assert script.do(Asked(8, BOB)) == [Release(B, Why.ELSEWHERE), Accept(A), Accept(8)]
    assert script.stages() == {A: Stage.CONNECTED, 8: Stage.CONNECTED, C: Stage.DIALING}


@pytest.mark.requirement("CNF-10", "CNF-22")
def test_one_to_one_grows() -> None:
    """A one-to-one session to which somebody is added has the rules of an ad-hoc one."""
    script = talking(B, kind=SessionKind.ONE_TO_ONE)
    assert script.do(Invited(((C, CAROL), (9, BOB)))) == [Dial(C, CAROL)], "Bob is here"
    assert script.session.kind is SessionKind.AD_HOC
    script.do(Answered(C))
    assert script.do(Left(B)) == [Unseat(B)]
    assert script.session.admitted == {ALICE, BOB, CAROL}


@pytest.mark.requirement("CNF-15", "CNF-26")
def test_who_is_expelled_does_not_come_back() -> None:
    """All seats of a user go, and the identity of an ad-hoc session is no way back."""
    script = talking(B, C)
    script.do(Asked(9, BOB))
    assert script.do(Expel(BOB, Why.REMOVED)) == [Release(B, Why.REMOVED), Release(9, Why.REMOVED)]
    assert BOB not in script.session.admitted


@pytest.mark.requirement("CNF-18", "CNF-27", "CNF-33")
def test_what_others_hear_of() -> None:
    """Each change that a subscriber may see is told, but not one by one when the session ends."""
    script = Script()
    heard: list[str] = []
    for event in (script.invites(B, C), Rang(B), Answered(B), Failed(C, 486, "Busy"), Left(B)):
        script.session, effects = step(script.session, event, NOW)
        heard += [f"{type(event).__name__} {effect.key[4]}" for effect in effects if isinstance(effect, Changed)]
    assert heard == ["Asked b", "Asked c", "Rang b", "Answered a", "Answered b", "Failed c", "Left b"]


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Asked, st.integers(5, 12), st.sampled_from(list(USERS.values()))),
    st.builds(lambda seat, key: Invited(((seat, key),)), st.integers(13, 20), st.sampled_from(list(USERS.values()))),
    *(
        st.builds(kind, st.integers(1, 20))  # type: ignore[arg-type]
        for kind in (Rang, Answered, Connected, Lost, Left)
    ),
    st.builds(Failed, st.integers(1, 20), st.integers(300, 699), st.just("x")),
    st.builds(Remove, st.integers(1, 20), st.just(Why.REMOVED)),
    st.builds(Expel, st.sampled_from(list(USERS.values())), st.just(Why.REMOVED)),
    st.just(Tick()),
)


@pytest.mark.requirement("CNF-29", "CNF-30", "CNF-16")
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(SessionKind)),
    st.booleans(),
    st.integers(1, 4),
    st.lists(st.tuples(EVENTS, st.floats(0, 50)), max_size=40),
)
def test_whatever_happens(kind: SessionKind, is_open: bool, limit: int, events: list[tuple[Event, float]]) -> None:
    """Never more participants than allowed, each seat ended once, nothing left when it is over, nobody waits for nobody."""
    script = Script(kind, open=is_open, limit=limit)
    script.session, effects = step(script.session, script.invites(*(() if is_open else (B, C))), NOW)
    begun = {A} | {effect.seat for effect in effects if isinstance(effect, Dial)}
    ended: list[int] = []
    seen = list(effects)
    for event, wait in events:
        if isinstance(event, Asked) and event.seat in begun:
            continue
        if isinstance(event, Invited) and event.seats[0][0] in begun:
            continue
        script.now += wait
        script.session, effects = step(script.session, event, script.now)
        seen += effects
        begun |= {effect.seat for effect in effects if isinstance(effect, Dial)}
        if isinstance(event, Asked):
            begun.add(event.seat)
        session = script.session
        assert len(session.participants) <= limit
        keys = {stage: [seat.key for seat in session.seats.values() if seat.stage is stage] for stage in Stage}
        assert session.connected == Counter(keys[Stage.CONNECTED])
        assert session.inside == Counter(keys[Stage.CONNECTED] + keys[Stage.ASKING])
        assert set(session.called) == {*keys[Stage.DIALING], *keys[Stage.ALERTING]}
        assert len(session.asking) == len(keys[Stage.ASKING])
        if session.over is not None:
            break
        stages = [seat.stage for seat in session.seats.values()]
        assert Stage.ASKING not in stages or session.pending, "who waits, waits for somebody"
        assert Stage.CONNECTED in stages or Stage.ASKING in stages
    ended = [effect.seat for effect in seen if isinstance(effect, Unseat | Release | Refuse)]
    assert len(ended) == len(set(ended)), "each seat ends once"
    if script.session.over is not None:
        assert not script.session.seats and isinstance(seen[-1], Over)
        assert set(ended) == begun


def test_the_table_is_closed() -> None:
    """Every stage can be left by the user and by us, and only an asking seat waits for a final response of ours."""
    for stage in Stage:
        assert TABLE[stage, What.REMOVE][0] is None
        assert TABLE[stage, What.LEFT][0] is None
    assert [key for key, (_, doing) in TABLE.items() if Do.REFUSE in doing] == [(Stage.ASKING, What.REMOVE)]


@pytest.mark.requirement("LRG-02")
def test_a_large_message_waits_for_all() -> None:
    """It begins but once: who sends it is let in when the last one has answered."""
    script = asking(B, C, patience=60.0)
    assert script.do(Answered(B)) == [Admit(B)]
    assert script.do(Rang(C)) == [Ring(A)]
    assert script.do(Failed(C, 486, "Busy Here")) == [Unseat(C), Accept(A)]
    script = asking(B, C, patience=60.0)
    script.do(Answered(B))
    assert script.do(Answered(C)) == [Admit(C), Accept(A)]
    refused = Refuse(A, 486, "Busy Here", requirement="CNF-08")
    assert refused in asking(B, patience=60.0).do(Failed(B, 486, "Busy Here"))


@pytest.mark.requirement("LRG-02")
def test_a_large_message_does_not_wait_for_ever() -> None:
    """So long after the first answer it goes to those who are here; the others are called no more."""
    script = asking(B, C, patience=20.0)
    assert script.session.next_deadline() is None
    script.now += 100
    script.do(Answered(B))
    assert script.session.next_deadline() == NOW + 120
    script.now += 19
    assert script.do(Tick()) == []
    script.now += 1
    assert script.do(Tick()) == [Accept(A), Release(C, Why.TOO_LATE)]


@pytest.mark.requirement("LRG-03")
def test_a_large_message_is_taken_back() -> None:
    """Who has accepted is released as well as who is called."""
    script = asking(B, C, patience=60.0)
    script.do(Answered(B))
    effects = script.do(Left(A))
    assert {type(one) for one in effects} == {Unseat, Release, Over}
    assert {one.seat for one in effects if isinstance(one, Release)} == {B, C}
