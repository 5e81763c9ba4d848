"""Content on its way to a file: bytes in without waiting, written in order by a thread (LRG-06)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO

from msrp_worker.store.content import ContentFiles

BUFFER = 524_288
"""Bytes waiting for the disk at which the source is held back: two reads of a connection."""


class ContentWriter:
    """One file being written. `hold(True)` asks the source to stop, `hold(False)` to go on."""

    def __init__(
        self,
        files: ContentFiles,
        path: str,
        hold: Callable[[bool], None],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.path = path
        self.size = 0
        """Bytes given to `write`."""
        self.failed: OSError | None = None
        """Why the disk takes no more."""
        self._files = files
        self._hold = hold
        self._holding = False
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._finished = self._discarded = False
        self._wake = asyncio.Event()
        self._task = start(self._run())

    def write(self, data: bytes) -> None:
        """Take the next bytes. After a failure they are dropped: look at `failed`."""
        self.size += len(data)
        if self.failed is not None:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > BUFFER and not self._holding:
            self._holding = True
            self._hold(True)
        self._wake.set()

    async def finish(self) -> None:
        """All bytes have come: return when they are durable. OSError when they are not; then `discard`."""
        self._finished = True
        self._wake.set()
        await asyncio.wait([self._task])
        if self.failed is not None:
            raise self.failed
        if self._task.cancelled():
            raise OSError("stopped while it was written")

    async def discard(self) -> None:
        """Nothing is to be left of it."""
        self._discarded = True
        self._wake.set()
        await asyncio.wait([self._task])
        await asyncio.to_thread(self._files.remove, [self.path])

    async def _run(self) -> None:
        file: BinaryIO | None = None
        try:
            file = await asyncio.to_thread(self._files.create, self.path)
            await self._write_all(file)
        except OSError as error:
            self.failed = error
            self._pieces.clear()
        finally:
            if file is not None:
                with contextlib.suppress(OSError):  # what could not be written before cannot be now
                    file.close()
            self._release()

    async def _write_all(self, file: BinaryIO) -> None:
        while not self._discarded:
            if self._pieces:
                pieces, self._pieces = self._pieces, []
                await asyncio.to_thread(file.write, b"".join(pieces))
                self._waiting -= sum(map(len, pieces))
                if self._waiting <= BUFFER // 2:
                    self._release()
            elif self._finished:
                await asyncio.to_thread(self._files.make_durable, file)
                return
            else:
                await self._wake.wait()
                self._wake.clear()

    def _release(self) -> None:
        if self._holding:
            self._holding = False
            self._hold(False)
