"""Published service settings: the event state of RFC 3903 on both databases, and what it amounts to."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.config import Config
from msrp_worker.service_settings import Document, Settings, SettingsError, build_settings
from msrp_worker.store import (
    MISS,
    PublicationTooBrief,
    Store,
    UnknownTag,
    UnknownUser,
)
from msrp_worker.store.settings import MOST_PUBLICATIONS, Effective
from tests.msrp_worker.store.support import NOW, Clock, Opener

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
BARRED = Settings(pager_barred=True)
NOT_BARRED = Settings(pager_barred=False)


def document(settings: Settings, entity: str = "phone") -> bytes:
    """What a device publishes."""
    return build_settings(Document(entity, settings))


@pytest.fixture
async def store(opener: Opener) -> Store:
    """A store with two users."""
    store = await opener()
    for address in (ALICE, BOB):
        await store.users.add(address, "secret")
    return store


async def barred(store: Store, address: str = ALICE) -> bool:
    """Whether pager mode is barred, as every request asks."""
    facts = await store.users.facts(address)
    assert facts is not None
    return facts.pager_barred


@pytest.mark.requirement("SET-06")
async def test_a_user_who_published_nothing_has_the_defaults(store: Store, opener: Opener) -> None:
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert (facts.pager_barred, facts.session_barred, facts.offline_delivery, facts.visible) == (False, False, False, True)
    assert (facts.session_history, facts.message_history) == (False, False)
    other = await opener(IM_SETTINGS_OFFLINE_DELIVERY="yes", IM_SETTINGS_VISIBILITY="no", IM_SETTINGS_HISTORY="yes")
    facts = await other.users.facts(ALICE)
    assert facts is not None
    assert (facts.offline_delivery, facts.visible, facts.session_history, facts.message_history) == (
        True,
        False,
        True,
        True,
    )


@pytest.mark.requirement("SET-07", "SET-05")
async def test_what_is_published_holds_for_the_next_question(store: Store) -> None:
    assert not await barred(store)
    everything = Settings(
        session_barred=True,
        pager_barred=True,
        offline_delivery=True,
        visible=False,
        session_history=True,
        message_history=False,
    )
    before = store.database.revision()
    await store.settings.publish(ALICE, "", None, document(everything))
    assert store.database.revision() != before, "Kamailio hears of it before the 200"
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert {name: getattr(facts, name) for name in Settings.__struct_fields__} == {
        name: getattr(everything, name) for name in Settings.__struct_fields__
    }
    assert not await barred(store, BOB)


@pytest.mark.requirement("SET-04")
async def test_the_life_of_a_publication(store: Store, clock: Clock) -> None:
    first = await store.settings.publish(ALICE, "", 600, document(BARRED))
    assert first.seconds == 600
    second = await store.settings.publish(ALICE, first.etag, 1200, b"")  # refresh
    assert second.seconds == 1200 and await barred(store)
    third = await store.settings.publish(ALICE, second.etag, 600, document(NOT_BARRED))  # modify
    assert not await barred(store)
    fourth = await store.settings.publish(ALICE, third.etag, 600, document(BARRED))
    assert await barred(store)
    last = await store.settings.publish(ALICE, fourth.etag, 0, b"")  # remove
    assert last.seconds == 0 and not await barred(store)
    tags = [grant.etag for grant in (first, second, third, fourth, last)]
    assert len(set(tags)) == 5
    for tag in tags:
        for seconds, body in ((600, b""), (600, document(BARRED)), (0, b"")):
            with pytest.raises(UnknownTag):
                await store.settings.publish(ALICE, tag, seconds, body)
    assert not await barred(store)


@pytest.mark.requirement("SET-04")
async def test_a_tag_is_good_for_its_own_user_alone(store: Store) -> None:
    grant = await store.settings.publish(ALICE, "", None, document(BARRED))
    for seconds, body in ((600, b""), (600, document(NOT_BARRED)), (0, b"")):
        with pytest.raises(UnknownTag):
            await store.settings.publish(BOB, grant.etag, seconds, body)
    assert await barred(store) and not await barred(store, BOB)


@pytest.mark.requirement("SET-04", "SET-06")
async def test_expiry_returns_to_the_defaults(store: Store, clock: Clock) -> None:
    grant = await store.settings.publish(ALICE, "", 100, document(BARRED))
    clock.now = NOW + 90
    grant = await store.settings.publish(ALICE, grant.etag, 100, b"")
    clock.now = NOW + 189
    assert await store.settings.expire(clock.now) == 0
    assert await barred(store)
    clock.now = NOW + 190
    with pytest.raises(UnknownTag):
        await store.settings.publish(ALICE, grant.etag, 100, b"")
    before = store.database.revision()
    assert await store.settings.expire(clock.now) == 1
    assert store.database.revision() != before
    assert not await barred(store)
    assert await store.settings.expire(clock.now) == 0


@pytest.mark.requirement("SET-04")
async def test_an_expired_publication_that_nobody_deleted_yet_misleads_no_cache(store: Store, clock: Clock) -> None:
    await store.settings.publish(ALICE, "", 100, document(BARRED))
    clock.now = NOW + 101
    store.users._facts.clear()
    assert not await barred(store)  # cached without the expired one
    await store.settings.publish(ALICE, "", 100, document(BARRED))
    assert await barred(store)


@pytest.mark.requirement("SET-04")
@pytest.mark.parametrize(
    ("asked", "granted"), [(None, 3600), (60, 60), (61, 61), (604800, 604800), (604801, 604800), (2**32, 604800)]
)
async def test_the_time_that_is_granted(store: Store, asked: int | None, granted: int) -> None:
    assert (await store.settings.publish(ALICE, "", asked, document(BARRED))).seconds == granted


@pytest.mark.requirement("SET-04")
@pytest.mark.parametrize("asked", [1, 59])
async def test_too_short_a_time_changes_nothing(store: Store, asked: int) -> None:
    grant = await store.settings.publish(ALICE, "", None, document(BARRED))
    for tag, body in (("", document(NOT_BARRED)), (grant.etag, b""), (grant.etag, document(NOT_BARRED))):
        with pytest.raises(PublicationTooBrief) as error:
            await store.settings.publish(ALICE, tag, asked, body)
        assert error.value.seconds == 60
    assert await barred(store)
    with pytest.raises(UnknownTag):  # the condition comes first (RFC 3903 section 6, steps 3 and 4)
        await store.settings.publish(ALICE, "nonsense", asked, b"")
    assert (await store.settings.publish(ALICE, grant.etag, 600, b"")).seconds == 600


@pytest.mark.requirement("SET-05", "SET-04")
async def test_a_document_that_is_none_changes_nothing(store: Store) -> None:
    grant = await store.settings.publish(ALICE, "", None, document(BARRED))
    for tag in ("", grant.etag):
        with pytest.raises(SettingsError):
            await store.settings.publish(ALICE, tag, None, b"<poc-settings")
    assert await barred(store)
    assert (await store.settings.publish(ALICE, grant.etag, 600, b"")).seconds == 600


@pytest.mark.requirement("SET-04")
async def test_an_initial_publication_for_no_time_stores_nothing(store: Store) -> None:
    grant = await store.settings.publish(ALICE, "", 0, document(BARRED))
    assert (grant.seconds, await barred(store)) == (0, False)
    with pytest.raises(UnknownTag):
        await store.settings.publish(ALICE, grant.etag, 600, b"")


@pytest.mark.requirement("SET-04")
async def test_the_last_device_that_speaks_of_a_setting_decides(store: Store, clock: Clock) -> None:
    phone = await store.settings.publish(ALICE, "", 600, document(Settings(pager_barred=True, visible=False)))
    tablet = await store.settings.publish(ALICE, "", 300, document(NOT_BARRED, "tablet"))
    facts = await store.users.facts(ALICE)
    assert facts is not None and (facts.pager_barred, facts.visible) == (False, False)
    phone = await store.settings.publish(ALICE, phone.etag, 600, b"")
    assert not await barred(store), "a refresh does not come to the front"
    phone = await store.settings.publish(ALICE, phone.etag, 600, document(BARRED))
    assert await barred(store), "a modification does"
    await store.settings.publish(ALICE, tablet.etag, 300, document(NOT_BARRED, "tablet"))
    assert not await barred(store)
    clock.now = NOW + 300
    await store.settings.expire(clock.now)
    assert await barred(store), "the other device's holds again"
    await store.settings.publish(ALICE, phone.etag, 0, b"")
    assert not await barred(store)


@pytest.mark.requirement("SET-04", "SEC-05")
async def test_a_device_that_forgets_its_tag_fills_nothing(store: Store, clock: Clock) -> None:
    steady = await store.settings.publish(ALICE, "", 604800, document(BARRED, "steady"))
    for number in range(MOST_PUBLICATIONS + 5):
        clock.now += 1
        await store.settings.publish(ALICE, "", 600, document(NOT_BARRED, f"start {number}"))
    rows = await store.database.read("SELECT entity FROM publication WHERE address = ?", ALICE)
    assert len(rows) == MOST_PUBLICATIONS
    assert (await store.settings.publish(ALICE, steady.etag, 600, b"")).seconds == 600


@pytest.mark.requirement("SET-07")
async def test_what_changes_nothing_makes_no_cache_forget(store: Store) -> None:
    before = store.database.revision()
    grant = await store.settings.publish(ALICE, "", None, document(NOT_BARRED))  # says the default
    grant = await store.settings.publish(ALICE, grant.etag, None, b"")
    await store.users.facts(BOB)
    assert store.database.revision() == before
    await store.settings.publish(ALICE, grant.etag, None, document(BARRED))
    assert store.database.revision() != before
    assert await barred(store)


@pytest.mark.requirement("SET-07")
async def test_many_devices_at_once_end_in_what_the_table_says(store: Store) -> None:
    await barred(store)

    async def device(number: int) -> None:
        grant = await store.settings.publish(
            ALICE, "", None, document(Settings(pager_barred=bool(number % 2)), f"{number}")
        )
        await store.settings.publish(ALICE, grant.etag, None, document(Settings(pager_barred=not number % 2), f"{number}"))
        assert (await store.users.facts(ALICE)) is not None

    await asyncio.gather(*(device(number) for number in range(4)))
    rows = await store.database.read("SELECT sequence, pager_barred FROM publication WHERE address = ? ORDER BY 1", ALICE)
    assert len({row[0] for row in rows}) == 4
    assert await barred(store) == bool(rows[-1][1])
    other = await store.settings.effective(ALICE)
    assert next(one.value for one in other if one.setting == "pager_barred") == bool(rows[-1][1])


@pytest.mark.requirement("SET-04")
async def test_of_two_changes_with_one_tag_one_wins(store: Store) -> None:
    grant = await store.settings.publish(ALICE, "", None, document(BARRED))
    outcomes = await asyncio.gather(
        *(store.settings.publish(ALICE, grant.etag, None, document(NOT_BARRED)) for _ in range(4)),
        *(store.settings.publish(ALICE, grant.etag, None, b"") for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(outcome, UnknownTag) for outcome in outcomes) == [False, *[True] * 5]


async def test_a_user_that_is_not_there_publishes_nothing(store: Store) -> None:
    with pytest.raises(UnknownUser):
        await store.settings.publish("sip:nobody@example.com", "", None, document(BARRED))
    await store.settings.publish(ALICE, "", None, document(BARRED))
    await store.users.delete(ALICE)
    with pytest.raises(UnknownUser):
        await store.settings.publish(ALICE, "", None, document(BARRED))
    await store.users.add(ALICE, "secret")
    assert not await barred(store), "a new user of the same name starts without settings"


@pytest.mark.requirement("SET-04")
async def test_publications_outlive_the_worker(store: Store, opener: Opener) -> None:
    grant = await store.settings.publish(ALICE, "", None, document(BARRED))
    await store.close()
    again = await opener()
    assert await barred(again)
    await again.settings.publish(ALICE, grant.etag, 0, b"")
    assert not await barred(again)


@pytest.mark.requirement("SET-07")
async def test_another_process_hears_of_it(store: Store, opener: Opener) -> None:
    other = await opener()
    assert not await barred(other)
    await store.settings.publish(ALICE, "", None, document(BARRED))
    for _ in range(100):
        if other.users.cached(ALICE) is MISS:
            break
        await asyncio.sleep(0.02)
    assert await barred(other)


@pytest.mark.requirement("PAG-06", "SET-07")
async def test_what_the_operator_bars_stays_barred(store: Store) -> None:
    await store.users.set(ALICE, pager_barred=True)
    await store.settings.publish(ALICE, "", None, document(NOT_BARRED))
    assert await barred(store)
    await store.users.set(ALICE, pager_barred=False)
    assert not await barred(store)


async def test_each_setting_tells_where_it_comes_from(store: Store) -> None:
    await store.users.set(ALICE, session_barred=True)
    await store.settings.publish(ALICE, "", 600, document(Settings(session_barred=False, visible=False), "phone"))
    await store.settings.publish(ALICE, "", 700, document(BARRED, "tablet"))
    assert await store.settings.effective(ALICE) == [
        Effective("session_barred", True, "operator"),
        Effective("pager_barred", True, "published", "tablet", NOW + 700),
        Effective("offline_delivery", False, "default"),
        Effective("visible", False, "published", "phone", NOW + 600),
        Effective("session_history", False, "default"),
        Effective("message_history", False, "default"),
    ]
    with pytest.raises(UnknownUser):
        await store.settings.effective("sip:nobody@example.com")


def test_the_times_have_to_fit_each_other() -> None:
    with pytest.raises(ValueError, match="IM_SETTINGS_EXPIRES"):
        Config.load({"IM_SETTINGS_MIN_EXPIRES": "7200"})
