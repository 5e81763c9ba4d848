"""Group documents in the store (XDM-02), and who hears of their changes (CNF-29, XDM-07)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from kemi.messages import EndFacts, Incoming, PagerFacts, PagerQuestion
from msrp_worker.answers import Answers
from msrp_worker.group import Group, GroupError, Member
from msrp_worker.group_rules import rights
from msrp_worker.group_watch import GroupWatch
from msrp_worker.store import MISS, AddressTaken, Conflict, Store, StoreError
from msrp_worker.store.database import Statement
from msrp_worker.store.groups import PARSED_AT_ONCE
from tests.msrp_worker.store.support import NOW, Clock, Opener

FRIENDS, CHESS, ALICE = "sip:friends@example.com", "sip:chess@example.com", "sip:alice@example.com"
CLEARLY_LATER_S = 10.0


def document(uri: str, *members: str, name: str = "") -> bytes:
    entries = "".join(f'<entry uri="{member}"/>' for member in members)
    display_name = f"<display-name>{name}</display-name>" if name else ""
    return (
        '<group xmlns="urn:oma:xml:poc:list-service">'
        f'<list-service uri="{uri}">{display_name}<list>{entries}</list></list-service></group>'
    ).encode()


@pytest.mark.requirement("XDM-02")
async def test_the_life_of_a_document(store: Store, clock: Clock) -> None:
    groups = store.groups
    assert await groups.get(FRIENDS) is None
    assert await groups.document(FRIENDS) is None
    first = document(FRIENDS, ALICE)
    etag = await groups.put(FRIENDS, first)
    found = await groups.document(FRIENDS)
    assert found is not None
    assert (found.uri, found.document, found.etag, found.changed_at) == (FRIENDS, first, etag, NOW)
    assert await groups.get(FRIENDS) == Group(FRIENDS, members=(Member(ALICE),))
    clock.now += 5
    assert await groups.put(FRIENDS, document(FRIENDS)) != etag
    assert await groups.get(FRIENDS) == Group(FRIENDS)
    changed = await groups.document(FRIENDS)
    assert changed is not None
    assert changed.changed_at == NOW + 5
    assert await groups.delete(FRIENDS)
    assert not await groups.delete(FRIENDS)
    assert await groups.get(FRIENDS) is None


@pytest.mark.requirement("XDM-02")
@pytest.mark.parametrize("bad", [b"<group/>", document(CHESS, ALICE)])
async def test_what_is_no_document_of_the_group_changes_nothing(store: Store, bad: bytes) -> None:
    await store.groups.put(FRIENDS, document(FRIENDS, ALICE))
    with pytest.raises(GroupError):
        await store.groups.put(FRIENDS, bad)
    assert await store.groups.get(FRIENDS) == Group(FRIENDS, members=(Member(ALICE),))


@pytest.mark.requirement("XDM-02")
async def test_a_large_group_is_a_group(store: Store) -> None:
    members = [f"sip:member-with-a-name-{number}@example.com" for number in range(1000)]
    whole = document(FRIENDS, *members)
    assert len(whole) > PARSED_AT_ONCE
    await store.groups.put(FRIENDS, whole)
    assert await store.groups.get(FRIENDS) == Group(FRIENDS, members=tuple(map(Member, members)))


@pytest.mark.requirement("XDM-02")
async def test_groups_are_listed_by_page(store: Store) -> None:
    names = [f"sip:g{number}@example.com" for number in range(5)]
    for name in reversed(names):
        await store.groups.put(name, document(name))
    first = await store.groups.list(limit=2)
    assert [one.uri for one in first] == names[:2]
    assert [one.uri for one in await store.groups.list(after=first[-1].uri)] == names[2:]


@pytest.mark.requirement("XDM-02")
async def test_an_address_is_a_user_or_a_group(store: Store) -> None:
    await store.users.add(ALICE, "secret")
    with pytest.raises(AddressTaken, match=r"alice@example\.com is the address of a user"):
        await store.groups.put(ALICE, document(ALICE))
    assert await store.groups.document(ALICE) is None
    await store.groups.put(FRIENDS, document(FRIENDS))
    with pytest.raises(AddressTaken, match=r"friends@example\.com is the address of a group"):
        await store.users.add(FRIENDS, "secret")
    assert await store.users.get(FRIENDS) is None
    assert await store.database.read("SELECT username FROM subscriber WHERE username = 'friends'") == []
    await store.groups.delete(FRIENDS)
    await store.users.add(FRIENDS, "secret")


@pytest.mark.requirement("XDM-02")
async def test_two_processes_do_not_both_take_an_address(store: Store, opener: Opener) -> None:
    other = await opener()
    for number in range(10):
        uri = f"sip:x{number}@example.com"
        done = await asyncio.gather(
            store.users.add(uri, "secret"), other.groups.put(uri, document(uri)), return_exceptions=True
        )
        assert [isinstance(one, Conflict) for one in done].count(True) == 1, done


async def forgets(store: Store, uri: str, expected: Group | None) -> None:
    """Wait until the store tells what another one wrote: PostgreSQL tells with a notification."""
    async with asyncio.timeout(CLEARLY_LATER_S):
        while await store.groups.get(uri) != expected:
            await asyncio.sleep(0.01)


@pytest.mark.requirement("XDM-02", "XDM-07")
async def test_the_cache_is_right_after_a_change_elsewhere(store: Store, opener: Opener) -> None:
    other = await opener()
    assert await store.groups.get(FRIENDS) is None
    assert store.groups.cached(FRIENDS) is None
    await other.groups.put(FRIENDS, document(FRIENDS))
    await forgets(store, FRIENDS, Group(FRIENDS))
    assert store.groups.cached(FRIENDS) == Group(FRIENDS)
    await other.groups.delete(FRIENDS)
    await forgets(store, FRIENDS, None)
    await store.groups.put(FRIENDS, document(FRIENDS))
    assert store.groups.cached(FRIENDS) is MISS
    assert await store.groups.get(FRIENDS) == Group(FRIENDS)


@pytest.mark.requirement("SEC-05")
async def test_a_stored_document_that_cannot_be_read_admits_nobody(store: Store) -> None:
    await store.groups.put(FRIENDS, document(FRIENDS, ALICE))
    await store.database.write(Statement("UPDATE im_group SET document = ?", (b"damaged",)))
    found = await store.groups.get(FRIENDS)
    assert found is not None
    assert not rights(found, ALICE).join


@pytest.mark.requirement("XDM-02")
async def test_a_change_of_something_else_parses_no_group_again(store: Store) -> None:
    await store.groups.put(FRIENDS, document(FRIENDS, ALICE))
    before = await store.groups.get(FRIENDS)
    await store.users.add(ALICE, "secret")
    assert store.groups.cached(FRIENDS) is MISS
    assert await store.groups.get(FRIENDS) is before
    assert store.groups.cached(FRIENDS) is before


@pytest.mark.requirement("XDM-02")
async def test_kamailio_is_told_that_an_address_is_a_group(store: Store, opener: Opener) -> None:
    other = await opener()
    answers = Answers(store)

    async def ask(recipient: str, *, serves_recipient: bool = True) -> EndFacts | None:
        question = PagerQuestion("call", ALICE, recipient, False, True, serves_recipient)
        answer = answers(Incoming((1, 2), question, b""))
        facts: object = await answer if isinstance(answer, Awaitable) else answer
        assert isinstance(facts, PagerFacts)
        assert facts.originator is None or not facts.originator.group
        return facts.recipient

    await store.users.add(ALICE, "secret")
    assert await ask(FRIENDS) is None
    await other.groups.put(FRIENDS, document(FRIENDS))
    await forgets(store, FRIENDS, Group(FRIENDS))
    for _ in range(2):  # from the database, then from memory
        found = await ask(FRIENDS)
        assert found is not None
        assert found.group
        assert not found.im_allowed, "nobody sends as a group"
    assert await ask(FRIENDS, serves_recipient=False) is None
    user = await ask(ALICE)
    assert user is not None
    assert not user.group
    await other.groups.delete(FRIENDS)
    await forgets(store, FRIENDS, None)
    assert await ask(FRIENDS) is None


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, Group | None, Group | None]] = []

    def __call__(self, uri: str, old: Group | None, new: Group | None) -> None:
        self.heard.append((uri, old, new))


async def looked(watch: GroupWatch, listener: Listener, count: int) -> None:
    async with asyncio.timeout(CLEARLY_LATER_S):
        while len(listener.heard) < count:
            await watch.look()
            await asyncio.sleep(0.01)


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_who_watches_a_group_hears_of_its_changes_elsewhere(store: Store, opener: Opener) -> None:
    other = await opener()
    await other.groups.put(FRIENDS, document(FRIENDS))
    await other.groups.put(CHESS, document(CHESS))
    await forgets(store, CHESS, Group(CHESS))
    friends = await store.groups.get(FRIENDS)
    assert friends is not None
    listener, deaf = Listener(), Listener()
    watch = GroupWatch(store.groups, store.database.revision)
    watch.watch(friends, listener)
    watch.watch(friends, deaf)()
    await watch.look()
    await other.groups.put(CHESS, document(CHESS, ALICE))
    await other.groups.put(FRIENDS, document(FRIENDS) + b"\n")
    await other.groups.put(FRIENDS, document(FRIENDS, ALICE))
    await looked(watch, listener, 1)
    await other.groups.delete(FRIENDS)
    await looked(watch, listener, 2)
    await other.groups.put(FRIENDS, document(FRIENDS))
    await looked(watch, listener, 3)
    changed = Group(FRIENDS, members=(Member(ALICE),))
    assert listener.heard == [(FRIENDS, friends, changed), (FRIENDS, changed, None), (FRIENDS, None, friends)]
    assert not deaf.heard
    assert len(watch) == 1


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_a_change_before_the_watch_began_is_not_missed(store: Store) -> None:
    listener = Listener()
    watch = GroupWatch(store.groups, store.database.revision)
    await store.groups.put(FRIENDS, document(FRIENDS, ALICE))
    await watch.look()
    watch.watch(Group(FRIENDS), listener)
    await looked(watch, listener, 1)
    assert listener.heard == [(FRIENDS, Group(FRIENDS), Group(FRIENDS, members=(Member(ALICE),)))]


@pytest.mark.requirement("CNF-29")
async def test_a_bug_of_one_listener_and_a_lost_database_lose_no_news(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()

    def broken(uri: str, old: Group | None, new: Group | None) -> None:
        raise RuntimeError("a bug")

    watch = GroupWatch(store.groups, store.database.revision)
    await watch.look()
    watch.watch(Group(FRIENDS), broken)
    watch.watch(Group(FRIENDS), listener)
    with monkeypatch.context() as patch:

        async def lost(uri: str) -> None:
            raise StoreError("lost")

        patch.setattr(store.groups, "get", lost)
        with pytest.raises(StoreError):
            await watch.look()
    await watch.look()
    assert listener.heard == [(FRIENDS, Group(FRIENDS), None)]
