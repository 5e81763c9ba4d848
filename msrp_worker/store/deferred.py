"""Messages for users who were not there: stored whole, listed in order of arrival, within quotas."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from msrp_worker.config import SECONDS_PER_DAY, Config
from msrp_worker.store.content import ContentFiles
from msrp_worker.store.database import Database, Row, Statement
from msrp_worker.store.errors import QuotaExceeded, Unmet
from msrp_worker.store.trace import ANONYMOUS, TraceEvent, event_statement, storable

IDS_PER_UNIT = (1, 10, 100)
"""Message-IDs of one deletion: three shapes of statement, so that compiled ones are found again."""


class NewDeferred(msgspec.Struct, frozen=True, kw_only=True):
    """A message to store."""

    recipient: str
    """Canonical address of the served user."""
    originator: str
    """Authenticated Originator's IM Address."""
    private: bool = False
    """Privacy: id was asked (IDN-04)."""
    anonymous: bool = False
    """The From header is anonymous."""
    call_id: str
    cseq: int
    from_tag: str
    """With the line and the MSRP Message-ID behind it for one of the messages of a large message session."""
    message: bytes
    """The whole MESSAGE as received (DEF-01)."""
    content_path: str | None = None
    """File with the content of a large message (LRG-04): durable already, and the store's from now on."""
    content_size: int = 0
    """Bytes in that file."""
    content_type: str = ""
    subject: str = ""
    priority: str = ""
    from_header: str = ""
    to_header: str = ""
    received: float
    """Seconds since the epoch."""
    expires: float | None = None
    """When it stops being of use (DEF-10), seconds since the epoch."""
    advertisement: bool = False
    """To be pushed to devices that take group advertisements, and to no other (ADV-03)."""


class DeferredEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is told about a stored message without its bytes (DEF-08)."""

    message_id: str
    recipient: str
    originator: str
    private: bool
    anonymous: bool
    call_id: str
    cseq: int
    from_tag: str
    received: float
    expires: float | None
    size: int
    """Bytes: of the whole MESSAGE, or of the content of a large message."""
    content_type: str
    subject: str
    priority: str
    from_header: str
    to_header: str
    content_path: str | None
    """File with the content of a large message, relative to the state directory."""


class DeferredMessage(DeferredEntry, frozen=True, kw_only=True):
    """A stored message with its bytes."""

    message: bytes


class Usage(msgspec.Struct, frozen=True):
    """What a user's stored messages take up, expired ones included until they are purged."""

    messages: int
    bytes: int


class Extent(msgspec.Struct, frozen=True):
    """Which messages a user has: they come with rising numbers and go for good, so two that are equal are of one list."""

    messages: int
    last: int
    """Number of the last one, 0 when there is none."""


class Kind(msgspec.Struct, frozen=True):
    """How many messages of one kind wait."""

    content_type: str
    priority: str
    large: bool
    """The content is in a file."""
    messages: int


Messages = list[DeferredMessage]
Kinds = list[Kind]
Entries = list[DeferredEntry]
Ids = list[str]
Numbers = list[int]
Key = TypeVar("Key", int, str)

