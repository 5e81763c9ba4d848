"""Stores for the tests: the same suite on SQLite and on a private PostgreSQL cluster."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from msrp_worker.config import Config
from msrp_worker.store import Store, open_store, prepare_store
from tests.msrp_worker.store.support import Clock, Opener

POSTGRES = Path("/usr/lib/postgresql/15/bin")


def _as_postgres(*command: str | Path) -> None:
    """PostgreSQL refuses to run as root."""
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[Path]:
    """Directory of the socket of a cluster made for this run."""
    directory = Path(tempfile.mkdtemp(prefix="im-pg-"))
    if os.getuid() == 0:
        shutil.chown(directory, "postgres")
    data = directory / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off"
    try:
        _as_postgres(POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "im", "--no-sync", "-E", "UTF8")
        _as_postgres(POSTGRES / "pg_ctl", "-D", data, "-l", directory / "log", "-o", options, "-w", "start")
        yield directory
    finally:
        if (data / "postmaster.pid").exists():
            _as_postgres(POSTGRES / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory, ignore_errors=True)


async def _new_database(socket: Path) -> str:
    name = f"im_{os.urandom(6).hex()}"
    connection = await asyncpg.connect(f"postgresql://im@/postgres?host={quote(str(socket))}")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"postgresql://im@/{name}?host={quote(str(socket))}"


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings that point at an empty database of each kind."""
    environ = {"IM_STATE_DIR": str(tmp_path), "IM_DEMO": "0"}
    if request.param == "postgresql":
        socket = request.getfixturevalue("postgres_socket")
        environ["IM_DATABASE"] = asyncio.run(_new_database(socket))
    return environ


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def opener(environ: dict[str, str], clock: Clock) -> AsyncIterator[Opener]:
    """`await opener(IM_NAME=value, …)` opens one more store on the same database."""
    opened: list[Store] = []

    async def open_one(**settings: str) -> Store:
        config = Config.load({**environ, **settings})
        await prepare_store(config)
        store = await open_store(config, clock)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(opener: Opener) -> Store:
    return await opener()
