"""A SIP peer that does what the test tells it, on a real socket and the loop of the test."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.framing import Framer
from im_client.timers import BaseTimers
from im_client.transport import Target
from im_client.wire import parse
from tests.im_client.relay import MakePair, Pair, open_pair

PATIENCE = 5.0
"""Seconds after which a message that was expected counts as missing."""

FAST = BaseTimers(t1=0.02, t2=0.08, t4=0.1)


@dataclass
class Incoming:
    """A message that the peer received, and the way back."""

    raw: bytes
    message: Any
    send: Callable[[bytes], None]

    def header(self, name: str) -> str | None:
        found: str | None = self.message.headers.get(name)
        return found

    def reply(self, status: int, reason: str = "R", *headers: str, body: bytes = b"") -> None:
        self.send(self.response(status, reason, *headers, body=body))

    def response(self, status: int, reason: str = "R", *headers: str, body: bytes = b"") -> bytes:
        lines = [f"SIP/2.0 {status} {reason}"]
        lines += [f"Via: {value}" for value in self.message.headers.getlist("Via")]
        lines += [f"{name}: {self.header(name)}" for name in ("From", "Call-ID", "CSeq")]
        lines += [f"To: {self.header('To')};tag=peer", *headers, f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


class Peer(asyncio.DatagramProtocol):
    """`expect` takes the next request or response; `send` sends bytes to the client that spoke last."""

    def __init__(self, transport: str, tls: ssl.SSLContext | None = None) -> None:
        self.transport = transport
        self.tls = tls
        self.inbox: asyncio.Queue[Incoming] = asyncio.Queue()
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.client: Any = None
        self.heard: set[bytes] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self.transport == "udp":
            self.socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", unclaimed_port()))
            self.port = self.socket.get_extra_info("sockname")[1]
        else:
            self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.tls)
            self.port = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self.transport == "udp":
            self.socket.close()
            return
        self.server.close()
        for writer in self.writers:
            writer.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.client = addr
        self.inbox.put_nowait(Incoming(data, parse(data, datagram=True), lambda out: self.socket.sendto(out, addr)))

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        framer = Framer()
        while data := await reader.read(65536):
            for item in framer.feed(data):
                if isinstance(item, bytes):
                    self.inbox.put_nowait(Incoming(item, parse(item, datagram=False), writer.write))

    def send(self, data: bytes) -> None:
        if self.transport == "udp":
            self.socket.sendto(data, self.client)
        else:
            self.writers[-1].write(data)

    async def expect(self, what: str | int) -> Incoming:
        """The next message; a method name or a status says what it has to be. On a slow machine the client repeats
        itself over UDP: what was expected before may come again in between."""
        async with asyncio.timeout(PATIENCE):
            while True:
                incoming = await self.inbox.get()
                found = getattr(incoming.message, "method", None) or incoming.message.code
                if found == what or incoming.raw not in self.heard:
                    break
        assert found == what, incoming.raw
        self.heard.add(incoming.raw)
        return incoming

    def request(self, method: str = "MESSAGE", *headers: str, body: bytes = b"hi", branch: str = "z9hG4bKa") -> bytes:
        """A request from bob to alice; header lines given replace those of the same name."""
        base = {
            "Via": f"SIP/2.0/{self.transport.upper()} 127.0.0.1:{self.port};branch={branch}",
            "From": "<sip:bob@example.com>;tag=b1",
            "To": "<sip:alice@example.com>",
            "Call-ID": "call-1",
            "CSeq": f"7 {method}",
            "Max-Forwards": "70",
            "Content-Type": "text/plain",
            "Content-Length": str(len(body)),
        }
        extra = []
        for line in headers:
            name, _, value = line.partition(": ")
            if name in base:
                base[name] = value
            else:
                extra.append(line)
        lines = [f"{name}: {value}" for name, value in base.items() if value] + extra
        head = f"{method} sip:alice@127.0.0.1 SIP/2.0\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + body

    async def settle(self) -> None:
        """Wait until the client has handled what was sent before: it answers an OPTIONS after that."""
        self.settled = getattr(self, "settled", 0) + 1
        branch = f"z9hG4bKsettle{self.settled}"
        self.send(self.request("OPTIONS", f"Call-ID: settle-{self.settled}", body=b"", branch=branch))
        await self.expect(200)


@dataclass
class Stage:
    """A peer and a client that talks to it."""

    peer: Peer
    client: ImClient
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def start(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    async def register(self, expires: int = 3600) -> Incoming:
        """Registered without a challenge; gives the REGISTER."""
        task = self.start(self.client.register())
        request = await self.peer.expect("REGISTER")
        request.reply(200, "OK", f"Expires: {expires}")
        await task
        return request

    async def speak(self) -> None:
        """Let the peer know the way to the client: the client sends an OPTIONS."""
        task = self.start(self.client.request("OPTIONS", "sip:example.com"))
        (await self.peer.expect("OPTIONS")).reply(200)
        await task


def notify(
    peer: Peer,
    subscribe: Incoming,
    number: int,
    state: str,
    body: bytes = b"",
    *,
    event: str = "message-summary",
    tag: str = "peer",
) -> bytes:
    fields: dict[str, str] = {
        "Via": f"SIP/2.0/{peer.transport.upper()} 127.0.0.1:{peer.port};branch=z9hG4bKn{number}{tag}",
        "From": f"<sip:alice@example.com>;tag={tag}",
        "To": subscribe.header("From") or "",
        "Call-ID": subscribe.header("Call-ID") or "",
        "CSeq": f"{number} NOTIFY",
        "Event": event,
        "Contact": f"<sip:server@127.0.0.1:{peer.port};transport={peer.transport}>",
        "Subscription-State": state,
        "Max-Forwards": "70",
        "Content-Type": "application/simple-message-summary" if body else "",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"NOTIFY sip:alice@127.0.0.1 SIP/2.0\r\n{head}\r\n".encode() + body


def contact(peer: Peer) -> str:
    return f"Contact: <sip:server@127.0.0.1:{peer.port};transport={peer.transport}>"


StageMaker = Callable[..., Awaitable[Stage]]


@pytest.fixture(params=["udp", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make_stage() -> AsyncIterator[StageMaker]:
    stages: list[Stage] = []

    async def make(transport: str = "udp", tls: ssl.SSLContext | None = None, **options: Any) -> Stage:
        peer = Peer(transport, tls)
        await peer.open()
        settings = {"identity": "sip:alice@example.com", "password": "secret", "timers": FAST, **options}
        config = ClientConfig(proxy=Target("127.0.0.1", peer.port, transport), **settings)
        client = ImClient(config)
        stages.append(Stage(peer, client))
        await client.start()
        return stages[-1]

    yield make
    for stage in stages:
        for task in stage.tasks:
            task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)
        await stage.client.close(deregister=False)
        await stage.peer.close()


@pytest.fixture
async def stage(make_stage: StageMaker, transport: str) -> Stage:
    """One stage per transport."""
    return await make_stage(transport)


def unclaimed_port() -> int:
    """A port that UDP and TCP can have, below those that the kernel gives to connections meanwhile."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


@pytest.fixture
async def udp_stage(make_stage: StageMaker) -> Stage:
    return await make_stage("udp")


@pytest.fixture
async def tcp_stage(make_stage: StageMaker) -> Stage:
    return await make_stage("tcp")


@pytest.fixture
async def make_pair() -> AsyncIterator[MakePair]:
    open_ones = []

    async def make(transport: str = "udp", **options: Any) -> Pair:
        context = open_pair(transport, **options)
        open_ones.append(context)
        return await context.__aenter__()

    yield make
    for context in open_ones:
        await context.__aexit__(None, None, None)


@pytest.fixture
async def pair(make_pair: MakePair, transport: str) -> Pair:
    found: Pair = await make_pair(transport)
    return found


@pytest.fixture
async def udp_pair(make_pair: MakePair) -> Pair:
    found: Pair = await make_pair("udp")
    return found
