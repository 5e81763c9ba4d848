"""Two clients and what lies between them: a relay that keeps a log and loses, holds or repeats what a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sipmessage import Request, Response

from im_client.body import SDP, Body
from im_client.callee import IncomingCall
from im_client.caller import OutgoingCall
from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.exchange import ReceivedResponse
from im_client.framing import Framer
from im_client.invitation import Invite
from im_client.negotiation import NotAcceptableError
from im_client.session import Session
from im_client.timers import BaseTimers
from im_client.transport import Target
from im_client.wire import parse

PATIENCE = 5.0
"""Seconds after which something expected counts as missing."""
FAST = BaseTimers(t1=0.02, t2=0.08, t4=0.1)
ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
OFFER, ANSWER = Body(SDP, b"offer"), Body(SDP, b"answer")


@dataclass
class Passing:
    """A message on its way from one side ("alice" or "bob") to the other."""

    origin: str
    data: bytes
    message: Any = field(init=False)

    def __post_init__(self) -> None:
        self.message = parse(self.data, datagram=True)

    @property
    def what(self) -> str:
        """The method of a request; status and method of a response, like "200 INVITE"."""
        if isinstance(self.message, Request):
            return str(self.message.method)
        assert isinstance(self.message, Response)
        return f"{self.message.code} {(self.message.headers.get('CSeq') or '').split()[1]}"

    def header(self, name: str) -> str | None:
        found: str | None = self.message.headers.get(name)
        return found


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, side: str) -> None:
        self.relay, self.side = relay, side

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.relay.take(self.side, data)


class Relay:
    """`filter` says of each message whether it passes; `log` has what came, `passed` what went on.

    It record-routes, so that requests in dialogs come this way too.
    """

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.ports: dict[str, int] = {}
        self.clients: dict[str, ImClient] = {}
        self.filter: Callable[[Passing], bool] = lambda passing: True
        self.log: list[Passing] = []
        self.record_route = True
        self._came = asyncio.Event()
        self._sockets: dict[str, Any] = {}
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for side in ("alice", "bob"):
            if self.transport == "udp":
                protocol = partial(_Datagrams, self, side)
                socket, _ = await loop.create_datagram_endpoint(protocol, local_addr=("127.0.0.1", 0))
                self._sockets[side] = socket
                self.ports[side] = socket.get_extra_info("sockname")[1]
            else:

                async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str = side) -> None:
                    self._writers[side] = writer
                    await self._read(reader, side)

                server = await asyncio.start_server(accept, "127.0.0.1", 0)
                self._servers.append(server)
                self.ports[side] = server.sockets[0].getsockname()[1]

    async def _read(self, reader: asyncio.StreamReader, side: str) -> None:
        framer = Framer()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                for item in framer.feed(data):
                    if isinstance(item, bytes):
                        self.take(side, item)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        for closing in [*self._writers.values(), *self._sockets.values()]:
            closing.close()

    def take(self, side: str, data: bytes) -> None:
        """Something came from `side`."""
        passing = Passing(side, data)
        self.log.append(passing)
        self._came.set()
        if self.filter(passing):
            self.send_on(passing)

    def send_on(self, passing: Passing) -> None:
        """Bring it to the other side, whatever the filter says."""
        other = "bob" if passing.origin == "alice" else "alice"
        data = self._recorded(passing, other)
        if self.transport == "udp":
            self._sockets[other].sendto(data, self.clients[other].endpoint.local)
        else:
            task = asyncio.get_running_loop().create_task(self._send_stream(other, data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_stream(self, other: str, data: bytes) -> None:
        if other not in self._writers:
            reader, self._writers[other] = await asyncio.open_connection(*self.clients[other].endpoint.local)
            task = asyncio.get_running_loop().create_task(self._read(reader, other))
            self._tasks.add(task)
        self._writers[other].write(data)

    def _recorded(self, passing: Passing, other: str) -> bytes:
        message = passing.message
        if not self.record_route or not isinstance(message, Request) or ";tag=" in (message.headers.get("To") or ""):
            return passing.data
        start, _, rest = passing.data.partition(b"\r\n")
        # A response is sent back to where the request came from, so that one Via does.
        lines = "".join(
            f"\r\nRecord-Route: <sip:127.0.0.1:{self.ports[side]};lr;transport={self.transport}>"
            for side in (other, passing.origin)
        )
        return start + lines.encode() + b"\r\n" + rest

    def whats(self, *names: str, again: bool = False) -> list[str]:
        """What came so far, as "alice INVITE"; with `names` those of them alone, repetitions only if `again`.

        What is repeated depends on how busy the machine is: T1 is short here.
        """
        passings = self.log if again else {passing.data: passing for passing in self.log}.values()
        found = [f"{passing.origin} {passing.what}" for passing in passings]
        return [what for what in found if not names or what.partition(" ")[2] in names]

    async def seen(self, what: str, count: int = 1, *, again: bool = False) -> Passing:
        """Wait until `what` ("alice BYE") came `count` times; gives the last of them. `again` as in `whats`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                passings = list(self.log if again else {one.data: one for one in self.log}.values())
                found = [passing for passing in passings if f"{passing.origin} {passing.what}" == what]
                if len(found) >= count:
                    return found[count - 1]
                self._came.clear()
                await self._came.wait()


