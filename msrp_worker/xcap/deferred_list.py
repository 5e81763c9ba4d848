"""`deferred-list`: what waits for a user, as a document whose entries can be deleted without retrieving them (DEF-09).

The document is made of the store whenever it is asked for. Deleting a `history` element deletes that message, deleting the
document all that were in it; nothing else can be changed, for a stored message is what its sender sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from msrp_worker.deferred.payload import sender_shown
from msrp_worker.deferred.summary import header_uri
from msrp_worker.safe_xml import escaped, quoted
from msrp_worker.store.deferred import DeferredEntry, Extent
from msrp_worker.store.store import Store
from msrp_worker.xcap import tree
from msrp_worker.xcap.report import Conflict, Kind
from msrp_worker.xcap.selector import Name, NodeSelector
from msrp_worker.xcap.usage import Change, Document, Done, Gone, Outcome, Place, Usage

NAMESPACE: Final = "urn:oma:xml:im:history-list"
REFERENCE: Final = "history-reference"
NAMES: Final = (("deferred-list",), ("index",))
"""The document's name, and the one that RFC 4825 section 6.2 gives to a user's only document."""
PAGE: Final = 1000
"""Messages read at a time."""
TOGETHER: Final = 4
"""Documents being made at once: 20,000 messages take some 50 MiB until they are sent."""
ITEM: Final = Name(NAMESPACE, "history").tag

HELD: Final = Conflict(Kind.CONSTRAINT_FAILURE, "the message is being delivered; try again in a minute")
SOME_HELD: Final = Conflict(Kind.CONSTRAINT_FAILURE, "messages are being delivered; try again in a minute")
NOT_AN_ITEM: Final = Conflict(Kind.CONSTRAINT_FAILURE, "only whole history elements can be deleted, one at a time")


class DeferredList(Usage):
    """The deferred messages of each user. `changed` is told whose list is shorter now."""

    auid = "org.openmobilealliance.deferred-list"
    content_type = "application/vnd.oma.im.deferred-list+xml"
    namespace = NAMESPACE
    methods = frozenset({"GET", "HEAD", "DELETE"})

    def __init__(self, store: Store, changed: Callable[[str], None]) -> None:
        self._store = store
        self._changed = changed
        self._room = asyncio.Semaphore(TOGETHER)

    async def fetch(self, place: Place, node: NodeSelector | None) -> Document | None:
        """A node that is chosen by its history-reference needs no other message to be read: deleting one of many costs
        the same as deleting one of few."""
        if place.path not in NAMES or place.user is None:
            return None
        deferred = self._store.deferred
        wanted = None if node is None else _wanted(node)
        if wanted is not None:
            extent = await deferred.extent(place.user)
            found = await deferred.get(place.user, wanted) if deferred.number(wanted) is not None else None
            entries = [found] if found is not None and reference(found) == wanted else []
            return Document(build(entries, deferred.retention_s), _etag(extent))
        async with self._room:
            all_entries: list[DeferredEntry] = []
            while page := await deferred.list(place.user, all_entries[-1].message_id if all_entries else None, PAGE):
                all_entries += page
            last = deferred.number(all_entries[-1].message_id) if all_entries else 0
            body = await asyncio.to_thread(build, all_entries, deferred.retention_s)
        return Document(body, _etag(Extent(len(all_entries), last or 0)))

    async def change(self, place: Place, change: Change) -> Outcome:
        user = place.user
        assert user is not None
        if change.body is None:
            return await self._delete_all(user, change)
        if change.removed is None or change.removed.tag != ITEM or change.attribute:
            return NOT_AN_ITEM
        message_id = change.removed.get(REFERENCE) or ""
        if not await self._store.deferred.delete_unheld(user, [message_id]):
            still = await self._store.deferred.get(user, message_id)
            return Gone() if still is None else HELD
        return await self._done(user)

    async def _delete_all(self, user: str, change: Change) -> Outcome:
        """All that were in the document that this request saw: what has come meanwhile nobody has decided about."""
        if await self._store.leases.held_until(user) is not None:
            return SOME_HELD
        assert change.before is not None
        found = await asyncio.to_thread(references, change.before.body)
        gone = await self._store.deferred.delete_unheld(user, found)
        done = await self._done(user)
        left = await self._store.leases.held_until(user) if len(gone) < len(found) else None
        return done if left is None else SOME_HELD

    async def _done(self, user: str) -> Done:
        self._changed(user)
        return Done(_etag(await self._store.deferred.extent(user)))


def reference(entry: DeferredEntry) -> str:
    """The URI by which a message is fetched (10.3.2.4), and named in the document."""
    return f"sip:{entry.message_id}"


def references(body: bytes) -> list[str]:
    """The history-references of a document of ours."""
    return [child.get(REFERENCE) or "" for child in tree.parse(body)]


def build(entries: Iterable[DeferredEntry], retention_s: float) -> bytes:
    """The document of these messages, in their order; `retention_s` is how long any message is kept, in seconds."""
    pieces = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<history-list xmlns="{NAMESPACE}">\n']
    pieces += [_item(entry, retention_s) for entry in entries]
    return "".join([*pieces, "</history-list>\n"]).encode()


def _item(entry: DeferredEntry, retention_s: float) -> str:
    received = _time(entry.received)
    kept_until = entry.received + retention_s
    expiry = kept_until if entry.expires is None else min(kept_until, entry.expires)
    hidden = entry.private or entry.anonymous
    sender = sender_shown(entry)  # IDN-04
    fields = [
        ("time-stamp", received),
        ("from", sender if hidden else header_uri(entry.from_header, sender)),
        ("to", header_uri(entry.to_header, entry.recipient)),
        ("auth-id", "" if hidden else entry.originator),
    ]
    subject = f"    <subject>{escaped(entry.subject)}</subject>\n" if entry.subject else ""
    pager = "".join(f"      <{name}>{escaped(text)}</{name}>\n" for name, text in fields if text)
    return (
        f"  <history {REFERENCE}={quoted(reference(entry))} date={quoted(received)}>\n"
        f"    <size>{entry.size}</size>\n"
        f"    <expiry>{_time(expiry)}</expiry>\n"
        f"{subject}    <pager>\n{pager}    </pager>\n"
        "  </history>\n"
    )


def _wanted(node: NodeSelector) -> str | None:
    """The history-reference that a selector names in its second step, the only place where one can stand."""
    if len(node.steps) < 2:
        return None
    root, step = node.steps[:2]
    plain = root.position is None and root.attribute is None and step.position is None
    return step.value if plain and step.attribute == Name("", REFERENCE) else None


def _etag(extent: Extent) -> str:
    return f"{extent.messages}-{extent.last}"


def _time(seconds: float) -> str:
    """As xs:dateTime, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
