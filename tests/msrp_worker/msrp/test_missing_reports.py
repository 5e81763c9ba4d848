"""Success reports that were asked for and never come: who waits for one is told so."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.msrp import OutgoingMessage, SessionOptions, reported
from msrp_worker.msrp.hop import leg_options
from msrp_worker.msrp.outbox import MAX_KEPT_MESSAGES
from tests.msrp_worker.msrp.harness import Pair
from tests.msrp_worker.msrp.test_hop import joined, reports_to

SILENT = SessionOptions(auto_report=False)


@pytest.mark.requirement("MED-02")
@pytest.mark.parametrize("failure_report", ["yes", "partial", "no"])
def test_report_is_missing_when_the_session_ends_before_it(failure_report: str) -> None:
    pair = Pair(bob=SILENT)
    told: list[OutgoingMessage] = []
    message = pair.alice.session.send(b"hi", "text/plain", success_report=True, failure_report=failure_report)
    message.on_report = told.append
    pair.settle()
    assert message.reported is None
    pair.alice.session.close("over")
    assert (message.status, message.reported, message.report_missing, message.comment) == (200, 408, True, "over")
    assert told == [message]


@pytest.mark.requirement("MED-02")
def test_nothing_is_missing_where_the_report_came_or_was_not_asked_for_or_the_message_failed() -> None:
    pair = Pair()
    asked = pair.alice.session.send(b"hi", "text/plain", success_report=True)
    plain = pair.alice.session.send(b"hi", "text/plain")
    pair.settle()
    failed = pair.alice.session.open("text/plain", success_report=True)
    pair.alice.session.close("over")
    assert [(one.status, one.reported, one.report_missing) for one in (asked, plain, failed)] == [
        (200, 200, False),
        (200, None, False),
        (408, None, False),
    ]


@pytest.mark.requirement("MED-02", "SEC-05")
def test_report_is_missing_of_a_message_no_longer_kept() -> None:
    pair = Pair(bob=SILENT)
    first = pair.alice.session.send(b"x", "text/plain", success_report=True)
    for _ in range(MAX_KEPT_MESSAGES):
        assert first.reported is None
        pair.alice.session.send(b"x", "text/plain", success_report=True)
        pair.settle()
    assert (first.reported, first.report_missing) == (408, True)


@pytest.mark.requirement("MED-02")
async def test_who_waits_for_a_report_is_woken_by_the_end() -> None:
    pair = Pair(bob=SILENT)
    message = pair.alice.session.send(b"hi", "text/plain", success_report=True)
    pair.settle()
    waiting = asyncio.ensure_future(reported(message))
    await asyncio.sleep(0)
    assert not waiting.done()
    pair.alice.link.lost("gone")
    assert await waiting == 408


@pytest.mark.requirement("MED-02")
def test_a_hop_makes_no_failure_of_a_missing_report() -> None:
    """The receiver took the message with 200; what its client did with it nobody knows."""
    net, _, alice, bob = joined(bob=leg_options())
    bob.session.options = SessionOptions(collect=10_000_000, auto_report=False)
    handle = alice.session.send(b"x", "a/b", success_report=True)
    net.settle()
    assert handle.status == 200
    net.lose(bob)
    net.settle()
    assert reports_to(alice) == []
