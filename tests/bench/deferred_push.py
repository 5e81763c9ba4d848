"""Deferred delivery: the rate of a push to one client, what a message costs when 10,000 of one user are stored, and the
memory that a large message needs on its way into the store and out of it.

The client acknowledges every SEND at once; the store is SQLite with full synchronous writes, so every message delivered
stands for a lease and a deletion that are on disk.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from msrp_worker.msrp import IncomingMessage, Session
from msrp_worker.store import Store
from msrp_worker.store.deferred import NewDeferred
from tests.bench.pager import cpu_seconds
from tests.scenarios.bed import DOMAIN, Instance, instance_with
from tests.scenarios.delivery.device import Device

T = TypeVar("T")

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes", "IM_USER_RATE": "0", "IM_DEFERRED_MAX_MESSAGES": "1000000"}
PUSH_RATE = 2000
"""Messages per second of a push of 1,000."""
GROWTH_KIB = 4096
"""What a push, or a large message on its way in or out, may add to the worker's memory, whatever its size."""
LARGE = 256 << 20
"""Bytes of the large message that is kept and pushed."""
SAME = 2.0
"""Cost per message at 10,000 stored against that at 1,000: on a machine that does other things too it differs by as much.
It may never be more than at 10."""
COUNTS = (10, 100, 1_000, 10_000)
BODY = b"x" * 300
CHUNK = 10_240
"""Bytes of content in a chunk of the sender: what RCS clients use."""


@dataclass(frozen=True)
class Run:
    """What `count` stored messages of one user cost, in microseconds per message unless it says otherwise."""

    count: int
    rate: float
    worker_cpu: float
    growth_kib: int
    list_us: float
    delete_us: float


def main() -> int:
    """Print the table; 1 where a target is missed."""
    with (
        tempfile.TemporaryDirectory(prefix="im-bench-") as directory,
        instance_with(Path(directory), SETTINGS) as instance,
    ):
        _measure(instance, 50)
        runs = [_measure(instance, count) for count in COUNTS]
        kept, pushed = asyncio.run(_large(instance))
    print(f"{'stored':>8}{'push msg/s':>12}{'us worker':>11}{'KiB more':>10}{'us list':>9}{'us delete':>11}")
    for run in runs:
        print(
            f"{run.count:8,}{run.rate:12.0f}{run.worker_cpu:11.0f}{run.growth_kib:10}"
            f"{run.list_us:9.1f}{run.delete_us:11.1f}"
        )
    for name, (megabytes, growth) in (("kept", kept), ("pushed", pushed)):
        print(f"{LARGE >> 20} MiB {name}: {megabytes:.0f} MB/s, {growth} KiB more")
    ten, thousand, most = runs[0], runs[2], runs[3]
    met = (
        thousand.rate >= PUSH_RATE
        and most.growth_kib <= GROWTH_KIB
        and most.worker_cpu <= SAME * thousand.worker_cpu
        and most.list_us <= min(ten.list_us, SAME * thousand.list_us)
        and most.delete_us <= min(ten.delete_us, SAME * thousand.delete_us)
        and max(kept[1], pushed[1]) <= GROWTH_KIB
    )
    print("targets met" if met else "TARGET MISSED")
    return 0 if met else 1


def _measure(instance: Instance, count: int) -> Run:
    user = f"push{count}x{time.monotonic_ns()}"
    address = f"sip:{user}@{DOMAIN}"
    instance.in_store(lambda store: store.users.add(address, f"{user}-secret"))
    instance.in_store(lambda store: _fill(store, address, count))
    list_us = instance.in_store(lambda store: _timed(lambda: _list_all(store, address))) / count * 1e6
    delete_us = instance.in_store(lambda store: _timed(lambda: _delete_all(store, address))) / count * 1e6
    instance.in_store(lambda store: _fill(store, address, count))
    pid = instance.deployment.worker.pid
    _reset_peak(pid)
    before = _peak_kib(pid)
    cpu = cpu_seconds(pid)
    seconds = asyncio.run(_push(instance, user, count))
    worker = (cpu_seconds(pid) - cpu) / count * 1e6
    return Run(count, count / seconds, worker, _peak_kib(pid) - before, list_us, delete_us)


async def _push(instance: Instance, user: str, count: int) -> float:
    """Register; seconds from the INVITE to the BYE, which follows the last deletion."""
    async with Device(instance, user) as device:
        await device.register()
        await device.until(lambda: device.offers, 60)
        start = time.monotonic()
        await device.until(lambda: device.ended, 300)
        seconds = time.monotonic() - start
        if len(device.bodies) != count:
            raise RuntimeError(f"{len(device.bodies)} of {count} messages came")
        return seconds


class _Sink(Device):
    """A device that counts the bytes of what it is pushed and keeps none."""

    size = 0

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        self.size += len(data)
        return None


async def _large(instance: Instance) -> tuple[tuple[float, int], tuple[float, int]]:
    """A large message is kept, then pushed: MB/s, and what each added to the worker's memory in KiB."""
    user = f"large{time.monotonic_ns()}"
    address = f"sip:{user}@{DOMAIN}"
    await asyncio.to_thread(instance.in_store, lambda store: store.users.add(address, f"{user}-secret"))
    pid = instance.deployment.worker.pid
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(LARGE)
        async with instance.client("alice", msrp_chunk_size=CHUNK) as client:
            await asyncio.to_thread(_reset_peak, pid)
            before, start = _peak_kib(pid), time.monotonic()
            await client.send_large(address, Path(file.name), content_type="application/octet-stream")
            kept = LARGE / 1e6 / (time.monotonic() - start), _peak_kib(pid) - before
    async with _Sink(instance, user, whole=0) as device:
        await asyncio.to_thread(_reset_peak, pid)
        before = _peak_kib(pid)
        await device.register()
        await device.until(lambda: device.offers, 60)
        start = time.monotonic()
        await device.until(lambda: device.ended, 300)
        pushed = LARGE / 1e6 / (time.monotonic() - start), _peak_kib(pid) - before
        if device.size < LARGE:
            raise RuntimeError(f"{device.size} of {LARGE} bytes came")
    return kept, pushed


async def _fill(store: Store, address: str, count: int) -> None:
    for start in range(0, count, 200):
        await asyncio.gather(*(store.deferred.add(_message(address, n)) for n in range(start, min(start + 200, count))))


def _message(address: str, number: int) -> NewDeferred:
    call_id = f"{number}-{time.monotonic_ns()}"
    head = f"MESSAGE {address} SIP/2.0\r\nFrom: <sip:alice@{DOMAIN}>;tag=1\r\nTo: <{address}>\r\nCall-ID: {call_id}\r\n"
    head += f"CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return NewDeferred(
        recipient=address,
        originator=f"sip:alice@{DOMAIN}",
        call_id=call_id,
        cseq=1,
        from_tag="1",
        message=head.encode() + BODY,
        content_type="text/plain",
        received=time.time(),
    )


async def _list_all(store: Store, address: str) -> None:
    after: str | None = None
    while page := await store.deferred.list(address, after, 100):
        after = page[-1].message_id


async def _delete_all(store: Store, address: str) -> None:
    while page := await store.deferred.list(address, None, 100):
        await store.deferred.delete(address, [entry.message_id for entry in page])


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    start = time.monotonic()
    await work()
    return time.monotonic() - start


def _reset_peak(pid: int) -> None:
    threading.Event().wait(1.0)  # what the fill left behind is written
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_kib(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    raise SystemExit(main())
