"""The worker dies at each step of a deposit, the disk is full, the database is locked, the sender falls silent.

A large message is complete and acknowledged, or absent; and no file is left that belongs to nothing (LRG-04, SEC-06).
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Callable

import pytest

from im_client.deferred import decode
from msrp_worker.msrp import OutgoingMessage, outcome
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.device import Device
from tests.scenarios.delivery.test_killed import kill
from tests.scenarios.evidence import address
from tests.scenarios.large.conftest import Files
from tests.scenarios.large.sender import IMAGE, begin, invite_large, send

SETTINGS = {"IM_USER_RATE": "0", "IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
CONTENT = bytes(index % 251 for index in range(3_000_000))


async def settled(message: OutgoingMessage) -> int:
    """The status of a message, within reason."""
    async with asyncio.timeout(20):
        return await outcome(message)


@pytest.mark.requirement("LRG-04", "SEC-06")
@pytest.mark.parametrize("step", ["invited", "half of it came", "all but the last byte came", "acknowledged", "released"])
async def test_killed_at_a_step_of_a_deposit(
    instance: Instance, new_user: Callable[..., str], files: Files, step: str
) -> None:
    recipient = new_user()
    before = set(files())
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), len(CONTENT))
        part = {"invited": 0, "half of it came": len(CONTENT) // 2, "all but the last byte came": len(CONTENT) - 1}
        if step in part:
            begin(session, len(CONTENT), CONTENT[: part[step]])
            wanted = max(0, part[step] - 1_100_000)  # what is queued on the way is not in the file yet
            await async_until(
                lambda: not part[step] or sum(path.stat().st_size for path in set(files()) - before) >= wanted, "it came"
            )
        else:
            assert await send(session, CONTENT) == 200
        if step == "released":
            await session.close()
        await kill(instance)
        kept = step in ("acknowledged", "released")
        assert len(set(files()) - before) <= 1
        await asyncio.to_thread(instance.deployment.start_worker)
        await async_until(lambda: len(set(files()) - before) == kept, "no file is left without its message")
        assert [entry["size"] for entry in instance.stored(recipient)] == [len(CONTENT)] * kept
    if kept:
        async with Device(instance, recipient) as device:
            await device.register()
            await device.until(lambda: device.ended)
            assert decode(*device.taken[0][0])[0].body == CONTENT


@pytest.mark.requirement("LRG-04", "SEC-06")
async def test_killed_at_any_moment(instance: Instance, new_user: Callable[..., str], files: Files) -> None:
    """Wherever the end of the message and the death of the worker meet: what was acknowledged is there."""
    before = set(files())
    acknowledged: list[str] = []
    recipients = [new_user() for _ in range(8)]

    async def deposit(recipient: str) -> None:
        async with instance.client(new_user()) as client:
            session = await invite_large(client, address(recipient), len(CONTENT))
            if await send(session, CONTENT) == 200:
                acknowledged.append(recipient)

    tasks = [asyncio.create_task(deposit(recipient)) for recipient in recipients]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    await kill(instance)
    sure = set(acknowledged)
    assert sure
    await asyncio.to_thread(instance.deployment.start_worker)
    await asyncio.wait(tasks, timeout=30)
    stored = {one for one in recipients if instance.stored(one)}
    assert sure <= stored
    await async_until(lambda: len(set(files()) - before) == len(stored), "a file for each message and no other")


@pytest.mark.requirement("LRG-04", "SEC-06")
async def test_disk_full(instance: Instance, new_user: Callable[..., str], files: Files) -> None:
    """A clear failure for the sender at once, nothing left; and with room again all is well.

    A limit on the size of the worker's files stands for the full disk: a write beyond it fails as one without room does.
    """
    recipient = new_user()
    before = len(files())
    pid = instance.deployment.worker.pid
    old = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), len(CONTENT))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, old[1]))
        try:
            message = begin(session, len(CONTENT), CONTENT)
            message.finish()
            assert await settled(message) == 413
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, old)
        await async_until(lambda: len(files()) == before, "nothing is left")
        assert not instance.stored(recipient)
        assert "content cannot be written" in instance.worker_log()
        assert await send(session, CONTENT) == 200
        await session.close()
    assert [entry["size"] for entry in instance.stored(recipient)] == [len(CONTENT)]


@pytest.mark.requirement("LRG-04", "SEC-06")
async def test_database_locked(instance: Instance, new_user: Callable[..., str], files: Files) -> None:
    """The content is there, its row cannot be written: the sender is told so, and the file goes."""
    recipient = new_user()
    before = len(files())
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), len(CONTENT))
        other = sqlite3.connect(instance.state_dir / "im.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            assert await asyncio.wait_for(send(session, CONTENT), 20) == 403
        finally:
            other.execute("ROLLBACK")
            other.close()
        await async_until(lambda: len(files()) == before, "nothing is left")
        assert not instance.stored(recipient)
        assert await send(session, CONTENT) == 200
        await session.close()
    assert len(instance.stored(recipient)) == 1


@pytest.mark.requirement("SEC-06", "LRG-04")
async def test_an_orderly_stop(instance: Instance, new_user: Callable[..., str], files: Files) -> None:
    """The sender gets a BYE; what was not complete is gone when the worker is."""
    recipient = new_user()
    before = len(files())
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), len(CONTENT))
        begin(session, len(CONTENT), CONTENT[:1_000_000])
        await async_until(lambda: len(files()) == before + 1, "it has begun")
        await asyncio.to_thread(instance.deployment.worker.stop)
        async with asyncio.timeout(10):
            await session.ended
        assert len(files()) == before
        await asyncio.to_thread(instance.deployment.start_worker)
    assert not instance.stored(recipient)
    async with instance.client(new_user()) as client:
        await client.send_large(address(recipient), CONTENT, content_type=IMAGE)