@dataclass
class Pair:
    """Alice and Bob with the relay between them."""

    relay: Relay
    alice: ImClient
    bob: ImClient
    calls: asyncio.Queue[IncomingCall]  # what Bob is invited to


MakePair = Callable[..., Any]


@contextlib.asynccontextmanager
async def open_pair(
    transport: str, sides: Mapping[str, Mapping[str, Any]] | None = None, **options: Any
) -> AsyncIterator[Pair]:
    """Alice, Bob and their relay, started; `options` are fields of both configurations, `sides` of one."""
    relay = Relay(transport)
    await relay.open()
    for name in ("alice", "bob"):
        settings = {
            "identity": f"sip:{name}@example.com",
            "proxy": Target("127.0.0.1", relay.ports[name], transport),
            "timers": FAST,
            "trusted": True,
            "keep_alive": 0.0,
            **options,
            **(sides or {}).get(name, {}),
        }
        relay.clients[name] = ImClient(ClientConfig(**settings))
        await relay.clients[name].start()
    pair = Pair(relay, relay.clients["alice"], relay.clients["bob"], asyncio.Queue())

    async def hold(call: IncomingCall) -> None:
        pair.calls.put_nowait(call)
        await asyncio.Event().wait()  # the test decides; the task ends with the client

    pair.bob.calls.on_call = hold
    try:
        yield pair
    finally:
        relay.filter = lambda passing: True
        for client in relay.clients.values():
            await client.close(deregister=False)
        await relay.close()


class FakeMedia:
    """Answers every offer but "bad"; notes what it saw."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def offer(self) -> Body:
        return Body(SDP, b"as before")

    async def answer(self, offer: Body) -> Body:
        if offer.data == b"bad":
            raise NotAcceptableError(488, "no such media")
        self.seen.append(offer.data)
        return Body(SDP, b"yes to " + offer.data)

    async def complete(self, answer: Body) -> None:
        self.seen.append(answer.data)


Answered = tuple[Session, ReceivedResponse]


def start(pair: Pair, **options: Any) -> tuple[OutgoingCall, asyncio.Task[Answered]]:
    call = pair.alice.calls.outgoing(Invite(to=BOB, body=options.pop("body", OFFER)), **options)
    return call, asyncio.ensure_future(call.run())


async def invited(pair: Pair) -> IncomingCall:
    async with asyncio.timeout(PATIENCE):
        return await pair.calls.get()


async def established(pair: Pair) -> tuple[Session, Session]:
    """Alice's and Bob's end of a session."""
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    ours, response = await calling
    assert response.message.body == b"answer"
    async with asyncio.timeout(PATIENCE):
        await theirs.established
    ours.media, theirs.media = FakeMedia(), FakeMedia()
    pair.alice.calls.remember(ours, BOB)
    pair.bob.calls.remember(theirs, ALICE)
    return ours, theirs


async def ended(*sessions: Session) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        return [await asyncio.shield(session.ended) for session in sessions]
