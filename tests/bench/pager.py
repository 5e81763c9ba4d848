"""Benchmarks of pager mode on one Kamailio and one worker, with SIPp as sender and recipient on the same machine.

The baseline is a MESSAGE without the feature tag: the same Kamailio routes it natively, with lookup and t_relay.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.credentials import authorization
from tools.deployment import Deployment

SIPP = Path(__file__).parent / "sipp"
FEATURE_TAG = "Accept-Contact: *;+g.oma.sip-im;require;explicit"
PLAIN = "X-Comment: a header of the same length, plain"
PORT_OFFSET = 21000
RECIPIENT_PORT = 27000
SENDER_PORT = 27100
IN_FLIGHT = 100
ONLINE_RATIO = 0.7
"""Of the native relay's rate, through both participating functions."""
DEFERRED_RATE = 3000
"""Messages per second, durable before the 202."""
SIPP_TIMEOUT = 180
SHARED_MEMORY_MIB = 2048
"""Finished transactions stay 5 s with 13 KB each: 15,000 messages per second need a gigabyte."""


@dataclass(frozen=True)
class Run:
    """One SIPp run: messages per second, CPU microseconds per message of Kamailio and of the worker."""

    rate: float
    kamailio_cpu: float
    worker_cpu: float
    failed: int


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its children that live."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for process in [pid, *children(pid)]:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / ticks


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory_kib(pid: int) -> int:
    """Proportional set size of a process and its children, KiB."""
    total = 0
    for process in [pid, *children(pid)]:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found.group(1)) if found else 0
    return total


@contextmanager
def running(state_dir: Path, **settings: str) -> Iterator[Deployment]:
    """An instance with SIPp's address as trusted peer and without limits on rates; `settings` are more of them."""
    environ = {
        **os.environ,
        "IM_STATE_DIR": str(state_dir),
        "IM_PORT_OFFSET": str(PORT_OFFSET),
        "IM_TRUSTED_PEERS": "127.0.0.1",
        "IM_USER_RATE": "0",
        "IM_DEFERRED_MAX_MESSAGES": "10000000",
        **settings,
    }
    deployment = Deployment(environ, log_dir=state_dir, shared_memory=SHARED_MEMORY_MIB)
    deployment.initialise()
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


@contextmanager
def recipient(scenario: str = "answer.xml") -> Iterator[None]:
    """SIPp as Bob's device."""
    command = ["sipp", "-sf", str(SIPP / scenario), "-i", "127.0.0.1", "-p", str(RECIPIENT_PORT), "-nd"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def register(port: int, expires: int) -> None:
    """Register or remove Bob's device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.settimeout(5)
        answer = _register(sender, port, expires, 1, "")
        challenge = re.search(rb"WWW-Authenticate: (.*)\r\n", answer)
        if challenge is not None:
            credentials = authorization(challenge[1].decode(), "REGISTER", "sip:example.com", "bob")
            answer = _register(sender, port, expires, 2, f"{credentials}\r\n")
    if not answer.startswith(b"SIP/2.0 200"):
        raise RuntimeError(f"cannot register: {answer[:60]!r}")


def _register(sender: socket.socket, port: int, expires: int, number: int, more: str) -> bytes:
    local = sender.getsockname()[1]
    unique = time.time_ns()
    sender.sendto(
        f"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bK{unique}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:bob@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: {unique}\r\n"
        f"CSeq: {number} REGISTER\r\nContact: <sip:bob@127.0.0.1:{RECIPIENT_PORT}>;+g.oma.sip-im\r\nExpires: {expires}\r\n"
        f"{more}Content-Length: 0\r\n\r\n".encode(),
        ("127.0.0.1", port),
    )
    return sender.recv(4096)


def send(deployment: Deployment, header: str, status: int, count: int, rate: int = 100_000) -> Run:
    """Send `count` messages with at most IN_FLIGHT outstanding, at most `rate` per second."""
    scenario = (SIPP / "message.xml").read_text().replace("HEADER", header, 2).replace("STATUS", str(status), 2)
    scenario = re.sub(r"<!--.*?-->", "", scenario)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "message.xml"
        path.write_text(scenario)
        target = f"127.0.0.1:{deployment.config.sip_port}"
        command = ["sipp", "-sf", str(path), "-i", "127.0.0.1", "-p", str(SENDER_PORT), "-nd", target]
        command += ["-r", str(rate), "-l", str(IN_FLIGHT), "-m", str(count), "-timeout", str(SIPP_TIMEOUT)]
        before = cpu_seconds(deployment.kamailio.pid), cpu_seconds(deployment.worker.pid)
        start = time.monotonic()
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SIPP_TIMEOUT + 20, cwd=directory
        )
        elapsed = time.monotonic() - start
        kamailio = cpu_seconds(deployment.kamailio.pid) - before[0]
        worker = cpu_seconds(deployment.worker.pid) - before[1]
    failed = re.findall(rb"Failed call\s*\|\s*\d+\s*\|\s*(\d+)", result.stdout)
    return Run(count / elapsed, kamailio / count * 1e6, worker / count * 1e6, int(failed[-1]) if failed else count)


def table(rows: list[tuple[str, Run]], baseline: Run) -> None:
    """Print runs with their ratio to the baseline."""
    print(f"{'':44}{'msg/s':>9}{'ratio':>8}{'failed':>8}{'us Kamailio':>13}{'us worker':>11}")
    for name, run in rows:
        print(
            f"{name:44}{run.rate:9.0f}{run.rate / baseline.rate:8.2f}{run.failed:8}"
            f"{run.kamailio_cpu:13.0f}{run.worker_cpu:11.0f}"
        )


def main(*, quick: bool = False) -> int:
    """Run all and print the table; 1 where a target is missed."""
    count = 10_000 if quick else 40_000
    with tempfile.TemporaryDirectory(prefix="im-bench-") as directory, running(Path(directory)) as deployment:
        with recipient():
            register(deployment.config.sip_port, 3600)
            send(deployment, PLAIN, 200, 2000)
            send(deployment, FEATURE_TAG, 200, 2000)
            native = [send(deployment, PLAIN, 200, count) for _ in (0, 1)]
            online = [send(deployment, FEATURE_TAG, 200, count) for _ in (0, 1)]
            native.append(send(deployment, PLAIN, 200, count))
            online.append(send(deployment, FEATURE_TAG, 200, count))
            register(deployment.config.sip_port, 0)
        offline = send(deployment, FEATURE_TAG, 202, count // 2)
        baseline = sorted(native, key=lambda run: run.rate)[1]
        median = sorted(online, key=lambda run: run.rate)[1]
        table(
            [
                ("native relay (baseline)", baseline),
                ("pager mode, recipient online", median),
                ("pager mode, deferred, durable before 202", offline),
            ],
            baseline,
        )
    failed = sum(run.failed for run in (*native, *online, offline))
    met = median.rate >= ONLINE_RATIO * baseline.rate and offline.rate >= DEFERRED_RATE and not failed
    print("targets met" if met else "TARGET MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
