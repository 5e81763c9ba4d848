"""The focus of this server with `IM_MEDIA_PATH=always`: its switch has the media, so no B2BUA comes between (PFS-02)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import new_users
from tests.scenarios.conference.watching import Watch

SETTINGS = {"IM_MEDIA_PATH": "always"}


@pytest.mark.requirement("PFS-02", "HDR-03")
async def test_an_invited_user_meets_the_focus_itself(instance: Instance, new_user: Callable[..., str]) -> None:
    """Messages and SUBSCRIBE of an invited user, by the session identity that all know."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        assert his.peer.focus
        assert his.peer.identity == hers.peer.identity
        await his.send("hello", success_report=True)
        assert (await hers.receive()).text == "hello"
        async with Watch(bob, his.peer.identity) as watch:
            await watch.until(**{user.name: "connected" for user in (alice, bob, carol)})
            assert (await third.receive()).text == "hello"
            await third.send("me too", success_report=True)
            assert (await his.receive()).text == "me too"
        await his.close()
