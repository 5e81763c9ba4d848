"""Numbered changes of the schema, applied once each and recorded in the database.

Migration 1 is schema.sql. A later change is added here and, for new databases, in schema.sql: a new database
gets the schema as it is and counts as having all migrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msrp_worker.store.errors import SchemaError

INIT_HINT = "run `python -m msrp_worker init`"


class Migration(NamedTuple):
    """One step of the schema; `statements` in the common spelling of schema.sql."""

    number: int
    name: str
    statements: tuple[str, ...]


_PUBLICATIONS = (
    """
    CREATE TABLE publication (
        etag VARCHAR(64) PRIMARY KEY NOT NULL,
        address VARCHAR(255) NOT NULL,
        sequence BIGINT NOT NULL,
        expires_at DOUBLE PRECISION NOT NULL,
        entity VARCHAR(255) NOT NULL,
        session_barred SMALLINT,
        pager_barred SMALLINT,
        offline_delivery SMALLINT,
        visible SMALLINT,
        session_history SMALLINT,
        message_history SMALLINT
    )
    """,
    "CREATE INDEX publication_address ON publication (address)",
    "CREATE INDEX publication_expires_at ON publication (expires_at)",
)

_LEG = """
    CREATE TABLE leg (
        call_id TEXT NOT NULL,
        local_tag TEXT NOT NULL,
        node TEXT NOT NULL,
        owner_kind TEXT NOT NULL,
        owner_id TEXT NOT NULL,
        role TEXT NOT NULL,
        state TEXT NOT NULL,
        remote_tag TEXT NOT NULL,
        local_uri TEXT NOT NULL,
        remote_uri TEXT NOT NULL,
        remote_target TEXT NOT NULL,
        route_set TEXT NOT NULL,
        contact TEXT NOT NULL,
        local_cseq BIGINT NOT NULL,
        remote_cseq BIGINT NOT NULL,
        invite_cseq BIGINT NOT NULL,
        session_interval BIGINT NOT NULL,
        refreshes_here SMALLINT NOT NULL,
        expires DOUBLE PRECISION NOT NULL,
        peer_update SMALLINT NOT NULL,
        local_sdp BYTEA NOT NULL,
        remote_sdp BYTEA NOT NULL,
        PRIMARY KEY (call_id, local_tag)
    )
"""

_LEASES = (
    "ALTER TABLE deferred ADD COLUMN lease_owner VARCHAR(64)",
    "ALTER TABLE deferred ADD COLUMN lease_expires DOUBLE PRECISION",
    "CREATE INDEX deferred_leased ON deferred (lease_owner) WHERE lease_owner IS NOT NULL",
)

_GROUPS = (
    """
    CREATE TABLE im_group (
        uri VARCHAR(255) PRIMARY KEY NOT NULL,
        document BYTEA NOT NULL,
        etag VARCHAR(64) NOT NULL,
        changed_at DOUBLE PRECISION NOT NULL
    )
    """,
)

_EXPLOSION = """
    CREATE TABLE explosion (
        identity VARCHAR(64) PRIMARY KEY NOT NULL,
        node VARCHAR(64) NOT NULL,
        call_id TEXT NOT NULL,
        originator VARCHAR(255) NOT NULL,
        anonymous SMALLINT NOT NULL,
        sender TEXT NOT NULL,
        headers TEXT NOT NULL,
        body BYTEA NOT NULL,
        recipients TEXT NOT NULL,
        received DOUBLE PRECISION NOT NULL,
        expires DOUBLE PRECISION,
        requirement VARCHAR(32) NOT NULL
    )
"""

_CONTENT = (
    "CREATE INDEX deferred_content ON deferred (content_path) WHERE content_path IS NOT NULL",
    "CREATE INDEX deferred_held ON deferred (recipient, lease_expires) WHERE lease_expires IS NOT NULL",
)

_ADVERTISEMENTS = (
    "ALTER TABLE deferred ADD COLUMN advertisement SMALLINT DEFAULT 0 NOT NULL",
    "CREATE INDEX deferred_advertisement ON deferred (recipient) WHERE advertisement = 1",
)
_LISTS = """
    CREATE TABLE resource_lists (
        owner VARCHAR(255) NOT NULL,
        name VARCHAR(255) NOT NULL,
        document BYTEA NOT NULL,
        etag VARCHAR(64) NOT NULL,
        changed_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (owner, name)
    )
"""
_SHA_256 = (
    "ALTER TABLE subscriber ADD COLUMN ha1_sha256 VARCHAR(64) DEFAULT '' NOT NULL",
    "ALTER TABLE subscriber ADD COLUMN ha1b_sha256 VARCHAR(64) DEFAULT '' NOT NULL",
    "CREATE INDEX subscriber_without_sha256 ON subscriber (id) WHERE ha1_sha256 = ''",
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first schema", ()),
    Migration(2, "published service settings", _PUBLICATIONS),
    Migration(3, "SIP legs", (_LEG, "CREATE INDEX leg_node ON leg (node, call_id, local_tag)")),
    Migration(4, "leases of deferred messages", _LEASES),
    Migration(5, "group documents", _GROUPS),
    Migration(6, "messages to many", (_EXPLOSION, "CREATE INDEX explosion_node ON explosion (node, identity)")),
    Migration(7, "content of large messages, and who holds leases", _CONTENT),
    Migration(8, "deferred group advertisements", _ADVERTISEMENTS),
    Migration(9, "lists of contacts", (_LISTS,)),
    Migration(10, "digest credentials with SHA-256", _SHA_256),
)
"""In order, numbered from 1. The statements of the first are schema.sql."""


def latest() -> int:
    """The schema version of this program."""
    return MIGRATIONS[-1].number


def missing(applied: int, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Migrations that a database with version `applied` (0: empty) lacks. SchemaError when it is newer."""
    known = MIGRATIONS if migrations is None else migrations
    if applied > known[-1].number:
        raise SchemaError(
            f"the database has schema version {applied}, this program knows {known[-1].number}: "
            "it was used by a newer version; upgrade this one"
        )
    return [migration for migration in known if migration.number > applied]


def require_current(applied: int) -> None:
    """SchemaError with what to do, unless a database of version `applied` fits this program."""
    if not applied:
        raise SchemaError(f"the database has no schema yet; {INIT_HINT}")
    if missing(applied):
        raise SchemaError(f"the database has schema version {applied}, {latest()} is needed; {INIT_HINT}")
