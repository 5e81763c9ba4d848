"""SQLite behind the Database protocol: one writer thread with group commit, one reader thread.

The writer takes what waits, runs all units in one transaction, commits once, and tells the event loop once.
So the price of a durable commit is shared by all requests that arrive while the one before is written. When a
unit fails, the batch is rolled back and done again with a savepoint around each unit: units rarely fail, and
savepoints cost a third of the work.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import sqlite_utils

from msrp_worker.store import migrations
from msrp_worker.store.database import Result, Row, Statement
from msrp_worker.store.errors import (
    Conflict,
    SchemaError,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    Unmet,
)
from msrp_worker.store.schema import first_message_id, for_sqlite, schema_statements

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 3.0
"""How long to wait for another process (an operator's command, Kamailio) that is writing. Less than the 4 s after which
Kamailio gives up on an answer, so that a message is not stored whose sender has been told 503."""
LONGEST_WAIT_S = BUSY_TIMEOUT_S
"""How long a unit may wait for its turn. One that has waited longer, behind a batch that found the database locked, is not
done at all: whoever asked has been told so by then, or soon will be, and tries again."""
MAX_PENDING_UNITS = 8192
"""Units that may wait, about two seconds of work; beyond it the sender is better told at once."""
MAX_BATCH_UNITS = 256
"""Units of one commit: enough to share its price, few enough that the first need not wait long."""
GUARDED_BATCHES = 32
"""Batches with savepoints after one had a failing unit: a full mailbox must not double the work."""
THREAD_SWITCH_S = 0.0002
"""Longest time that a running Python thread keeps the others waiting, in all of the process. sqlite3 gives
the interpreter away in each call; with Python's 5 ms a busy event loop brings the writer from thousands of
messages per second to less than a hundred (measured)."""
CHECKPOINT_PAGES = 8192
"""WAL pages (4 KiB) before they are copied back; more than the default, as each copy costs two syncs."""
CACHED_STATEMENTS = 256
"""Compiled statements kept per connection; more than the program has."""
PRIVATE = 0o660
"""Rights of the database: Kamailio may run as another user of the same group, and writes to it too."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode whose commits are synced to the disk (DEF-01). sqlite3.Error."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    return connection


def version(connection: sqlite3.Connection) -> int:
    """Schema version of the database, 0 when it has none."""
    if "migration" not in sqlite_utils.Database(connection).table_names():
        return 0
    (number,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM migration").fetchone()
    return int(number)


def _close_to_others(path: Path) -> None:
    """Password hashes and messages are in it: for its owner and its group alone, and SQLite gives the files beside it the
    same rights. A file that somebody made readable to all is put right (SEC-01)."""
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & ~PRIVATE:
            file.chmod(mode & PRIVATE)


def prepare(path: Path, known: Sequence[migrations.Migration] | None = None) -> list[str]:
    """Create or upgrade the database at `path` in one transaction; the names of the steps that were done.

    SchemaError when it is newer than this program, StoreUnavailable when the disk refuses.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _close_to_others(path)
        connection = connect(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    try:
        connection.execute("BEGIN IMMEDIATE")
        found = version(connection)
        steps = migrations.missing(found, known)
        if not found:
            for statement in schema_statements():
                connection.execute(for_sqlite(statement))
            start = first_message_id(time.time())
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('deferred', ?)", (start,))
        for step in steps:
            for statement in step.statements if found else ():
                connection.execute(for_sqlite(statement))
            connection.execute(
                "INSERT INTO migration (number, name, applied) VALUES (?, ?, ?)",
                (step.number, step.name, time.time()),
            )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    finally:
        connection.close()
    return [step.name for step in steps]


class _Unit:
    """Statements that succeed or fail together, and who waits for them."""

    __slots__ = ("background", "future", "queued", "statements")

    def __init__(self, statements: Sequence[Statement], future: asyncio.Future[list[Result]], background: bool) -> None:
        self.statements = statements
        self.future = future
        self.background = background
        self.queued = time.monotonic()


_Outcome = list[Result] | StoreError
_REFUSED = (sqlite3.Error, ValueError, OverflowError)
"""What one statement may raise: also text that is not UTF-8 and numbers beyond 64 bits."""


class SQLiteDatabase:
    """See Database. Open it with `await SQLiteDatabase.open(path)` on the event loop that uses it."""

    dialect = "sqlite"

    def __init__(self, path: Path, *, max_page_count: int | None = None) -> None:
        self._path = path
        self._max_page_count = max_page_count
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Unit | None] = SimpleQueue()
        self._background: deque[_Unit] = deque()
        self._pending = 0
        self._closed = False
        self._guarded_batches = 0
        self._data_version = -1
        self._revision: int | None = None
        self._revision_reader = connect(path)
        self._revision_reader.execute("PRAGMA busy_timeout=0")  # it is asked on the event loop
        self._reader_connection = connect(path)
        self._reader_connection.execute("PRAGMA query_only=1")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._writer_connection = connect(path)
        if max_page_count is not None:
            self._writer_connection.execute(f"PRAGMA max_page_count={max_page_count:d}")
        sys.setswitchinterval(min(sys.getswitchinterval(), THREAD_SWITCH_S))
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, max_page_count: int | None = None) -> SQLiteDatabase:
        """The database at `path`, which `prepare` made. `max_page_count` bounds the file, in pages of 4 KiB.

        SchemaError when its schema is not this program's, StoreUnavailable when it cannot be opened.
        """
        if not await asyncio.to_thread(path.exists):
            raise SchemaError(f"there is no database at {path}; {migrations.INIT_HINT}")
        try:
            connection = connect(path)
            try:
                migrations.require_current(version(connection))
            finally:
                connection.close()
            return cls(path, max_page_count=max_page_count)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{path}: {error}") from error

    async def read(self, sql: str, *parameters: Any) -> list[Row]:
        """See Database.read; runs on the reader thread."""
        if self._closed:
            raise StoreClosed("the store is closed")
        return await self._loop.run_in_executor(self._reader, self._query, sql, parameters)

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        try:
            return self._reader_connection.execute(sql, parameters).fetchall()
        except _REFUSED as error:
            raise StoreUnavailable(str(error)) from error

    def write(self, *statements: Statement, background: bool = False) -> asyncio.Future[list[Result]]:
        """See Database.write."""
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._pending >= MAX_PENDING_UNITS:
            raise StoreBusy(f"{self._pending} units wait to be written")
        self._pending += 1
        unit = _Unit(statements, self._loop.create_future(), background)
        if background:
            self._background.append(unit)
        self._queue.put(unit)
        return unit.future

    def revision(self) -> int | None:
        """See Database.revision. `data_version` is in shared memory; a row is read only when it moved."""
        try:
            (data_version,) = self._revision_reader.execute("PRAGMA data_version").fetchone()
            if data_version != self._data_version:
                (self._revision,) = self._revision_reader.execute("SELECT value FROM revision WHERE id = 1").fetchone()
                self._data_version = data_version
        except sqlite3.Error:
            return None
        return self._revision

    def watch(self, channel: str, heard: Callable[[str], None]) -> None:
        """One worker writes to a SQLite database, so there is nobody to hear of."""

    async def close(self) -> None:
        """See Database.close."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        await self._loop.run_in_executor(None, self._reader.shutdown)
        for connection in (self._revision_reader, self._reader_connection, self._writer_connection):
            connection.close()

    # From here on: the writer thread.

    def _write_forever(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._next_batch()
            if not batch:
                continue
            try:
                outcomes = self._commit(batch)
            except Exception as error:  # whatever it was, those who wait have to hear of it
                log.exception("the store's writer failed; it goes on")
                self._roll_back()
                outcomes = [StoreUnavailable(str(error)) for _ in batch]
            try:
                self._loop.call_soon_threadsafe(self._resolve, batch, outcomes)
            except RuntimeError:
                return  # the event loop is gone, and with it everyone who waits

    def _next_batch(self) -> tuple[list[_Unit], bool]:
        """What waits, at most MAX_BATCH_UNITS, one background unit last; and whether to stop after it."""
        batch: list[_Unit] = []
        closing = False
        wait = not self._background
        while not closing and len(batch) < MAX_BATCH_UNITS:
            try:
                item = self._queue.get(block=wait)
            except Empty:
                break
            wait = False
            if item is None:
                closing = True
            elif not item.background:
                batch.append(item)
        while self._background:
            batch.append(self._background.popleft())
            if not closing:
                break
        return batch, closing

    def _commit(self, batch: list[_Unit]) -> list[_Outcome]:
        try:
            if self._guarded_batches:
                self._guarded_batches -= 1
                return self._transaction(batch, _run_guarded)
            try:
                return self._transaction(batch, _run_together)
            except _UnitFailedError:
                self._roll_back()
                self._guarded_batches = GUARDED_BATCHES
                return self._transaction(batch, _run_guarded)
        except sqlite3.Error as error:
            self._roll_back()
            log.error("the store cannot write: %s", error)
            return [StoreUnavailable(str(error)) for _ in batch]

    def _transaction(
        self, batch: list[_Unit], run: Callable[[sqlite3.Cursor, Sequence[Statement]], _Outcome]
    ) -> list[_Outcome]:
        cursor = self._writer_connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        oldest = time.monotonic() - LONGEST_WAIT_S
        outcomes = [
            run(cursor, unit.statements) if unit.background or unit.queued >= oldest else StoreBusy("waited too long")
            for unit in batch
        ]
        cursor.execute("COMMIT")  # DEF-01: synced when it returns, and only then does anybody hear of it
        return outcomes

    def _roll_back(self) -> None:
        try:
            if self._writer_connection.in_transaction:
                self._writer_connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.exception("rollback failed")

    # Back on the event loop.

    def _resolve(self, batch: list[_Unit], outcomes: list[_Outcome]) -> None:
        self._pending -= len(batch)
        for unit, outcome in zip(batch, outcomes, strict=True):
            if unit.future.done():
                continue  # whoever waited was cancelled
            if isinstance(outcome, StoreError):
                unit.future.set_exception(outcome)
            else:
                unit.future.set_result(outcome)


class _UnitFailedError(Exception):
    """A unit of a batch without savepoints failed; the batch has to be done again with them."""


def _run_together(cursor: sqlite3.Cursor, statements: Sequence[Statement]) -> _Outcome:
    """Results of one unit. _UnitFailedError, or sqlite3.Error when the whole transaction is lost."""
    try:
        return _execute_all(cursor, statements)
    except (*_REFUSED, Unmet) as error:
        if not cursor.connection.in_transaction:
            raise
        raise _UnitFailedError from error


def _run_guarded(cursor: sqlite3.Cursor, statements: Sequence[Statement]) -> _Outcome:
    """Results of one unit, or why nothing of it was done.

    sqlite3.Error when the whole transaction is lost: SQLite itself rolls back on some errors of the disk.
    """
    cursor.execute("SAVEPOINT unit")
    failure: StoreError
    try:
        results = _execute_all(cursor, statements)
        cursor.execute("RELEASE unit")
        return results
    except Unmet as unmet:
        failure = unmet
    except _REFUSED as error:
        if not cursor.connection.in_transaction:
            raise
        failure = _as_store_error(error)
    cursor.execute("ROLLBACK TO unit")
    cursor.execute("RELEASE unit")
    return failure


def _execute_all(cursor: sqlite3.Cursor, statements: Sequence[Statement]) -> list[Result]:
    """Results of the statements. Unmet, or what sqlite3 raises."""
    results = []
    for index, statement in enumerate(statements):
        result = _execute(cursor, statement)
        if statement.expect_rows is not None and result.touched != statement.expect_rows:
            raise Unmet(index)
        results.append(result)
    return results


def _execute(cursor: sqlite3.Cursor, statement: Statement) -> Result:
    if statement.many:
        cursor.executemany(statement.sql, statement.parameters)
        return Result(cursor.rowcount)
    cursor.execute(statement.sql, statement.parameters)
    if cursor.description is None:
        return Result(cursor.rowcount)
    rows = cursor.fetchall()
    return Result(len(rows), rows)


def _as_store_error(error: Exception) -> StoreError:
    return Conflict(str(error)) if isinstance(error, sqlite3.IntegrityError) else StoreUnavailable(str(error))
