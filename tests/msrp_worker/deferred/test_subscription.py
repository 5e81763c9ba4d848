"""Subscriptions to message-summary (DEF-08, RFC 6665, RFC 3842)."""

from __future__ import annotations

import pytest

from msrp_worker.deferred.subscription import (
    ANSWER_S,
    PACKAGE,
    Asked,
    Changed,
    Effect,
    Event,
    Gone,
    Notified,
    Notify,
    Subscription,
    Tick,
    step,
)
from msrp_worker.event_package import Refused

TERMINATED = Notify("terminated;reason=timeout")


def run(*events: tuple[float, Event]) -> list[list[Effect]]:
    state, told = Subscription(), []
    for now, event in events:
        state, effects = step(state, event, now)
        told.append(effects)
    return told


@pytest.mark.requirement("DEF-08")
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (  # subscribe, a change, refresh, unsubscribe
            [
                (0, Asked(100)),
                (1, Notified(200)),
                (30, Changed()),
                (31, Notified(200)),
                (50, Asked(100)),
                (51, Notified(202)),
                (60, Asked(0)),
                (61, Notified(200)),
                (62, Changed()),
            ],
            [
                [Notify("active;expires=100")],
                [],
                [Notify("active;expires=70")],
                [],
                [Notify("active;expires=100")],
                [],
                [TERMINATED],
                [Gone()],
                [],
            ],
        ),
        ([(0, Asked(0)), (1, Notified(200))], [[TERMINATED], [Gone()]]),  # fetch
        ([(0, Asked(100)), (1, Notified(200)), (100, Tick())], [[Notify("active;expires=100")], [], [TERMINATED]]),
        (  # changes while a NOTIFY is out come together in the next
            [(0, Asked(100)), (1, Changed()), (1, Changed()), (2, Notified(200)), (3, Notified(200))],
            [[Notify("active;expires=100")], [], [], [Notify("active;expires=98")], []],
        ),
        (  # so does the end
            [(0, Asked(100)), (1, Asked(0)), (2, Notified(200)), (3, Notified(200))],
            [[Notify("active;expires=100")], [], [TERMINATED], [Gone()]],
        ),
        ([(0, Asked(100)), (1, Notified(481))], [[Notify("active;expires=100")], [Gone()]]),
        ([(0, Asked(100)), (1, Notified(0))], [[Notify("active;expires=100")], [Gone()]]),
        ([(0, Asked(100)), (ANSWER_S, Tick())], [[Notify("active;expires=100")], [Gone()]]),
        ([(0, Asked(100)), (1, Notified(200)), (50, Tick())], [[Notify("active;expires=100")], [], []]),
    ],
)
def test_ladders(events: list[tuple[float, Event]], expected: list[list[Effect]]) -> None:
    assert run(*events) == expected


@pytest.mark.requirement("DEF-08")
@pytest.mark.parametrize(
    ("event", "accept", "expires", "expected"),
    [
        ("message-summary", [], None, PACKAGE.default_s),
        ("Message-Summary ; id=7", ["application/*"], 100, 100),
        ("message-summary", ["text/plain", "application/simple-message-summary"], 10**9, PACKAGE.longest_s),
        ("message-summary", [], 0, 0),
        ("message-summary", [], 59, 423),
        ("message-summary", ["text/plain"], 100, 406),
        ("presence", [], 100, 489),
        ("", [], 100, 489),
    ],
)
def test_what_is_granted(event: str, accept: list[str], expires: int | None, expected: int) -> None:
    found = PACKAGE.screen(event, accept, expires)
    assert (found.status if isinstance(found, Refused) else found) == expected
