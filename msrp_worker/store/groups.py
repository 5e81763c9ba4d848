"""Group documents as the operator or their owners put them (XDM-02); their meaning is in `group` and `group_rules`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from msrp_worker.group import Group, GroupError, parse_group
from msrp_worker.ruleset import Conditions, Rule
from msrp_worker.store.database import BUMP_REVISION, Database, Row, Statement
from msrp_worker.store.errors import AddressTaken, Unmet
from msrp_worker.store.lists import ContactList, Lists
from msrp_worker.store.users import MISS, Miss

log = logging.getLogger(__name__)

MAX_CACHED_GROUPS = 2_000
"""Parsed groups in memory, and addresses known to be none; a group of 1,000 members takes about 150 KiB."""
PARSED_AT_ONCE = 32_768
"""Bytes of a document that is parsed on the event loop: about 3 ms; a larger one takes up to 0.2 s, in a thread."""
LARGEST_PAGE = 100
"""Groups in one answer of `list`: their documents have up to 1 MiB each."""

_NO_RIGHTS: Final = (Rule("unreadable", Conditions(), {}),)
"""In place of a stored document that cannot be read any more: who wrote one wanted some kept out."""


class GroupDocument(msgspec.Struct, frozen=True):
    """A document as it was put."""

    uri: str
    document: bytes
    etag: str
    """Changes with the content; without quotes."""
    changed_at: float
    """Seconds since the epoch."""


class _Known(msgspec.Struct, frozen=True):
    revision: int | None
    """State of the store that this was read from; None when it could not be known."""
    etag: str
    document: Group | None
    """As the document says."""
    lists: dict[str, ContactList]
    """What it refers to (XDM-04)."""
    group: Group | None
    """With who is on these lists."""


class Groups:
    """The table of group documents, with a cache of parsed groups that is right on the next request after any change."""

    def __init__(self, database: Database, lists: Lists, clock: Callable[[], float]) -> None:
        self._database = database
        self._lists = lists
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def cached(self, uri: str) -> Group | Literal[Miss.MISS] | None:
        """The group of a canonical address from memory alone: None is no group, MISS is not known here."""
        revision = self._database.revision()
        known = self._known.get(uri)
        return MISS if known is None or revision is None or known.revision != revision else known.group

    async def get(self, uri: str) -> Group | None:
        """The group of a canonical address with who is on the lists it refers to, None when it is none. From memory when
        nothing changed."""
        revision = self._database.revision()  # before the row: that is at least as new
        known = self._known.get(uri)
        if known is not None and known.revision == revision is not None:
            return known.group
        etag = known.etag if known is not None else ""
        rows = await self._database.read(
            "SELECT etag, CASE WHEN etag = ? THEN NULL ELSE document END FROM im_group WHERE uri = ?", etag, uri
        )
        found: Group | None = None
        if rows:  # other changes are far more frequent: an unchanged document is neither sent nor parsed again
            unchanged = known is not None and rows[0][1] is None
            found = known.document if known is not None and unchanged else await _in_time(_read, bytes(rows[0][1]), uri)
        lists, group = await self._with_lists(found, known)
        self._keep(uri, _Known(revision, rows[0][0] if rows else "", found, lists, group))
        return group

    async def complete(self, document: Group) -> Group:
        """The group of a parsed document with who is on the lists it refers to (XDM-04)."""
        _, group = await self._with_lists(document, None)
        return document if group is None else group

    async def _with_lists(self, found: Group | None, known: _Known | None) -> tuple[dict[str, ContactList], Group | None]:
        """A group with its lists; the same object when neither is another one."""  # XDM-04
        if found is None or not found.external_lists:
            return {}, found
        lists = await self._lists.look_up(found.external_lists)
        if known is not None and known.document is found and all(known.lists.get(one) is lists[one] for one in lists):
            return lists, known.group
        return lists, found.with_lists({anchor: one.members for anchor, one in lists.items()})

    def _keep(self, uri: str, known: _Known) -> None:
        self._known[uri] = known
        self._known.move_to_end(uri)
        if len(self._known) > MAX_CACHED_GROUPS:
            self._known.popitem(last=False)

    async def document(self, uri: str) -> GroupDocument | None:
        """The document of a group as it was put, None when there is none."""
        rows = await self._database.read("SELECT uri, document, etag, changed_at FROM im_group WHERE uri = ?", uri)
        return _as_document(rows[0]) if rows else None

    async def put(self, uri: str, document: bytes) -> str:
        """Store the document of a group, new or in place of another, and return its etag.

        GroupError when it is none, or one of another address; AddressTaken when a user has the address.
        """
        group = await _in_time(parse_group, document)
        if group.uri != uri:
            raise GroupError(f"the document is that of {group.uri}, not of {uri}")
        etag = hashlib.sha256(document).hexdigest()[:32]
        try:
            await self._database.write(
                Statement(
                    "INSERT INTO im_group (uri, document, etag, changed_at) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (uri) DO UPDATE SET document = excluded.document, "
                    "etag = excluded.etag, changed_at = excluded.changed_at",
                    (uri, document, etag, self._clock()),
                ),
                BUMP_REVISION,  # from here on, nobody else can be taking the address unseen
                Statement("SELECT address FROM users WHERE address = ?", (uri,), 0),
            )
        except Unmet:
            raise AddressTaken(uri, "user") from None
        return etag

    async def delete(self, uri: str) -> bool:
        """Delete a group; False when there was none."""
        result, _ = await self._database.write(Statement("DELETE FROM im_group WHERE uri = ?", (uri,)), BUMP_REVISION)
        return result.touched > 0

    async def list(self, after: str = "", limit: int = LARGEST_PAGE) -> list[GroupDocument]:
        """The documents of groups whose address comes after `after`, by address; at most `limit`."""
        rows = await self._database.read(
            "SELECT uri, document, etag, changed_at FROM im_group WHERE uri > ? ORDER BY uri LIMIT ?",
            after,
            min(limit, LARGEST_PAGE),
        )
        return [_as_document(row) for row in rows]


def _as_document(row: Row) -> GroupDocument:
    return GroupDocument(row[0], bytes(row[1]), row[2], row[3])


async def _in_time(read: Callable[..., Group], document: bytes, *more: str) -> Group:
    """Parse without keeping the event loop from its other work."""
    return read(document, *more) if len(document) <= PARSED_AT_ONCE else await asyncio.to_thread(read, document, *more)


def _read(document: bytes, uri: str) -> Group:
    try:
        return parse_group(document)
    except GroupError as error:
        log.error("the stored document of group %s cannot be read, nobody is admitted: %s", uri, error)
        return Group(uri, rules=_NO_RIGHTS)
