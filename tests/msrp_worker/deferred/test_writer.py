"""Content on its way to a file: in order, durable when it says so, nothing left when it fails (LRG-04, LRG-06)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from msrp_worker.deferred.writer import BUFFER, ContentWriter
from msrp_worker.store.content import ContentFiles

NODE = "node"


def writer_in(directory: Path, held: list[bool] | None = None) -> ContentWriter:
    """A writer of a new file; `held` notes what it asks of its source."""
    files = ContentFiles(directory)
    loop = asyncio.get_running_loop()
    hold = (held if held is not None else []).append
    return ContentWriter(files, files.new_path(NODE), hold, lambda work: loop.create_task(work))


@pytest.mark.requirement("LRG-04", "LRG-06")
async def test_everything_in_order(tmp_path: Path) -> None:
    held: list[bool] = []
    writer = writer_in(tmp_path, held)
    pieces = [bytes([number % 256]) * 10_000 for number in range(300)]
    for piece in pieces:
        writer.write(piece)
    assert held == [True], "more waits than the disk has taken"
    await writer.finish()
    assert held == [True, False]
    assert (tmp_path / writer.path).read_bytes() == b"".join(pieces)
    assert (tmp_path / writer.path).stat().st_mode & 0o777 == 0o600


@pytest.mark.requirement("LRG-04")
async def test_durable_before_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its directories are synchronised, and `finish` waits for it."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink())))
    writer = writer_in(tmp_path)
    writer.write(b"x")
    assert synced == []
    await writer.finish()
    assert synced == [str(tmp_path), str(tmp_path / writer.path), str(tmp_path / "content")]
    synced.clear()
    again = writer_in(tmp_path)
    await again.finish()
    assert synced == [str(tmp_path / again.path), str(tmp_path / "content")], "the directory was there"


@pytest.mark.requirement("LRG-04", "SEC-06")
async def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: ContentFiles, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ContentFiles, "make_durable", full)
    held: list[bool] = []
    writer = writer_in(tmp_path, held)
    writer.write(b"x" * (2 * BUFFER))
    with pytest.raises(OSError, match="No space"):
        await writer.finish()
    assert held == [True, False], "the source is let go"
    writer.write(b"y")
    await writer.discard()
    assert list((tmp_path / "content").iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 3 * BUFFER])
async def test_what_is_discarded_leaves_nothing(tmp_path: Path, size: int) -> None:
    writer = writer_in(tmp_path)
    writer.write(b"x" * size)
    await writer.discard()
    assert list((tmp_path / "content").iterdir()) == []


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    writer = writer_in(tmp_path / "missing")
    with pytest.raises(OSError, match="No such file"):
        await writer.finish()
    await writer.discard()
