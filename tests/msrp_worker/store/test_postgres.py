"""What only PostgreSQL has: a server that other nodes use and that can go away."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.config import Config
from msrp_worker.store import Store, StoreUnavailable, open_store
from msrp_worker.store.database import Statement
from msrp_worker.store.postgres import PostgresDatabase, numbered
from tests.msrp_worker.store.support import NOW, Opener

ALICE = "sip:alice@example.com"


@pytest.fixture(params=["postgresql"])
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1"),
        ("a = ? AND b = ?", "a = $1 AND b = $2"),
        ("a = '?' AND b = ?", "a = '?' AND b = $1"),
        ("a = 'it''s ?' AND b = ? OR c = ?", "a = 'it''s ?' AND b = $1 OR c = $2"),
    ],
)
def test_parameters_are_numbered_outside_of_quotes(sql: str, expected: str) -> None:
    assert numbered(sql) == expected


async def test_an_unreachable_server_is_unavailable() -> None:
    config = Config.load({"IM_DATABASE": "postgresql://im@127.0.0.1:1/none"})
    with pytest.raises(StoreUnavailable):
        await open_store(config)


async def hears(store: Store) -> None:
    async with asyncio.timeout(10):
        while store.database.revision() is None:
            await asyncio.sleep(0.01)


async def test_without_ears_nothing_is_answered_from_memory(opener: Opener) -> None:
    worker, operator = await opener(), await opener()
    await operator.users.add(ALICE, "x")
    await hears(worker)
    await worker.users.facts(ALICE)
    await worker.registrations.is_registered(ALICE, NOW)
    assert isinstance(worker.database, PostgresDatabase)
    rows = await operator.database.read(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'SELECT value FROM revision%'"
    )
    assert rows
    async with asyncio.timeout(10):
        while worker.database.revision() is not None:
            await asyncio.sleep(0.001)
    assert worker.registrations.cached(ALICE, NOW) is None
    await operator.users.set(ALICE, willing=False)
    facts = await worker.users.facts(ALICE)
    assert facts is not None
    assert not facts.willing
    await hears(worker)
    await operator.users.set(ALICE, willing=True)
    async with asyncio.timeout(10):
        while (facts := await worker.users.facts(ALICE)) is None or not facts.willing:
            await asyncio.sleep(0.001)


@pytest.mark.requirement("COR-06")
async def test_a_registration_at_another_node_is_heard_of(opener: Opener) -> None:
    here, there = await opener(), await opener()
    assert not await here.registrations.is_registered(ALICE, NOW)
    for until, expected in ((NOW + 10, True), (NOW - 10, False)):
        await there.registrations.put(ALICE, until)
        async with asyncio.timeout(10):
            while await here.registrations.is_registered(ALICE, NOW) is not expected:
                await asyncio.sleep(0.001)


async def test_two_that_lock_each_other_both_succeed(store: Store) -> None:
    put = "INSERT INTO registration (address, expires_at) VALUES (?, ?)"
    await store.database.write(Statement(put, [(f"a{n}", 0.0) for n in range(2)], many=True))
    change = "UPDATE registration SET expires_at = expires_at + 1 WHERE address = ?"
    pause = Statement("SELECT pg_sleep(0.05)")
    one, two = Statement(change, ("a0",), 1), Statement(change, ("a1",), 1)
    await asyncio.gather(store.database.write(one, pause, two), store.database.write(two, pause, one))
    rows = await store.database.read("SELECT expires_at FROM registration")
    assert [row[0] for row in rows] == [2.0, 2.0]
