"""Publications of service settings as rows (SET-04): how they are read, and the statements that change them."""

from __future__ import annotations

import msgspec

from msrp_worker.service_settings import NAMES, Settings
from msrp_worker.store.database import Row, Statement

SETTINGS_COLUMNS = ", ".join(f"publication.{name}" for name in NAMES)
"""Columns that `read_settings` takes."""

_INSERT = (
    f"INSERT INTO publication (etag, address, sequence, expires_at, entity, {', '.join(NAMES)}) "
    f"VALUES (?, ?, ?, ?, ?{', ?' * len(NAMES)})"
)
LIST = f"SELECT etag, sequence, expires_at, entity, {SETTINGS_COLUMNS} FROM publication WHERE address = ? ORDER BY sequence"
REFRESH = "UPDATE publication SET etag = ?, expires_at = ? WHERE etag = ? AND address = ? AND expires_at > ?"
ANY_EXPIRED = "SELECT etag FROM publication WHERE expires_at <= ? LIMIT 1"
DELETE_EXPIRED = "DELETE FROM publication WHERE expires_at <= ? RETURNING address"


class Publication(msgspec.Struct, frozen=True):
    """What one device has published."""

    etag: str
    sequence: int
    """Place among the publications of the user; a modification takes the last one, a refresh keeps its own."""
    expires_at: float
    """Seconds since the epoch."""
    entity: str
    """The device, as it names itself."""
    settings: Settings


def read_settings(values: Row) -> Settings:
    """Settings from their columns; all NULL, as of a user without publications, says nothing."""
    pairs = zip(NAMES, values, strict=True)
    return Settings(**{name: None if value is None else bool(value) for name, value in pairs})


def read_publication(row: Row) -> Publication:
    """A row of LIST."""
    return Publication(row[0], row[1], row[2], row[3], read_settings(row[4:]))


def insert(address: str, publication: Publication) -> Statement:
    """Store a publication of a user."""
    values = (getattr(publication.settings, name) for name in NAMES)
    settings = [None if value is None else int(value) for value in values]
    head = (publication.etag, address, publication.sequence, publication.expires_at, publication.entity)
    return Statement(_INSERT, (*head, *settings))


def remove(publication: Publication) -> Statement:
    """Delete a publication."""
    return Statement("DELETE FROM publication WHERE etag = ?", (publication.etag,), 1)


def still(address: str, publications: list[Publication]) -> tuple[Statement, ...]:
    """Statements that fail (Unmet) unless the user exists and has exactly these publications, refreshes aside.

    The first takes the user's row, so that two nodes cannot both find what they expect.
    """
    last = publications[-1].sequence if publications else 0
    return (
        Statement("UPDATE users SET address = address WHERE address = ?", (address,), 1),
        Statement("SELECT etag FROM publication WHERE address = ?", (address,), len(publications)),
        Statement("SELECT etag FROM publication WHERE address = ? AND sequence <= ?", (address, last), len(publications)),
    )
