"""Several files in one session (RFC 5547 section 8.2, clause 9.4). LRG-05"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msrp_worker.file_transfer import FileDescription
from msrp_worker.sdp_msrp import Direction

from .im_session import ImSession
from .media_lines import MediaLines
from .messaging import Messaging
from .msrp_peer import describe_file
from .transfer import Progress, disposition_of, send_content

UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class SentFiles:
    """What became of several files: those that were sent, and those that the other side did not want."""

    sent: tuple[Path, ...]
    refused: tuple[Path, ...]
    size: int


async def send_files(
    messaging: Messaging,
    to: str | Sequence[str],
    paths: Sequence[Path],
    *,
    progress: Progress | None = None,
    success_report: bool = False,
    subject: str = "",
) -> SentFiles:
    """Offer all files in one invitation, send those that are wanted one after the other, then BYE (9.4-5).

    To several users they go through the conference factory (clause 9.1.1.2-3); what nobody of them wants is refused.
    `progress` is told of all of them together. Raises as `Messaging.invite`, OSError, and MessageFailedError, after which
    the rest is not sent.
    """
    files = [await asyncio.to_thread(describe_file, path, _type_of(path)) for path in paths]
    plans = [replace(messaging.plan(Direction.SENDONLY), file=file) for file in files]
    lines = messaging.lines(plans)
    session = await messaging.invite_to_take(to, lines, subject)
    try:
        return await _send_all(session, lines, list(zip(paths, files, strict=True)), progress, success_report)
    finally:
        await session.close()


async def _send_all(
    session: ImSession,
    lines: MediaLines,
    files: Sequence[tuple[Path, FileDescription]],
    progress: Progress | None,
    success_report: bool,
) -> SentFiles:
    sent: list[Path] = []
    refused: list[Path] = []
    wanted = {line.plan.file for line in lines.accepted}
    total = sum(file.selector.size or 0 for _, file in files if file in wanted)
    done = 0
    for line, (path, file) in zip((lines, *lines.others), files, strict=True):
        if line.negotiated is None:
            refused.append(path)
            continue
        before = done

        def tell(now: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + now, total)

        await send_content(
            line.peer,
            path,
            file.selector.type or UNKNOWN_TYPE,
            disposition=disposition_of(path.name),
            progress=tell,
            success_report=success_report or session.peer.focus,
        )
        sent.append(path)
        done += file.selector.size or 0
    return SentFiles(tuple(sent), tuple(refused), done)


def _type_of(path: Path) -> str:
    return mimetypes.guess_type(path)[0] or UNKNOWN_TYPE
