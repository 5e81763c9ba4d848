"""What the repositories need of a database, whichever it is.

SQL is written once, in the part of the language that SQLite and PostgreSQL share, with `?` for parameters.
Booleans are small integers 0 and 1, times are seconds since the epoch as doubles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

Row = Sequence[Any]
"""One row of an answer: indexable and unpackable like a tuple."""


class Statement(NamedTuple):
    """One statement of a unit."""

    sql: str
    parameters: Sequence[Any] = ()
    expect_rows: int | None = None
    """Rows it must touch; another number rolls the whole unit back and raises Unmet."""
    many: bool = False
    """`parameters` is a list of parameter lists, and the statement runs once for each."""


class Result(NamedTuple):
    """What a statement did."""

    touched: int
    """Rows touched (rows returned for a statement with RETURNING)."""
    rows: Sequence[Row] = ()
    """Rows of a RETURNING clause."""


class Database(Protocol):
    """One database: SQLite in a file, or PostgreSQL.

    Every method raises StoreUnavailable when the database cannot do it, and StoreClosed after `close`.
    """

    dialect: str
    """`sqlite` or `postgresql`."""

    async def read(self, sql: str, *parameters: Any) -> list[Row]:
        """Rows of one query, as of the last commit."""
        ...

    def write(self, *statements: Statement, background: bool = False) -> Awaitable[list[Result]]:
        """Run the statements as one atomic unit; when this returns, they are durable (DEF-01).

        `background` lets all other units go first. StoreBusy when too much waits already, Conflict when a
        constraint refuses, Unmet when a statement's `expect_rows` was not met; nothing was done then.
        """
        ...

    def revision(self) -> int | None:
        """The number in table `revision` as of now, without waiting; None when it cannot be known.

        Changed facts of users, rules and settings bump it, in this process or another (SET-07).
        """
        ...

    def watch(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call `heard(payload)` when another node says on `channel` that something changed.

        An empty payload means that messages may have been lost: forget everything.
        A database that only one worker writes to never calls.
        """
        ...

    async def close(self) -> None:
        """Finish what waits, then release everything. Idempotent."""
        ...


LOCK_REVISION = Statement("UPDATE revision SET value = value WHERE id = 1")
"""Waits for other units that change what caches hold: what is read after it in the unit, no other one is changing."""
BUMP_REVISION = Statement("UPDATE revision SET value = value + 1 WHERE id = 1 RETURNING value", (), 1)
"""Part of every unit that changes what caches hold."""