COLUMNS = (
    "id, recipient, originator, private, anonymous, call_id, cseq, from_tag, received, expires, size, "
    "content_type, subject, priority, from_header, to_header, content_path"
)
# First in its unit: on PostgreSQL the row stays locked until the commit, so ids rise in the order of commits.
_TAKE_QUOTA = (
    "INSERT INTO deferred_usage (recipient, messages, bytes) VALUES (?, 1, ?) ON CONFLICT (recipient) "
    "DO UPDATE SET messages = deferred_usage.messages + 1, bytes = deferred_usage.bytes + excluded.bytes "
    "WHERE deferred_usage.messages < ? AND deferred_usage.bytes + excluded.bytes <= ?"
)
_INSERT = (
    "INSERT INTO deferred (recipient, originator, private, anonymous, call_id, cseq, from_tag, received, "
    "expires, size, content_type, subject, priority, from_header, to_header, message, content_path, advertisement) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (recipient, call_id, cseq, from_tag) DO NOTHING RETURNING id"
)
_FIND = "SELECT id, content_path FROM deferred WHERE recipient = ? AND call_id = ? AND cseq = ? AND from_tag = ?"
_WITH_CONTENT = "SELECT content_path FROM deferred WHERE content_path IN ({})"
_REPLACE = "UPDATE deferred SET message = ? WHERE recipient = ? AND id = ? AND content_path IS NOT NULL"
FREE = "(lease_expires IS NULL OR lease_expires <= ?)"
"""No delivery holds it."""
ALIVE = "(expires IS NULL OR expires > ?) AND received > ?"  # DEF-10, DEF-11
_LIST = f"SELECT {COLUMNS} FROM deferred WHERE recipient = ? AND id > ? AND {ALIVE} ORDER BY id LIMIT ?"
_GET = f"SELECT {COLUMNS}, message FROM deferred WHERE id = ? AND recipient = ? AND {ALIVE}"
_GET_MANY = f"SELECT {COLUMNS}, message FROM deferred WHERE recipient = ? AND id IN ({{}}) AND {ALIVE} ORDER BY id"
_OWNERS = f"SELECT id, recipient FROM deferred WHERE id IN ({{}}) AND {ALIVE}"
_KINDS = (
    "SELECT content_type, priority, content_path IS NOT NULL, COUNT(*) FROM deferred "
    f"WHERE recipient = ? AND {ALIVE} GROUP BY content_type, priority, content_path IS NOT NULL"
)
_ADVERTISEMENT = f"SELECT 1 FROM deferred WHERE recipient = ? AND advertisement = 1 AND {ALIVE} LIMIT 1"
# By what is counted already, less the few that expired and wait to be purged: no row of the others is looked at. The empty
# text keeps the database from going through all rows of the recipient to find those.
_EXTENT = (
    "SELECT COALESCE((SELECT messages FROM deferred_usage WHERE recipient = ?), 0) "
    "- (SELECT COUNT(*) FROM deferred WHERE recipient || '' = ? AND expires <= ?) "
    "- (SELECT COUNT(*) FROM deferred WHERE recipient || '' = ? AND received <= ? AND (expires IS NULL OR expires > ?)), "
    f"COALESCE((SELECT id FROM deferred WHERE recipient = ? AND {ALIVE} ORDER BY id DESC LIMIT 1), 0)"
)
_RECIPIENTS = "SELECT recipient FROM deferred_usage WHERE messages > 0 AND recipient > ? ORDER BY recipient LIMIT ?"
_EXPIRED = "SELECT recipient, id FROM deferred WHERE expires <= ? ORDER BY expires LIMIT ?"
_PAST_RETENTION = "SELECT recipient, id FROM deferred WHERE received <= ? ORDER BY received LIMIT ?"


