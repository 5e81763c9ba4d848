"""A recipient that answers 200 and never connects: the session ends on both sides."""

from __future__ import annotations

import asyncio

import pytest

from tests.msrp_worker.participating.bridge import bridge
from tests.msrp_worker.sip.sip_text import header


@pytest.mark.requirement("PFS-09", "MED-03", "SEC-02")
async def test_bye_on_both_legs() -> None:
    async with bridge(peer_seconds=0.05) as made:
        await made.stand()
        legs = {made.caller.leg[0], made.callee.leg[0]}

        def byes() -> list[str]:
            return [header(one, "Call-ID") for one in made.port.requests() if one.method == "BYE"]

        async with asyncio.timeout(5):
            while len(byes()) < 2:
                await asyncio.sleep(0.001)
        assert set(byes()) == legs
        assert made.endpoint.registry.counters.never_came >= 1
