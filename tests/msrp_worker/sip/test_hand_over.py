"""A leg changes hands before it is answered: another owner, another Contact (PFS-16)."""

from __future__ import annotations

import pytest

from msrp_worker.sip.leg_types import Accept, Cause, Confirmed, Ended, Refuse
from msrp_worker.sip.port import AckReceived, RequestReceived
from tests.msrp_worker.sip.fakes import FakeOwner, settle
from tests.msrp_worker.sip.sip_text import ANSWER, request
from tests.msrp_worker.sip.test_shell import Bench

AUTOMATON = "<sip:im-leg-7@192.0.2.9:5060>;automata"


@pytest.mark.requirement("PFS-16", "LRG-04")
async def test_the_new_owner_answers_and_hears_the_rest() -> None:
    bench = Bench()
    leg_id = await bench.take()
    other = FakeOwner()
    assert bench.manager.hand_over(leg_id, other, AUTOMATON)
    bench.manager.order(leg_id, Accept(sdp=ANSWER))
    await settle()
    answer = bench.port.replies()[-1]
    assert (answer.status, dict(answer.headers)["Contact"]) == (200, AUTOMATON)
    bench.manager.handle(AckReceived(request("ACK", 1, to_tag=leg_id[1])))
    bench.manager.handle(RequestReceived((2, 2), request("BYE", 2, to_tag=leg_id[1])))
    await settle()
    assert [type(event) for event in other.heard] == [Confirmed, Ended]
    last = other.heard[-1]
    assert isinstance(last, Ended) and last.cause is Cause.BYE and last.message is not None
    assert bench.owner.heard == []


@pytest.mark.requirement("PFS-16")
async def test_a_leg_that_is_gone_cannot_be_handed_over() -> None:
    bench = Bench()
    leg_id = await bench.take()
    bench.manager.order(leg_id, Refuse(status=480, reason="Temporarily Unavailable"))
    await settle()
    assert not bench.manager.hand_over(leg_id, FakeOwner(), AUTOMATON)
    assert not bench.manager.hand_over(("no", "leg"), FakeOwner(), AUTOMATON)
