"""Memory of Kamailio and worker: after 100,000 messages it is what it was after 10,000.

Half of the messages go to a recipient who is there, half are stored. Kamailio keeps a finished transaction for five
seconds, so the first part is sent in one go and the second at the rate at which as many transactions live at a time. It takes
a minute.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.pager import FEATURE_TAG, memory_kib, recipient, register, running, send
from tools.deployment import Deployment

FIRST = 10_000
ALL = 100_000
RATE = 2200
"""Messages per second: five seconds of them are about FIRST."""
PSS_TOLERANCE_KIB = 24 * 1024
"""Kamailio's memory as the system counts it does not shrink after a peak; the peaks differ by about a tenth."""
SHARED_TOLERANCE_KIB = 2 * 1024
"""What is in use in Kamailio's shared memory once no transaction lives: 20 bytes per message would show."""
WORKER_TOLERANCE_KIB = 12 * 1024
"""Caches of the database and of the trace fill up to their limits at different times."""
DRAIN_SECONDS = 20.0


@dataclass(frozen=True)
class Reading:
    """KiB: proportional set sizes, and what is in use of Kamailio's shared memory."""

    kamailio: int
    shared: int
    worker: int


def drained(deployment: Deployment) -> None:
    """Wait until no transaction lives. TimeoutError."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while deployment.rpc("tm.stats")["current"] or deployment.rpc("tm.stats")["waiting"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"transactions live on: {deployment.rpc('tm.stats')}")
        time.sleep(0.1)


def reading(deployment: Deployment) -> Reading:
    """As of now, with no transaction alive."""
    drained(deployment)
    shared = int(deployment.rpc("core.shmmem")["used"]) // 1024
    return Reading(memory_kib(deployment.kamailio.pid), shared, memory_kib(deployment.worker.pid))


def exchange(deployment: Deployment, count: int, rate: int) -> int:
    """Half of `count` messages to a device, half to the store; how many failed."""
    register(deployment.config.sip_port, 3600)
    online = send(deployment, FEATURE_TAG, 200, count // 2, rate)
    register(deployment.config.sip_port, 0)
    return online.failed + send(deployment, FEATURE_TAG, 202, count // 2, rate).failed


def main() -> int:
    """Run and print; the exit status is 1 when memory has grown."""
    with (
        tempfile.TemporaryDirectory(prefix="im-bench-") as directory,
        running(Path(directory)) as deployment,
        recipient(),
    ):
        failed = exchange(deployment, FIRST, 100_000)
        first = reading(deployment)
        failed += exchange(deployment, ALL - FIRST, RATE)
        last = reading(deployment)
    good = failed == 0
    print(f"{'KiB after':34}{FIRST:>12,}{ALL:>12,}{'allowed':>10}")
    for name, before, after, tolerance in (
        ("Kamailio, PSS of all processes", first.kamailio, last.kamailio, PSS_TOLERANCE_KIB),
        ("Kamailio, shared memory in use", first.shared, last.shared, SHARED_TOLERANCE_KIB),
        ("worker, PSS", first.worker, last.worker, WORKER_TOLERANCE_KIB),
    ):
        good = good and after - before <= tolerance
        print(f"{name:34}{before:12,}{after:12,}{f'+{tolerance:,}':>10}")
    print(f"{failed} messages failed" if failed else "no message failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
