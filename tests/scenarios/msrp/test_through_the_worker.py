"""Clients behind a relay in sessions through the worker: paths of several hops in SDP and MSRP (MED-06, RFC 4976)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from msrp_worker.msrp import format_path, outcome, parse_path, reported
from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import Party, attribute, description, hang_up, idle, talk, two_parties
from tests.scenarios.msrp.relay_user import User

SETTINGS = {"IM_MEDIA_PATH": "always"}
SECONDS = 15.0
NewUser = Callable[..., str]


def describe(user: User, relay: int, setup: str) -> bytes:
    """The description of a user behind the relay: its path begins there, and c= and m= name it too."""
    return description(format_path(user.path.advertised), relay, setup=setup)


async def join(user: User, party: Party, *, active: bool) -> None:
    """Take the worker's path; the first SEND goes through the relay."""
    user.know(parse_path(party.server))
    if active:
        user.session.greet()


async def exchange(alice: User, bob: User) -> None:
    """Messages in one piece and in many, both ways, with success reports of the other end."""
    async with asyncio.timeout(SECONDS):
        for sender, receiver in ((alice, bob), (bob, alice)):
            for body in (b"hello", bytes(range(256)) * 400):
                message = sender.session.send(body, "application/octet-stream", success_report=True)
                assert await receiver.receive() == body
                assert await outcome(message) == 200
                assert await reported(message) == 200


@pytest.mark.requirement("MED-06", "MED-05", "MED-02")
@pytest.mark.parametrize("behind", ["caller", "callee", "both"])
async def test_behind_a_relay(instance: Instance, new_user: NewUser, relay: int, behind: str) -> None:
    """The worker waits for the relay's connection where the client is active, and connects to the relay where it is not."""
    alice, bob = User("alice", 2_048), User("bob", 10_240)
    for user, name in ((alice, "caller"), (bob, "callee")):
        if behind in (name, "both"):
            await user.log_in(relay)
        else:
            await user.start()
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        offer = describe(alice, relay, "") if behind != "callee" else alice.describe("")
        answer = describe(bob, relay, "passive") if behind != "caller" else bob.describe("passive")
        invite, response = await asyncio.to_thread(talk, caller, callee, offer, answer)
        for message in (invite, response):
            assert len(attribute(message.body, "path").split()) == 1  # the worker has no relay of its own
        if behind == "callee":
            alice.session.set_remote(parse_path(caller.server))
            await alice.endpoint.connect(alice.session)
        else:
            await join(alice, caller, active=True)
        if behind == "caller":
            bob.session.set_remote(parse_path(callee.server))
        else:
            await join(bob, callee, active=False)
        await exchange(alice, bob)
        await asyncio.to_thread(hang_up, caller, callee)
    for user in (alice, bob):
        await user.endpoint.stop()
    await asyncio.to_thread(idle, instance)


@pytest.mark.requirement("MED-06", "PFS-09", "MED-02")
async def test_a_relay_that_does_not_know_the_callee(instance: Instance, new_user: NewUser, relay: int) -> None:
    """The path leads to the relay, which answers 481 for who is not there: the sender is told."""
    alice = User("alice", 2_048)
    await alice.start()
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        path = f"msrp://127.0.0.1:{relay}/nobody;tcp msrp://127.0.0.1:9/gone;tcp"
        await asyncio.to_thread(talk, caller, callee, alice.describe(""), description(path, relay, setup="passive"))
        alice.session.set_remote(parse_path(caller.server))
        await alice.endpoint.connect(alice.session)
        async with asyncio.timeout(SECONDS):
            message = alice.session.send(b"hello", "text/plain", success_report=True)
            assert await reported(message) != 200
        await asyncio.to_thread(caller.agent.quiet, 0.1)
    await alice.endpoint.stop()
