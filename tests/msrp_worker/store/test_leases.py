"""Each message is held by one delivery at a time, on both databases (DEF-13)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from msrp_worker.store import NewDeferred, Store
from msrp_worker.store.deferred import Kind
from msrp_worker.store.leases import LEASE_S
from tests.msrp_worker.store.support import NOW, Clock, Opener

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
PLAIN = NewDeferred(recipient=ALICE, originator=BOB, call_id="c", cseq=1, from_tag="t", message=b"MESSAGE", received=NOW)


async def stored(store: Store, count: int, **changes: object) -> list[str]:
    return [
        await store.deferred.add(msgspec.structs.replace(PLAIN, call_id=f"c{number}", **changes)) for number in range(count)
    ]


def ids(entries: list[object]) -> list[str]:
    return [entry.message_id for entry in entries]  # type: ignore[attr-defined]


@pytest.mark.requirement("DEF-13")
async def test_two_nodes_at_once_get_each_message_once(opener: Opener) -> None:
    nodes = [await opener(), await opener()]
    all_ids = await stored(nodes[0], 40)

    async def take(number: int) -> list[str]:
        taken: list[str] = []
        while page := await nodes[number % 2].leases.claim(ALICE, f"n/{number}", limit=3, alone=False):
            taken += ids([*page])
        return taken

    found = await asyncio.gather(*(take(number) for number in range(6)))
    for taken in found:
        assert taken == sorted(taken)
    assert sorted(one for taken in found for one in taken) == sorted(all_ids)


@pytest.mark.requirement("DEF-13")
async def test_a_push_waits_for_whoever_delivers(opener: Opener) -> None:
    nodes = [await opener(), await opener()]
    all_ids = await stored(nodes[0], 10)
    found = await asyncio.gather(*(nodes[number % 2].leases.claim(ALICE, f"n/{number}", limit=4) for number in range(6)))
    assert sorted(map(len, found)) == [0] * 5 + [4]
    (owner,) = (number for number, page in enumerate(found) if page)
    assert ids([*found[owner]]) == all_ids[:4]
    assert ids([*await nodes[0].leases.claim(ALICE, f"n/{owner}", limit=4)]) == all_ids[4:8]
    assert await nodes[1].leases.held_until(ALICE) == NOW + LEASE_S


@pytest.mark.requirement("DEF-13")
async def test_a_lease_ends_with_its_delivery_or_by_time(store: Store, clock: Clock) -> None:
    all_ids = await stored(store, 3)
    assert len(await store.leases.claim(ALICE, "n/1")) == 3
    assert await store.leases.claim(ALICE, "n/2") == []
    assert await store.leases.release("n/1") == 3
    assert await store.leases.held_until(ALICE) is None
    assert ids([*await store.leases.claim(ALICE, "n/2", limit=2)]) == all_ids[:2]
    clock.now += LEASE_S - 1
    assert await store.leases.renew("n/2") == 2
    assert await store.leases.renew("n/1") == 0
    clock.now += LEASE_S - 1
    assert await store.leases.claim(ALICE, "n/3") == []
    clock.now += 1
    assert len(await store.leases.claim(ALICE, "n/3")) == 3


@pytest.mark.requirement("DEF-13", "SEC-06")
async def test_a_node_that_starts_anew_frees_what_it_held(store: Store) -> None:
    await stored(store, 4)
    await store.leases.claim(ALICE, "one/1", limit=2)
    await store.leases.claim(ALICE, "one-two/1", limit=2, alone=False)
    assert await store.leases.release_node("one") == 2
    assert len(await store.leases.claim(ALICE, "x/1", alone=False)) == 2


@pytest.mark.requirement("DEF-13", "DEF-07")
async def test_chosen_messages_are_leased_unless_somebody_holds_them(store: Store) -> None:
    all_ids = await stored(store, 5)
    (foreign,) = await stored(store, 1, recipient=BOB)
    await store.leases.claim_these(ALICE, "n/1", [all_ids[2]])
    found = await store.leases.claim_these(ALICE, "n/2", [all_ids[3], all_ids[2], foreign, "1@x", all_ids[0]])
    assert ids([*found]) == [all_ids[0], all_ids[3]]


@pytest.mark.requirement("DEF-10", "DEF-13")
async def test_an_expired_message_is_not_leased(store: Store, clock: Clock) -> None:
    (expiring,) = await stored(store, 1, expires=NOW + 10, from_tag="e")
    (kept,) = await stored(store, 1)
    clock.now += 10
    assert ids([*await store.leases.claim(ALICE, "n/1")]) == [kept]
    assert await store.leases.claim_these(ALICE, "n/2", [expiring]) == []
    assert await store.deferred.get_many(ALICE, [expiring]) == []
    assert await store.deferred.owners([expiring]) == {}


@pytest.mark.requirement("DEF-05", "DEF-09")
async def test_a_leased_message_can_be_deleted(store: Store) -> None:
    all_ids = await stored(store, 2)
    await store.leases.claim(ALICE, "n/1")
    assert await store.deferred.delete(ALICE, [all_ids[0]], kind="delivered") == 1
    assert await store.leases.release("n/1") == 1


@pytest.mark.requirement("DEF-07", "DEF-08")
async def test_many_are_read_at_once(store: Store) -> None:
    all_ids = await stored(store, 15, content_type="text/plain")
    (foreign,) = await stored(store, 1, recipient=BOB, priority="urgent")
    found = await store.deferred.get_many(ALICE, [*reversed(all_ids), foreign, "1@x", "nonsense"])
    assert [(one.message_id, one.message) for one in found] == [(one, b"MESSAGE") for one in all_ids]
    owners = await store.deferred.owners([all_ids[0], foreign, "1@x", "nonsense"])
    assert owners == {all_ids[0]: ALICE, foreign: BOB}
    assert await store.deferred.kinds(ALICE) == [Kind("text/plain", "", False, 15)]
    assert await store.deferred.kinds(BOB) == [Kind("", "urgent", False, 1)]
    assert await store.deferred.recipients() == [ALICE, BOB]
    assert await store.deferred.recipients(ALICE, 5) == [BOB]


@pytest.mark.requirement("ADV-03", "DEF-13")
async def test_advertisements_are_claimed_by_themselves(store: Store, clock: Clock) -> None:
    """Or left out, or claimed with the rest."""
    (first, third) = [await store.deferred.add(msgspec.structs.replace(PLAIN, call_id=name)) for name in ("a", "c")]
    assert not await store.deferred.has_advertisement(ALICE)
    kept = msgspec.structs.replace(PLAIN, call_id="b", advertisement=True, expires=NOW + 100)
    second = await store.deferred.add(kept)
    assert await store.deferred.has_advertisement(ALICE)
    assert not await store.deferred.has_advertisement(BOB)
    for kind, expected in ((False, [first, third]), (True, [second]), (None, [first, third, second])):
        assert ids([*await store.leases.claim(ALICE, "n/1", advertisements=kind)]) == expected
        assert await store.leases.claim(ALICE, "n/2", advertisements=True) == []  # `alone`
        assert await store.leases.release("n/1") == len(expected)
    clock.now += 100
    assert not await store.deferred.has_advertisement(ALICE)
