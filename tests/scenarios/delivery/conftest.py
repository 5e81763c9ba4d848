"""What scenarios of deliveries share: who sends, and what waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.traffic import Peer, im_message

EVERY_BYTE = bytes(range(256))
Store = Callable[..., Awaitable[list[str]]]
"""`await store(recipient, count, headers…)`: messages for a user who is away; their Call-IDs."""


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port, "127.0.0.9") as peer:
        yield peer


@pytest.fixture
def store(peer: Peer) -> Store:
    async def keep(recipient: str, count: int, *headers: str, sender: str = "alice") -> list[str]:
        requests = [im_message(sender, recipient, b"%d " % number + EVERY_BYTE, *headers) for number in range(count)]
        for request in requests:
            assert (await peer.ask(request)).status == 202
        return [request.call_id for request in requests]

    return keep
