"""PostgreSQL behind the Database protocol, for several nodes with one store.

Each unit is one transaction on a pooled connection. Units that commit at the same time share the flush of
the server's log, so nothing is gained by joining them here, and joined units of two nodes could lock the
same users in different order.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from msrp_worker.store import migrations
from msrp_worker.store.database import BUMP_REVISION, Result, Row, Statement
from msrp_worker.store.errors import (
    Conflict,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    Unmet,
)
from msrp_worker.store.schema import first_message_id, schema_statements

log = logging.getLogger(__name__)

WRITING_CONNECTIONS = 8
"""Units in transactions at a time: enough to share log flushes, few enough for a server of many nodes."""
READING_CONNECTIONS = 2
MAX_PENDING_UNITS = 8192
"""Units that may wait, a few seconds of work; beyond it the sender is better told at once."""
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 3.0
"""Longest time for one statement: a server that is gone is an error, not a wait. Less than the 4 s after which
Kamailio gives up on an answer, so that a message is not stored whose sender has been told 503."""
HEARTBEAT_S = 5.0
"""How often the connection that hears of changes is tried: the longest time that caches may be old when the
network cuts a node off without a word."""
RECONNECT_S = 1.0
DEADLOCK_ATTEMPTS = 5
MIGRATION_LOCK = 0x494D
"""Key of the advisory lock that keeps two nodes from changing the schema at once."""
REVISION_CHANNEL = "im_revision"

_NOTIFICATIONS = (
    """
    CREATE OR REPLACE FUNCTION im_tell_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('im_revision', NEW.value::text); RETURN NULL; END $$
    """,
    """
    CREATE OR REPLACE FUNCTION im_tell_registration() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('im_registration', COALESCE(NEW.address, OLD.address)); RETURN NULL; END $$
    """,
    "CREATE TRIGGER im_revision AFTER UPDATE ON revision FOR EACH ROW EXECUTE FUNCTION im_tell_revision()",
    """
    CREATE TRIGGER im_registration AFTER INSERT OR UPDATE OR DELETE ON registration
    FOR EACH ROW EXECUTE FUNCTION im_tell_registration()
    """,
)
"""How nodes hear of each other's changes; SQLite has one worker and needs none."""

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_SETTINGS = {"synchronous_commit": "on", "application_name": "simple-im"}  # DEF-01


async def prepare(url: str, known: Sequence[migrations.Migration] | None = None) -> list[str]:
    """Create or upgrade the schema in one transaction; the names of the steps that were done.

    SchemaError when it is newer than this program, StoreUnavailable when the server refuses.
    """
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                return await _prepare(connection, known)
        finally:
            await connection.close()
    except _FAILURES as error:
        raise StoreUnavailable(f"PostgreSQL: {error}") from error


async def _prepare(connection: Any, known: Sequence[migrations.Migration] | None) -> list[str]:
    found = await version(connection)
    steps = migrations.missing(found, known)
    if not found:
        for statement in (*schema_statements(), *_NOTIFICATIONS):
            await connection.execute(statement)
        start = first_message_id(time.time())
        await connection.execute(f"ALTER TABLE deferred ALTER COLUMN id RESTART WITH {start:d}")
    for step in steps:
        for statement in step.statements if found else ():
            await connection.execute(statement)
        await connection.execute(
            "INSERT INTO migration (number, name, applied) VALUES ($1, $2, $3)",
            step.number,
            step.name,
            time.time(),
        )
    return [step.name for step in steps]


async def version(connection: Any) -> int:
    """Schema version of the database, 0 when it has none."""
    if await connection.fetchval("SELECT to_regclass('migration')") is None:
        return 0
    return int(await connection.fetchval("SELECT COALESCE(MAX(number), 0) FROM migration"))


@functools.lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """`sql` with `$1`, `$2`, … for its question marks; those inside quotes stay."""
    parts = sql.split("'")
    number = 0
    for index in range(0, len(parts), 2):
        pieces = parts[index].split("?")
        text = pieces[0]
        for piece in pieces[1:]:
            number += 1
            text += f"${number}{piece}"
        parts[index] = text
    return "'".join(parts)


