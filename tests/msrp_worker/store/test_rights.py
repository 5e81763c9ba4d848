"""Who may read the database on the same machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from msrp_worker.store.sqlite import connect, prepare


def rights(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.glob("im.sqlite*")}


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize("before", [None, 0o644])
def test_only_the_owner_and_the_group(tmp_path: Path, before: int | None) -> None:
    """Password hashes and messages: closed to others whatever the umask is, also where it had been open."""
    path = tmp_path / "im.sqlite"
    old = os.umask(0)
    try:
        if before is not None:
            prepare(path)
            path.chmod(before)
        prepare(path)
        connection = connect(path)
        connection.execute("INSERT INTO version (table_name, table_version) VALUES ('x', 1)")
        assert set(rights(tmp_path)) == {"im.sqlite", "im.sqlite-wal", "im.sqlite-shm"}
        assert not any(mode & 0o007 for mode in rights(tmp_path).values())
        connection.close()
    finally:
        os.umask(old)
