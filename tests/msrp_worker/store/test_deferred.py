"""Deferred messages on both databases."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest

from msrp_worker.store import NewDeferred, QuotaExceeded, Store, Usage
from tests.msrp_worker.store.support import NOW, Clock, Opener

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
EVERY_BYTE = b"MESSAGE sip:alice@example.com SIP/2.0\r\n\r\n" + bytes(range(256))
DAY = 86400


def message(number: int = 1, **changes: object) -> NewDeferred:
    plain = NewDeferred(
        recipient=ALICE,
        originator=BOB,
        call_id=f"call-{number}",
        cseq=1,
        from_tag="tag",
        message=EVERY_BYTE,
        content_type="text/plain",
        subject="Tea?",
        priority="normal",
        from_header="Bob <sip:bob@example.com>;tag=tag",
        to_header="<sip:alice@example.com>",
        received=NOW,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.requirement("DEF-01")
async def test_a_message_is_kept_byte_for_byte(opener: Opener) -> None:
    store = await opener()
    message_id = await store.deferred.add(message())
    other = await opener()  # durable: another connection sees it
    stored = await other.deferred.get(ALICE, message_id)
    assert stored is not None
    assert stored.message == EVERY_BYTE
    assert (stored.originator, stored.call_id, stored.cseq, stored.from_tag) == (BOB, "call-1", 1, "tag")
    assert (stored.subject, stored.received, stored.expires) == ("Tea?", NOW, None)
    assert stored.size == len(EVERY_BYTE)


@pytest.mark.requirement("DEF-02")
async def test_message_ids_rise_with_arrival(store: Store) -> None:
    ids = [await store.deferred.add(message(n)) for n in range(20)]
    assert all(re.fullmatch(r"[0-9]+@example\.com", message_id) for message_id in ids)
    numbers = [int(message_id.partition("@")[0]) for message_id in ids]
    assert numbers == sorted(set(numbers))
    assert [entry.message_id for entry in await store.deferred.list(ALICE)] == ids


@pytest.mark.requirement("DEF-02")
async def test_an_id_is_never_used_again(opener: Opener) -> None:
    store = await opener()
    first = await store.deferred.add(message())
    await store.deferred.delete(ALICE, [first])
    await store.close()
    second = await (await opener()).deferred.add(message(2))
    assert int(second.partition("@")[0]) > int(first.partition("@")[0])


@pytest.mark.requirement("DEF-02")
async def test_order_holds_between_two_nodes(opener: Opener) -> None:
    nodes = [await opener(), await opener()]
    await asyncio.gather(*(nodes[n % 2].deferred.add(message(n)) for n in range(60)))
    seen: list[str] = []
    while page := await nodes[0].deferred.list(ALICE, seen[-1] if seen else None, 7):
        seen += [entry.message_id for entry in page]
    assert len(seen) == len(set(seen)) == 60
    assert await nodes[1].deferred.usage(ALICE) == Usage(60, 60 * len(EVERY_BYTE))


@pytest.mark.requirement("DEF-01")
async def test_the_same_request_is_stored_once(store: Store) -> None:
    first = await store.deferred.add(message())
    assert await store.deferred.add(message()) == first
    again = await asyncio.gather(*(store.deferred.add(message()) for _ in range(20)))
    assert set(again) == {first}
    assert await store.deferred.usage(ALICE) == Usage(1, len(EVERY_BYTE))
    others = [message(cseq=2), message(from_tag="x"), message(recipient=BOB), message(2)]
    assert len({await store.deferred.add(other) for other in others} - {first}) == 4


@pytest.mark.requirement("DEF-11")
async def test_a_full_store_refuses_and_keeps_what_it_has(opener: Opener) -> None:
    store = await opener(IM_DEFERRED_MAX_MESSAGES="2")
    ids = [await store.deferred.add(message(n)) for n in range(2)]
    with pytest.raises(QuotaExceeded, match="2 deferred messages"):
        await store.deferred.add(message(3))
    assert await store.deferred.add(message(1)) == ids[1]  # a repeated request is no new message
    assert await store.deferred.add(message(3, recipient=BOB))
    assert [entry.message_id for entry in await store.deferred.list(ALICE)] == ids
    assert await store.deferred.delete(ALICE, ids[:1]) == 1
    await store.deferred.add(message(3))


@pytest.mark.requirement("DEF-11")
@pytest.mark.parametrize(("sizes", "fits"), [([100], True), ([101], False), ([50, 50], True), ([50, 51], False)])
async def test_bytes_are_a_limit_too(opener: Opener, sizes: list[int], fits: bool) -> None:
    store = await opener(IM_DEFERRED_MAX_BYTES="100")
    *before, last = sizes
    for number, size in enumerate(before):
        await store.deferred.add(message(number, message=b"x" * size))
    if fits:
        await store.deferred.add(message(99, message=b"x" * last))
    else:
        with pytest.raises(QuotaExceeded):
            await store.deferred.add(message(99, message=b"x" * last))
    assert (await store.deferred.usage(ALICE)).bytes == (sum(sizes) if fits else sum(before))


async def test_a_quota_of_nothing_stores_nothing(opener: Opener) -> None:
    store = await opener(IM_DEFERRED_MAX_MESSAGES="0")
    with pytest.raises(QuotaExceeded):
        await store.deferred.add(message())


@pytest.mark.requirement("DEF-11")
async def test_fifty_at_once_do_not_exceed_the_quota(opener: Opener) -> None:
    nodes = [await opener(IM_DEFERRED_MAX_MESSAGES="7"), await opener(IM_DEFERRED_MAX_MESSAGES="7")]
    outcomes = await asyncio.gather(*(nodes[n % 2].deferred.add(message(n)) for n in range(50)), return_exceptions=True)
    stored = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(stored) == 7
    assert all(isinstance(outcome, str | QuotaExceeded) for outcome in outcomes)
    assert {entry.message_id for entry in await nodes[0].deferred.list(ALICE)} == set(stored)
    assert await nodes[0].deferred.usage(ALICE) == Usage(7, 7 * len(EVERY_BYTE))


@pytest.mark.requirement("DEF-11")
async def test_usage_is_right_after_adds_and_deletes_at_once(opener: Opener) -> None:
    nodes = [await opener(), await opener()]
    ids = [await nodes[0].deferred.add(message(n)) for n in range(30)]
    deletes = [nodes[n % 2].deferred.delete(ALICE, ids[:20]) for n in range(4)]
    adds = [nodes[n % 2].deferred.add(message(100 + n)) for n in range(20)]
    outcomes = await asyncio.gather(*deletes, *adds)
    assert sum(outcomes[:4]) == 20  # each message is deleted by one of them
    assert await nodes[0].deferred.usage(ALICE) == Usage(30, 30 * len(EVERY_BYTE))


async def test_paging_by_message_id(store: Store) -> None:
    ids = [await store.deferred.add(message(n)) for n in range(5)]
    page = await store.deferred.list(ALICE, limit=2)
    assert [entry.message_id for entry in page] == ids[:2]
    page = await store.deferred.list(ALICE, ids[1], 2)
    assert [entry.message_id for entry in page] == ids[2:4]
    assert await store.deferred.list(ALICE, ids[4]) == []


@pytest.mark.parametrize(
    "message_id", ["", "x", "1@elsewhere.example", "@example.com", "9" * 40 + "@example.com", "٣@example.com"]
)
async def test_foreign_ids_are_nobodys(store: Store, message_id: str) -> None:
    await store.deferred.add(message())
    assert await store.deferred.get(ALICE, message_id) is None
    assert await store.deferred.delete(ALICE, [message_id]) == 0
    assert await store.deferred.list(ALICE, message_id) == []


async def test_an_id_with_its_scheme_is_the_same(store: Store) -> None:
    message_id = await store.deferred.add(message())
    assert await store.deferred.get(ALICE, f"sip:{message_id}") == await store.deferred.get(ALICE, message_id)


async def test_messages_of_others_can_be_neither_read_nor_deleted(store: Store) -> None:
    message_id = await store.deferred.add(message())
    assert await store.deferred.get(BOB, message_id) is None
    assert await store.deferred.delete(BOB, [message_id]) == 0
    assert await store.deferred.get(ALICE, message_id) is not None


async def test_deleting_many_counts_and_traces_each_once(store: Store) -> None:
    ids = [await store.deferred.add(message(n)) for n in range(123)]
    assert await store.deferred.delete(ALICE, [*ids, *ids[:3], "unknown"]) == 123
    assert await store.deferred.usage(ALICE) == Usage(0, 0)
    for number in (0, 122):
        assert [event.kind for event in await store.trace.read(f"call-{number}")] == ["deferred", "deleted"]


@pytest.mark.requirement("DEF-10")
async def test_an_expired_message_is_never_given_out_and_is_purged(store: Store, clock: Clock) -> None:
    short = await store.deferred.add(message(1, expires=NOW + 10))
    long = await store.deferred.add(message(2, expires=NOW + 20))
    clock.now = NOW + 10
    assert [entry.message_id for entry in await store.deferred.list(ALICE)] == [long]
    assert await store.deferred.get(ALICE, short) is None
    assert await store.deferred.get(ALICE, short, now=NOW + 9) is not None
    assert await store.deferred.purge(NOW + 9.5) == []
    assert await store.deferred.purge(NOW + 10) == [short]
    assert await store.deferred.usage(ALICE) == Usage(1, len(EVERY_BYTE))
    event = (await store.trace.read("call-1"))[-1]
    assert (event.kind, event.requirement, event.time) == ("expired", "DEF-10", NOW + 10)


@pytest.mark.requirement("DEF-11")
async def test_retention_ends_for_everyone(opener: Opener, clock: Clock) -> None:
    store = await opener(IM_DEFERRED_DAYS="3")
    first = await store.deferred.add(message(1))
    second = await store.deferred.add(message(2, recipient=BOB, received=NOW + DAY))
    clock.now = NOW + 3 * DAY
    assert await store.deferred.list(ALICE) == []
    assert await store.deferred.get(ALICE, first) is None
    assert await store.deferred.purge(clock.now) == [first]
    assert (await store.trace.read("call-1"))[-1].kind == "purged"
    assert await store.deferred.purge(clock.now + DAY) == [second]


@pytest.mark.requirement("DEF-10")
async def test_purging_is_done_in_bounded_steps(store: Store) -> None:
    for number in range(25):
        await store.deferred.add(message(number, expires=NOW + 1, recipient=(ALICE, BOB)[number % 2]))
    sizes = [len(await store.deferred.purge(NOW + 2, 10)) for _ in range(4)]
    assert sizes == [10, 10, 5, 0]
    assert await store.deferred.usage(ALICE) == await store.deferred.usage(BOB) == Usage(0, 0)


@pytest.mark.requirement("IDN-04")
@pytest.mark.parametrize("hidden", [{"private": True}, {"anonymous": True}])
async def test_the_trace_does_not_name_who_asked_for_privacy(store: Store, hidden: dict[str, bool]) -> None:
    message_id = await store.deferred.add(message(**hidden))
    await store.deferred.delete(ALICE, [message_id])
    events = await store.trace.read("call-1")
    assert [event.originator for event in events] == ["anonymous", "anonymous"]


async def test_headers_that_are_no_text_do_not_stop_a_message(store: Store) -> None:
    odd = message(subject="nul \0 and \udcff", from_tag="t\0", call_id="c\udcfe")
    message_id = await store.deferred.add(odd)
    assert await store.deferred.add(odd) == message_id
    stored = await store.deferred.get(ALICE, message_id)
    assert stored is not None
    assert stored.message == EVERY_BYTE


async def test_an_id_of_another_domain_does_not_fit(opener: Opener) -> None:
    here, there = await opener(), await opener(IM_DOMAIN="example.net")
    message_id = await here.deferred.add(message())
    assert await there.deferred.get(ALICE, message_id) is None


def large(store: Store, number: int, size: int = 1000, **changes: object) -> NewDeferred:
    """A large message whose content is on disk."""
    path = store.deferred.files.new_path("node")
    with store.deferred.files.create(path) as file:
        file.write(b"x" * size)
    return message(number, message=b"{}", content_path=path, content_size=size, **changes)


@pytest.mark.requirement("LRG-04", "DEF-11", "DEF-05")
async def test_the_content_of_a_large_message_goes_with_its_row(store: Store) -> None:
    files = store.deferred.files
    news = [large(store, number) for number in range(4)]
    ids = [await store.deferred.add(new) for new in news]
    paths = [new.content_path or "" for new in news]
    assert await store.deferred.usage(ALICE) == Usage(4, 4000)
    assert [entry.content_path for entry in await store.deferred.list(ALICE)] == paths
    assert files.of_node("node") == sorted(paths)
    orphan = large(store, 9).content_path or ""
    assert await store.deferred.without_row([*paths, orphan]) == [orphan]
    files.remove([orphan])
    await store.deferred.delete(ALICE, ids[:1])
    assert files.of_node("node") == sorted(paths[1:])
    assert await store.deferred.usage(ALICE) == Usage(3, 3000)
    await store.deferred.purge(NOW + 31 * DAY)
    assert files.of_node("node") == []


@pytest.mark.requirement("LRG-04")
async def test_the_same_large_message_again_keeps_the_first_file(store: Store) -> None:
    first, again = large(store, 1), large(store, 1)
    assert await store.deferred.add(first) == await store.deferred.add(again)
    assert store.deferred.files.of_node("node") == [first.content_path]
    assert await store.deferred.add(first) == (await store.deferred.list(ALICE))[0].message_id
    assert store.deferred.files.of_node("node") == [first.content_path]


@pytest.mark.requirement("LRG-04", "DEF-11")
async def test_a_quota_counts_the_content(opener: Opener) -> None:
    store = await opener(IM_DEFERRED_MAX_BYTES="1500")
    await store.deferred.add(large(store, 1))
    with pytest.raises(QuotaExceeded):
        await store.deferred.add(large(store, 2))
    usage = await store.deferred.usage(ALICE)
    assert store.deferred.fits(usage, 1, 500) and not store.deferred.fits(usage, 1, 501)


@pytest.mark.requirement("LRG-04")
async def test_the_sip_part_is_completed_when_the_session_ends(store: Store) -> None:
    message_id = await store.deferred.add(large(store, 1))
    plain = await store.deferred.add(message(2))
    for one in (message_id, plain, "1@example.com", "x@elsewhere.example"):
        await store.deferred.complete(ALICE, one, b"{with a BYE}")
    found = await store.deferred.get_many(ALICE, [message_id, plain])
    assert [one.message for one in found] == [b"{with a BYE}", EVERY_BYTE]
    assert await store.deferred.usage(ALICE) == Usage(2, 1000 + len(EVERY_BYTE))


async def test_usages_of_many(store: Store) -> None:
    await store.deferred.add(message(1))
    found = await store.deferred.usages([ALICE, BOB])
    assert found == {ALICE: Usage(1, len(EVERY_BYTE)), BOB: Usage(0, 0)}
    assert await store.deferred.usages([]) == {}


@pytest.mark.requirement("DEF-09", "DEF-13")
async def test_what_a_delivery_holds_is_not_deleted(store: Store, clock: Clock) -> None:
    ids = [await store.deferred.add(message(number)) for number in range(3)]
    await store.leases.claim_these(ALICE, "node/1", ids[:1])
    assert await store.deferred.delete_unheld(ALICE, [*ids, "sip:9@example.com", "nonsense"]) == ids[1:]
    assert (await store.deferred.usage(ALICE)).messages == 1
    assert await store.deferred.delete_unheld(BOB, ids) == []
    clock.now += 3600  # whoever held it is dead
    assert await store.deferred.delete_unheld(ALICE, [f"sip:{ids[0]}"]) == ids[:1]
    assert (await store.deferred.usage(ALICE)).messages == 0
    events = [event.requirement for event in await store.trace.read("call-1") if event.kind == "deleted"]
    assert events == ["DEF-09"]


@pytest.mark.requirement("DEF-09")
async def test_the_extent_differs_for_each_list_there_ever_is(store: Store, clock: Clock) -> None:
    seen = [await store.deferred.extent(ALICE)]
    ids = [await store.deferred.add(message(1))]
    seen.append(await store.deferred.extent(ALICE))
    ids.append(await store.deferred.add(message(2)))
    seen.append(await store.deferred.extent(ALICE))
    await store.deferred.delete(ALICE, ids[:1])
    seen.append(await store.deferred.extent(ALICE))
    await store.deferred.add(message(3, expires=NOW + 10))
    seen.append(await store.deferred.extent(ALICE))
    assert len(set(seen)) == len(seen)
    clock.now += 10
    assert await store.deferred.extent(ALICE) == seen[3]  # the same list again
    assert await store.deferred.extent(BOB) == seen[0]
