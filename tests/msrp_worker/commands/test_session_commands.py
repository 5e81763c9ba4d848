"""`session` as an operator runs it, against a link with sessions behind it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from msrp_worker.controlling.overview import FocusView
from msrp_worker.kamailio_link import QUESTION_SOCKET, KamailioLink, LinkAddress
from msrp_worker.operating import Operating
from tests.msrp_worker.controlling.focus_bench import FocusBench, focus, uri

ROOT = Path(__file__).parents[3]


def run(state: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The command, to its end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
    environ |= {"IM_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "msrp_worker", "session", *arguments]
    return subprocess.run(command, capture_output=True, env=environ, timeout=60, cwd=state)


async def beside(state: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The command, while the worker's event loop runs."""
    return await asyncio.to_thread(run, state, *arguments)


def never(*_: Any) -> Any:
    """No question comes here."""
    raise AssertionError


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[KamailioLink]:
    """The worker's end of the question socket."""
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        link = KamailioLink(LinkAddress(tmp_path, control_port=taken.getsockname()[1]), never, lambda: 1)
        link.start()
        yield link
        await link.close()


@pytest.fixture
async def bench(link: KamailioLink) -> AsyncIterator[FocusBench]:
    """A focus behind it."""
    async with focus() as bench:
        link.operate = Operating(lambda after: map(FocusView, bench.function.sessions())).answer
        yield bench


@pytest.mark.requirement("CNF-29")
async def test_list_show_release(bench: FocusBench, tmp_path: Path) -> None:
    assert json.loads((await beside(tmp_path, "list", "--json")).stdout) == []
    await bench.invite("alice", names=("bob", "carol"))
    await bench.accept("bob")
    (one,) = json.loads((await beside(tmp_path, "list", "--json")).stdout)
    assert (one["kind"], one["participants"], one["invited"]) == ("conference", 2, 1)
    shown = json.loads((await beside(tmp_path, "show", one["identity"], "--json")).stdout)
    assert [who["address"] for who in shown["who"]] == [uri(name) for name in ("alice", "bob", "carol")]
    table = (await beside(tmp_path, "list")).stdout.decode()
    assert one["identity"] in table and uri("carol") in table
    text = (await beside(tmp_path, "show", bench.session.identity)).stdout.decode()
    assert "2 participants, 1 invited, 0 messages" in text
    released = await beside(tmp_path, "release", one["identity"], "--reason", "Maintenance")
    assert (released.returncode, b"2 participants" in released.stdout) == (0, True)
    assert ("Reason", 'SIP;cause=200;text="Maintenance"') in bench.sent("bob", "BYE").headers
    again = await beside(tmp_path, "release", one["identity"])
    assert again.returncode == 1
    assert again.stderr.startswith(b"error: no session sip:im-session-")
    assert (await beside(tmp_path, "show", "x")).returncode == 1


@pytest.mark.parametrize("reason", ["a\nb", "x" * 201])
async def test_a_reason_is_one_short_line(tmp_path: Path, reason: str) -> None:
    process = run(tmp_path, "release", "x", "--reason", reason)
    assert (process.returncode, b"at most 200" in process.stderr) == (2, True)


def left_behind(path: Path) -> None:
    """The socket of a worker that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))


@pytest.mark.requirement("SEC-06")
@pytest.mark.parametrize("before", [lambda path: None, left_behind])
@pytest.mark.parametrize("arguments", [("list",), ("show", "x"), ("release", "x")])
def test_without_a_worker(tmp_path: Path, before: Callable[[Path], None], arguments: tuple[str, ...]) -> None:
    before(tmp_path / QUESTION_SOCKET)
    process = run(tmp_path, *arguments)
    assert process.returncode == 1
    assert b"no worker runs here" in process.stderr and b"Traceback" not in process.stderr


@pytest.mark.requirement("SEC-06")
@pytest.mark.parametrize("answer", [b"", b"{}", b"\xff"])
async def test_a_worker_that_cannot_answer(link: KamailioLink, tmp_path: Path, answer: bytes) -> None:
    link.operate = lambda request: answer
    process = await beside(tmp_path, "list")
    assert (process.returncode, b"could not answer" in process.stderr) == (1, True)


@pytest.mark.requirement("SEC-06")
async def test_a_bug_in_the_worker_harms_no_other(link: KamailioLink, tmp_path: Path) -> None:
    link.operate = never
    assert (await beside(tmp_path, "list")).returncode == 1
    assert link.counters.failures == 1
    link.operate = Operating().answer
    assert (await beside(tmp_path, "list")).returncode == 0
