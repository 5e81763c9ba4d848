"""What the sender of a REFER is told, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.controlling.refer_progress import (
    ANSWER_S,
    DONE,
    EXPIRED,
    Began,
    Event,
    News,
    Notified,
    Notify,
    Progress,
    Refreshed,
    Tick,
    Told,
    step,
)

OK = News("b", 200, "OK")


def run(*events: Event, now: float = 0.0) -> tuple[Progress, list[Notify]]:
    """All NOTIFYs of these events, at one moment."""
    progress, sent = Progress(), list[Notify]()
    for event in events:
        progress, more = step(progress, event, now)
        sent += more
    return progress, sent


@pytest.mark.requirement("CNF-24")
@pytest.mark.parametrize(
    ("events", "lines", "last"),
    [
        ([Began(frozenset("b"))], ["100 Trying"], "active;expires=300"),
        ([Began(frozenset(), (OK,))], ["200 OK"], DONE),
        ([Began(frozenset("b")), Told(OK)], ["100 Trying"], "active;expires=300"),
        ([Began(frozenset("b")), Told(OK), Notified(200)], ["100 Trying", "200 OK"], DONE),
        (
            [Began(frozenset("b")), Told(News("b", 180, "Ringing")), Told(OK), Notified(200)],
            ["100 Trying", "200 OK"],
            DONE,
        ),
        (
            [Began(frozenset("bc")), Told(OK), Told(News("c", 486, "Busy")), Notified(200), Notified(200)],
            ["100 Trying", "200 OK", "486 Busy"],
            DONE,
        ),
        ([Began(frozenset("b")), Notified(481), Told(OK), Notified(200)], ["100 Trying"], "active;expires=300"),
        ([Began(frozenset("b")), Notified(200), Refreshed(0), Told(OK)], ["100 Trying", "100 Trying"], EXPIRED),
        ([Began(frozenset("b")), Notified(200), Refreshed(60)], ["100 Trying", "100 Trying"], "active;expires=60"),
        ([Began(frozenset("b")), Notified(200), Told(News("x", 200, "OK"))], ["100 Trying"], "active;expires=300"),
        (
            [Began(frozenset("b"), (News("c", 403, "Forbidden"),)), Notified(200), Told(OK)],
            ["403 Forbidden", "200 OK"],
            DONE,
        ),
    ],
)
def test_what_is_told(events: list[Event], lines: list[str], last: str) -> None:
    """One NOTIFY at a time, of each user the last state, and an end when nothing more can come."""
    _, sent = run(*events)
    assert [one.body.decode() for one in sent] == [f"SIP/2.0 {line}\r\n" for line in lines]
    assert sent[-1].state == last


@pytest.mark.requirement("CNF-24")
def test_time() -> None:
    """A NOTIFY without answer ends it; so does the end of the subscription, with a last NOTIFY."""
    progress, _ = run(Began(frozenset("b")))
    assert progress.next_deadline() == ANSWER_S
    assert step(progress, Tick(), ANSWER_S)[0].over
    progress, _ = step(progress, Notified(200), 1.0)
    assert progress.next_deadline() == 300
    progress, (notify,) = step(progress, Tick(), 300.0)
    assert (notify.state, notify.body, progress.over) == (EXPIRED, b"SIP/2.0 100 Trying\r\n", True)


@pytest.mark.requirement("CNF-24", "SEC-05")
def test_fragments() -> None:
    """Somebody else's reason and Warning stay on their line."""
    news = News("b", 403, "For\r\nbidden", "sip:b@x", '399 x "a\r\nVia: y"')
    assert news.body == b'SIP/2.0 403 Forbidden\r\nTo: <sip:b@x>\r\nWarning: 399 x "aVia: y"\r\n'
    assert News("b", 200, "\udcff").body == b"SIP/2.0 200 \r\n"


EVENTS = st.one_of(
    st.builds(Told, st.builds(News, st.sampled_from("abcd"), st.sampled_from([180, 200, 302, 486]), st.just("Why"))),
    st.just(Notified(200)),
    st.builds(Refreshed, st.integers(1, 100)),
)


@pytest.mark.requirement("CNF-24")
@given(st.lists(EVENTS))
def test_every_outcome_is_told(events: list[Event]) -> None:
    """Whatever the order: never two NOTIFYs out, and the last one, only that, ends it."""
    progress, sent = step(Progress(), Began(frozenset("abcd")), 0.0)
    out = 1
    closing: list[Event] = [Told(News(key, 487, key)) for key in "abcd"] + [Notified(200)] * 5
    for event in [*events, *closing]:
        out -= isinstance(event, Notified) and out > 0
        progress, more = step(progress, event, 0.0)
        out += len(more)
        sent += more
        assert out <= 1
    assert progress.over and [one.state for one in sent if one.state == DONE] == [sent[-1].state]
