"""The load driver of `bench_msrp`: raw MSRP on many connections, cheap enough to leave the server the
work."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from typing import cast

from msrp_worker.msrp.codec import Parser
from msrp_worker.msrp.frames import Data, End, Request
from tests.bench.msrp_servers import peer_uri

_ids = itertools.count(1)
_RESPONSE = re.compile(rb"MSRP \S+ (\d{3})[^\n]*\r\n(?:[^\n]*\r\n)*?-------\S+\$\r\n")


def frame(to_path: str, from_path: str, body: bytes, content_type: str, message_id: str = "") -> bytes:
    """A SEND of one chunk."""
    ident = f"t{next(_ids):08d}"
    return (
        (
            f"MSRP {ident} SEND\r\nTo-Path: {to_path}\r\nFrom-Path: {from_path}\r\n"
            f"Message-ID: {message_id or 'm' + ident}\r\nByte-Range: 1-{len(body)}/{len(body)}\r\n"
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        + body
        + f"\r\n-------{ident}$\r\n".encode()
    )


def binding(to_path: str, from_path: str) -> bytes:
    """The bodiless SEND that binds a session."""
    ident = f"t{next(_ids):08d}"
    return (
        f"MSRP {ident} SEND\r\nTo-Path: {to_path}\r\nFrom-Path: {from_path}\r\nMessage-ID: m{ident}\r\n-------{ident}$\r\n"
    ).encode()


class Peer(asyncio.Protocol):
    """A connection of the driver: answers what it receives, and counts responses."""

    def __init__(self, on_message: Callable[[bytes], None] | None = None) -> None:
        self.on_message = on_message
        self.on_answer: Callable[[int], None] | None = None
        self.transport: asyncio.Transport | None = None
        self.answers = 0
        self.messages = 0
        self.content = 0
        self.refused = 0
        self.answering = True
        self._rest = b""
        self._parser: Parser | None = None
        self._reply = ""
        self._path = ""
        self._body = b""
        self.drained = asyncio.Event()
        self.drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self.drained.clear()

    def resume_writing(self) -> None:
        self.drained.set()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.on_message is None:
            self._count(data)
            return
        if self._parser is None:
            self._parser = Parser()
        replies = []
        for event in self._parser.feed(data):
            kind = type(event)
            if kind is Request:
                assert isinstance(event, Request)
                replies.append(self._answer(event))
                if event.body is not None:
                    self.content += len(event.body)
                if event.flag == "$" and event.body is not None:
                    self.messages += 1
                    self.on_message(event.body)
            elif kind is Data:
                assert isinstance(event, Data)
                self.content += len(event.data)
            elif kind is End:
                assert isinstance(event, End)
                if event.flag == "$":
                    self.messages += 1
                    self.on_message(b"")
            else:
                self.answers += 1
        if replies and self.answering:
            self.write("".join(replies).encode())

    def _answer(self, request: Request) -> str:
        if request.from_path != self._path:
            self._path = request.from_path
            self._reply = f" 200 OK\r\nTo-Path: {request.from_path}\r\nFrom-Path: {request.to_path}\r\n-------"
        ident = request.transaction_id
        return f"MSRP {ident}{self._reply}{ident}$\r\n"

    def _count(self, data: bytes) -> None:
        """Responses only: the senders' side."""
        data = self._rest + data
        count = data.count(b" 200 OK\r\n")
        found = data.count(b"$\r\n")
        end = data.rfind(b"$\r\n")
        self._rest = data[end + 3 :] if end >= 0 else data
        count -= self._rest.count(b" 200 OK\r\n")
        self.refused += found - count
        self.answers += found
        if found and self.on_answer is not None:
            self.on_answer(found)


async def connect(port: int, on_message: Callable[[bytes], None] | None = None) -> Peer:
    """A new connection to a local port."""
    _, peer = await asyncio.get_running_loop().create_connection(lambda: Peer(on_message), "127.0.0.1", port)
    return peer


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for the other process: RuntimeError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the benchmark does not get on")
        await asyncio.sleep(0.005)


