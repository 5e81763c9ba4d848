"""`make bench`: all benchmarks, each table against the baselines of the same run. `--quick` for a first look."""

from __future__ import annotations

import sys

from tests.bench import bench_msrp, conference, conference_notify, deferred_push, focus, memory, pager, sessions


def main() -> int:
    """Print the tables; 1 where a target is missed."""
    quick = "--quick" in sys.argv[1:]
    print("Pager mode (targets: online 0.7 of the native relay's rate; deferred 3000 msg/s)\n", flush=True)
    missed = pager.main(quick=quick)
    print("\nSessions through the participating function in the media path (target: 300/s, nothing left)\n", flush=True)
    missed |= sessions.main(quick=quick)
    print("\nSessions of two at the focus (target: 300/s, nothing left)\n", flush=True)
    missed |= focus.main(quick=quick)
    print("\nDeferred delivery (targets: push 2000 msg/s; the same cost at 10,000 stored; memory constant)\n", flush=True)
    missed |= deferred_push.main()
    if not quick:
        print("\nMemory after 10,000 and 100,000 messages (target: equal)\n", flush=True)
        missed |= memory.main()
    print("\nNOTIFYs of conference state (target: linear)\n", flush=True)
    missed |= conference_notify.main(quick=quick)
    print("\nConferences\n", flush=True)
    missed |= conference.main(quick=quick)
    print("\nMSRP\n", flush=True)
    return bench_msrp.main() | missed


if __name__ == "__main__":
    sys.exit(main())
