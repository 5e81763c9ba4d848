"""The operator looks at the sessions of the focus, and ends one: `session list|show|release` beside a running worker."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.conference.conference import PATIENCE, address, all_in, new_users, over, text_of
from tests.scenarios.conference.groups import new_group
from tests.scenarios.conference.signalling import agents, begin_session, ring
from tests.scenarios.conference.watching import Watch


async def session(instance: Instance, *arguments: str) -> str:
    """A `session` command that succeeds, beside the running clients."""
    return await asyncio.to_thread(instance.command, "session", *arguments)


async def listed(instance: Instance, identity: str, *arguments: str) -> dict[str, Any]:
    """What the list says of one session; nothing when it is not there."""
    found = json.loads(await session(instance, "list", "--json", *arguments))
    return next((one for one in found if one["identity"] == identity), {})


def failing(instance: Instance, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A `session` command, however it ends."""
    return instance.deployment.command("session", *arguments)


@pytest.mark.requirement("CNF-29", "CES-06")
async def test_a_conference_is_listed_and_released(instance: Instance, new_user: Callable[..., str]) -> None:
    """BYE with the operator's text to all, a last NOTIFY, a line in the log; afterwards it is unknown."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        identity = hers.peer.identity
        before = (await listed(instance, identity))["messages"]
        await hers.send("hello")
        assert await text_of(his) == await text_of(third) == "hello"
        one = await listed(instance, identity)
        assert (one["kind"], one["participants"], one["invited"]) == ("conference", 3, 0)
        assert (one["messages"], one["initiator"]) == (before + 1, address(alice.name))
        assert set(one["who"]) == {address(user.name) for user in (alice, bob, carol)}
        assert one["idle"] < 10
        shown = json.loads(await session(instance, "show", identity, "--json"))
        assert [(who["address"], who["status"]) for who in shown["who"]] == [
            (address(user.name), "connected") for user in (alice, bob, carol)
        ]
        async with Watch(bob, identity) as watch:
            await watch.until(**{user.name: "connected" for user in (alice, bob, carol)})
            await session(instance, "release", identity, "--reason", "Maintenance until ten")
            for one_of in (hers, his, third):
                assert 'SIP;cause=200;text="Maintenance until ten"' in await over(one_of)
            async with asyncio.timeout(PATIENCE):
                assert "noresource" in await watch.subscriber.ended
        assert f"CNF-29 conference session {identity} released by the operator: Maintenance" in instance.worker_log()
        assert not await listed(instance, identity)
        again = await asyncio.to_thread(failing, instance, "release", identity)
        assert (again.returncode, b"no session" in again.stderr) == (1, True)


@pytest.mark.requirement("CNF-29", "CNF-30", "CNF-17")
async def test_a_group_is_released_by_its_address(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who still rings hears CANCEL; the next INVITE to the group begins anew."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.accepts = False
        group = new_group(instance, [user.name for user in (alice, bob, carol)])
        hers = await alice.join(group)
        his, ringing = await bob.joined(), await carol.invited()
        one = await listed(instance, hers.peer.identity)
        assert (one["kind"], one["group"], one["participants"], one["invited"]) == ("group", group, 2, 1)
        await session(instance, "release", group)
        assert "Released by the operator" in await over(hers)
        assert "Released by the operator" in await over(his)
        async with asyncio.timeout(10):
            await ringing.call.cancelled.wait()
        carol.accepts = True
        again = await alice.join(group)
        assert again.peer.identity != hers.peer.identity
        await session(instance, "release", group)
        await over(again)


@pytest.mark.requirement("IDN-04", "IDN-08")
async def test_an_anonymous_participant_is_named_on_request(instance: Instance, new_user: Callable[..., str]) -> None:
    """The list has what the others see, until the operator asks for more; that is logged."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        hers = await alice.create([bob.name], anonymous=True)
        await bob.joined()
        identity = hers.peer.identity
        for text in (await session(instance, "list"), await session(instance, "show", identity)):
            assert identity in text
            assert alice.name not in text
        assert (await listed(instance, identity, "--reveal"))["initiator"] == address(alice.name)
        shown = json.loads(await session(instance, "show", identity, "--reveal", "--json"))
        assert shown["who"][0]["address"] == address(alice.name)
        assert shown["who"][0]["shown_as"].endswith("anonymous.invalid")
        assert f"IDN-04 the operator has {identity} shown" in instance.worker_log()
        await session(instance, "release", identity)
        await over(hers)


@pytest.mark.requirement("CNF-29", "CNF-08")
def test_release_before_anybody_has_answered(instance: Instance, new_user: Callable[..., str]) -> None:
    """The initiator's INVITE gets a failure; the invitation is taken back."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])])
        invite = bob.receive("INVITE")
        ring(bob, invite)
        (one,) = [
            one
            for one in json.loads(instance.command("session", "list", "--json"))
            if one["initiator"] == address(names[0])
        ]
        assert (one["participants"], one["invited"]) == (0, 1)
        instance.command("session", "release", one["identity"])
        assert alice.final(call_id).status == 480
        assert bob.receive("CANCEL").value("Call-ID") == invite.value("Call-ID")


@pytest.mark.requirement("SEC-06")
async def test_without_a_worker(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The operator hears what to do; the worker that comes back has no sessions."""
    with instance_with(tmp_path_factory.mktemp("away")) as instance:
        assert json.loads(await session(instance, "list", "--json")) == []
        instance.deployment.worker.kill()
        for arguments in (("list",), ("release", "x")):
            process = await asyncio.to_thread(failing, instance, *arguments)
            assert (process.returncode, b"no worker runs here" in process.stderr) == (1, True)
        instance.deployment.start_worker()
        await async_until(lambda: failing(instance, "list").returncode == 0, "the worker is back")
