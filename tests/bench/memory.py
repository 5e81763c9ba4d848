"""Memory of Kamailio and worker after 100,000 messages against that after 10,000.

At a fixed rate, because Kamailio keeps finished transactions for five seconds: as many of them are there at both looks.
Memory is the proportional set size of all processes, when the last transactions are gone.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from tests.bench.pager import FEATURE_TAG, memory_kib, recipient, register, running, send

RATE = 2000
FIRST, LAST = 10_000, 100_000
TRANSACTIONS_GONE_SECONDS = 8.0
TOLERANCE = 1.05
"""The last look may show this much of the first: allocators round, a few tables grow to their fixed size."""


def main() -> int:
    """Print the table; 1 where memory has grown."""
    grown = False
    print(f"{'':36}{'Kamailio MiB':>14}{'worker MiB':>12}")
    with tempfile.TemporaryDirectory(prefix="im-bench-") as directory, running(Path(directory)) as deployment:
        for name, status in (("online", 200), ("deferred", 202)):
            with recipient():
                register(deployment.config.sip_port, 3600 if status == 200 else 0)
                looks = []
                for count in (FIRST, LAST - FIRST):
                    run = send(deployment, FEATURE_TAG, status, count, rate=RATE)
                    grown |= run.failed > 0
                    threading.Event().wait(TRANSACTIONS_GONE_SECONDS)
                    looks.append((memory_kib(deployment.kamailio.pid), memory_kib(deployment.worker.pid)))
            for count, look in zip((FIRST, LAST), looks, strict=True):
                print(f"{f'{name}, after {count:,} messages':36}{look[0] / 1024:14.1f}{look[1] / 1024:12.1f}", flush=True)
            grown |= any(last > first * TOLERANCE for first, last in zip(*looks, strict=True))
    print("TARGET MISSED" if grown else "targets met")
    return int(grown)


if __name__ == "__main__":
    raise SystemExit(main())
