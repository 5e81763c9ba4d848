"""A PostgreSQL for tests: Debian's, in a directory and on a port of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.scenarios.bed import free_port

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def as_postgres(*command: str | Path) -> None:
    """PostgreSQL refuses to run as root."""
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")


class Cluster:
    """One PostgreSQL, durable as an operator's is."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self._directory = directory
        self._data = directory / "data"

    def create(self) -> None:
        as_postgres(PROGRAMS / "initdb", "-D", self._data, "-A", "trust", "-U", "im", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self._directory}"
        as_postgres(PROGRAMS / "pg_ctl", "-D", self._data, "-l", self._directory / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            as_postgres(PROGRAMS / "pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")


@contextmanager
def temporary_cluster() -> Iterator[Cluster]:
    """A running one, gone with its data at the end of the block; on the host of the calling thread."""
    directory = Path(tempfile.mkdtemp(prefix="im-pg-"))
    if os.getuid() == 0:
        shutil.chown(directory, "postgres")
    cluster = Cluster(directory, free_port())
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def new_database(port: int) -> str:
    """An empty database; its URL."""
    connection = await asyncpg.connect(f"postgresql://im@127.0.0.1:{port}/postgres")
    await connection.execute("CREATE DATABASE service")
    await connection.close()
    return f"postgresql://im@127.0.0.1:{port}/service"
