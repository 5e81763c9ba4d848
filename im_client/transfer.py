"""Move large content through an MSRP session: out of a file or memory, with progress told (clause 9, RFC 5547)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.msrp import outcome, reported, send_from

from .errors import MediaFailedError
from .msrp_peer import MessageFailedError, MsrpPeer

PIECE_BYTES = 65_536
"""Bytes read at a time: what memory a transfer costs, whatever its size."""

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and of how many."""
Source = bytes | Path


def size_of(source: Source) -> int:
    """Bytes of the content. Raises OSError for a file that cannot be read."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def describe_message(source: Source, content_type: str) -> FileDescription:
    """What an offer says about a large message that is no file: its type and its size. LRG-01"""
    return FileDescription(FileSelector(type=content_type.partition(";")[0].strip(), size=size_of(source)))


def disposition_of(name: str) -> str:
    """Content-Disposition of a file that is not to be shown at once (9.4.2-3, RFC 2183)."""
    name = name.replace('"', "_").replace("\\", "_")
    return f'attachment; filename="{name}"' if name.isascii() and name.isprintable() else "attachment"


async def send_content(
    peer: MsrpPeer,
    source: Source,
    content_type: str,
    *,
    disposition: str = "",
    progress: Progress | None = None,
    success_report: bool = False,
) -> None:
    """Send one message; returns when its last chunk is acknowledged, with `success_report` when its receiver
    has reported. Raises MessageFailedError.
    """
    total = size_of(source)
    message = await send_from(
        peer.session,
        _pieces(source, total, progress),
        content_type,
        total=total,
        headers=[("Content-Disposition", disposition)] if disposition else [],
        success_report=success_report,
    )
    code = await (reported(message) if success_report else outcome(message))
    if code != 200:
        raise MessageFailedError(code, message.comment)


async def _pieces(source: Source, total: int, progress: Progress | None) -> AsyncIterator[bytes]:
    done = 0
    if isinstance(source, bytes):
        for start in range(0, total, PIECE_BYTES):
            piece = source[start : start + PIECE_BYTES]
            yield piece
            done += len(piece)
            _tell(progress, done, total)
        return
    with source.open("rb") as file:
        while done < total:
            piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, total - done))
            if not piece:
                raise MediaFailedError(f"{source} became shorter while it was sent")
            yield piece
            done += len(piece)
            _tell(progress, done, total)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
