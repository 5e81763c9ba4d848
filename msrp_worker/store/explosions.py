"""Messages to many whose sender has its 202: kept until every copy has its outcome; a restart loses none (PAG-11)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from msrp_worker.store.database import Database, Row, Statement
from msrp_worker.store.trace import storable

PER_READ = 100
"""Read at once after a restart; each may have 128 KiB."""


class ExplosionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One message to many as it is stored."""

    identity: str
    node: str
    """The worker that sends the copies."""
    call_id: str
    """Of the message that came."""
    originator: str
    anonymous: bool
    sender: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    recipients: tuple[str, ...]
    """Those whose copy has no outcome yet."""
    received: float
    """Seconds since 1970."""
    expires: float | None
    requirement: str


_COLUMNS = ExplosionRecord.__struct_fields__
_ADD = f"INSERT INTO explosion ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_LEFT = "UPDATE explosion SET recipients = ? WHERE identity = ?"
_REMOVE = "DELETE FROM explosion WHERE identity = ?"
_OF_NODE = f"SELECT {', '.join(_COLUMNS)} FROM explosion WHERE node = ? AND identity > ? ORDER BY identity LIMIT {PER_READ}"

Records = list[ExplosionRecord]


class Explosions:
    """The table of messages to many."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, record: ExplosionRecord) -> None:
        """Store one; durable when this returns. Errors of Database.write."""
        await self._database.write(Statement(_ADD, _values(record)))

    async def left(self, identity: str, recipients: Sequence[str]) -> None:
        """Whose copy has no outcome yet; with nobody left it is forgotten. Errors of Database.write."""
        if recipients:
            await self._database.write(Statement(_LEFT, (json.dumps(list(recipients)), identity)))
        else:
            await self._database.write(Statement(_REMOVE, (identity,)))

    async def of_node(self, node: str, after: str = "") -> Records:
        """Those of a node by identity, PER_READ at most, behind `after`."""
        return [_record(row) for row in await self._database.read(_OF_NODE, node, after)]


def _values(record: ExplosionRecord) -> tuple[object, ...]:
    values = {name: getattr(record, name) for name in _COLUMNS}
    values["anonymous"] = int(record.anonymous)
    values["headers"] = storable(json.dumps(record.headers))
    values["recipients"] = json.dumps(record.recipients)
    for name in ("call_id", "originator", "sender"):
        values[name] = storable(values[name])
    return tuple(values.values())


def _record(row: Row) -> ExplosionRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["anonymous"] = bool(values["anonymous"])
    values["headers"] = tuple((name, value) for name, value in json.loads(values["headers"]))
    values["recipients"] = tuple(json.loads(values["recipients"]))
    values["body"] = bytes(values["body"])
    return ExplosionRecord(**values)
