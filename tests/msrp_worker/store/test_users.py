"""Users, credentials and cached facts, on both databases."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from msrp_worker.common_policy import Action, Decision
from msrp_worker.store import MISS, Conflict, Store, UnknownUser, User
from msrp_worker.store.database import Statement
from msrp_worker.store.errors import StoreUnavailable
from tests.msrp_worker.store.support import Opener

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
REJECT_BOB = b"""<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules">
<rule id="a"><conditions><identity><one id="sip:bob@example.com"/></identity></conditions>
<actions><im:allow-pager-mode-message>reject</im:allow-pager-mode-message></actions></rule></ruleset>"""


async def test_facts_are_service_wide_until_set(opener: Opener) -> None:
    store = await opener(IM_PAGER_MAX_SIZE="1000", IM_CONTENT_TYPES="text/*, Image/PNG")
    await store.users.add(ALICE, "secret")
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert (facts.pager_max_size, facts.content_types) == (1000, ("text/*", "image/png"))
    assert (facts.im_service, facts.im_allowed, facts.willing) == (True, True, True)
    await store.users.set(ALICE, pager_max_size=7, content_types="text/plain", im_allowed=False)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert (facts.pager_max_size, facts.content_types, facts.im_allowed) == (7, ("text/plain",), False)
    await store.users.set(ALICE, pager_max_size=None, content_types=None)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert (facts.pager_max_size, facts.content_types) == (1000, ("text/*", "image/png"))


@pytest.mark.requirement("COR-07", "IDN-02")
async def test_credentials_are_what_auth_db_computes(store: Store) -> None:
    await store.users.add(ALICE, "alice-secret")
    rows = await store.database.read("SELECT username, domain, password, ha1, ha1b FROM subscriber")
    ha1 = hashlib.md5(b"alice:example.com:alice-secret").hexdigest()
    ha1b = hashlib.md5(b"alice@example.com:example.com:alice-secret").hexdigest()
    assert [tuple(row) for row in rows] == [("alice", "example.com", "", ha1, ha1b)]
    await store.users.set_password(ALICE, "other")
    rows = await store.database.read("SELECT ha1 FROM subscriber")
    assert [tuple(row) for row in rows] == [(hashlib.md5(b"alice:example.com:other").hexdigest(),)]


async def test_an_empty_password_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="empty"):
        await store.users.add(ALICE, "")
    assert await store.users.get(ALICE) is None


async def test_adding_twice_is_a_conflict_and_keeps_the_password(store: Store) -> None:
    await store.users.add(ALICE, "one")
    before = await store.database.read("SELECT ha1 FROM subscriber")
    with pytest.raises(Conflict):
        await store.users.add(ALICE, "two")
    assert list(map(tuple, await store.database.read("SELECT ha1 FROM subscriber"))) == list(map(tuple, before))


@pytest.mark.parametrize(
    "address",
    ["tel:+15551234", "sip:example.com", "sips:a@b.example", "sip:a@b.example;user=phone", "sip:a@b:99"],
)
async def test_only_plain_sip_addresses_are_users(store: Store, address: str) -> None:
    with pytest.raises(ValueError, match="not the address of a user"):
        await store.users.add(address, "x")


async def test_put_replaces_the_record_and_keeps_the_credentials(store: Store) -> None:
    await store.users.put(User(address=ALICE, im_allowed=False), "secret")
    await store.users.put(User(address=ALICE, willing=False))
    assert await store.users.get(ALICE) == User(address=ALICE, willing=False)
    assert len(await store.database.read("SELECT 1 FROM subscriber")) == 1


async def test_list_is_by_address(store: Store) -> None:
    await store.users.add(BOB, "x")
    await store.users.add(ALICE, "x")
    assert [user.address for user in await store.users.list()] == [ALICE, BOB]


async def test_delete_takes_everything_of_the_user(store: Store) -> None:
    await store.users.add(ALICE, "x")
    await store.rules.put(ALICE, REJECT_BOB)
    await store.registrations.put(ALICE, 1e12)
    await store.users.delete(ALICE)
    for table in ("users", "subscriber", "im_rules", "registration"):
        assert await store.database.read(f"SELECT * FROM {table}") == []
    assert await store.users.facts(ALICE) is None
    with pytest.raises(UnknownUser):
        await store.users.delete(ALICE)


@pytest.mark.parametrize(
    "values",
    [
        {"address": "x"},
        {"willing": 1},
        {"pager_max_size": -1},
        {"pager_max_size": True},
        {"pager_max_size": 1 << 63},
        {"content_types": "text"},
    ],
)
async def test_nonsense_cannot_be_set(store: Store, values: dict[str, object]) -> None:
    await store.users.add(ALICE, "x")
    with pytest.raises(ValueError):
        await store.users.set(ALICE, **values)
    assert await store.users.get(ALICE) == User(address=ALICE)


async def test_setting_an_unknown_user_is_an_error(store: Store) -> None:
    with pytest.raises(UnknownUser):
        await store.users.set(ALICE, willing=False)
    with pytest.raises(UnknownUser):
        await store.users.set_password(ALICE, "x")


@pytest.mark.requirement("COR-04")
async def test_the_view_for_kamailio_lists_users_without_the_service(store: Store) -> None:
    await store.users.add(ALICE, "x")
    await store.users.add(BOB, "x")
    await store.users.set(BOB, im_service=False)
    rows = await store.database.read("SELECT key_name, key_type, key_value, value_type, expires FROM im_without_service")
    assert [tuple(row) for row in rows] == [("bob@example.com", 0, BOB, 0, 0)]


async def test_memory_answers_when_nothing_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.users.add(ALICE, "x")
    facts = await store.users.facts(ALICE)
    nobody = await store.users.facts(BOB)

    async def no_disk(*_: object) -> list[object]:
        raise AssertionError("the database was read")

    monkeypatch.setattr(store.database, "read", no_disk)
    assert nobody is None
    assert await store.users.facts(ALICE) is facts is store.users.cached(ALICE)
    assert await store.users.facts(BOB) is None is store.users.cached(BOB)


async def test_a_change_by_this_process_is_seen_at_once_and_costs_others_nothing(store: Store) -> None:
    await store.users.add(ALICE, "x")
    await store.users.add(BOB, "x")
    bob = await store.users.facts(BOB)
    await store.users.facts(ALICE)
    await store.users.set(ALICE, willing=False)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert not facts.willing
    if store.database.dialect == "sqlite":
        assert store.users.cached(BOB) is bob


@pytest.mark.requirement("SET-07")
async def test_a_change_by_another_process_is_seen_on_the_next_request(opener: Opener) -> None:
    worker, operator = await opener(), await opener()
    await operator.users.add(ALICE, "x")
    async with asyncio.timeout(5):
        while worker.users.cached(ALICE) is MISS:  # a notification of PostgreSQL may be on its way
            await worker.users.facts(ALICE)
    for willing in (False, True, False):
        await operator.users.set(ALICE, willing=willing)
        async with asyncio.timeout(5):
            while (facts := await worker.users.facts(ALICE)) is None or facts.willing != willing:
                # SQLite must be right at once; a notification of PostgreSQL may be on its way.
                assert worker.database.dialect == "postgresql"
                await asyncio.sleep(0.001)


async def test_rows_read_before_a_change_are_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.users.add(ALICE, "x")
    await store.users.facts(BOB)  # memory is in step
    read = store.database.read

    async def change_while_reading(sql: str, *parameters: object) -> list[object]:
        rows = await read(sql, *parameters)
        monkeypatch.setattr(store.database, "read", read)
        await store.users.set(ALICE, willing=False)
        return rows

    monkeypatch.setattr(store.database, "read", change_while_reading)
    await store.users.facts(ALICE)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert not facts.willing


@pytest.mark.requirement("XDM-03", "PAG-07")
async def test_rules_are_part_of_the_facts(store: Store) -> None:
    await store.users.add(ALICE, "x")
    etag = await store.rules.put(ALICE, REJECT_BOB)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert facts.rules is not None
    assert facts.rules.decide(Action.PAGER_MODE_MESSAGE, BOB) is Decision.REJECT
    document = await store.rules.get(ALICE)
    assert document is not None
    assert (document.document, document.etag) == (REJECT_BOB, etag)
    assert await store.rules.delete(ALICE)
    assert not await store.rules.delete(ALICE)
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert facts.rules is None


async def test_rules_need_a_user_and_a_document(store: Store) -> None:
    with pytest.raises(UnknownUser):
        await store.rules.put(ALICE, REJECT_BOB)
    await store.users.add(ALICE, "x")
    with pytest.raises(ValueError):
        await store.rules.put(ALICE, b"<html/>")
    assert await store.rules.get(ALICE) is None


async def test_a_stored_document_that_cannot_be_read_rejects_everyone(store: Store) -> None:
    await store.users.add(ALICE, "x")
    await store.rules.put(ALICE, REJECT_BOB)
    await store.rules._users.change(ALICE, *_damage())
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert facts.rules is not None
    assert facts.rules.decide(Action.SESSION, "sip:carol@example.com") is Decision.REJECT


def _damage() -> list[object]:
    from msrp_worker.store.database import Statement

    return [Statement("UPDATE im_rules SET document = ?", (b"<",))]


async def test_facts_of_an_unknown_revision_are_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.users.add(ALICE, "x")
    monkeypatch.setattr(store.database, "revision", lambda: None)
    assert await store.users.facts(ALICE) is not None
    assert store.users.cached(ALICE) is MISS


async def test_a_failing_database_is_an_error_and_not_an_absent_user(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> list[object]:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store.database, "read", broken)
    with pytest.raises(StoreUnavailable):
        await store.users.facts(ALICE)
    monkeypatch.undo()
    assert await store.users.facts(ALICE) is None


@pytest.mark.requirement("XDM-06")
async def test_secrets_of_both_algorithms_and_both_forms_of_a_name(store: Store) -> None:
    await store.users.add("sip:alice@example.com", "alice-secret")
    for name, with_domain in (("alice", False), ("alice@example.com", True)):
        found = await store.credentials.secrets("alice", "example.com", with_domain=with_domain)
        text = f"{name}:example.com:alice-secret".encode()
        assert (found.md5, found.sha256) == (hashlib.md5(text).hexdigest(), hashlib.sha256(text).hexdigest())
    nobody = await store.credentials.secrets("nobody", "example.com")
    assert (nobody.md5, nobody.sha256) == ("", "")
    assert await store.credentials.all_with_sha256()
    await store.database.write(
        Statement("INSERT INTO subscriber (username, domain, ha1) VALUES ('old', 'example.com', 'x')")
    )
    assert not await store.credentials.all_with_sha256()
