"""The store as a whole: one database and the repositories over it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from msrp_worker.config import Config
from msrp_worker.list_references import XcapRoots
from msrp_worker.store import postgres, sqlite
from msrp_worker.store.credentials import Credentials
from msrp_worker.store.database import Database
from msrp_worker.store.deferred import Deferred
from msrp_worker.store.errors import StoreError
from msrp_worker.store.explosions import Explosions
from msrp_worker.store.groups import Groups
from msrp_worker.store.leases import Leases
from msrp_worker.store.legs import Legs
from msrp_worker.store.lists import Lists
from msrp_worker.store.registrations import Registrations
from msrp_worker.store.rules_store import RulesStore
from msrp_worker.store.settings import SettingsStore
from msrp_worker.store.trace import Trace
from msrp_worker.store.users import Users


class Store:
    """Everything that outlives the worker. Made by `open_store`."""

    def __init__(self, database: Database, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.lists = Lists(database, XcapRoots(config.domain, config.xcap_roots), clock)
        self.users = Users(database, config, self.lists, clock)
        self.credentials = Credentials(database)
        self.rules = RulesStore(database, self.users, clock)
        self.groups = Groups(database, self.lists, clock)
        self.settings = SettingsStore(database, self.users, config, clock)
        self.deferred = Deferred(database, config, clock)
        self.leases = Leases(database, self.deferred, clock)
        self.registrations = Registrations(database)
        self.legs = Legs(database)
        self.explosions = Explosions(database)
        self.trace = Trace(database, days=config.trace_days, max_events=config.trace_max_events, clock=clock)
        self._tracing = asyncio.get_running_loop().create_task(self.trace.run(), name="store-trace")

    async def close(self) -> None:
        """Write what waits and close the database. Idempotent."""
        self._tracing.cancel()
        await asyncio.gather(self._tracing, return_exceptions=True)
        try:
            await self.trace.flush()
        except StoreError:
            pass  # the database is gone: the last second of the trace goes with it
        await self.database.close()


async def prepare_store(config: Config) -> list[str]:
    """Create or upgrade the database; names of the steps done. SchemaError, StoreUnavailable."""
    if _is_shared(config):
        return await postgres.prepare(config.database_url)
    return await asyncio.to_thread(sqlite.prepare, sqlite_path(config))


async def open_store(config: Config, clock: Callable[[], float] = time.time) -> Store:
    """The store of this configuration, on the running event loop. `clock` gives seconds since the epoch.

    SchemaError when `prepare_store` has to be run first, StoreUnavailable without a database.
    """
    if _is_shared(config):
        return Store(await postgres.PostgresDatabase.open(config.database_url), config, clock)
    return Store(await sqlite.SQLiteDatabase.open(sqlite_path(config)), config, clock)


def sqlite_path(config: Config) -> Path:
    """The database file of a configuration that uses SQLite."""
    return Path(config.database_url.removeprefix("sqlite://"))


def _is_shared(config: Config) -> bool:
    return config.database_url.startswith("postgresql://")
