"""Ad-hoc sessions: set up with a list, answered, used, left and released (7.2.1.2, 7.2.1.11, 7.2.2.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import all_in, new_users, over, text_of


@pytest.mark.requirement("CNF-03", "CNF-06", "CNF-07", "CNF-09", "CNF-26", "CNF-27", "CNF-29", "CNF-34", "HDR-03", "MED-08")
async def test_three_talk_and_leave(instance: Instance, new_user: Callable[..., str]) -> None:
    """Everybody gets what the others write; one leaves, the session goes on; the last but one leaves, it is released."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        assert hers.peer.focus and hers.peer.identity.startswith("sip:im-session-")
        assert his.peer.identity == third.peer.identity == hers.peer.identity
        await all_in(hers, his, third)
        await hers.send("hello all")
        assert [await text_of(his), await text_of(third)] == ["hello all", "hello all"]
        await his.send("hi")
        assert [await text_of(hers), await text_of(third)] == ["hi", "hi"]
        await his.close()
        await hers.send("he is gone")
        assert await text_of(third) == "he is gone"
        await third.close()
        assert "410" in await over(hers)  # CNF-29


@pytest.mark.requirement("CNF-29", "CNF-26")
async def test_the_initiator_leaves(instance: Instance, new_user: Callable[..., str]) -> None:
    """An ad-hoc session ends with its initiator."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        await hers.close()
        await asyncio.gather(over(his), over(third))
