"""The trace and the registrations on both databases."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.store import Store, StoreUnavailable, TraceEvent, trace
from tests.msrp_worker.store.support import NOW, Clock, Opener

ALICE = "sip:alice@example.com"


def event(number: int, **values: object) -> TraceEvent:
    given = {"time": NOW + number, "call_id": "call", "kind": "received", "originator": ALICE, **values}
    return TraceEvent(**given)


async def test_events_come_back_in_order(store: Store) -> None:
    events = [event(n, status=200 + n, requirement="PAG-05", detail="é", recipient="x") for n in range(5)]
    for one in events:
        store.trace.add(one)
    store.trace.add(event(9, call_id="other"))
    assert await store.trace.read("call") == events
    assert await store.trace.read("none") == []


@pytest.mark.requirement("IDN-04")
async def test_privacy_is_kept(store: Store) -> None:
    store.trace.add(event(1, private=True))
    (read,) = await store.trace.read("call")
    assert read.originator == "anonymous"
    assert ALICE not in str(await store.database.read("SELECT * FROM trace"))


async def test_odd_text_is_stored(store: Store) -> None:
    store.trace.add(event(1, call_id="a\0b", detail="\udcff\0"))
    assert len(await store.trace.read("a\0b")) == 1


async def test_a_full_buffer_drops_and_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_BUFFERED_EVENTS", 3)
    for number in range(5):
        store.trace.add(event(number))
    assert store.trace.dropped == 2
    assert len(await store.trace.read("call")) == 3


async def test_a_failing_store_keeps_events_for_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk full")

    store.trace.add(event(1))
    monkeypatch.setattr(store.database, "write", broken)
    with pytest.raises(StoreUnavailable):
        await store.trace.flush()
    monkeypatch.undo()
    assert len(await store.trace.read("call")) == 1


async def test_events_are_on_disk_after_closing(opener: Opener) -> None:
    store = await opener()
    store.trace.add(event(1))
    await store.close()
    assert len(await (await opener()).trace.read("call")) == 1


async def test_the_trace_writes_itself(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "FLUSH_INTERVAL_S", 0.0)
    store = await opener()
    store.trace.add(event(1))
    async with asyncio.timeout(10):
        while not await store.database.read("SELECT 1 FROM trace"):
            pass


async def test_old_events_go(opener: Opener, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "TRIM_ROWS", 4)
    store = await opener(IM_TRACE_DAYS="1")
    for number in range(10):
        store.trace.add(event(number))
    await store.trace.flush()
    clock.now = NOW + 86400 + 6
    assert await store.trace.trim() == 6
    assert [one.time for one in await store.trace.read("call")] == [NOW + n for n in (6, 7, 8, 9)]


async def test_too_many_events_go_oldest_first(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "TRIM_ROWS", 4)
    store = await opener(IM_TRACE_MAX_EVENTS="3")
    for number in range(10):
        store.trace.add(event(number))
    await store.trace.flush()
    await store.trace.trim()
    assert [one.time for one in await store.trace.read("call")] == [NOW + n for n in (7, 8, 9)]


@pytest.mark.requirement("COR-06", "COR-08")
async def test_a_registration_holds_until_it_expires(store: Store) -> None:
    registrations = store.registrations
    assert registrations.cached(ALICE, NOW) is None
    assert not await registrations.is_registered(ALICE, NOW)
    assert registrations.cached(ALICE, NOW) is False
    await registrations.put(ALICE, NOW + 10)
    assert await registrations.is_registered(ALICE, NOW + 9.9)
    assert not await registrations.is_registered(ALICE, NOW + 10)
    await registrations.put(ALICE, NOW + 20)
    assert await registrations.is_registered(ALICE, NOW + 10)
    assert await registrations.remove(ALICE)
    assert not await registrations.remove(ALICE)
    assert not await registrations.is_registered(ALICE, NOW)


@pytest.mark.requirement("COR-08")
async def test_expired_registrations_are_told_once(store: Store) -> None:
    await store.registrations.put(ALICE, NOW + 10)
    await store.registrations.put("sip:bob@example.com", NOW + 20)
    assert await store.registrations.expire(NOW + 10) == [ALICE]
    assert await store.registrations.expire(NOW + 10) == []


@pytest.mark.requirement("COR-06")
async def test_registrations_survive_a_restart(opener: Opener) -> None:
    store = await opener()
    await store.registrations.put(ALICE, NOW + 10)
    await store.close()
    assert await (await opener()).registrations.is_registered(ALICE, NOW)