class Pairs:
    """Senders and receivers of sessions that go direct, through a forwarder, or through a hop."""

    def __init__(self) -> None:
        self.senders: list[tuple[Peer, str, str]] = []
        self.receivers: list[Peer] = []
        self.delivered = 0
        self.on_delivery: Callable[[bytes], None] | None = None
        self._server: asyncio.Server | None = None

    def _arrived(self, body: bytes) -> None:
        self.delivered += 1
        if self.on_delivery is not None:
            self.on_delivery(body)

    def _accept(self) -> Peer:
        peer = Peer(self._arrived)
        self.receivers.append(peer)
        return peer

    async def listen(self) -> int:
        """Wait for connections as a receiver; returns the port."""
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def through(self, port: int, count: int) -> None:
        """`count` senders to a port behind which our receivers are."""
        for n in range(count):
            peer = await connect(port)
            self.senders.append((peer, peer_uri(f"b{n}"), peer_uri(f"a{n}")))
        await until(lambda: len(self.receivers) == count)

    async def through_hop(self, port: int, uris: list[str]) -> None:
        """One sender and one receiver for each pair of URIs of a hop."""
        for n in range(0, len(uris), 2):
            receiver = await connect(port, self._arrived)
            receiver.write(binding(uris[n + 1], peer_uri(f"b{n // 2}")))
            self.receivers.append(receiver)
            sender = await connect(port)
            sender.write(binding(uris[n], peer_uri(f"a{n // 2}")))
            self.senders.append((sender, uris[n], peer_uri(f"a{n // 2}")))
        await until(lambda: all(peer.answers for peer, _, _ in self.senders))
        await until(lambda: all(peer.answers for peer in self.receivers))

    def close(self) -> None:
        """Close all connections."""
        for peer in [*self.receivers, *(sender for sender, _, _ in self.senders)]:
            if peer.transport is not None:
                peer.transport.abort()
        if self._server is not None:
            self._server.close()

    async def pipelined(self, outstanding: int, body: bytes, seconds: float) -> tuple[int, float]:
        """Keep so many SENDs unanswered per session; returns messages delivered and seconds."""
        running = True
        wave = {}
        for peer, to_path, from_path in self.senders:
            wave[peer] = [frame(to_path, from_path, body, "text/plain") for _ in range(outstanding)]

        def more(peer: Peer, count: int) -> None:
            if running:
                frames = wave[peer]
                peer.write(frames[0] if count == 1 else b"".join(frames[:count]))

        for peer, _, _ in self.senders:
            peer.on_answer = lambda count, peer=peer: more(peer, min(count, outstanding))
            more(peer, outstanding)
        before, start = self.delivered, time.monotonic()
        await asyncio.sleep(seconds)
        elapsed, count = time.monotonic() - start, self.delivered - before
        running = False
        for peer, _, _ in self.senders:
            peer.on_answer = None
        await asyncio.sleep(0.1)
        return count, elapsed

    async def paced(self, rate: int, body_size: int, seconds: float) -> list[float]:
        """Messages at an even rate over all sessions; returns the delivery times in seconds, sorted."""
        sent: dict[bytes, float] = {}
        times: list[float] = []

        def arrived(body: bytes) -> None:
            begun = sent.pop(body[:12], None)
            if begun is not None:
                times.append(time.perf_counter() - begun)

        self.on_delivery = arrived
        start = time.perf_counter()
        for n in range(int(rate * seconds)):
            due = start + n / rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait if wait > 0.002 else 0)
            peer, to_path, from_path = self.senders[n % len(self.senders)]
            key = b"%012d" % n
            data = frame(to_path, from_path, key.ljust(body_size, b"x"), "text/plain")
            sent[key] = time.perf_counter()
            peer.write(data)
        await asyncio.sleep(0.05)  # the last ones
        self.on_delivery = None
        return sorted(times)

    async def large(self, size: int, chunk: int) -> float:
        """One message of `size` bytes in chunks; returns the seconds until all has arrived."""
        peer, to_path, from_path = self.senders[0]
        receiver = self.receivers[0]
        body = bytes(chunk)
        before = receiver.content
        message_id = f"large{next(_ids):06d}"
        paths = f"To-Path: {to_path}\r\nFrom-Path: {from_path}\r\n"
        head = f"SEND\r\n{paths}Message-ID: {message_id}\r\nByte-Range: "
        start = time.monotonic()
        for at in range(0, size, chunk):
            ident = f"t{next(_ids):08d}"
            end = min(at + chunk, size)
            flag = "$" if end == size else "+"
            peer.write(
                b"".join(
                    (
                        f"MSRP {ident} {head}{at + 1}-{end}/{size}\r\nContent-Type: a/b\r\n\r\n".encode(),
                        body if end - at == chunk else body[: end - at],
                        f"\r\n-------{ident}{flag}\r\n".encode(),
                    )
                )
            )
            if not peer.drained.is_set():
                await peer.drained.wait()
        while receiver.content - before < size:
            await asyncio.sleep(0.001)
            if time.monotonic() - start > 60:
                raise RuntimeError(f"large message stopped at {receiver.content - before} of {size}")
        return time.monotonic() - start
