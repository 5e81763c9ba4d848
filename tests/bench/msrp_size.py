"""Memory of idle sessions and of a long message, and its rate: python -m tests.bench.msrp_size

Against the hop of `msrp_hop`: PSS per idle session (two connections each), megabytes per second of one
message in 8 KiB chunks beside a plain forwarder, and what that message adds to the memory of the hop at
most.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.bench.msrp_hop import Receiver, cpu, forwarder, hop

CHUNK = 8_192


def pss(pid: int) -> int:
    """Kilobytes of proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(pid)


class Idle(asyncio.Protocol):
    """Binds a session and waits."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(
            f"MSRP bind SEND\r\nTo-Path: {self.uri}\r\nFrom-Path: msrp://127.0.0.1:9/one;tcp\r\n"
            "Message-ID: bind\r\n-------bind$\r\n".encode()
        )


class Sink(asyncio.Protocol):
    """Counts the bytes that come and answers the chunks that end."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.count = 0
        self.done = asyncio.get_running_loop().create_future()
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        Receiver.connection_made(cast(Any, self), transport)

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        window = self.tail + data
        if b"$\r\n" in window[-64:] and self.count > 10_000 and not self.done.done():
            self.done.set_result(None)
        self.tail = data[-64:]


class Source(asyncio.Protocol):
    """Writes chunks as fast as they are taken."""

    def __init__(self, uri: str, size: int) -> None:
        self.chunks = size // CHUNK
        self.uri = uri
        self.size = size
        self.sent = 0
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(262_144)

    def begin(self) -> None:
        body = bytes(CHUNK)
        while not self.paused and self.sent < self.chunks:
            batch = []
            for _ in range(min(8, self.chunks - self.sent)):
                start = self.sent * CHUNK + 1
                self.sent += 1
                flag = "$" if self.sent == self.chunks else "+"
                head = (
                    f"MSRP t{self.sent:07d} SEND\r\nTo-Path: {self.uri}\r\n"
                    f"From-Path: msrp://127.0.0.1:9/one;tcp\r\nMessage-ID: long\r\n"
                    f"Byte-Range: {start}-*/{self.size}\r\nContent-Type: a/b\r\n\r\n"
                )
                batch += [head.encode(), body, f"\r\n-------t{self.sent:07d}{flag}\r\n".encode()]
            self.transport.write(b"".join(batch))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.begin()


def start(target: Any, sessions: int) -> tuple[Any, int, list[tuple[str, str]]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, sessions), daemon=True)
    process.start()
    port, pairs = ours.recv()
    return process, port, pairs


async def idle(pid: int, port: int, pairs: list[tuple[str, str]]) -> float:
    """Kilobytes per session."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.5)
    before = pss(pid)
    for one, other in pairs:
        await loop.create_connection(lambda uri=one: Idle(uri), "127.0.0.1", port)  # type: ignore[misc]
        await loop.create_connection(lambda uri=other: Idle(uri), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(2.0)
    return (pss(pid) - before) / len(pairs)


async def long(pid: int, port: int, pairs: list[tuple[str, str]], size: int) -> tuple[float, float, int]:
    """Megabytes per second, microseconds of CPU per chunk, and kilobytes of memory added at most."""
    loop = asyncio.get_running_loop()
    one, other = pairs[0]
    _, source = await loop.create_connection(lambda: Source(one, size), "127.0.0.1", port)
    _, sink = await loop.create_connection(lambda: Sink(other), "127.0.0.1", port)
    await asyncio.sleep(0.5)
    before = peak = pss(pid)
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, pss(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    began, used = time.perf_counter(), cpu(pid)
    cast(Source, source).begin()
    await cast(Sink, sink).done
    seconds = time.perf_counter() - began
    over.set()
    thread.join()
    return size / seconds / 1e6, (cpu(pid) - used) / (size / CHUNK) * 1e6, peak - before


def main() -> None:
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    process, port, pairs = start(hop, 2_000)
    print(f"idle session, two connections: {uvloop.run(idle(process.pid, port, pairs)):.1f} kB PSS in the hop")
    process.terminate()
    for name, target in (("forwarder", forwarder), ("hop", hop)):
        process, port, pairs = start(target, 1)
        rate, micros, added = uvloop.run(long(process.pid, port, pairs, mebibytes * 1_048_576))
        print(
            f"{name:10} {mebibytes} MiB in 8 KiB chunks: {rate:6.0f} MB/s,"
            f" {micros:.1f} us CPU per chunk, {added} kB added at most"
        )
        process.terminate()


if __name__ == "__main__":
    main()
