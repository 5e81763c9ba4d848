"""Lists of contacts in the store (XDM-04), who is on them for groups and rules, and who hears of their changes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from msrp_worker.common_policy import Action, Decision
from msrp_worker.group import Member
from msrp_worker.group_rules import rights
from msrp_worker.group_watch import GroupWatch
from msrp_worker.list_references import DocumentKey, anchor_of
from msrp_worker.resource_lists import LARGEST_DOCUMENT, ListsError
from msrp_worker.store import MISS, Store
from msrp_worker.store.database import Statement
from msrp_worker.store.lists import LONGEST_DOCUMENT_NAME, PARSED_AT_ONCE
from tests.msrp_worker.store.support import NOW, Clock, Opener
from tests.msrp_worker.store.test_groups import CLEARLY_LATER_S, Listener, looked

pytestmark = pytest.mark.requirement("XDM-04")

FRIENDS = "sip:friends@example.com"
ALICE, BOB, CAROL = "sip:alice@example.com", "sip:bob@example.com", "sip:carol@example.com"
ROOT = "http://example.com:8080/xcap"
HERS, HIS = (anchor_of(ROOT, DocumentKey(owner, "index"), "mine") for owner in (ALICE, BOB))


def lists(*members: str, more: str = "") -> bytes:
    entries = "".join(f'<entry uri="{member}"/>' for member in members)
    return (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f'<list name="mine">{entries}{more}</list></resource-lists>'
    ).encode()


def group(anchor: str = HERS) -> bytes:
    return (
        '<group xmlns="urn:oma:xml:poc:list-service">'
        f'<list-service uri="{FRIENDS}"><list><external anchor="{anchor}"/></list></list-service></group>'
    ).encode()


def rules(anchor: str = HERS) -> bytes:
    return (
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="r"><conditions>'
        f'<external-list xmlns="urn:oma:xml:xdm:common-policy"><entry anc="{anchor}"/></external-list></conditions>'
        '<actions><allow-session xmlns="urn:oma:xml:im:im-rules">reject</allow-session></actions></rule></ruleset>'
    ).encode()


async def members(store: Store, anchor: str = HERS) -> list[str]:
    return [member.uri for member in (await store.lists.look_up([anchor]))[anchor].members]


async def forgets(store: Store, anchor: str, expected: list[str]) -> None:
    """Wait until the store tells what another one wrote: PostgreSQL tells with a notification."""
    async with asyncio.timeout(CLEARLY_LATER_S):
        while await members(store, anchor) != expected:
            await asyncio.sleep(0.01)


async def test_the_life_of_a_document(store: Store, clock: Clock) -> None:
    assert await store.lists.document(ALICE, "index") is None
    etag = await store.lists.put(ALICE, "index", lists(BOB))
    found = await store.lists.document(ALICE, "index")
    assert found is not None
    assert (found.owner, found.name, found.document) == (ALICE, "index", lists(BOB))
    assert (found.etag, found.changed_at) == (etag, NOW)
    clock.now += 5
    assert await store.lists.put(ALICE, "index", lists(CAROL)) != etag
    changed = await store.lists.document(ALICE, "index")
    assert changed is not None
    assert changed.changed_at == NOW + 5
    assert await store.lists.put(ALICE, "work", lists(BOB)) == etag
    assert await store.lists.delete(ALICE, "index")
    assert not await store.lists.delete(ALICE, "index")
    assert await store.lists.document(ALICE, "index") is None
    assert await store.lists.document(ALICE, "work") is not None


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("index", b"<lists/>"),
        ("index", b" " * (LARGEST_DOCUMENT + 1)),
        ("", lists(BOB)),
        ("n" * (LONGEST_DOCUMENT_NAME + 1), lists(BOB)),
    ],
)
async def test_what_cannot_be_put_changes_nothing(store: Store, name: str, document: bytes) -> None:
    await store.lists.put(ALICE, "index", lists(BOB))
    with pytest.raises(ListsError):
        await store.lists.put(ALICE, name, document)
    assert [one.document for one in await store.lists.list()] == [lists(BOB)]


async def test_documents_are_listed_by_page(store: Store) -> None:
    keys = [(owner, name) for owner in (ALICE, BOB) for name in ("a", "b", "c")]
    for key in reversed(keys):
        await store.lists.put(*key, lists())
    first = await store.lists.list(limit=2)
    rest = await store.lists.list(after=(first[-1].owner, first[-1].name))
    assert [(one.owner, one.name) for one in (*first, *rest)] == keys


async def test_who_is_on_a_list_of_lists_and_when_one_of_them_changes(store: Store, opener: Opener) -> None:
    other = await opener()
    assert await members(store) == []
    await other.lists.put(ALICE, "index", lists(CAROL, more=f'<external anchor="{HIS}"/>'))
    await forgets(store, HERS, [CAROL])
    await other.lists.put(BOB, "index", lists(BOB))
    await forgets(store, HERS, [CAROL, BOB])
    await other.lists.delete(BOB, "index")
    await forgets(store, HERS, [CAROL])
    await store.lists.delete(ALICE, "index")
    assert await members(store) == []


async def test_a_large_list(store: Store) -> None:
    many = [f"sip:somebody-with-a-name-{number}@example.com" for number in range(1000)]
    assert len(lists(*many)) > PARSED_AT_ONCE
    await store.lists.put(ALICE, "index", lists(*many))
    assert await members(store) == many


async def test_a_change_of_something_else_evaluates_no_list_again(store: Store) -> None:
    await store.lists.put(ALICE, "index", lists(BOB))
    await store.groups.put(FRIENDS, group())
    before = (await store.lists.look_up([HERS]))[HERS]
    friends = await store.groups.get(FRIENDS)
    await store.users.add(CAROL, "secret")
    assert store.groups.cached(FRIENDS) is MISS
    assert (await store.lists.look_up([HERS]))[HERS] is before
    assert await store.groups.get(FRIENDS) is friends


async def test_what_is_referred_to_in_vain_is_logged_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "msrp_worker.store.lists"):
        for number in range(3):
            await store.users.add(f"sip:u{number}@example.com", "secret")
            await store.lists.look_up([HERS, "http://elsewhere.example/list"])
    assert [record.getMessage() for record in caplog.records] == [
        f"XDM-04 adds nobody to the list {HERS}: {HERS}: {ALICE} has no document index",
        "XDM-04 adds nobody to the list http://elsewhere.example/list: "
        "http://elsewhere.example/list: it is not on this server",
    ]


@pytest.mark.requirement("SEC-05")
async def test_a_stored_document_that_cannot_be_read_has_nobody(store: Store) -> None:
    await store.lists.put(ALICE, "index", lists(BOB))
    await store.database.write(Statement("UPDATE resource_lists SET document = ?", (b"damaged",)))
    assert await members(store) == []


async def test_a_group_of_the_members_of_a_list(store: Store) -> None:
    await store.groups.put(FRIENDS, group())
    nobody = await store.groups.get(FRIENDS)
    assert nobody is not None
    assert nobody.members == ()
    await store.lists.put(ALICE, "index", lists(BOB))
    found = await store.groups.get(FRIENDS)
    assert found is not None
    assert found.members == (Member(BOB),)
    assert [rights(found, user).join for user in (BOB, CAROL)] == [True, False]


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_who_watches_a_group_hears_of_its_lists(store: Store, opener: Opener) -> None:
    other = await opener()
    await other.lists.put(ALICE, "index", lists(BOB, CAROL))
    await other.groups.put(FRIENDS, group())
    await forgets(store, HERS, [BOB, CAROL])
    friends = await store.groups.get(FRIENDS)
    assert friends is not None
    listener = Listener()
    watch = GroupWatch(store.groups, store.database.revision)
    watch.watch(friends, listener)
    await watch.look()
    await other.lists.put(BOB, "index", lists(CAROL))
    await other.lists.put(ALICE, "index", lists(CAROL))
    await looked(watch, listener, 1)
    await other.lists.delete(ALICE, "index")
    await looked(watch, listener, 2)
    assert [[member.uri for member in new.members] for _, _, new in listener.heard if new] == [[CAROL], []]


@pytest.mark.requirement("XDM-03")
async def test_rules_that_refer_to_a_list(store: Store, opener: Opener) -> None:
    other = await opener()
    await store.users.add(ALICE, "secret")
    await store.rules.put(ALICE, rules(HIS))
    await store.users.add(BOB, "secret")

    async def decide(who: str) -> Decision:
        facts = await store.users.facts(ALICE)
        assert facts is not None
        assert facts.rules is not None
        return facts.rules.decide(Action.SESSION, who)

    async def until(who: str, expected: Decision) -> None:
        async with asyncio.timeout(CLEARLY_LATER_S):
            while await decide(who) is not expected:
                await asyncio.sleep(0.01)

    assert await decide(CAROL) is Decision.ALLOW
    await other.lists.put(BOB, "index", lists(CAROL))
    await until(CAROL, Decision.REJECT)
    assert await decide(BOB) is Decision.ALLOW
    await store.users.delete(BOB)
    assert await store.lists.document(BOB, "index") is None
    assert await decide(CAROL) is Decision.ALLOW, "the lists of a deleted user are deleted"
