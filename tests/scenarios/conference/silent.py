"""A participant of a conference that does not refresh its session, with what becomes of it and of the others.

It takes the minute that the smallest session interval leaves (RFC 4028 section 4): a scenario that waits as long anyway
runs it beside.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from im_client.session_timer import SessionTimer
from tests.scenarios.bed import instance_with
from tests.scenarios.conference.conference import all_in, text_of, users
from tests.scenarios.conference.watching import Watch

INTERVAL = 90


async def one_does_not_refresh(directory: Path, seconds: float) -> None:
    """On an instance of its own: BYE after at most `seconds`, and the subscribers are told that the user has left; the
    others talk on, and the one may come back."""
    with instance_with(directory) as instance:
        async with (
            users(instance, ["alice", "carol"]) as (alice, carol),
            users(instance, ["bob"], session_expires=INTERVAL) as (bob,),
        ):
            hers = await alice.create(["bob", "carol"])
            first, third = await bob.joined(), await carol.joined()
            identity = hers.peer.identity
            await first.close()
            his = await bob.join(identity)
            assert his.session.timer.interval == INTERVAL
            his.session.timer = SessionTimer()  # it forgets
            await all_in(hers, his, third)
            async with Watch(carol, identity) as watch:
                await watch.until(alice="connected", bob="connected", carol="connected")
                async with asyncio.timeout(seconds):
                    assert "cause=408" in await his.ended
                await watch.until(alice="connected", carol="connected")
                assert watch.status("bob") == "disconnected"
            await hers.send("the two of us")
            assert await text_of(third) == "the two of us"
            again = await bob.join(identity)
            await again.send("back")
            assert await text_of(hers) == "back"
