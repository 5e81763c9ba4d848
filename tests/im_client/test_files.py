"""Several files in one session: one line each, some refused, all checked (RFC 5547 section 8.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from im_client.body import SDP, Body
from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.media_lines import MediaLines, wanted_lines
from msrp_worker.sdp import MAX_MEDIA
from tests.im_client.relay import BOB, PATIENCE, Pair, open_pair


@pytest.fixture
async def pair(transport: str) -> AsyncIterator[Pair]:
    async with open_pair(transport) as found:
        found.alice.messaging.calls.on_call = found.alice.messaging._on_call
        found.bob.messaging.calls.on_call = found.bob.messaging._on_call
        yield found


def make(directory: Path, *sizes: int) -> list[Path]:
    """Files of these sizes."""
    paths = [directory / f"{number}.jpg" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(bytes(index % 253 for index in range(size)))
    return paths


@pytest.mark.requirement("LRG-05", "CLI-05")
async def test_all_files_come_whole(pair: Pair, tmp_path: Path) -> None:
    paths = make(tmp_path, 100_000, 0, 1, 70_000)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    received: asyncio.Queue[list[ReceivedFile]] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        received.put_nowait(await invitation.accept_files(inbox))

    pair.bob.on_invite = take
    progress: list[tuple[int, int]] = []
    done = await pair.alice.send_files(BOB, paths, progress=lambda *told: progress.append(told), success_report=True)
    assert (done.sent, done.refused, done.size) == (tuple(paths), (), 170_001)
    assert progress[-1] == (170_001, 170_001) and progress == sorted(progress)
    async with asyncio.timeout(PATIENCE):
        found = await received.get()
    assert [one.selector.name for one in found] == [path.name for path in paths]
    assert [one.path.read_bytes() for one in found] == [path.read_bytes() for path in paths]
    (invite,) = [one for one in pair.relay.log if one.what == "INVITE" and one.origin == "alice"][-1:]
    assert invite.data.count(b"m=message") == len(paths) == invite.data.count(b"a=file-selector:")


@pytest.mark.requirement("LRG-05")
async def test_a_file_that_is_not_wanted(pair: Pair, tmp_path: Path) -> None:
    """Its line gets port 0; the others are sent."""
    paths = make(tmp_path, 1_000, 2_000, 3_000)
    received: asyncio.Queue[list[ReceivedFile]] = asyncio.Queue()
    inbox = tmp_path / "inbox"
    inbox.mkdir()

    async def take(invitation: ImInvitation) -> None:
        lines = invitation._line
        assert isinstance(lines, MediaLines)
        lines.others[0].plan = replace(lines.others[0].plan, max_size=1_999)
        received.put_nowait(await invitation.accept_files(inbox))

    pair.bob.on_invite = take
    done = await pair.alice.send_files(BOB, paths)
    assert (done.sent, done.refused) == ((paths[0], paths[2]), (paths[1],))
    async with asyncio.timeout(PATIENCE):
        assert [one.selector.name for one in await received.get()] == ["0.jpg", "2.jpg"]


def test_lines_are_counted_and_bounded() -> None:
    head = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    line, secure = b"m=message 2855 TCP/MSRP *\r\n", b"m=message 2856 tcp/tls/msrp *\r\n"
    for number, expected in ((0, 0), (1, 1), (3, 3), (MAX_MEDIA, MAX_MEDIA), (MAX_MEDIA + 1, 0)):
        assert wanted_lines(Body(SDP, head + line * number)) == [False] * expected
    assert wanted_lines(Body(SDP, head + line + secure)) == [False, True]
    assert wanted_lines(Body(SDP, head + b"m=audio 1 RTP/AVP 0\r\n" + line + b"m=message 0 TCP/MSRP *\r\n")) == [False]
    assert wanted_lines(Body(SDP, b"nonsense")) == []