class Deferred:
    """The store of deferred messages."""

    def __init__(self, database: Database, config: Config, clock: Callable[[], float]) -> None:
        self._database = database
        self._host = config.domain
        self.files = ContentFiles(config.state_dir)
        """Content of large messages."""
        self._max_messages = config.deferred_max_messages
        self._max_bytes = config.deferred_max_bytes
        self.retention_s = config.deferred_days * SECONDS_PER_DAY
        self._clock = clock

    async def add(self, new: NewDeferred) -> str:
        """Store a message durably; its Message-ID (DEF-01, DEF-02).

        The same request again (recipient, Call-ID, CSeq, From tag) gives the Message-ID it has already, as
        long as the message is stored. QuotaExceeded when the recipient's store is full (DEF-11), StoreBusy,
        StoreUnavailable.
        """
        call_id, from_tag = storable(new.call_id), storable(new.from_tag)
        key = (new.recipient, call_id, new.cseq, from_tag)
        size = _size(new)
        if not self._max_messages or size > self._max_bytes:
            return await self._existing(key, new)
        try:
            _, inserted, _ = await self._database.write(
                Statement(_TAKE_QUOTA, (new.recipient, size, self._max_messages, self._max_bytes), 1),
                Statement(_INSERT, _values(new, call_id, from_tag), 1),
                event_statement(_stored_event(new, self._clock())),
            )
        except Unmet:  # full, or stored before
            return await self._existing(key, new)
        return self._message_id(inserted.rows[0][0])

    async def _existing(self, key: tuple[str, str, int, str], new: NewDeferred) -> str:
        rows = await self._database.read(_FIND, *key)
        if rows:
            if new.content_path is not None and rows[0][1] != new.content_path:
                await self._remove_files([new.content_path])  # the same content is there already
            return self._message_id(rows[0][0])
        usage = await self.usage(new.recipient)
        raise QuotaExceeded(  # DEF-11
            f"{new.recipient} has {usage.messages} deferred messages with {usage.bytes} bytes; "
            f"{self._max_messages} and {self._max_bytes} are the limits"
        )

    def fits(self, usage: Usage, messages: int, size: int) -> bool:
        """Whether so many more messages with so many bytes fit beside what is stored (DEF-11)."""
        return usage.messages + messages <= self._max_messages and usage.bytes + size <= self._max_bytes

    async def complete(self, recipient: str, message_id: str, message: bytes) -> None:
        """Replace the SIP part of a large message, as the session that brought it has ended (10.3.2.4)."""
        number = self.number(message_id)
        if number is not None:
            await self._database.write(Statement(_REPLACE, (message, recipient, number)))

    async def without_row(self, paths: Sequence[str]) -> Ids:
        """Those of the content files that no message has."""
        kept: set[str] = set()
        for start in range(0, len(paths), IDS_PER_UNIT[-1]):
            part = list(paths[start : start + IDS_PER_UNIT[-1]])
            sql = _WITH_CONTENT.format(", ".join("?" * len(part)))
            kept |= {row[0] for row in await self._database.read(sql, *part)}
        return [path for path in paths if path not in kept]

    async def list(
        self, recipient: str, after: str | None = None, limit: int = 100, *, now: float | None = None
    ) -> Entries:
        """Messages in order of arrival, those after Message-ID `after`; never an expired one (DEF-02)."""
        start = 0 if after is None else self.number(after)
        if start is None:
            return []
        rows = await self._database.read(_LIST, recipient, start, *self.alive(now), limit)
        return [self.entry(row) for row in rows]

    async def get(self, recipient: str, message_id: str, *, now: float | None = None) -> DeferredMessage | None:
        """One message of this recipient with its bytes; None when there is none or it expired (DEF-10)."""
        number = self.number(message_id)
        if number is None:
            return None
        rows = await self._database.read(_GET, number, recipient, *self.alive(now))
        return DeferredMessage(**self._fields(rows[0]), message=bytes(rows[0][17])) if rows else None

    async def get_many(self, recipient: str, message_ids: Sequence[str], *, now: float | None = None) -> Messages:
        """Those of the messages that this recipient has and that have not expired, in order of arrival (DEF-10)."""
        found: Messages = []
        numbers = [number for message_id in message_ids if (number := self.number(message_id)) is not None]
        for part in parts(numbers):
            sql = _GET_MANY.format(", ".join("?" * len(part)))
            rows = await self._database.read(sql, recipient, *part, *self.alive(now))
            found += [DeferredMessage(**self._fields(row), message=bytes(row[17])) for row in rows]
        return found

    async def owners(self, message_ids: Sequence[str], *, now: float | None = None) -> dict[str, str]:
        """Whose each message is; those that do not exist or have expired are left out (DEF-07)."""
        found: dict[str, str] = {}
        numbers = {number: message_id for message_id in message_ids if (number := self.number(message_id)) is not None}
        for part in parts(list(numbers)):
            sql = _OWNERS.format(", ".join("?" * len(part)))
            rows = await self._database.read(sql, *part, *self.alive(now))
            found |= {numbers[row[0]]: row[1] for row in rows}
        return found

    async def kinds(self, recipient: str, *, now: float | None = None) -> Kinds:
        """What waits for a recipient, by content type, priority and size class: as many rows as there are kinds."""
        rows = await self._database.read(_KINDS, recipient, *self.alive(now))
        return [Kind(row[0], row[1], bool(row[2]), row[3]) for row in rows]

    async def has_advertisement(self, recipient: str, *, now: float | None = None) -> bool:
        """Whether something waits that is for devices that take group advertisements alone (ADV-03)."""
        return bool(await self._database.read(_ADVERTISEMENT, recipient, *self.alive(now)))

    async def recipients(self, after: str = "", limit: int = 1000) -> Ids:
        """Those for whom something is stored, in order of their addresses."""
        rows = await self._database.read(_RECIPIENTS, after, limit)
        return [row[0] for row in rows]

    def entry(self, row: Row) -> DeferredEntry:
        """An entry from a row of COLUMNS."""
        return DeferredEntry(**self._fields(row))

    async def usage(self, recipient: str) -> Usage:
        """What the recipient's messages take up."""
        rows = await self._database.read("SELECT messages, bytes FROM deferred_usage WHERE recipient = ?", recipient)
        return Usage(*rows[0]) if rows else Usage(0, 0)

    async def usages(self, recipients: Sequence[str]) -> dict[str, Usage]:
        """What the messages of each of these take up; at most 100 at a time, in one read."""
        (part,) = parts(recipients) if recipients else ((),)
        marks = ", ".join("?" * len(part))
        sql = f"SELECT recipient, messages, bytes FROM deferred_usage WHERE recipient IN ({marks})"
        found = {row[0]: Usage(row[1], row[2]) for row in (await self._database.read(sql, *part) if part else ())}
        return {recipient: found.get(recipient, Usage(0, 0)) for recipient in recipients}

    async def delete(self, recipient: str, message_ids: Iterable[str], *, kind: str = "deleted") -> int:
        """Delete messages of this recipient; how many there were. `kind` in the trace: deleted, delivered."""
        numbers = [number for message_id in message_ids if (number := self.number(message_id)) is not None]
        requirement = "DEF-05" if kind == "delivered" else "DEF-09"
        return len(await self._remove(recipient, numbers, kind, requirement, self._clock()))

    async def delete_unheld(self, recipient: str, message_ids: Iterable[str]) -> Ids:
        """Delete those of the messages that no delivery holds; the Message-IDs of those that are gone now (DEF-09)."""
        numbers = [number for message_id in message_ids if (number := self.number(message_id)) is not None]
        removed = await self._remove(recipient, numbers, "deleted", "DEF-09", self._clock(), held=False)
        return [self._message_id(number) for number in removed]

    async def extent(self, recipient: str, *, now: float | None = None) -> Extent:
        """How many messages the recipient has, and the last one's number."""
        rows = await self._database.read(_EXTENT, *_extent_parameters(recipient, *self.alive(now)))
        return Extent(rows[0][0], rows[0][1])

    async def purge(self, now: float, limit: int = 1000) -> Ids:
        """Delete at most `limit` messages that expired (DEF-10) or are past retention (DEF-11); their ids."""
        purged: list[int] = []
        for sql, bound, kind, requirement in (
            (_EXPIRED, now, "expired", "DEF-10"),
            (_PAST_RETENTION, now - self.retention_s, "purged", "DEF-11"),
        ):
            found: defaultdict[str, list[int]] = defaultdict(list)
            for recipient, number in await self._database.read(sql, bound, limit - len(purged)):
                found[recipient].append(number)
            for recipient, numbers in found.items():
                purged += await self._remove(recipient, numbers, kind, requirement, now)
        return [self._message_id(number) for number in purged]

    async def _remove(
        self, recipient: str, numbers: Sequence[int], kind: str, requirement: str, now: float, *, held: bool = True
    ) -> Numbers:
        """`held`: also those that a delivery holds."""
        removed: list[int] = []
        for part in parts(numbers):
            results = await self._database.write(*_removal(recipient, part, kind, requirement, now, held=held))
            removed += (row[0] for row in results[-1].rows)
            await self._remove_files([row[1] for row in results[-1].rows if row[1] is not None])
        return removed

    async def _remove_files(self, paths: Sequence[str]) -> None:
        if paths:
            await asyncio.to_thread(self.files.remove, paths)

    def alive(self, now: float | None) -> tuple[float, float]:
        """Parameters of ALIVE."""
        time = self._clock() if now is None else now
        return time, time - self.retention_s

    def _message_id(self, number: int) -> str:
        return f"{number}@{self._host}"  # DEF-02

    def number(self, message_id: str) -> int | None:
        """The row of a Message-ID, also with the scheme that 10.3.2.4 writes; None for a foreign one."""
        digits, _, host = message_id.removeprefix("sip:").partition("@")
        is_ours = host.lower() == self._host and digits.isascii() and digits.isdigit() and len(digits) < 19
        return int(digits) if is_ours else None

    def _fields(self, row: Row) -> dict[str, Any]:
        return {
            "message_id": self._message_id(row[0]),
            "recipient": row[1],
            "originator": row[2],
            "private": bool(row[3]),
            "anonymous": bool(row[4]),
            "call_id": row[5],
            "cseq": row[6],
            "from_tag": row[7],
            "received": row[8],
            "expires": row[9],
            "size": row[10],
            "content_type": row[11],
            "subject": row[12],
            "priority": row[13],
            "from_header": row[14],
            "to_header": row[15],
            "content_path": row[16],
        }


