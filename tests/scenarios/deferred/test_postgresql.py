"""The same service on PostgreSQL: Kamailio's modules and the worker share one database there (DEF-01, COR-07)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest

from msrp_worker.msrp import outcome
from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.cluster import Cluster, new_database, temporary_cluster
from tests.scenarios.health import Whole
from tests.scenarios.large.sender import begin, invite_large, send

EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    settings = {"IM_DATABASE": asyncio.run(new_database(cluster.port))}
    with instance_with(tmp_path_factory.mktemp("postgresql"), settings) as running:
        yield running


@pytest.mark.requirement("COR-07", "PAG-05", "IDN-02", "COR-04")
async def test_register_and_exchange(instance: Instance, new_user: Callable[..., str]) -> None:
    """Digest credentials, bindings with their feature tags, and who has the service, all from PostgreSQL."""
    one, other, without = new_user(), new_user(), new_user(im_service="no")
    async with instance.client(one) as sender, instance.client(other) as receiver:
        assert (await sender.register()).status == 200
        await receiver.register()
        assert (await sender.send(f"sip:{other}@example.com", EVERY_BYTE)).status == 200
        message = await receiver.next_message()
        assert (message.body, message.sender) == (EVERY_BYTE, f"sip:{one}@example.com")
        assert (await receiver.send(f"sip:{one}@example.com", b"back")).status == 200
        assert (await sender.next_message()).body == b"back"
        assert (await sender.send(f"sip:{without}@example.com", b"not served")).status == 404
    async with instance.client(one, password="wrong") as intruder:
        assert (await intruder.send(f"sip:{other}@example.com", b"no")).status in (401, 407)


@pytest.mark.requirement("DEF-01", "DEF-02", "PAG-08", "DEF-09")
async def test_deferred(instance: Instance, new_user: Callable[..., str]) -> None:
    """Durable before the 202, byte for byte, in order, deletable."""
    one, absent = new_user(), new_user()
    async with instance.client(one, transport="tcp") as sender:
        for number in range(3):
            body = bytes([number]) + EVERY_BYTE * 40
            assert (await sender.send(f"sip:{absent}@example.com", body)).status == 202
        instance.deployment.worker.send(signal.SIGKILL)
        await async_until(lambda: not instance.deployment.worker.running(), "the worker is dead")
        assert (await sender.send(f"sip:{absent}@example.com", b"refused")).status == 503
        await asyncio.to_thread(instance.deployment.start_worker)
        entries = instance.stored(absent)
        kept = [instance.stored_bytes(absent, entry["message_id"]) for entry in entries]
        assert [message.rpartition(b"\r\n\r\n")[2] for message in kept] == [bytes([n]) + EVERY_BYTE * 40 for n in range(3)]
        instance.command("deferred", "delete", absent, *(entry["message_id"] for entry in entries[:2]))
        assert [entry["message_id"] for entry in instance.stored(absent)] == [entries[2]["message_id"]]
    assert [step["kind"] for step in instance.trace(entries[0]["call_id"])][-2:] == ["deferred", "deleted"]


@pytest.mark.requirement("LRG-04", "SEC-06", "DEF-05")
async def test_large_messages(instance: Instance, new_user: Callable[..., str], cluster: Cluster) -> None:
    """Kept and fetched; and when the server dies under the last byte, the sender is told and no file stays."""
    one, absent = new_user(), new_user()
    content = EVERY_BYTE * 2_000
    directory = instance.state_dir / "content"
    async with instance.client(one) as sender:
        session = await invite_large(sender, f"sip:{absent}@example.com", len(content))
        begun = begin(session, len(content), content[:-1])
        await async_until(lambda: list(directory.glob("*")), "it has begun")
        await asyncio.to_thread(cluster.stop)
        begun.write(content[-1:])
        begun.finish()
        assert await asyncio.wait_for(outcome(begun), 30) == 403
        await asyncio.to_thread(cluster.start)
        await async_until(lambda: not list(directory.glob("*")), "nothing is left of what was not stored")
        assert await send(session, content) == 200
        await session.close()
    assert [entry["size"] for entry in instance.stored(absent)] == [len(content)]
    async with instance.client(absent) as client:
        assert [found.body for found in await client.deferred_get()] == [content]
    await async_until(lambda: not list(directory.glob("*")) and not instance.stored(absent), "nothing is left")


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_database_server_dies(instance: Instance, new_user: Callable[..., str], cluster: Cluster) -> None:
    """Without it nothing is accepted, and Kamailio stays whole; with it all goes on without a restart.

    Kamailio reads digest credentials from the same server: it cannot tell who sends, and challenges again.
    """
    one, absent = new_user(), new_user()
    async with instance.client(one) as sender:
        await sender.register()
        assert (await sender.send(f"sip:{absent}@example.com", b"before")).status == 202
        with Whole(instance):
            await asyncio.to_thread(cluster.stop)
            refused = await sender.send(f"sip:{absent}@example.com", b"meanwhile")
            assert refused.status in (407, 503)
            await asyncio.to_thread(cluster.start)
            await accepted(sender, f"sip:{absent}@example.com")
    bodies = [instance.stored_bytes(absent, entry["message_id"]).rpartition(b"\n")[2] for entry in instance.stored(absent)]
    assert bodies == [b"before", b"after"]


async def accepted(sender: object, to: str) -> None:
    """Send until it is accepted."""
    send = sender.send  # type: ignore[attr-defined]
    async with asyncio.timeout(15):
        while (await send(to, b"after")).status != 202:
            pass
