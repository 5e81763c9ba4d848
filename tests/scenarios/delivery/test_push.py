"""Deferred messages are pushed when their recipient is there again: in order, whole, once (COR-09, DEF-03 to DEF-06)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from im_client.client import ImClient
from im_client.deferred import DeferredMessage
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.traffic import Peer, address, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0", "IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
EVERY_BYTE = bytes(range(256))


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


async def store(peer: Peer, recipient: str, count: int, **values: object) -> list[str]:
    """Messages for a user who is away; their Call-IDs."""
    requests = [im_message("alice", recipient, b"%d " % number + EVERY_BYTE) for number in range(count)]
    for request in requests:
        assert (await peer.ask(request)).status == 202
    return [request.call_id for request in requests]


async def pushed(client: ImClient, count: int, seconds: float = 15.0) -> list[DeferredMessage]:
    """The next messages pushed to a client."""
    async with asyncio.timeout(seconds):
        return [await client.messaging.pushed.get() for _ in range(count)]


@pytest.mark.requirement("COR-09", "DEF-03", "DEF-04", "DEF-05", "DEF-02")
async def test_registration_brings_what_waited(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    recipient = new_user()
    call_ids = await store(peer, recipient, 5)
    async with instance.client(recipient) as client:
        await client.register()
        found = await pushed(client, 5)
        assert [message.call_id for message in found] == call_ids
        assert [message.body for message in found] == [b"%d " % number + EVERY_BYTE for number in range(5)]
        assert {message.headers["P-Asserted-Identity"] for message in found} == {f"<{address('alice')}>"}
        assert all(message.stored is not None for message in found)
        await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")
        kinds = [step["kind"] for step in instance.trace(call_ids[0])]
        assert kinds == ["received", "deferred", "delivered"]
        assert client.messaging.pushed.empty()