class PostgresDatabase:
    """See Database. Open it with `await PostgresDatabase.open(url)` on the event loop that uses it."""

    dialect = "postgresql"

    def __init__(self, url: str, pool: Any) -> None:
        self._url = url
        self._pool = pool
        self._writing = asyncio.Semaphore(WRITING_CONNECTIONS)
        self._background = asyncio.Semaphore(1)
        self._pending = 0
        self._closed = False
        self._revision: int | None = None
        self._watches: defaultdict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str) -> PostgresDatabase:
        """The database at `url`, which `prepare` made.

        SchemaError when its schema is not this program's, StoreUnavailable when it cannot be reached.
        """
        size = WRITING_CONNECTIONS + READING_CONNECTIONS
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings=_SETTINGS,
            )
        except _FAILURES as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error
        try:
            async with pool.acquire() as connection:
                migrations.require_current(await version(connection))
        except StoreError:
            await pool.close()
            raise
        database = cls(url, pool)
        first = asyncio.Event()
        database._listening = asyncio.create_task(database._listen(first), name="store-listen")
        await first.wait()
        return database

    async def read(self, sql: str, *parameters: Any) -> list[Row]:
        """See Database.read."""
        self._require_open()
        try:
            async with self._pool.acquire() as connection:
                return list(await connection.fetch(numbered(sql), *parameters))
        except _FAILURES as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    async def write(self, *statements: Statement, background: bool = False) -> list[Result]:
        """See Database.write."""
        self._require_open()
        if self._pending >= MAX_PENDING_UNITS:
            raise StoreBusy(f"{self._pending} units wait to be written")
        self._pending += 1
        try:
            if background:
                async with self._background, self._writing:
                    return await self._unit(statements)
            async with self._writing:
                return await self._unit(statements)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Conflict(str(error)) from error
        except _FAILURES as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error
        finally:
            self._pending -= 1

    async def _unit(self, statements: Sequence[Statement]) -> list[Result]:
        for attempt in range(1, DEADLOCK_ATTEMPTS + 1):
            try:
                async with self._pool.acquire() as connection:
                    async with connection.transaction():
                        results = await _run(connection, statements)
                    self._note_revision(statements, results)
                    return results
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                if attempt == DEADLOCK_ATTEMPTS:
                    raise
        raise AssertionError("the loop returns or raises")

    def _note_revision(self, statements: Sequence[Statement], results: Sequence[Result]) -> None:
        """Know of one's own change before the server tells of it: whoever waited for the commit counts on it (SET-07)."""
        for statement, result in zip(statements, results, strict=True):
            if statement is BUMP_REVISION and self._revision is not None:
                self._revision = max(self._revision, int(result.rows[0][0]))

    def revision(self) -> int | None:
        """See Database.revision: what the server told last; None while it cannot tell."""
        return self._revision

    def watch(self, channel: str, heard: Callable[[str], None]) -> None:
        """See Database.watch. Called before anything is read through what `heard` keeps in memory."""
        self._watches[channel].append(heard)

    async def close(self) -> None:
        """See Database.close."""
        if self._closed:
            return
        self._closed = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        try:
            await asyncio.wait_for(self._pool.close(), COMMAND_TIMEOUT_S)
        except _FAILURES:
            self._pool.terminate()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")

    async def _listen(self, first: asyncio.Event) -> None:
        """Hear of changes until cancelled; while nothing can be heard, caches are told to forget."""
        while True:
            try:
                await self._listen_once(first)
            except _FAILURES as error:
                log.warning("changes of other nodes are not heard: %s", error)
            finally:
                first.set()
                self._lose_track()
            await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self, first: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_SETTINGS,
        )
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: self._lose_track())
            connection.add_termination_listener(lambda _: lost.set())
            for channel in (REVISION_CHANNEL, "im_registration"):
                await connection.add_listener(channel, self._heard)
            while True:
                self._revision = int(await connection.fetchval("SELECT value FROM revision WHERE id = 1"))
                first.set()
                try:
                    await asyncio.wait_for(lost.wait(), HEARTBEAT_S)
                except TimeoutError:
                    continue
                raise ConnectionError("the server closed the connection")
        finally:
            connection.terminate()

    def _heard(self, connection: Any, process: int, channel: str, payload: str) -> None:
        if channel == REVISION_CHANNEL:
            self._revision = max(self._revision or 0, int(payload))
            return
        for heard in self._watches[channel]:
            heard(payload)

    def _lose_track(self) -> None:
        self._revision = None
        for watches in self._watches.values():
            for heard in watches:
                heard("")


async def _run(connection: Any, statements: Sequence[Statement]) -> list[Result]:
    results: list[Result] = []
    for index, statement in enumerate(statements):
        result = await _execute(connection, statement)
        if statement.expect_rows is not None and result.touched != statement.expect_rows:
            raise Unmet(index)
        results.append(result)
    return results


async def _execute(connection: Any, statement: Statement) -> Result:
    sql = numbered(statement.sql)
    if statement.many:
        await connection.executemany(sql, statement.parameters)
        return Result(len(statement.parameters))
    if " RETURNING " in sql:
        rows = await connection.fetch(sql, *statement.parameters)
        return Result(len(rows), rows)
    tag = await connection.execute(sql, *statement.parameters)
    return Result(int(tag.rpartition(" ")[2]))
