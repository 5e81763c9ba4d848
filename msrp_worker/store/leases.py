"""Leases of deferred messages: whoever delivers one holds it, so that two deliveries never send the same (DEF-13).

Two devices, two registrations at once, two nodes: the claim is one statement under the lock of the recipient's row, and
the second comer finds the messages taken. A lease ends with its delivery, or by time when the worker that held it died.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msrp_worker.store.database import Database, Statement
from msrp_worker.store.deferred import ALIVE, COLUMNS, FREE, Deferred, DeferredEntry, parts

LEASE_S = 60.0
"""How long a lease holds without being renewed, in seconds: how late messages come after a node died for good. A worker
that is started again ends those of the one before it at once."""
PAGE = 64
"""Messages of one claim, which is one durable write."""

_LOCK = "UPDATE deferred_usage SET messages = messages WHERE recipient = ?"
_CLAIM = (
    "UPDATE deferred SET lease_owner = ?, lease_expires = ? WHERE id IN (SELECT id FROM deferred "
    f"WHERE recipient = ? AND {ALIVE} AND {FREE}{{}} ORDER BY id LIMIT ?) AND {FREE}"
)
_OF_KIND = {None: "", False: " AND advertisement = 0", True: " AND advertisement = 1"}
_UNLESS_OTHERS = (
    " AND NOT EXISTS (SELECT 1 FROM deferred AS other WHERE other.recipient = ? AND other.lease_expires > ? "
    "AND other.lease_owner <> ?)"
)
_CLAIM_THESE = (
    f"UPDATE deferred SET lease_owner = ?, lease_expires = ? WHERE recipient = ? AND id IN ({{}}) AND {ALIVE} AND {FREE}"
)
_RETURNING = f" RETURNING {COLUMNS}"
_RENEW = "UPDATE deferred SET lease_expires = ? WHERE lease_owner = ?"
_RELEASE = "UPDATE deferred SET lease_owner = NULL, lease_expires = NULL WHERE lease_owner = ?"
_RELEASE_NODE = "UPDATE deferred SET lease_owner = NULL, lease_expires = NULL WHERE substr(lease_owner, 1, ?) = ?"
_HELD_UNTIL = "SELECT MAX(lease_expires) FROM deferred WHERE recipient = ? AND lease_expires > ?"


class Leases:
    """The leases of all deliveries. An owner is `node/delivery`, at most 64 characters."""

    def __init__(self, database: Database, deferred: Deferred, clock: Callable[[], float]) -> None:
        self._database = database
        self._deferred = deferred
        self._clock = clock

    async def claim(
        self,
        recipient: str,
        owner: str,
        *,
        limit: int = PAGE,
        alone: bool = True,
        advertisements: bool | None = None,
        seconds: float = LEASE_S,
    ) -> list[DeferredEntry]:
        """Lease the next messages that nobody holds, in order of arrival; durable on return.

        `alone`: none while another delivery holds messages of the recipient, so that a push keeps their order.
        `advertisements`: those alone, or all others (ADV-03); None for both.
        """
        now = self._clock()
        parameters = (owner, now + seconds, recipient, *self._deferred.alive(now), now, limit, now)
        sql = _CLAIM.format(_OF_KIND[advertisements])
        claim = Statement(sql + _RETURNING, parameters)
        if alone:
            claim = Statement(sql + _UNLESS_OTHERS + _RETURNING, (*parameters, recipient, now, owner))
        return await self._claimed(recipient, claim)

    async def claim_these(
        self, recipient: str, owner: str, message_ids: Sequence[str], *, seconds: float = LEASE_S
    ) -> list[DeferredEntry]:
        """Lease those of the messages that the recipient has and nobody holds, in order of arrival."""
        now = self._clock()
        numbers = [number for message_id in message_ids if (number := self._deferred.number(message_id)) is not None]
        found: list[DeferredEntry] = []
        for part in parts(numbers):
            sql = _CLAIM_THESE.format(", ".join("?" * len(part))) + _RETURNING
            parameters = (owner, now + seconds, recipient, *part, *self._deferred.alive(now), now)
            found += await self._claimed(recipient, Statement(sql, parameters))
        return found

    async def renew(self, owner: str, *, seconds: float = LEASE_S) -> int:
        """Hold what the owner holds for longer; how many messages that is."""
        (result,) = await self._database.write(Statement(_RENEW, (self._clock() + seconds, owner)))
        return result.touched

    async def release(self, owner: str) -> int:
        """The delivery is over: what it did not deliver is anybody's; how many messages that is."""
        (result,) = await self._database.write(Statement(_RELEASE, (owner,)))
        return result.touched

    async def release_node(self, node: str) -> int:
        """A node starts anew: the deliveries that it had are dead; how many messages they held."""
        prefix = f"{node}/"
        (result,) = await self._database.write(Statement(_RELEASE_NODE, (len(prefix), prefix)))
        return result.touched

    async def held_until(self, recipient: str) -> float | None:
        """When the last lease on the recipient's messages ends unless it is renewed; None when there is none."""
        rows = await self._database.read(_HELD_UNTIL, recipient, self._clock())
        return rows[0][0] if rows and rows[0][0] is not None else None

    async def _claimed(self, recipient: str, claim: Statement) -> list[DeferredEntry]:
        """The row of the recipient is locked first, so that claims for it come one after the other."""
        _, result = await self._database.write(Statement(_LOCK, (recipient,)), claim)
        return [self._deferred.entry(row) for row in sorted(result.rows, key=lambda row: int(row[0]))]
