"""Benchmark of sessions through the participating function in the media path: set-up to release, and what is left behind.

SIPp is both users' devices, one INVITE, ACK and BYE per session on each leg. Their MSRP paths are names that nobody
connects to: what is measured is the signalling, with the MSRP sessions made and ended in the worker. A smaller run has
media: the reference client at both ends, a message each way in every session; its rate is mostly that of the two clients.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.im_invitation import ImInvitation
from im_client.transport import Target
from tests.bench.pager import SENDER_PORT, SIPP, cpu_seconds, memory_kib, recipient, register, running
from tools.deployment import Deployment

TARGET_RATE = 300
"""Sessions per second on two cores, SIPp included."""
IN_FLIGHT = 80
SIPP_TIMEOUT = 180
CALL_TIMEOUT_MS = 40_000
"""For each answer: above the 32 s after which a request has failed for certain."""
SETTLE_SECONDS = 30.0
"""Until Kamailio has forgotten the last transaction: five seconds behind its end, and its table is swept."""
FILES_MORE = 20
"""Each process of Kamailio opens its one connection to the worker when it first has something to say."""
MEDIA_SESSIONS = 200
MEDIA_AT_ONCE = 10


@dataclass(frozen=True)
class Left:
    """What is there when nothing goes on."""

    legs: int
    sessions: int
    msrp: int
    transactions: int
    files: int
    """File descriptors of the worker."""
    rows: int
    """Stored legs."""
    kamailio_kib: int
    worker_kib: int


def metric(deployment: Deployment, name: str) -> int:
    """A value of /metrics."""
    config = deployment.config
    with urllib.request.urlopen(f"http://{config.listen}:{config.http_port}/metrics", timeout=10) as answer:
        found = re.search(rf"^{name} (\S+)$", str(answer.read(), "utf-8"), re.MULTILINE)
    return int(float(found[1])) if found else -1


def look(deployment: Deployment) -> Left:
    """What is there now."""
    stats = deployment.rpc("tm.stats")
    rows = subprocess.run(
        ["sqlite3", "-readonly", str(deployment.config.state_dir / "im.sqlite"), "select count(*) from leg"],
        capture_output=True,
        check=False,
    )
    return Left(
        metric(deployment, "im_legs"),
        metric(deployment, "im_sessions_bridged"),
        metric(deployment, "im_msrp_sessions"),
        int(stats["current"]),
        len(list(Path(f"/proc/{deployment.worker.pid}/fd").iterdir())),
        int(rows.stdout or -1),
        memory_kib(deployment.kamailio.pid),
        memory_kib(deployment.worker.pid),
    )


def settled(deployment: Deployment) -> Left:
    """What is there once all that ends by itself has ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    pause = threading.Event()
    while True:
        left = look(deployment)
        if not (left.legs or left.sessions or left.msrp or left.transactions or left.rows > 0):
            return left
        if time.monotonic() > deadline:
            return left
        pause.wait(1.0)


def call(
    deployment: Deployment, count: int, in_flight: int = IN_FLIGHT, scenario: Path = SIPP / "session_caller.xml"
) -> tuple[float, int]:
    """Sessions per second, and how many failed."""
    target = f"127.0.0.1:{deployment.config.sip_port}"
    with tempfile.TemporaryDirectory() as directory:
        command = [
            "sipp",
            "-sf",
            str(scenario),
            "-i",
            "127.0.0.1",
            "-p",
            str(SENDER_PORT),
            "-nd",
            target,
        ]
        command += ["-r", "100000", "-l", str(in_flight), "-m", str(count), "-timeout", str(SIPP_TIMEOUT)]
        command += ["-recv_timeout", str(CALL_TIMEOUT_MS)]
        start = time.monotonic()
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SIPP_TIMEOUT + 20, cwd=directory
        )
        elapsed = time.monotonic() - start
    failed = re.findall(rb"Failed call\s*\|\s*\d+\s*\|\s*(\d+)", result.stdout)
    return count / elapsed, int(failed[-1]) if failed else count


