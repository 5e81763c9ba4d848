"""What only SQLite has: one file, one writer, a disk that fills up, a process that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msrp_worker.config import Config
from msrp_worker.store import (
    NewDeferred,
    Store,
    StoreBusy,
    StoreUnavailable,
    deferred,
    open_store,
    prepare_store,
    sqlite,
)
from msrp_worker.store.sqlite import SQLiteDatabase

ALICE = "sip:alice@example.com"


def message(number: int, recipient: str = ALICE, content: bytes = b"hello") -> NewDeferred:
    return NewDeferred(
        recipient=recipient,
        originator="sip:bob@example.com",
        call_id=f"call-{number}",
        cseq=1,
        from_tag="tag",
        message=content,
        received=time.time(),
    )


@pytest.fixture
async def config(tmp_path: Path) -> Config:
    config = Config.load({"IM_STATE_DIR": str(tmp_path)})
    await prepare_store(config)
    return config


@pytest.fixture
def other(config: Config) -> Iterator[sqlite3.Connection]:
    """Another process that has the file open."""
    connection = sqlite3.connect(config.state_dir / "im.sqlite", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.requirement("DEF-01")
@pytest.mark.parametrize("acknowledged_before_death", [1, 300])
async def test_a_killed_process_loses_nothing_it_acknowledged(config: Config, acknowledged_before_death: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("writer.py")), str(config.state_dir)]
    environ = {**os.environ, "PYTHONPATH": str(Path(sqlite.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged_before_death)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    acknowledged = dict(line.decode().split() for line in lines if line.endswith(b"\n"))
    assert len(acknowledged) >= acknowledged_before_death

    store = await open_store(config)
    for number, message_id in acknowledged.items():
        stored = await store.deferred.get(ALICE, message_id)
        assert stored is not None
        assert (stored.call_id, stored.message) == (f"call-{number}", number.encode())
    for number, message_id in list(acknowledged.items())[:50]:  # the sender did not hear us and repeats
        again = message(int(number), content=number.encode())
        assert await store.deferred.add(again) == message_id
    ((rows, calls, size),) = await store.database.read("SELECT COUNT(*), COUNT(DISTINCT call_id), SUM(size) FROM deferred")
    assert rows == calls  # each exactly once, also those that were not acknowledged any more
    usage = await store.deferred.usage(ALICE)
    assert (usage.messages, usage.bytes) == (rows, size)
    ((traced,),) = await store.database.read("SELECT COUNT(*) FROM trace WHERE kind = 'deferred'")
    assert traced == rows
    await store.close()


@pytest.mark.requirement("DEF-11")
async def test_a_full_disk_is_an_error_and_the_writer_goes_on(config: Config) -> None:
    database = await SQLiteDatabase.open(config.state_dir / "im.sqlite", max_page_count=100)
    store = Store(database, config)
    stored: list[str] = []
    with pytest.raises(StoreUnavailable, match="full"):
        for number in range(200):
            stored.append(await store.deferred.add(message(number, content=b"x" * 8000)))
    outcomes = await asyncio.gather(
        *(store.deferred.add(message(500 + n, content=b"x" * 8000)) for n in range(10)),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert [entry.message_id for entry in await store.deferred.list(ALICE, limit=1000)] == stored
    assert await store.deferred.delete(ALICE, stored[:5]) == 5
    await store.deferred.add(message(1000))
    assert (await store.deferred.usage(ALICE)).messages == len(stored) - 4
    await store.close()


async def test_a_locked_file_is_an_error_and_the_writer_goes_on(
    config: Config, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.02)
    store = await open_store(config)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.deferred.add(message(1))
    other.execute("ROLLBACK")
    await store.deferred.add(message(1))
    await store.close()


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_what_has_waited_too_long_is_not_stored_behind_the_back_of_its_sender(
    config: Config, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_WAIT_S", 0.05)
    store = await open_store(config)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.deferred.add(message(1)))
    await asyncio.wait([waiting], timeout=0.1)
    other.execute("ROLLBACK")
    with pytest.raises(StoreBusy):
        await waiting
    await store.deferred.add(message(2))
    assert [entry.call_id for entry in await store.deferred.list(ALICE)] == ["call-2"]
    await store.close()


async def test_too_much_that_waits_is_refused_at_once(
    config: Config, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_PENDING_UNITS", 3)
    store = await open_store(config)
    other.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.create_task(store.deferred.add(message(n))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy):
        await store.deferred.add(message(4))
    other.execute("ROLLBACK")
    await asyncio.gather(*waiting)
    await store.deferred.add(message(4))
    assert (await store.deferred.usage(ALICE)).messages == 4
    await store.close()


async def test_units_that_wait_share_a_commit(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_store(config)
    assert isinstance(store.database, SQLiteDatabase)
    batches: list[int] = []
    commit = store.database._commit

    def counting(batch: list[object]) -> object:
        batches.append(len(batch))
        return commit(batch)

    monkeypatch.setattr(store.database, "_commit", counting)
    await asyncio.gather(*(store.deferred.add(message(n)) for n in range(200)))
    assert sum(batches) == 200
    assert len(batches) < 100
    await store.close()


async def test_commits_are_synced(config: Config) -> None:
    connection = sqlite.connect(config.state_dir / "im.sqlite")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_change_with_the_bare_file_is_seen_on_the_next_request(config: Config, other: sqlite3.Connection) -> None:
    store = await open_store(config)
    await store.users.add(ALICE, "x")
    await store.users.facts(ALICE)
    other.execute("BEGIN")
    other.execute("UPDATE users SET im_allowed = 0")
    other.execute("UPDATE revision SET value = value + 1")
    other.execute("COMMIT")
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert not facts.im_allowed
    await store.close()


def steps(connection: sqlite3.Connection, sql: str, parameters: tuple[object, ...]) -> int:
    """Steps of SQLite's virtual machine for a statement, in a transaction that is rolled back."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    connection.execute("BEGIN")
    connection.set_progress_handler(one, 1)
    connection.execute(sql, parameters).fetchall()
    connection.set_progress_handler(None, 0)
    connection.execute("ROLLBACK")
    return count


