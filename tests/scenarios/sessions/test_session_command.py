"""The operator looks at one-to-one sessions with their media through this server, and ends them (`session`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.sessions.party import Party, described
from tests.scenarios.sessions.sessions import SECONDS, session_of

SETTINGS = {"IM_MEDIA_PATH": "always"}


def of(instance: Instance, user: str, *arguments: str) -> list[dict[str, Any]]:
    """The sessions with a user."""
    found = json.loads(instance.command("session", "list", "--json", *arguments))
    return [one for one in found if address(user) in one["who"]]


@pytest.mark.requirement("PFS-09")
async def test_a_session_is_listed_and_released(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who, since when, how many messages; then both sides hear the operator's text in BYE."""
    alice, bob = new_user(), new_user()
    async with session_of(instance, alice, bob) as (hers, his, _, _):
        await hers.send("one")
        await his.receive()
        await his.send("two")
        await hers.receive()
        (one,) = await asyncio.to_thread(of, instance, alice)
        assert (one["kind"], one["participants"], one["messages"]) == ("one-to-one", 2, 2)
        assert one["who"] == [address(alice), address(bob)]
        shown = json.loads(await asyncio.to_thread(instance.command, "session", "show", one["identity"], "--json"))
        assert [who["status"] for who in shown["who"]] == ["connected", "connected"]
        await asyncio.to_thread(instance.command, "session", "release", one["identity"], "--reason", 'Say "bye"')
        async with asyncio.timeout(SECONDS):
            for ended in (await hers.ended, await his.ended):
                assert 'SIP;cause=200;text="Say \\"bye\\""' in ended
        assert await asyncio.to_thread(of, instance, alice) == []
        assert f"one-to-one session {one['identity']} released by the operator" in instance.worker_log()


@pytest.mark.requirement("PFS-08", "IDN-04")
def test_a_session_that_rings(instance: Instance, new_user: Callable[..., str]) -> None:
    """An anonymous caller is not named unless asked for; the release cancels the invitation and refuses the caller."""
    alice, bob = new_user(), new_user()
    with Party(instance.sip_port, alice) as caller, Party(instance.sip_port, bob) as callee:
        caller.register()
        callee.register()
        call_id = caller.invite(address(bob), described("caller"), "Privacy: id")
        invite = callee.invited()
        callee.answer(invite, 180)
        caller.provisional(180)
        assert of(instance, alice) == []
        (one,) = of(instance, bob)
        assert (one["initiator"], one["participants"], one["invited"]) == ("anonymous", 0, 1)
        assert of(instance, alice, "--reveal")[0]["identity"] == one["identity"]
        instance.command("session", "release", one["identity"])
        callee.answer(callee.heard("CANCEL"), 200)
        callee.answer(invite, 487)
        assert caller.final(call_id).status == 480
        assert of(instance, bob) == []