async def talk(deployment: Deployment, count: int) -> float:
    """Sessions per second between two reference clients, a message each way in each."""

    def client(user: str) -> ImClient:
        proxy = Target("127.0.0.1", deployment.config.sip_port, "udp")
        return ImClient(ClientConfig(identity=f"sip:{user}@example.com", password=f"{user}-secret", proxy=proxy))

    async def accept(invitation: ImInvitation) -> None:
        session = await invitation.accept()
        await session.send((await session.receive()).text)
        await session.ended

    async def one(limit: asyncio.Semaphore, caller: ImClient) -> None:
        async with limit:
            session = await caller.invite("sip:carol@example.com")
            await session.send("hello", success_report=True)
            assert (await session.receive()).text == "hello"
            await session.close()

    async with client("dave") as caller, client("carol") as callee:
        callee.on_invite = accept
        await caller.register()
        await callee.register()
        limit = asyncio.Semaphore(MEDIA_AT_ONCE)
        start = time.monotonic()
        await asyncio.gather(*(one(limit, caller) for _ in range(count)))
        return count / (time.monotonic() - start)


def clean(left: Left) -> bool:
    """Whether nothing of a session is there."""
    return not (left.legs or left.sessions or left.msrp or left.transactions or left.rows > 0)


def show_left(name: str, left: Left) -> None:
    """One line of what is left."""
    numbers = f"{left.legs:6}{left.rows:6}{left.msrp:6}{left.transactions:14}{left.files:7}"
    print(f"{name:32}{numbers}{left.kamailio_kib / 1024:14.1f}{left.worker_kib / 1024:12.1f}", flush=True)


def signalling(deployment: Deployment, count: int, scenario: Path = SIPP / "session_caller.xml") -> bool:
    """Three runs of `count` sessions; whether the target is met and nothing is left."""
    register(deployment.config.sip_port, 3600)
    call(deployment, count, scenario=scenario)
    before = settled(deployment)
    used = cpu_seconds(deployment.kamailio.pid), cpu_seconds(deployment.worker.pid)
    runs = [call(deployment, count, scenario=scenario) for _ in range(3)]
    total = count * len(runs)
    kamailio = (cpu_seconds(deployment.kamailio.pid) - used[0]) / total * 1e6
    worker = (cpu_seconds(deployment.worker.pid) - used[1]) / total * 1e6
    after = settled(deployment)
    rate = statistics.median(one for one, _ in runs)
    failed = sum(lost for _, lost in runs)
    print(f"{'':44}{'per s':>9}{'failed':>8}{'us Kamailio':>13}{'us worker':>11}")
    print(f"{f'set-up to release, {total:,} sessions':44}{rate:9.0f}{failed:8}{kamailio:13.0f}{worker:11.0f}\n")
    print(f"{'left behind':32}{'legs':>6}{'rows':>6}{'MSRP':>6}{'transactions':>14}{'files':>7}", end="")
    print(f"{'MiB Kamailio':>14}{'MiB worker':>12}")
    show_left("before", before)
    show_left(f"after {total:,} sessions", after)
    return rate >= TARGET_RATE and not failed and clean(after) and after.files <= before.files + FILES_MORE


def with_media(deployment: Deployment, count: int) -> bool:
    """`count` sessions with MSRP; whether nothing is left."""
    rate = asyncio.run(talk(deployment, count))
    left = settled(deployment)
    show_left(f"after {count} with MSRP, {rate:.0f} per s", left)
    return clean(left)


def main(*, quick: bool = False) -> int:
    """Run all and print the tables; 1 where a target is missed or something is left behind."""
    clients = {"IM_MEDIA_PATH": "always", "IM_TRUSTED_PEERS": ""}  # they prove themselves who they are
    with (
        tempfile.TemporaryDirectory(prefix="im-bench-") as directory,
        running(Path(directory), IM_MEDIA_PATH="always") as deployment,
        recipient("session_callee.xml"),
    ):
        met = signalling(deployment, 1_000 if quick else 3_500)
    with (
        tempfile.TemporaryDirectory(prefix="im-bench-") as directory,
        running(Path(directory), **clients) as deployment,
    ):
        met &= with_media(deployment, MEDIA_SESSIONS // (4 if quick else 1))
    print("targets met" if met else "TARGET MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main(quick="--quick" in sys.argv[1:]))