@pytest.mark.requirement("DEF-02", "DEF-05")
async def test_ten_thousand_messages_cost_the_same_each_as_ten(config: Config, other: sqlite3.Connection) -> None:
    store = await open_store(config)
    few, many = "sip:few@example.com", "sip:many@example.com"
    await asyncio.gather(*(store.deferred.add(message(n, few)) for n in range(10)))
    for start in range(0, 10_000, 1000):
        await asyncio.gather(*(store.deferred.add(message(n, many)) for n in range(start, start + 1000)))
    costs = {}
    for recipient in (few, many):
        *_, last = (row[0] for row in other.execute("SELECT id FROM deferred WHERE recipient = ?", (recipient,)))
        ids = [
            row[0]
            for row in other.execute("SELECT id FROM deferred WHERE recipient = ? ORDER BY id DESC LIMIT 10", (recipient,))
        ]
        page = (recipient, min(ids) - 1, time.time(), 0.0, 10)
        found = [steps(other, deferred._LIST, page), steps(other, deferred._GET, (last, recipient, 0.0, 0.0))]
        found.append(steps(other, deferred._EXTENT, deferred._extent_parameters(recipient, time.time(), 0.0)))
        for held in (True, False):
            for statement in deferred._removal(recipient, ids, "deleted", "DEF-09", 0.0, held=held):
                found.append(steps(other, statement.sql, tuple(statement.parameters)))
        costs[recipient] = found
    for cost_few, cost_many in zip(costs[few], costs[many], strict=True):
        assert cost_many <= cost_few * 1.1 + 5
    await store.close()
