"""IM rules documents as users or the operator put them (XDM-03); their meaning is in common_policy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from msrp_worker.common_policy import parse_rules
from msrp_worker.store.database import Database, Statement
from msrp_worker.store.errors import UnknownUser, Unmet
from msrp_worker.store.users import Users


class RulesDocument(msgspec.Struct, frozen=True):
    """A document as it was put."""

    document: bytes
    etag: str
    """Changes with the content; without quotes."""
    modified: float
    """Seconds since the epoch."""


class RulesStore:
    """At most one IM rules document per user."""

    def __init__(self, database: Database, users: Users, clock: Callable[[], float]) -> None:
        self._database = database
        self._users = users
        self._clock = clock

    async def put(self, address: str, document: bytes) -> str:
        """Store the document of a user and return its etag. RulesError when it is none, UnknownUser."""
        parse_rules(document)
        etag = hashlib.sha256(document).hexdigest()[:32]
        try:
            await self._users.change(
                address,
                Statement("UPDATE users SET address = address WHERE address = ?", (address,), 1),
                Statement(
                    "INSERT INTO im_rules (address, document, etag, modified) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (address) DO UPDATE SET document = excluded.document, "
                    "etag = excluded.etag, modified = excluded.modified",
                    (address, document, etag, self._clock()),
                ),
            )
        except Unmet:
            raise UnknownUser(address) from None
        return etag

    async def get(self, address: str) -> RulesDocument | None:
        """The document of a user, None when there is none."""
        rows = await self._database.read("SELECT document, etag, modified FROM im_rules WHERE address = ?", address)
        return RulesDocument(*rows[0]) if rows else None

    async def delete(self, address: str) -> bool:
        """Delete the document of a user; False when there was none."""
        (result,) = await self._users.change(address, Statement("DELETE FROM im_rules WHERE address = ?", (address,)))
        return result.touched > 0
