"""A large message that nobody took goes to the store on the sender's own leg; every other failure goes back (PFS-16)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kemi.messages import INACCESSIBLE
from msrp_worker.sip.leg_types import LegId, Refuse
from tests.msrp_worker.participating.bridge import FIRST, Bridge, bridge, described


@pytest.fixture
async def made() -> AsyncIterator[Bridge]:
    async with bridge() as one:
        yield one


@pytest.mark.requirement("PFS-16", "PFS-04", "LRG-04")
@pytest.mark.parametrize("line", ["sendonly", "sendrecv"])
@pytest.mark.parametrize("status", [408, 480, 503, 486, 603, 404])
async def test_which_failures_are_deferred(made: Bridge, status: int, line: str) -> None:
    await made.invite(described("alice", line))
    given: list[tuple[LegId, Refuse]] = []
    made.session.defer = lambda leg, failure: given.append((leg, failure))
    await made.callee.respond(status, lines=(("Warning", '399 x "why"'),))
    if line == "sendonly" and status in INACCESSIBLE:
        ((leg, failure),) = given
        assert made.manager.find(leg) is not None, "it waits for its answer"
        assert (failure.status, failure.headers) == (status, (("Warning", '399 x "why"'),))
        assert [one for one in made.port.replies() if one.transaction == FIRST] == []
    else:
        assert given == []
        assert [one.status for one in made.port.replies() if one.transaction == FIRST] == [status]
    assert made.ended == [made.session]
