"""Interoperability: our endpoints through Kamailio's own MSRP relay (RFC 4976), on real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from msrp_worker.msrp import outcome, reported
from msrp_worker.msrp.relay import RelayError
from tests.scenarios.msrp.relay_user import User

pytestmark = pytest.mark.scenario

SECONDS = 10.0
"""Longest wait for the other process."""


@pytest.fixture
async def users(relay: int) -> AsyncIterator[tuple[User, User]]:
    """Alice and Bob, both reached through the relay."""
    alice, bob = User("alice", 2_048), User("bob", 10_240)
    await alice.log_in(relay)
    await bob.log_in(relay)
    alice.know(bob.path.advertised)
    bob.know(alice.path.advertised)
    yield alice, bob
    await alice.endpoint.stop()
    await bob.endpoint.stop()


@pytest.mark.requirement("MED-06")
async def test_log_in_gives_a_path_through_the_relay(users: tuple[User, User], relay: int) -> None:
    alice, _ = users
    outer, own = alice.path.advertised
    assert (outer.host, outer.port) == ("127.0.0.1", relay)
    assert own == alice.session.local
    assert alice.path.expires is not None


@pytest.mark.requirement("MED-06", "MED-01", "MED-02")
@pytest.mark.parametrize("size", [0, 5, 100_000])
async def test_messages_pass_both_ways_with_their_reports(users: tuple[User, User], size: int) -> None:
    alice, bob = users
    alice.session.greet()
    bob.session.greet()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with asyncio.timeout(SECONDS):
        for sender, receiver in ((alice, bob), (bob, alice)):
            message = sender.session.send(body, "application/octet-stream", success_report=True)
            assert await receiver.receive() == body
            assert await outcome(message) == 200
            assert await reported(message) == 200


@pytest.mark.requirement("MED-06")
async def test_wrong_password(relay: int) -> None:
    mallory = User("mallory", 0)
    with pytest.raises(RelayError) as caught:
        await mallory.log_in(relay, "guessed")
    assert caught.value.code == 401
    await mallory.endpoint.stop()