def _extent_parameters(recipient: str, now: float, oldest: float) -> tuple[object, ...]:
    return recipient, recipient, now, recipient, oldest, now, recipient, now, oldest


def _values(new: NewDeferred, call_id: str, from_tag: str) -> tuple[object, ...]:
    return (
        new.recipient,
        new.originator,
        int(new.private),
        int(new.anonymous),
        call_id,
        new.cseq,
        from_tag,
        new.received,
        new.expires,
        _size(new),
        storable(new.content_type),
        storable(new.subject),
        storable(new.priority),
        storable(new.from_header),
        storable(new.to_header),
        new.message,
        new.content_path,
        int(new.advertisement),
    )


def _size(new: NewDeferred) -> int:
    return len(new.message) if new.content_path is None else new.content_size


def _stored_event(new: NewDeferred, now: float) -> TraceEvent:
    return TraceEvent(
        time=max(now, new.received),  # the step after "received", whose time may be the same second
        call_id=new.call_id,
        kind="deferred",
        originator=new.originator,
        recipient=new.recipient,
        status=202 if new.content_path is None else 200,
        requirement="DEF-01" if new.content_path is None else "LRG-04",
        detail=f"{_size(new)} bytes",
        private=new.private or new.anonymous,
    )


def parts(numbers: Sequence[Key]) -> Iterable[list[Key]]:
    """`numbers` (or addresses) in parts of the sizes in IDS_PER_UNIT, filled up by repetition, which an IN list ignores."""
    largest = IDS_PER_UNIT[-1]
    for start in range(0, len(numbers), largest):
        part = list(numbers[start : start + largest])
        size = next(size for size in IDS_PER_UNIT if size >= len(part))
        yield part + [part[-1]] * (size - len(part))


