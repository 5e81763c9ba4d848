"""Lists of contacts as their owners put them (XDM-04), and who is on them; their meaning is in `list_references`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from msrp_worker.group import Member
from msrp_worker.list_references import DocumentKey, Outcome, XcapRoots, members_of, shown
from msrp_worker.resource_lists import ListsError, ResourceLists, parse_lists
from msrp_worker.store.database import BUMP_REVISION, Database, Row, Statement

log = logging.getLogger(__name__)

MAX_CACHED_LISTS = 1_000
"""Lists whose addresses stay in memory; one of 1,000 addresses takes about 150 KiB, most have a few dozen."""
MAX_TOLD = 1_000
"""Problems of lists that the log has told and does not tell again."""
PARSED_AT_ONCE = 32_768
"""Bytes of a document that is parsed on the event loop: about 3 ms; a larger one takes up to 0.2 s, in a thread."""
LARGEST_PAGE = 100
"""Documents in one answer of `list`: they have up to 1 MiB each."""
LONGEST_DOCUMENT_NAME = 255
"""Characters of the name of a document: the width of its column."""
_GONE: Final = ""
"""In place of the entity-tag of a document that does not exist."""


class ListsDocument(msgspec.Struct, frozen=True):
    """A document as it was put."""

    owner: str
    name: str
    document: bytes
    etag: str
    """Changes with the content; without quotes."""
    changed_at: float
    """Seconds since the epoch."""


class ContactList(msgspec.Struct, frozen=True):
    """Who is on a list. The same object as long as nothing that it was made of changes."""

    members: tuple[Member, ...]
    addresses: frozenset[str]
    problems: tuple[str, ...] = ()
    """What it refers to in vain."""


class _Known(msgspec.Struct, frozen=True):
    revision: int | None
    """State of the store that this was read from; None when it could not be known."""
    etags: Mapping[DocumentKey, str]
    """Of all documents that it was made of."""
    found: ContactList


class Lists:
    """The table of resource-lists documents, with a cache of lists that is right on the next request after any change."""

    def __init__(self, database: Database, roots: XcapRoots, clock: Callable[[], float]) -> None:
        self._database = database
        self._roots = roots
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    async def look_up(self, anchors: Iterable[str]) -> dict[str, ContactList]:
        """Who is on these lists, by their addresses. From memory when nothing changed.

        A list that is not on this server, or is not there, has nobody: that is logged once.
        """
        return {anchor: await self._look_up(anchor) for anchor in anchors}

    async def _look_up(self, anchor: str) -> ContactList:
        revision = self._database.revision()  # before the rows: they are at least as new
        known = self._known.get(anchor)
        if known is not None and (known.revision == revision is not None):
            return known.found
        if known is None or await self._etags(known.etags) != known.etags:
            etags, outcome = await self._evaluate(anchor)
            addresses = frozenset(member.uri for member in outcome.members)
            known = _Known(revision, etags, ContactList(outcome.members, addresses, outcome.problems))
            self._tell(anchor, known.found)
        self._known[anchor] = msgspec.structs.replace(known, revision=revision)
        self._known.move_to_end(anchor)
        if len(self._known) > MAX_CACHED_LISTS:
            self._known.popitem(last=False)
        return known.found

    async def _evaluate(self, anchor: str) -> tuple[dict[DocumentKey, str], Outcome]:
        """What a list comes to, with the entity-tags of all documents that were read for it."""
        etags: dict[DocumentKey, str] = {}
        documents: dict[DocumentKey, ResourceLists | None] = {}
        while True:
            outcome = members_of(anchor, documents, self._roots)
            if not outcome.missing:
                return etags, outcome
            for key in outcome.missing:
                found = await self.document(*key)
                etags[key] = _GONE if found is None else found.etag
                documents[key] = None if found is None else await self._read(found)

    async def _read(self, found: ListsDocument) -> ResourceLists | None:
        try:
            return await _parse(found.document)
        except ListsError as error:
            log.error("the lists of %s (%s) cannot be read, nobody is on them: %s", found.owner, found.name, error)
            return None

    async def _etags(self, keys: Iterable[DocumentKey]) -> dict[DocumentKey, str]:
        found = dict.fromkeys(keys, _GONE)
        if found:
            wanted = " OR ".join("(owner = ? AND name = ?)" for _ in found)
            values = [value for key in found for value in key]
            rows = await self._database.read(f"SELECT owner, name, etag FROM resource_lists WHERE {wanted}", *values)
            found |= {DocumentKey(row[0], row[1]): row[2] for row in rows}
        return found

    def _tell(self, anchor: str, found: ContactList) -> None:
        for problem in found.problems:
            text = f"{shown(anchor)}: {problem}"
            if text not in self._told:
                log.warning("XDM-04 adds nobody to the list %s", text)
            self._told[text] = None
            self._told.move_to_end(text)
            if len(self._told) > MAX_TOLD:
                self._told.popitem(last=False)

    async def document(self, owner: str, name: str) -> ListsDocument | None:
        """A document of a user, by canonical address, as it was put; None when there is none."""
        rows = await self._database.read(
            "SELECT owner, name, document, etag, changed_at FROM resource_lists WHERE owner = ? AND name = ?", owner, name
        )
        return _as_document(rows[0]) if rows else None

    async def put(self, owner: str, name: str, document: bytes) -> str:
        """Store a document of a user, new or in place of another, and return its etag. ListsError when it is none."""
        await _parse(document)
        if not name or len(name) > LONGEST_DOCUMENT_NAME:
            raise ListsError(f"the name of a document has 1 to {LONGEST_DOCUMENT_NAME} characters")
        etag = hashlib.sha256(document).hexdigest()[:32]
        await self._database.write(
            Statement(
                "INSERT INTO resource_lists (owner, name, document, etag, changed_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (owner, name) DO UPDATE SET document = excluded.document, "
                "etag = excluded.etag, changed_at = excluded.changed_at",
                (owner, name, document, etag, self._clock()),
            ),
            BUMP_REVISION,
        )
        return etag

    async def delete(self, owner: str, name: str) -> bool:
        """Delete a document; False when there was none."""
        result, _ = await self._database.write(
            Statement("DELETE FROM resource_lists WHERE owner = ? AND name = ?", (owner, name)), BUMP_REVISION
        )
        return result.touched > 0

    async def list(self, after: tuple[str, str] = ("", ""), limit: int = LARGEST_PAGE) -> list[ListsDocument]:
        """The documents that come after `after`, by owner and name; at most `limit`."""
        rows = await self._database.read(
            "SELECT owner, name, document, etag, changed_at FROM resource_lists "
            "WHERE owner > ? OR (owner = ? AND name > ?) ORDER BY owner, name LIMIT ?",
            after[0],
            *after,
            min(limit, LARGEST_PAGE),
        )
        return [_as_document(row) for row in rows]


def _as_document(row: Row) -> ListsDocument:
    return ListsDocument(row[0], row[1], bytes(row[2]), row[3], row[4])


async def _parse(document: bytes) -> ResourceLists:
    """Parse without keeping the event loop from its other work."""
    if len(document) <= PARSED_AT_ONCE:
        return parse_lists(document)
    return await asyncio.to_thread(parse_lists, document)
