"""Schema versions on both databases."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest

from msrp_worker.config import Config
from msrp_worker.store import SchemaError, migrations, open_store, prepare_store, sqlite
from msrp_worker.store.migrations import Migration


async def test_a_new_database_has_the_latest_schema_once(environ: dict[str, str]) -> None:
    config = Config.load(environ)
    assert await prepare_store(config) == [migration.name for migration in migrations.MIGRATIONS]
    assert await prepare_store(config) == []


async def test_two_that_create_at_once_do_not_collide(environ: dict[str, str]) -> None:
    config = Config.load(environ)
    steps = await asyncio.gather(*(prepare_store(config) for _ in range(4)))
    assert sorted(map(len, steps)) == [0, 0, 0, len(migrations.MIGRATIONS)]


async def test_without_a_schema_opening_says_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(SchemaError, match="init"):
        await open_store(Config.load(environ))


async def test_an_older_database_is_upgraded_and_not_opened_before(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.load(environ)
    await prepare_store(config)
    later = (
        *migrations.MIGRATIONS,
        Migration(len(migrations.MIGRATIONS) + 1, "colours", ("CREATE TABLE colour (name TEXT)",)),
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    with pytest.raises(SchemaError, match="init"):
        await open_store(config)
    assert await prepare_store(config) == ["colours"]
    store = await open_store(config)
    assert await store.database.read("SELECT * FROM colour") == []
    await store.close()


async def test_a_newer_database_is_refused(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.load(environ)
    later = (*migrations.MIGRATIONS, Migration(99, "future", ()))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", later)
        await prepare_store(config)
    for attempt in (open_store, prepare_store):
        with pytest.raises(SchemaError, match="newer"):
            await attempt(config)


async def test_a_migration_that_fails_leaves_nothing(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.load(environ)
    await prepare_store(config)
    broken = (
        *migrations.MIGRATIONS,
        Migration(98, "half", ("CREATE TABLE colour (name TEXT)", "CREATE TABLE nonsense (")),
    )
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", broken)
        with pytest.raises(Exception, match=r"syntax|incomplete|end of input"):
            await prepare_store(config)
    store = await open_store(config)
    with pytest.raises(Exception, match="colour"):
        await store.database.read("SELECT * FROM colour")
    await store.close()


def schema_of(path: Path) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    with sqlite3.connect(path) as connection:
        return [(name, " ".join(sql.split())) for name, sql in connection.execute(query)]


@pytest.mark.parametrize("version", range(1, migrations.latest()))
def test_an_older_database_becomes_what_a_new_one_is(tmp_path: Path, version: int) -> None:
    """Take away what the later migrations make, and let them make it again."""
    new, old = tmp_path / "new", tmp_path / "old"
    sqlite.prepare(new)
    sqlite.prepare(old)
    later = [one for one in migrations.MIGRATIONS if one.number > version]
    with sqlite3.connect(old) as connection:
        for statement in reversed([statement for one in later for statement in one.statements]):
            made = re.search(r"CREATE (?:UNIQUE )?(TABLE|INDEX) (\w+)", statement)
            added = re.search(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", statement)
            if made:
                connection.execute(f"DROP {made[1]} IF EXISTS {made[2]}")
            elif added:
                connection.execute(f"ALTER TABLE {added[1]} DROP COLUMN {added[2]}")
            else:
                raise AssertionError(f"how is this taken back? {statement}")
        connection.execute("DELETE FROM migration WHERE number > ?", (version,))
    assert sqlite.prepare(old) == [one.name for one in later]
    assert schema_of(old) == schema_of(new)
