"""A full store says so, and keeps what it has (DEF-11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.traffic import Peer, Reply, ask_all, im_message

COUNT = 5
BYTES = 4000
SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.1",
    "IM_USER_RATE": "0",
    "IM_DEFERRED_MAX_MESSAGES": str(COUNT),
    "IM_DEFERRED_MAX_BYTES": str(BYTES),
}


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


def is_clear_refusal(reply: Reply) -> bool:
    warning = '399 example.com "Recipient\'s message store is full"'
    return (reply.status, reply.header("Warning")) == (480, warning)


@pytest.mark.requirement("DEF-11")
async def test_number_of_messages(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """The sixth of five is refused with a Warning, in both logs and in the trace; room made is room again."""
    recipient, other = new_user(), new_user()
    for _ in range(COUNT):
        assert (await peer.ask(im_message("alice", recipient))).status == 202
    kept = instance.stored(recipient)
    refused = im_message("alice", recipient)
    assert is_clear_refusal(await peer.ask(refused))
    assert instance.stored(recipient) == kept
    line = f"IM refused 480 DEF-11 MESSAGE Call-ID={refused.call_id} originator=sip:alice@example.com"
    assert line in instance.kamailio_log()
    assert f"DEF-11 Call-ID {refused.call_id} not stored" in instance.worker_log()
    assert (await peer.ask(im_message("alice", other))).status == 202, "another user has room"
    instance.command("deferred", "delete", recipient, kept[0]["message_id"])
    assert (await peer.ask(im_message("alice", recipient))).status == 202
    assert is_clear_refusal(await peer.ask(im_message("alice", recipient)))
    assert len(instance.stored(recipient)) == COUNT


@pytest.mark.requirement("DEF-11")
async def test_number_of_bytes(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """What does not fit is refused, what fits is still taken, the sum never exceeds the limit."""
    recipient = new_user()
    taken = 0
    for size, fits in ((1000, True), (1000, True), (1000, False), (10, True), (700, False)):
        reply = await peer.ask(im_message("alice", recipient, b"x" * size))
        assert reply.status == 202 if fits else is_clear_refusal(reply), size
        taken += fits
    entries = instance.stored(recipient)
    assert len(entries) == taken
    assert sum(entry["size"] for entry in entries) <= BYTES


@pytest.mark.requirement("DEF-11", "DEF-01")
async def test_many_at_once(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """200 messages at the same moment for room for five: five are accepted, all others refused, none is lost."""
    recipient = new_user()
    replies = await ask_all(peer, [im_message("alice", recipient) for _ in range(200)])
    accepted = {call_id for call_id, reply in replies.items() if reply.status == 202}
    assert {entry["call_id"] for entry in instance.stored(recipient)} == accepted
    assert len(accepted) == COUNT
    assert all(is_clear_refusal(reply) for reply in replies.values() if reply.status != 202)