def _removal(
    recipient: str, numbers: Sequence[int], kind: str, requirement: str, now: float, *, held: bool = True
) -> list[Statement]:
    """One unit: usage, trace and messages together.

    The first statement only locks the user's row, so that the second counts what is there under the lock.
    """
    marks = ", ".join("?" * len(numbers))
    mine = f"recipient = ? AND id IN ({marks})"
    which: tuple[object, ...] = (recipient, *numbers)
    if not held:
        mine += f" AND {FREE}"
        which = (*which, now)
    return [
        Statement("UPDATE deferred_usage SET messages = messages WHERE recipient = ?", (recipient,)),
        Statement(
            f"UPDATE deferred_usage SET messages = messages - (SELECT COUNT(*) FROM deferred WHERE {mine}), "
            f"bytes = bytes - (SELECT COALESCE(SUM(size), 0) FROM deferred WHERE {mine}) WHERE recipient = ?",
            (*which, *which, recipient),
        ),
        Statement(
            "INSERT INTO trace (time, call_id, kind, originator, recipient, status, requirement, detail) "
            "SELECT CAST(? AS DOUBLE PRECISION), call_id, CAST(? AS TEXT), "
            "CASE WHEN private = 1 OR anonymous = 1 THEN CAST(? AS TEXT) ELSE originator END, "
            f"recipient, NULL, CAST(? AS TEXT), CAST(id AS TEXT) FROM deferred WHERE {mine} ORDER BY id",
            (now, kind, ANONYMOUS, requirement, *which),
        ),
        Statement(f"DELETE FROM deferred WHERE {mine} RETURNING id, content_path", which),
    ]
