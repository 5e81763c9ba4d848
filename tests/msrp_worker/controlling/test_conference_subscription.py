"""Subscriptions to conference state (CES-06, CES-07, CES-08, RFC 6665, RFC 4575)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from msrp_worker.controlling.conference_subscription import (
    ANSWER_S,
    MOST_FAILURES,
    PACKAGE,
    REMOVES,
    RETRY_S,
    Asked,
    Changed,
    Closed,
    Effect,
    Event,
    Gone,
    Notified,
    Notify,
    Queue,
    Subscription,
    Tick,
    Turn,
    may_subscribe,
    sent,
    step,
)
from msrp_worker.event_package import Refused

URGENT, CALM = Queue(urgent=True), Queue(urgent=False)
LAST = Notify("terminated;reason=noresource", 2, 3, 3)
INTERVAL = 5.0


def turn(latest: int) -> Turn:
    return Turn(latest, INTERVAL)


def run(*events: tuple[float, Event]) -> tuple[Subscription, list[list[Effect]]]:
    """The effects of each event; what a NOTIFY tells is all up to the turn."""
    state, effects_of = Subscription(), []
    for now, event in events:
        state, effects = step(state, event, now)
        if isinstance(event, Turn) and effects:
            state = sent(state, event.latest, state.base or event.latest, more=False)
        effects_of.append(effects)
    return state, effects_of


START: list[tuple[float, Event]] = [(0.0, Asked(100)), (0.0, turn(3)), (1.0, Notified(200))]
"""Subscribed and told up to 3 at 1."""
STARTED: list[list[Effect]] = [[URGENT], [Notify("active;expires=100", 1, 0, 0)], []]


@pytest.mark.requirement("CES-03", "CES-08")
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (  # a change waits for the interval to pass, then for its turn; then the next may come at once
            [(2, Changed()), (5, Tick()), (5, turn(4)), (6, Notified(200)), (60, Changed()), (60, turn(5))],
            [[], [CALM], [Notify("active;expires=95", 2, 3, 3)], [], [CALM], [Notify("active;expires=40", 3, 4, 3)]],
        ),
        (  # changes while it waits, or while a NOTIFY is out, come together
            [
                (6, Changed()),
                (6, Changed()),
                (6, turn(5)),
                (7, Changed()),
                (7, Changed()),
                (12, Notified(200)),
                (12, turn(7)),
            ],
            [[CALM], [], [Notify("active;expires=94", 2, 3, 3)], [], [], [CALM], [Notify("active;expires=88", 3, 5, 3)]],
        ),
        ([(6, Changed()), (6, turn(3)), (7, Changed())], [[CALM], [], [CALM]]),  # changed, and back again
        (  # a refresh brings the full state at once
            [(2, Asked(200)), (2, turn(3)), (3, Notified(200))],
            [[URGENT], [Notify("active;expires=200", 2, 0, 3)], []],
        ),
        (  # a refresh while a NOTIFY is out: when that is settled, full state
            [(6, Changed()), (6, turn(4)), (7, Asked(50)), (8, Notified(200)), (8, turn(4))],
            [[CALM], [Notify("active;expires=94", 2, 3, 3)], [], [URGENT], [Notify("active;expires=49", 3, 0, 0)]],
        ),
        (  # unsubscribed
            [(6, Asked(0)), (6, turn(3)), (7, Changed()), (8, Notified(200)), (9, Changed())],
            [[URGENT], [Notify("terminated;reason=timeout", 2, 0, 3)], [], [Gone()], []],
        ),
        (  # expired
            [(99, Tick()), (100, Tick()), (100, turn(3)), (101, Notified(200))],
            [[], [URGENT], [Notify("terminated;reason=timeout", 2, 3, 3)], [Gone()]],
        ),
        (  # expired while a NOTIFY is out
            [(99, Changed()), (99, turn(4)), (100, Tick()), (101, Notified(200)), (101, turn(4))],
            [[CALM], [Notify("active;expires=1", 2, 3, 3)], [], [URGENT], [Notify("terminated;reason=timeout", 3, 4, 3)]],
        ),
        (
            [(6, Changed()), (6, turn(4)), (6 + ANSWER_S, Tick())],
            [[CALM], [Notify("active;expires=94", 2, 3, 3)], [Gone()]],
        ),
    ],
)
def test_ladders(events: list[tuple[float, Event]], expected: list[list[Effect]]) -> None:
    assert run(*START, *events)[1] == [*STARTED, *expected]


@pytest.mark.requirement("CES-08")
def test_a_fetch_is_one_notification() -> None:
    _, effects = run((0, Asked(0)), (0, turn(3)), (1, Notified(200)))
    assert effects == [[URGENT], [Notify("terminated;reason=timeout", 1, 0, 0)], [Gone()]]


@pytest.mark.requirement("CES-07")
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(6, Closed()), (6, turn(4)), (7, Notified(200))], [[URGENT], [LAST], [Gone()]]),
        ([(6, Closed()), (6, turn(4)), (7, Notified(500, 1))], [[URGENT], [LAST], [Gone()]]),
        (  # not taken up again
            [(6, Closed()), (6, Asked(100)), (6, turn(4)), (7, Asked(100)), (7, Closed()), (8, Notified(200))],
            [[URGENT], [], [LAST], [], [], [Gone()]],
        ),
        (  # while a NOTIFY is out: after it
            [(6, Changed()), (6, turn(4)), (7, Closed()), (8, Notified(200)), (8, turn(5))],
            [[CALM], [Notify("active;expires=94", 2, 3, 3)], [], [URGENT], [replace(LAST, version=3, told=4)]],
        ),
        ([(6, Asked(0)), (6, turn(3)), (7, Closed())], [[URGENT], [Notify("terminated;reason=timeout", 2, 0, 3)], []]),
    ],
)
def test_the_end_of_the_session(events: list[tuple[float, Event]], expected: list[list[Effect]]) -> None:
    assert run(*START, *events)[1] == [*STARTED, *expected]


@pytest.mark.requirement("CES-08")
@pytest.mark.parametrize("status", sorted(REMOVES))
def test_outcomes_that_end_the_subscription(status: int) -> None:
    state, effects = run((0, Asked(100)), (0, turn(3)), (1, Notified(status)))
    assert effects[-1] == [Gone()]
    assert state.over


@pytest.mark.requirement("CES-06", "CES-08")
@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (Notified(500), 6 + RETRY_S),
        (Notified(503, 20.0), 26.0),
        (Notified(500, 0.0), 6 + INTERVAL),
        (Notified(500, 9e9), 306.0),
    ],
)
def test_a_failure_for_the_moment_brings_the_full_state_later(outcome: Notified, again: float) -> None:
    state, effects = run((0.0, Asked(1000)), *START[1:], (6, Changed()), (6, turn(4)), (6, outcome))
    assert effects[-1] == []
    assert state.next_deadline() == again
    assert step(state, Tick(), again - 1)[1] == []
    state, effects_then = step(state, Tick(), again)
    assert effects_then == [CALM]
    assert step(state, turn(4), again)[1] == [Notify(f"active;expires={round(1000 - again)}", 3, 0, 3)]


@pytest.mark.requirement("CES-08")
def test_failures_one_after_the_other_end_the_subscription() -> None:
    state, now = run(*START)[0], 6.0
    for failure in range(MOST_FAILURES):
        now += 10
        state, _ = step(state, Changed(), now)
        state, _ = step(state, turn(9 + failure), now)
        state, effects = step(state, Notified(500), now)
    assert effects == [Gone()]


@pytest.mark.requirement("CES-04")
def test_what_one_document_cannot_hold_follows() -> None:
    state, _ = step(Subscription(), Asked(100), 0)
    state, _ = step(state, turn(900), 0)
    state = sent(state, 200, 900, more=True)
    state, effects = step(state, Notified(200), 1)
    assert (effects, state.next_deadline()) == ([], INTERVAL)
    state, effects = step(state, Tick(), INTERVAL)
    assert effects == [CALM]
    assert step(state, turn(900), INTERVAL)[1] == [Notify("active;expires=95", 2, 200, 900)]


@pytest.mark.requirement("CES-08")
@pytest.mark.parametrize(
    ("event", "accept", "expires", "expected"),
    [
        ("conference", [], None, 3600),
        ("Conference;id=7", ["application/*"], 100, 100),
        ("conference", ["text/plain", "application/conference-info+xml"], 10**9, PACKAGE.longest_s),
        ("conference", [], 0, 0),
        ("conference", [], 59, Refused(423, "Interval Too Brief", (("Min-Expires", "60"),))),
        ("conference", ["application/pidf+xml"], 100, Refused(406, "Not Acceptable", (("Accept", PACKAGE.content_type),))),
        ("presence", [], 100, Refused(489, "Bad Event", (("Allow-Events", "conference"),))),
        ("", [], 100, Refused(489, "Bad Event", (("Allow-Events", "conference"),))),
    ],
)
def test_what_is_granted(event: str, accept: list[str], expires: int | None, expected: object) -> None:
    assert PACKAGE.screen(event, accept, expires) == expected


@pytest.mark.requirement("CES-02")
@pytest.mark.parametrize(
    ("originator", "right", "allowed"),
    [
        ("sip:alice@h", None, True),
        ("sip:eve@h", None, False),
        ("sip:alice@h", False, False),
        ("sip:eve@h", True, True),
        ("sip:alice@h", True, True),
    ],
)
def test_who_may_subscribe(originator: str, right: bool | None, allowed: bool) -> None:
    refused = may_subscribe(originator, {"sip:alice@h", "sip:bob@h"}, right)
    assert (refused is None) == allowed
    assert refused is None or refused.status == 403
