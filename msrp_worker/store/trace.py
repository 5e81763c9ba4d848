"""What happened to a message, by Call-ID, for the operator's `trace` command.

Events are collected in memory and written about once a second, after everything else: tracing never delays
or fails a request. Events of stored messages are written in the transaction of the change itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable

import msgspec

from msrp_worker.config import SECONDS_PER_DAY
from msrp_worker.store.database import Database, Statement
from msrp_worker.store.errors import StoreClosed, StoreError

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 1.0
"""How long an event may stay in memory."""
MAX_BUFFERED_EVENTS = 50_000
"""Events in memory, about 20 MiB; more come only when the disk does not keep up, and are dropped."""
EVENTS_PER_UNIT = 500
"""Events of one write: a few milliseconds during which requests wait."""
TRIM_INTERVAL_S = 60.0
TRIM_ROWS = 1000
"""Old events deleted by one write."""
ANONYMOUS = "anonymous"


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a message."""

    time: float
    """Seconds since the epoch."""
    call_id: str
    kind: str
    """received, refused, deferred, delivered, failed, expired, deleted, purged, …"""
    originator: str = ""
    """Canonical address; replaced by `anonymous` when `private`."""
    recipient: str = ""
    status: int | None = None
    """SIP status, if one was sent or received."""
    requirement: str = ""
    """Requirement id of the step that decided."""
    detail: str = ""
    private: bool = False
    """The originator asked for privacy (IDN-04)."""


_INSERT = (
    "INSERT INTO trace (time, call_id, kind, originator, recipient, status, requirement, detail) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_TRIM_OLD = "DELETE FROM trace WHERE id IN (SELECT id FROM trace WHERE time < ? ORDER BY time LIMIT ?)"
_TRIM_MANY = (
    "DELETE FROM trace WHERE id IN (SELECT id FROM trace WHERE id <= (SELECT MAX(id) FROM trace) - ? ORDER BY id LIMIT ?)"
)


def storable(text: str) -> str:
    """`text` as every database takes it: no NUL, no half of a surrogate pair (bytes that were not UTF-8)."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def event_statement(event: TraceEvent) -> Statement:
    """The event as part of another unit, so that it is written exactly when the change is."""
    return Statement(_INSERT, _row(event))


def _row(event: TraceEvent) -> tuple[float, str, str, str, str, int | None, str, str]:
    return (
        event.time,
        storable(event.call_id),
        event.kind,
        ANONYMOUS if event.private else storable(event.originator),  # IDN-04
        storable(event.recipient),
        event.status,
        event.requirement,
        storable(event.detail),
    )


class Trace:
    """The trace of one node."""

    def __init__(self, database: Database, *, days: int, max_events: int, clock: Callable[[], float]) -> None:
        self._database = database
        self._days = days
        self._max_events = max_events
        self._clock = clock
        self._buffer: deque[TraceEvent] = deque()
        self._flushing = asyncio.Lock()
        self.dropped = 0
        """Events lost since the start, because the buffer was full."""
        self._reported = 0

    def add(self, event: TraceEvent) -> None:
        """Note an event. Never waits and never fails; counted in `dropped` when the buffer is full."""
        if len(self._buffer) >= MAX_BUFFERED_EVENTS:
            self.dropped += 1
            return
        self._buffer.append(event)

    async def read(self, call_id: str) -> list[TraceEvent]:
        """Events of one Call-ID in the order in which they were written."""
        await self.flush()
        rows = await self._database.read(
            "SELECT time, call_id, kind, originator, recipient, status, requirement, detail "
            "FROM trace WHERE call_id = ? ORDER BY time, id",
            storable(call_id),
        )
        return [
            TraceEvent(
                time=row[0],
                call_id=row[1],
                kind=row[2],
                originator=row[3],
                recipient=row[4],
                status=row[5],
                requirement=row[6],
                detail=row[7],
                private=row[3] == ANONYMOUS,
            )
            for row in rows
        ]

    async def flush(self) -> None:
        """Write what was collected. StoreError: it stays collected."""
        async with self._flushing:
            for _ in range(0, len(self._buffer), EVENTS_PER_UNIT):
                events = list(itertools.islice(self._buffer, EVENTS_PER_UNIT))
                rows = [_row(event) for event in events]
                await self._database.write(Statement(_INSERT, rows, many=True), background=True)
                for _ in events:
                    self._buffer.popleft()

    async def trim(self) -> int:
        """Delete events that are too old or too many, a little at a time; how many."""
        oldest = self._clock() - self._days * SECONDS_PER_DAY
        deleted = 0
        for sql, bound in ((_TRIM_OLD, oldest), (_TRIM_MANY, self._max_events)):
            count = TRIM_ROWS
            while count == TRIM_ROWS:
                (result,) = await self._database.write(Statement(sql, (bound, TRIM_ROWS)), background=True)
                count = result.touched
                deleted += count
        return deleted

    async def run(self) -> None:
        """Flush and trim until cancelled. The store runs this as a task."""
        next_trim = 0.0
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            try:
                await self.flush()
                if self._clock() >= next_trim:
                    next_trim = self._clock() + TRIM_INTERVAL_S
                    await self.trim()
            except StoreClosed:
                return
            except StoreError as error:
                log.warning("trace events wait: %s", error)
            if self.dropped > self._reported:
                log.warning("%d trace events were dropped, the store is too slow", self.dropped - self._reported)
                self._reported = self.dropped
