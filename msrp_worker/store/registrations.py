"""Who is IM-registered at a separate core, as its third-party REGISTER requests say (COR-06)."""

from __future__ import annotations

from msrp_worker.store.database import Database, Statement

CHANNEL = "im_registration"
MAX_CACHED = 100_000
"""Addresses kept in memory, about 200 bytes each."""
_NEVER = 0.0


class Registrations:
    """Addresses with the time until which they are registered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._expires: dict[str, float] = {}
        self._generation = 0
        database.watch(CHANNEL, self._heard)

    async def put(self, address: str, expires_at: float) -> None:
        """The address is registered until `expires_at` (seconds since the epoch)."""
        await self._change(
            address,
            Statement(
                "INSERT INTO registration (address, expires_at) VALUES (?, ?) "
                "ON CONFLICT (address) DO UPDATE SET expires_at = excluded.expires_at",
                (address, expires_at),
            ),
        )

    async def remove(self, address: str) -> bool:
        """The address is not registered any more; False when it was not."""
        return await self._change(address, Statement("DELETE FROM registration WHERE address = ?", (address,))) > 0

    def cached(self, address: str, now: float) -> bool | None:
        """Whether the address is registered at `now`, from memory; None when memory does not know."""
        expires_at = self._expires.get(address)
        return None if expires_at is None else now < expires_at

    async def is_registered(self, address: str, now: float) -> bool:
        """Whether the address is registered at `now`."""
        known = self.cached(address, now)
        if known is not None:
            return known
        generation = self._generation
        rows = await self._database.read("SELECT expires_at FROM registration WHERE address = ?", address)
        expires_at = float(rows[0][0]) if rows else _NEVER
        if generation == self._generation:
            if len(self._expires) >= MAX_CACHED:
                self._expires.clear()
            self._expires[address] = expires_at
        return now < expires_at

    async def expire(self, now: float) -> list[str]:
        """Delete what expired; the addresses (COR-08)."""
        (result,) = await self._database.write(
            Statement("DELETE FROM registration WHERE expires_at <= ? RETURNING address", (now,))
        )
        addresses = [row[0] for row in result.rows]
        for address in addresses:
            self._heard(address)
        return addresses

    async def _change(self, address: str, statement: Statement) -> int:
        try:
            (result,) = await self._database.write(statement)
            return result.touched
        finally:
            self._heard(address)

    def _heard(self, address: str) -> None:
        """Another node (or this one) changed an address; an empty one means any."""
        self._generation += 1
        if address:
            self._expires.pop(address, None)
        else:
            self._expires.clear()
