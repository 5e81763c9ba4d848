"""Schema versions on both databases."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.config import Config
from msrp_worker.store import SchemaError, migrations, open_store, prepare_store
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
