"""SIP traffic at full rate: a UDP peer that sends its own bytes, repeats them as RFC 3261 section 17.1.2 asks, and
remembers every final response; it answers what it receives, so that it can be the device of a user too."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from tests.credentials import authorization

FEATURE_TAG = "Accept-Contact: *;+g.oma.sip-im;require;explicit"
T1 = 0.5
T2 = 4.0
GIVE_UP = 32.0
_BRANCH = re.compile(rb"branch=(z9hG4bK[^;,\s]+)")
_numbers = itertools.count(1)
_RUN = f"{os.getpid()}{time.time_ns()}"


def unique(prefix: str) -> str:
    """A name that no other request has, now or in another run."""
    return f"{prefix}{_RUN}x{next(_numbers)}"


@dataclass(frozen=True)
class Reply:
    """A final response."""

    status: int
    head: str
    sent: float
    """When the request was first sent, `time.monotonic()`."""
    seconds: float
    """From there to this response."""

    def header(self, name: str) -> str:
        """Value of a header, empty when there is none."""
        found = re.search(rf"^{re.escape(name)}\s*:\s*(.*?)\r?$", self.head, re.MULTILINE | re.IGNORECASE)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Sip:
    """A request to be sent; what is not given is made up afresh by `bytes`."""

    method: str
    uri: str
    sender: str
    headers: tuple[str, ...] = ()
    body: bytes = b""
    call_id: str = field(default_factory=lambda: unique("call"))
    branch: str = field(default_factory=lambda: unique("z9hG4bK"))
    tag: str = field(default_factory=lambda: unique("tag"))
    cseq: int = 1
    to: str = ""

    def bytes(self, host: str, port: int, transport: str = "UDP") -> bytes:
        """As it goes out from this address."""
        lines = (
            f"{self.method} {self.uri} SIP/2.0",
            f"Via: SIP/2.0/{transport} {host}:{port};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: <{self.sender}>;tag={self.tag}",
            f"To: <{self.to or self.uri}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} {self.method}",
            *self.headers,
            f"Content-Length: {len(self.body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def address(user: str) -> str:
    """The IM address of a user of the bed's domain."""
    return f"sip:{user}@example.com"


def im_message(sender: str, recipient: str, body: bytes = b"Hello", *headers: str, **values: object) -> Sip:
    """A pager mode MESSAGE as a trusted peer sends it."""
    asserted = f"P-Asserted-Identity: <{address(sender)}>"
    lines = (FEATURE_TAG, asserted, "Content-Type: text/plain", *headers)
    return Sip("MESSAGE", address(recipient), address(sender), lines, body, **values)  # type: ignore[arg-type]


def plain_message(sender: str, recipient: str) -> Sip:
    """A MESSAGE without the feature tag: no business of the IM server (COR-03)."""
    return Sip("MESSAGE", address(recipient), address(sender), ("Content-Type: text/plain",), b"Hello")


class Peer(asyncio.DatagramProtocol):
    """A UDP user agent. Use as `async with await Peer.open(port) as peer`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._waiting: dict[bytes, asyncio.Future[tuple[int, bytes]]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.received: list[bytes] = []
        self.answer_with = b"200 OK"
        self.host, self.port = "", 0
        self.target_port = target[1]

    @classmethod
    async def open(cls, port: int, address: str = "127.0.0.1") -> Self:
        """A peer on a free port of `address` that talks to the SIP port `port`."""
        loop = asyncio.get_running_loop()
        transport, peer = await loop.create_datagram_endpoint(lambda: cls(("127.0.0.1", port)), local_addr=(address, 0))
        peer._transport = transport
        peer.host, peer.port = transport.get_extra_info("sockname")
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A response completes its request; a request is answered with `answer_with`."""
        if not data.startswith(b"SIP/2.0 "):
            self.received.append(data)
            self._answer(data, addr)
            return
        code = int(data[8:11])
        found = _BRANCH.search(data)
        future = self._waiting.get(found.group(1)) if found else None
        if code >= 200 and future is not None and not future.done():
            future.set_result((code, data))

    def _answer(self, request: bytes, addr: tuple[str, int]) -> None:
        kept = re.findall(rb"^(?:Via|From|Call-ID|CSeq)[ \t]*:.*\r\n", request, re.MULTILINE | re.IGNORECASE)
        to = re.findall(rb"^To[ \t]*:.*(?=\r\n)", request, re.MULTILINE | re.IGNORECASE)
        head = b"SIP/2.0 %b\r\n" % self.answer_with + b"".join(kept) + b"".join(line + b";tag=device\r\n" for line in to)
        assert self._transport is not None
        self._transport.sendto(head + b"Content-Length: 0\r\n\r\n", addr)

    def send(self, data: bytes) -> None:
        """One datagram, whatever it is."""
        assert self._transport is not None
        self._transport.sendto(data, self._target)

    async def ask(self, request: Sip, seconds: float = GIVE_UP) -> Reply:
        """Send a request, again when nothing comes; its final response. TimeoutError after `seconds`."""
        data = request.bytes(self.host, self.port)
        key = request.branch.encode()
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        start = time.monotonic()
        interval = T1
        try:
            while True:
                self.send(data)
                left = start + seconds - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no final response to {data[:60]!r} in {seconds} s")
                done, _ = await asyncio.wait([future], timeout=min(interval, left))
                if done:
                    status, response = future.result()
                    head = response.partition(b"\r\n\r\n")[0].decode("latin-1")
                    return Reply(status, head, start, time.monotonic() - start)
                interval = min(2 * interval, T2)
        finally:
            del self._waiting[key]

    async def register(self, user: str, expires: int = 600) -> Reply:
        """Register this peer as an IM-capable device of `user`, with the password of that name."""
        contact = f"Contact: <sip:{user}@{self.host}:{self.port}>;+g.oma.sip-im"
        headers: tuple[str, ...] = (contact, f"Expires: {expires}")
        reply = await self.ask(Sip("REGISTER", "sip:example.com", address(user), headers, to=address(user)))
        if reply.status == 401:
            challenge = reply.header("WWW-Authenticate")
            headers = (*headers, authorization(challenge, "REGISTER", "sip:example.com", user))
            reply = await self.ask(Sip("REGISTER", "sip:example.com", address(user), headers, to=address(user)))
        return reply


async def ask_all(peer: Peer, requests: Iterable[Sip], in_flight: int = 200) -> dict[str, Reply]:
    """Send all, `in_flight` at a time; the final responses by Call-ID."""
    replies: dict[str, Reply] = {}
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            replies[request.call_id] = await peer.ask(request)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return replies


async def median_seconds(ask: Callable[[], Awaitable[Reply]], count: int = 60) -> float:
    """Median time of one request after the other; each must be answered 200."""
    times = []
    for _ in range(count):
        reply = await ask()
        assert reply.status == 200, reply.head
        times.append(reply.seconds)
    return statistics.median(times)


class Flood:
    """A steady stream of requests beside what the test does; each has its own Call-ID. Use as `async with`."""

    def __init__(self, peer: Peer, make: Callable[[], Sip], per_second: float) -> None:
        self._peer = peer
        self._make = make
        self._interval = 1 / per_second
        self._stopped = asyncio.Event()
        self.replies: dict[str, Reply] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        await self._task

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                group.create_task(self._one(self._make()))
                try:
                    await asyncio.wait_for(self._stopped.wait(), self._interval)
                except TimeoutError:
                    pass

    async def _one(self, request: Sip) -> None:
        self.replies[request.call_id] = await self._peer.ask(request)
