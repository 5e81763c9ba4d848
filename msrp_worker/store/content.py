"""Content of large messages: files in the state directory, never a value held in memory (LRG-04, LRG-06).

A file is whole and on disk before the row that names it is written, and goes after that row. So whatever happens in
between leaves a file without a row, never the other way round; `orphans` finds those when the worker starts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

DIRECTORY = "content"
"""Name within the state directory."""


class ContentFiles:
    """The files of one state directory. Paths are relative to it, as the rows have them. Everything here may block."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def new_path(self, node: str) -> str:
        """A path nobody has used; `node` names the worker, whose orphans it may remove."""
        return f"{DIRECTORY}/{node}-{secrets.token_hex(12)}"

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing, readable by this user alone. OSError."""
        full = self._state_dir / path
        try:
            full.parent.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:
            _sync_directory(self._state_dir)
        return os.fdopen(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def make_durable(self, file: BinaryIO) -> None:
        """What was written, and the name of the file, survive a loss of power. OSError."""
        file.flush()
        os.fsync(file.fileno())
        _sync_directory(self._state_dir / DIRECTORY)

    def full(self, path: str) -> Path:
        """Where a file lies."""
        return self._state_dir / path

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is gone already, or cannot be removed, is left to the next start."""
        for path in paths:
            with contextlib.suppress(OSError):
                (self._state_dir / path).unlink()

    def of_node(self, node: str) -> list[str]:
        """All files that a worker of this name has made."""
        found = (self._state_dir / DIRECTORY).glob(f"{node}-*")
        return sorted(f"{DIRECTORY}/{file.name}" for file in found)


def _sync_directory(path: Path) -> None:
    """The names in a directory survive a loss of power. OSError."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
