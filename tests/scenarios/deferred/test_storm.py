"""5,000 messages at full rate at a user who is away, while the worker is killed three times (DEF-01, SEC-06)."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.health import Whole
from tests.scenarios.traffic import Peer, Reply, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
MESSAGES = 5000
KILLS = 3
IN_FLIGHT = 100


@pytest.mark.requirement("DEF-01", "DEF-02", "SEC-06")
async def test_nothing_acknowledged_is_lost(instance: Instance, new_user: Callable[..., str]) -> None:
    """Every message answered 202 is in the store exactly once; of those answered 503 none is there twice.

    A sender that is refused does what Retry-After says, so that the messages go on coming until all are accepted.
    """
    recipient = new_user()
    replies: dict[str, Reply] = {}
    left = iter(range(MESSAGES))
    accepted = 0
    back = asyncio.Event()
    back.set()

    async def sender(peer: Peer) -> None:
        nonlocal accepted
        for _ in left:
            while True:
                request = im_message("alice", recipient)
                replies[request.call_id] = reply = await peer.ask(request)
                if reply.status == 202:
                    accepted += 1
                    break
                await back.wait()

    with Whole(instance):
        async with await Peer.open(instance.sip_port) as peer:
            senders = [asyncio.create_task(sender(peer)) for _ in range(IN_FLIGHT)]
            for kill in range(1, KILLS + 1):
                await async_until(lambda enough=kill * MESSAGES // 5: accepted > enough, "messages flow")
                back.clear()
                instance.deployment.worker.send(signal.SIGKILL)
                await async_until(lambda: not instance.deployment.worker.running(), "the worker is dead")
                await asyncio.to_thread(instance.deployment.start_worker)
                back.set()
            await asyncio.gather(*senders)
    stored = Counter(entry["call_id"] for entry in instance.stored(recipient))
    acknowledged = {call_id for call_id, reply in replies.items() if reply.status == 202}
    assert len(acknowledged) == MESSAGES
    assert {reply.status for reply in replies.values()} == {202, 503}
    assert acknowledged <= stored.keys()
    assert set(stored.values()) == {1}
    assert stored.keys() <= replies.keys()
    refused_but_stored = stored.keys() - acknowledged
    assert len(refused_but_stored) <= KILLS * IN_FLIGHT  # written when the kill came, before the answer
