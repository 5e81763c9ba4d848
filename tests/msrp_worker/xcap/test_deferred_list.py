"""The document of deferred messages, and what deleting parts of it does to the store (DEF-09)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from lxml import etree

from msrp_worker.config import Config
from msrp_worker.store import DeferredEntry, NewDeferred, Store, open_store, prepare_store
from msrp_worker.xcap import server
from msrp_worker.xcap.deferred_list import DeferredList, build
from msrp_worker.xcap.selector import XcapUri, split
from msrp_worker.xcap.server import Request, Response
from msrp_worker.xcap.usage import Place

GOLDEN = Path(__file__).parent / "golden"
ALICE = "sip:alice@example.com"
NOW = 1_800_000_000.0
DAY = 86400.0
ENTRY = DeferredEntry(
    message_id="1@example.com",
    recipient=ALICE,
    originator="sip:bob@example.com",
    private=False,
    anonymous=False,
    call_id="c",
    cseq=1,
    from_tag="t",
    received=NOW,
    expires=None,
    size=321,
    content_type="text/plain",
    subject="",
    priority="",
    from_header='"Bob <b>" <sip:bob@home.example.com>;tag=t',
    to_header="<sip:alice@example.com>",
    content_path=None,
)


def entry(**changes: object) -> DeferredEntry:
    return msgspec.structs.replace(ENTRY, **changes)


@pytest.mark.requirement("DEF-09", "IDN-04")
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("empty", []),
        ("one", [ENTRY]),
        (
            "several",
            [
                entry(subject="tea & <cake>\x00?", expires=NOW + 60),
                entry(message_id="2@example.com", private=True, expires=NOW + 365 * DAY),
                entry(message_id="3@example.com", anonymous=True, from_header="<sip:anonymous@anonymous.invalid>;tag=x"),
                entry(message_id="4@example.com", from_header="sip:bob@example.com;tag=x", to_header="", size=1 << 30),
            ],
        ),
    ],
)
def test_the_document(name: str, entries: list[DeferredEntry]) -> None:
    body = build(entries, 30 * DAY)
    assert body == (GOLDEN / f"deferred-list-{name}.xml").read_bytes()
    root = etree.fromstring(body)
    assert [child.get("history-reference") for child in root] == [f"sip:{one.message_id}" for one in entries]


@pytest.mark.requirement("IDN-04")
@pytest.mark.parametrize("hidden", [{"private": True}, {"anonymous": True}])
def test_who_asked_for_privacy_is_not_in_it(hidden: dict[str, bool]) -> None:
    assert b"bob" not in build([entry(**hidden)], DAY)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    config = Config.load({"IM_STATE_DIR": str(tmp_path), "IM_DEMO": "0"})
    await prepare_store(config)
    opened = await open_store(config, Clock())
    yield opened
    await opened.close()


async def keep(store: Store, count: int, recipient: str = ALICE, **values: object) -> list[str]:
    return [
        await store.deferred.add(
            NewDeferred(
                recipient=recipient,
                originator="sip:bob@example.com",
                call_id=f"call-{recipient}-{number}",
                cseq=1,
                from_tag="t",
                message=b"x" * 10,
                received=NOW,
                **values,  # type: ignore[arg-type]
            )
        )
        for number in range(count)
    ]


class Bench:
    """The usage of a store, and whom it tells."""

    def __init__(self, store: Store) -> None:
        self.told: list[str] = []
        self.usage = DeferredList(store, self.told.append)

    async def ask(self, method: str, node: str = "", document: str = "deferred-list", **values: str) -> Response:
        uri: XcapUri = split(f"/xcap/x/users/{ALICE}/{document}" + (f"/~~/{node}" if node else ""), "/xcap/")
        return await server.serve(self.usage, Place(ALICE, uri.document), uri, Request(method, **values))


def item(message_id: str) -> str:
    return f'history-list/history[@history-reference="sip:{message_id}"]'


@pytest.mark.requirement("DEF-09")
async def test_an_element_is_a_message(store: Store) -> None:
    first, second, third = await keep(store, 3)
    await keep(store, 1, "sip:carol@example.com")
    bench = Bench(store)
    whole = await bench.ask("GET")
    assert (whole.status, whole.content_type) == (200, "application/vnd.oma.im.deferred-list+xml")
    one = await bench.ask("GET", item(second))
    assert (one.status, one.content_type, one.etag) == (200, "application/xcap-el+xml", whole.etag)
    assert one.body in whole.body and one.body.startswith(b"<history ")
    assert (await bench.ask("GET", "history-list/*[2]")).body == one.body
    assert (await bench.ask("GET", item(second) + "/size")).body == b"<size>10</size>"
    assert (await bench.ask("GET", item(second) + "/@date")).body == b'"2027-01-15T08:00:00Z"'
    gone = await bench.ask("DELETE", item(second))
    assert gone.status == 200 and gone.etag not in (None, whole.etag)
    assert [one.message_id for one in await store.deferred.list(ALICE)] == [first, third]
    assert (await store.deferred.usage(ALICE)).messages == 2
    assert bench.told == [ALICE]
    assert (await bench.ask("GET")).etag == gone.etag
    assert (await bench.ask("DELETE", item(second))).status == 404
    assert (await bench.ask("DELETE", "history-list/history[1]")).status == 409  # the next one would be first then
    assert (await bench.ask("DELETE", "history-list/history[2]")).status == 200
    assert [one.message_id for one in await store.deferred.list(ALICE)] == [first]


@pytest.mark.requirement("DEF-09")
async def test_the_document_is_all_that_wait(store: Store) -> None:
    await keep(store, 250)
    kept = await keep(store, 1, "sip:carol@example.com")
    bench = Bench(store)
    gone = await bench.ask("DELETE")
    assert gone.status == 200
    assert await store.deferred.list(ALICE) == []
    assert [one.message_id for one in await store.deferred.list("sip:carol@example.com")] == kept
    empty = await bench.ask("GET", document="index")
    assert (empty.status, empty.etag) == (200, gone.etag)
    assert (await bench.ask("DELETE")).status == 200


@pytest.mark.requirement("DEF-09", "DEF-13")
async def test_what_is_on_its_way_is_not_deleted(store: Store) -> None:
    first, second = await keep(store, 2)
    bench = Bench(store)
    await store.leases.claim_these(ALICE, "node/1", [first])
    held = await bench.ask("DELETE", item(first))
    assert held.status == 409 and b"<constraint-failure phrase=" in held.body and b"being delivered" in held.body
    assert (await bench.ask("DELETE")).status == 409
    assert len(await store.deferred.list(ALICE)) == 2 and bench.told == []
    assert (await bench.ask("DELETE", item(second))).status == 200
    await store.leases.release("node/1")
    assert (await bench.ask("DELETE", item(first))).status == 200


@pytest.mark.requirement("DEF-09")
@pytest.mark.parametrize(
    "node",
    ["history-list", "{}/size", "{}/@date", "{}/@history-reference", "{}/pager/from"],
)
async def test_a_message_is_deleted_whole_or_not_at_all(store: Store, node: str) -> None:
    (message_id,) = await keep(store, 1)
    refused = await Bench(store).ask("DELETE", node.format(item(message_id)))
    assert refused.status == 409
    assert len(await store.deferred.list(ALICE)) == 1


@pytest.mark.requirement("DEF-09", "XDM-01")
@pytest.mark.parametrize(
    ("method", "node", "document", "status"),
    [
        ("PUT", "", "deferred-list", 405),
        ("PUT", "history-list/history", "deferred-list", 405),
        ("POST", "", "deferred-list", 405),
        ("DELETE", "history-list/namespace::*", "deferred-list", 405),
        ("GET", "", "other", 404),
        ("DELETE", "", "other", 404),
        ("GET", 'history-list/history[@history-reference="1@example.com"]', "deferred-list", 404),
        ("DELETE", 'history-list/history[@history-reference="sip:x"]', "deferred-list", 404),
        ("DELETE", "history-list/history", "deferred-list", 404),  # two of them
    ],
)
async def test_what_is_refused(store: Store, method: str, node: str, document: str, status: int) -> None:
    await keep(store, 2)
    answer = await Bench(store).ask(method, node, document)
    assert answer.status == status
    assert status != 405 or "GET" in answer.allow
    assert len(await store.deferred.list(ALICE)) == 2


@pytest.mark.requirement("DEF-09", "XDM-01")
async def test_conditions_hold_against_what_came_meanwhile(store: Store) -> None:
    (first,) = await keep(store, 1)
    bench = Bench(store)
    before = (await bench.ask("GET")).etag
    assert (await bench.ask("GET", if_none_match=f'"{before}"')).status == 304
    assert (await bench.ask("GET", item("7@example.com"), if_none_match=f'"{before}"')).status == 404
    assert (await bench.ask("DELETE", item("7@example.com"), if_match='"x"')).status == 404
    await store.deferred.add(
        NewDeferred(recipient=ALICE, originator=ALICE, call_id="x", cseq=1, from_tag="", message=b"x", received=NOW)
    )
    assert (await bench.ask("GET", if_none_match=f'"{before}"')).status == 200
    assert (await bench.ask("DELETE", if_match=f'"{before}"')).status == 412
    assert (await bench.ask("DELETE", item(first), if_match=f'"{before}"')).status == 412
    now = (await bench.ask("GET")).etag
    assert (await bench.ask("DELETE", item(first), if_match=f'"{now}"')).status == 200


@pytest.mark.requirement("DEF-10")
async def test_what_has_expired_is_not_in_it(store: Store) -> None:
    await keep(store, 1, expires=NOW - 1)
    answer = await Bench(store).ask("GET")
    assert b"<history " not in answer.body and answer.etag == "0-0"
