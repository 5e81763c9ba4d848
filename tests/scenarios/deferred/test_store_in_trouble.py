"""The database is locked, or the disk is full: refused, nothing acknowledged, and well again by itself (DEF-01)."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.raw import RawTcp
from tests.scenarios.traffic import Peer, ask_all, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
WITHIN = 4.5
"""Seconds: what a suspended request waits at most."""


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_database_locked_by_another_process(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """Messages are refused with 503 and Retry-After while somebody holds the lock; online ones go on; then all is well."""
    online, recipient = new_user(), new_user()
    await peer.register(online)
    for user in (online, recipient):
        assert (await peer.ask(im_message("alice", user))).status in (200, 202)
    other = sqlite3.connect(instance.state_dir / "im.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask_all(peer, [im_message("alice", recipient) for _ in range(20)]))
        while not waiting.done():
            assert (await peer.ask(im_message("alice", online))).status == 200
    replies = waiting.result()
    other.execute("ROLLBACK")
    other.close()
    assert {reply.status for reply in replies.values()} == {503}
    assert all(reply.header("Retry-After") for reply in replies.values())
    assert max(reply.seconds for reply in replies.values()) < WITHIN
    assert len(instance.stored(recipient)) == 1
    assert (await peer.ask(im_message("alice", recipient))).status == 202
    assert [entry["call_id"] in replies for entry in instance.stored(recipient)] == [False, False]
    assert "the store cannot write" in instance.worker_log()


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_a_short_lock_is_waited_for(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """An operator's command that writes for a moment costs nobody a message."""
    recipient = new_user()
    assert (await peer.ask(im_message("alice", recipient))).status == 202
    other = sqlite3.connect(instance.state_dir / "im.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask_all(peer, [im_message("alice", recipient) for _ in range(20)]))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done
        other.execute("ROLLBACK")
        other.close()
    assert {reply.status for reply in waiting.result().values()} == {202}
    assert len(instance.stored(recipient)) == 21


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_disk_full(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """When the file cannot grow, messages are refused with 503 and none of them is kept; room again, messages again.

    A limit on the size of the worker's files stands for the full disk: a write beyond it fails as one without room does.
    """
    recipient = new_user()
    pid = instance.deployment.worker.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    accepted: set[str] = set()
    refused: set[str] = set()
    with RawTcp(instance.sip_port) as tcp:

        def send() -> int:
            request = im_message("alice", recipient, b"x" * 30_000)
            status = int(tcp.ask(request)[8:11])
            (accepted if status == 202 else refused).add(request.call_id)
            return status

        assert send() == 202
        room = max(file.stat().st_size for file in instance.state_dir.glob("im.sqlite*")) + 200_000
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            statuses = [send() for _ in range(40)]
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert set(statuses) == {202, 503}
        assert statuses[-10:] == [503] * 10
        assert {entry["call_id"] for entry in instance.stored(recipient)} == accepted
        await async_until(lambda: send() == 202, "messages are taken again")
    kept = instance.stored(recipient)
    assert {entry["call_id"] for entry in kept} == accepted
    assert len(kept) == len(accepted)
    assert instance.stored_bytes(recipient, kept[-1]["message_id"]).endswith(b"\r\n\r\n" + b"x" * 30_000)
    assert "the store cannot write" in instance.worker_log()
