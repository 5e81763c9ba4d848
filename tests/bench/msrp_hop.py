"""CPU time of one in-path hop per message, beside a plain forwarder: python -m tests.bench.msrp_hop

A hop process joins two sessions; the driver in this process plays both ends over loopback, 10 sessions
with 16 SENDs of 500 bytes outstanding each. What counts is the CPU time of the hop process, not the rate.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any, cast

import uvloop

from msrp_worker.msrp import (
    EndpointConfig,
    IncomingMessage,
    MsrpEndpoint,
    OutgoingMessage,
    Session,
    SessionHandler,
    SessionOptions,
    parse_path,
)
from msrp_worker.msrp.frames import encode_request

SESSIONS = 10
OUTSTANDING = 16
SECONDS = 3.0
OPTIONS = SessionOptions(auto_report=False, chunk_size=0, collect=10_240)


class Join(SessionHandler):
    """The least a hop has to do: pass messages on, and failures back."""

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        other = cast(Session, session.context)
        other.send(body, message.content_type, message_id=message.message_id, context=message)
        return None

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        other = cast(Session, session.context)
        message.context = other.open(message.content_type, total=message.total, message_id=message.message_id)
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        if not cast(OutgoingMessage, message.context).write(data):
            session.hold()
        return None

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        cast(OutgoingMessage, message.context).finish()
        return None

    def writable(self, session: Session) -> None:
        cast(Session, session.context).hold(on=False)

    def done(self, session: Session, message: OutgoingMessage) -> None:
        if message.status != 200 and isinstance(message.context, IncomingMessage):
            cast(Session, session.context).report(message.context, message.status or 408)


def hop(pipe: Pipe, sessions: int) -> None:
    """The hop process: tells both URIs of each session."""

    async def run() -> None:
        endpoint = MsrpEndpoint(EndpointConfig(port=0, max_connections_per_address=20_000))
        await endpoint.start()
        handler = Join()
        pairs = []
        for _ in range(sessions):
            one, other = endpoint.new_session(handler, OPTIONS), endpoint.new_session(handler, OPTIONS)
            one.context, other.context = other, one
            one.set_remote(parse_path("msrp://127.0.0.1:9/one;tcp"))
            other.set_remote(parse_path("msrp://127.0.0.1:9/other;tcp"))
            pairs.append((one.local_text, other.local_text))
        pipe.send((endpoint.port, pairs))
        if "--profile" in sys.argv:
            import cProfile
            import pstats

            profile = cProfile.Profile()
            await asyncio.sleep(1)
            profile.enable()
            await asyncio.sleep(SECONDS - 1)
            profile.disable()
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(28)
        await asyncio.Event().wait()

    uvloop.run(run())


class Forward(asyncio.Protocol):
    """One side of the forwarder; the first two connections that come are joined, and so on."""

    waiting: Forward | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        other, Forward.waiting = Forward.waiting, self
        if other is not None:
            self.other, other.other = other, self
            Forward.waiting = None

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)


def forwarder(pipe: Pipe, sessions: int) -> None:
    """The forwarder process."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Forward, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        uri = "msrp://127.0.0.1:9/xxxxxxxxxxxxxxxxxxxxxx;tcp"
        pipe.send((port, [(uri, uri)] * sessions))
        await asyncio.Event().wait()

    uvloop.run(run())


class Sender(asyncio.Protocol):
    """Keeps SENDs outstanding and counts the answers."""

    def __init__(self, uri: str, outstanding: int, body: bytes) -> None:
        self.count = 0
        self.outstanding = outstanding
        frame = encode_request(
            "SEND",
            "t000",
            uri,
            "msrp://127.0.0.1:9/one;tcp",
            [("Message-ID", "m000"), ("Byte-Range", f"1-{len(body)}/{len(body)}")],
            "text/plain",
            body,
        )
        self.frame = frame

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        self.transport.write(self.frame * self.outstanding)

    def data_received(self, data: bytes) -> None:
        answers = data.count(b" 200 OK\r\n")
        self.count += answers
        self.transport.write(self.frame * answers)


class Receiver(asyncio.Protocol):
    """Answers every SEND."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.rest = b""
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            encode_request("SEND", "bind", self.uri, "msrp://127.0.0.1:9/other;tcp", [("Message-ID", "bind")])
        )

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        out = []
        at = 0
        while (end := data.find(b"$\r\n", at)) >= 0:
            frame = data[at : end + 3]
            ident = frame[5 : frame.find(b" ", 5)]
            if frame[5 + len(ident) + 1 :].startswith(b"SEND"):
                out.append(
                    b"MSRP %b 200 OK\r\nTo-Path: %b\r\nFrom-Path: msrp://127.0.0.1:9/other;tcp\r\n-------%b$\r\n"
                    % (ident, self.uri.encode(), ident)
                )
            at = end + 3
        self.rest = data[at:]
        self.count += len(out)
        if out:
            self.transport.write(b"".join(out))


def cpu(pid: int) -> float:
    """Seconds of CPU used by the process."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def drive(pid: int, port: int, pairs: list[tuple[str, str]], outstanding: int, size: int) -> tuple[float, float]:
    """Returns messages per second, and microseconds of CPU of the hop per message."""
    loop = asyncio.get_running_loop()
    senders = []
    for one, other in pairs:
        _, sender = await loop.create_connection(lambda one=one: Sender(one, outstanding, b"x" * size), "127.0.0.1", port)  # type: ignore[misc]
        await loop.create_connection(lambda other=other: Receiver(other), "127.0.0.1", port)  # type: ignore[misc]
        senders.append(cast(Any, sender))
    await asyncio.sleep(0.2)
    for sender in senders:
        sender.begin()
    await asyncio.sleep(0.7)
    counted, used, began = sum(s.count for s in senders), cpu(pid), time.perf_counter()
    await asyncio.sleep(SECONDS)
    messages = sum(s.count for s in senders) - counted
    return messages / (time.perf_counter() - began), (cpu(pid) - used) / max(messages, 1) * 1e6


def measure(target: Any, sessions: int, outstanding: int, size: int) -> tuple[float, float]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=target, args=(theirs, sessions), daemon=True)
    process.start()
    port, pairs = ours.recv()
    assert process.pid is not None
    try:
        return uvloop.run(drive(process.pid, port, pairs, outstanding, size))
    finally:
        process.terminate()
        process.join()


def main() -> None:
    for sessions, outstanding in ((SESSIONS, OUTSTANDING), (200, 1)):
        for name, target in (("forwarder", forwarder), ("hop", hop)):
            rate, micros = measure(target, sessions, outstanding, 500)
            print(f"{name:10} {sessions:4} sessions, {outstanding:3} outstanding: {micros:6.1f} us CPU, {rate:8.0f}/s")


if __name__ == "__main__":
    main()
