"""SIP legs that outlive the worker: what a restarted one needs to release them or to go on with them (SEC-06)."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Literal

import msgspec

from msrp_worker.store.database import Database, Result, Row, Statement

LEGS_PER_READ = 1000
"""Legs read at once after a restart, about 2 KiB each."""


class LegRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One leg as it is stored."""

    call_id: str
    local_tag: str
    node: str
    """The worker that holds it."""
    owner_kind: str
    """What the leg belongs to, and which one: a word and an identity that the owner can be found by."""
    owner_id: str
    role: Literal["caller", "callee"]
    state: Literal["calling", "confirmed"]
    """calling: our INVITE may be answered at any time; confirmed: a 2xx was sent or received."""
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    route_set: tuple[str, ...]
    contact: str
    local_cseq: int
    """At least: requests that change nothing else are not written down."""
    remote_cseq: int
    invite_cseq: int
    session_interval: int
    """Seconds, 0 without session timer."""
    refreshes_here: bool
    expires: float
    """End of the session without a refresh, in seconds since the epoch; 0 without session timer."""
    peer_update: bool
    """The peer allows UPDATE."""
    local_sdp: bytes
    remote_sdp: bytes


_COLUMNS = LegRecord.__struct_fields__
_KEY = ("call_id", "local_tag")
_PUT = (
    f"INSERT INTO leg ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
)
_REMOVE = "DELETE FROM leg WHERE call_id = ? AND local_tag = ?"
_OF_NODE = (
    f"SELECT {', '.join(_COLUMNS)} FROM leg WHERE node = ? AND (call_id > ? OR (call_id = ? AND local_tag > ?)) "
    "ORDER BY call_id, local_tag LIMIT ?"
)

Results = list[Result]


class Legs:
    """The table of legs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, record: LegRecord) -> Awaitable[Results]:
        """Store a leg, new or changed; durable when it returns. Errors of Database.write."""
        return self._database.write(Statement(_PUT, _values(record)))

    def remove(self, call_id: str, local_tag: str) -> Awaitable[Results]:
        """Forget a leg. Errors of Database.write.

        Not in the background: under steady load that never gets its turn, and the table would grow with every session.
        """
        return self._database.write(Statement(_REMOVE, (call_id, local_tag)))

    async def of_node(self, node: str, after: tuple[str, str] = ("", "")) -> list[LegRecord]:
        """Up to LEGS_PER_READ legs of a node by Call-ID and tag, those behind `after`."""
        call_id, local_tag = after
        rows = await self._database.read(_OF_NODE, node, call_id, call_id, local_tag, LEGS_PER_READ)
        return [_record(row) for row in rows]


def _values(record: LegRecord) -> tuple[object, ...]:
    values = {name: getattr(record, name) for name in _COLUMNS}
    values["route_set"] = json.dumps(record.route_set)
    values["refreshes_here"] = int(record.refreshes_here)
    values["peer_update"] = int(record.peer_update)
    return tuple(values.values())


def _record(row: Row) -> LegRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["route_set"] = tuple(json.loads(values["route_set"]))
    values["refreshes_here"] = bool(values["refreshes_here"])
    values["peer_update"] = bool(values["peer_update"])
    values["local_sdp"] = bytes(values["local_sdp"])
    values["remote_sdp"] = bytes(values["remote_sdp"])
    return LegRecord(**values)
