"""Two user agents, each with Kamailio's transaction module in front, over a network that loses, repeats and reorders.

The model keeps what tm promises (requests and final responses are repeated until they arrive or time is up; the ACK to
a 2xx is sent at once, a CANCEL is answered and its INVITE gets 487) and breaks what it does not: the order of events,
provisional responses, single delivery of responses, and now and then a whole transaction.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import (
    AckReceived,
    CancelInvite,
    CancelReceived,
    Command,
    PortEvent,
    Reply,
    RequestReceived,
    RequestTimedOut,
    ResponseReceived,
    SendRequest,
)
from tests.msrp_worker.sip.sip_text import on_the_wire, reply_on_the_wire

TM_TIMEOUT = 32.0
DELAY = 0.02

Fate = Callable[[str], float | None]
"""Seconds until a message is delivered, None when it is lost. Named after what it is: request, provisional, final, ack."""


@dataclass
class Server:
    """A transaction at the side that answers."""

    request: Message
    replied: int = 0


@dataclass
class Client:
    """A transaction at the side that asked."""

    message: bytes
    request: Message
    final: int = 0
    server: tuple[int, int] | None = None


@dataclass
class Side:
    """One user agent: its tm, and where its events go."""

    name: str
    deliver: Callable[[PortEvent], None]
    servers: dict[tuple[int, int], Server] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    peer: Side | None = None


class Network:
    """Time and the two sides."""

    def __init__(self, fate: Fate) -> None:
        self.now = 1000.0
        self.fate = fate
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.counter = 0
        self.trace: list[str] = []

    def at(self, delay: float, what: Callable[[], None]) -> None:
        """Do it later."""
        self.counter += 1
        heapq.heappush(self.heap, (self.now + delay, self.counter, what))

    def next_at(self) -> float | None:
        """When something happens next on its own."""
        return self.heap[0][0] if self.heap else None

    def run_one(self) -> bool:
        """Let the next thing happen."""
        if not self.heap:
            return False
        at, _, what = heapq.heappop(self.heap)
        self.now = max(self.now, at)
        what()
        return True

    def command(self, side: Side, command: Command) -> None:
        """What a user agent tells its tm."""
        self.trace.append(f"{self.now:.2f} {side.name} {_short(command)}")
        match command:
            case SendRequest():
                self._send(side, command)
            case Reply():
                self._reply(side, command)
            case CancelInvite():
                self._cancel(side, command)

    def _send(self, side: Side, command: SendRequest) -> None:
        data = on_the_wire(command)
        client = Client(data, read(data))
        side.clients.append(client)
        delay = self.fate("request")
        if delay is not None:
            self.at(delay, lambda: self._arrive(side, client))
        wait = TM_TIMEOUT if command.method != "INVITE" else 200.0
        self.at(wait if delay is not None else TM_TIMEOUT, lambda: self._time_out(side, client))

    def _arrive(self, side: Side, client: Client) -> None:
        peer = side.peer
        assert peer is not None
        self.counter += 1
        client.server = (self.counter, len(peer.servers))
        peer.servers[client.server] = Server(client.request)
        peer.deliver(RequestReceived(client.server, client.message))

    def _time_out(self, side: Side, client: Client) -> None:
        if client.final:
            return
        client.final = 408
        asked = client.request
        side.deliver(RequestTimedOut(asked.call_id, asked.cseq, asked.method, asked.from_tag, asked.to_tag))

    def _reply(self, side: Side, command: Reply) -> None:
        server = side.servers.get(command.transaction)
        if server is None or server.replied >= 200:
            return  # "Reply failed" in the log
        if command.status >= 200:
            server.replied = command.status
        data = reply_on_the_wire(command, server.request)
        peer = side.peer
        assert peer is not None
        client = next(one for one in peer.clients if one.server == command.transaction)
        kind = "final" if command.status >= 200 else "provisional"
        for copy in range(2):
            delay = self.fate(kind if not copy else "repetition")
            if delay is not None:
                self.at(delay, lambda: self._respond(peer, client, data))

    def _respond(self, side: Side, client: Client, data: bytes) -> None:
        message = read(data)
        invite = client.request.method == "INVITE"
        if client.final and not (invite and 200 <= client.final < 300):
            return  # tm drops what comes after the final response, but for more 2xx to an INVITE
        if message.status >= 200:
            client.final = client.final or message.status
        if invite and 200 <= message.status < 300:
            self._acknowledge(side, client, message)
        side.deliver(ResponseReceived(message.call_id, message.cseq, client.request.method, data))

    def _acknowledge(self, side: Side, client: Client, message: Message) -> None:
        lines = [
            b"ACK sip:x SIP/2.0",
            b"From: " + client.request.first("from").encode(),
            b"To: " + message.first("to").encode(),
            b"Call-ID: " + message.call_id.encode(),
            b"CSeq: %d ACK" % message.cseq,
        ]
        data = b"\r\n".join(lines) + b"\r\n\r\n"
        delay = self.fate("ack")
        peer = side.peer
        assert peer is not None
        if delay is not None:
            self.at(delay, lambda: peer.deliver(AckReceived(data)))

    def _cancel(self, side: Side, command: CancelInvite) -> None:
        wanted = ("INVITE", command.call_id, command.cseq)
        client = next(one for one in side.clients if (one.request.method, one.request.call_id, one.request.cseq) == wanted)
        delay = self.fate("final") or DELAY
        self.at(delay, lambda: self._cancelled(side, client))

    def _cancelled(self, side: Side, client: Client) -> None:
        peer = side.peer
        assert peer is not None
        if client.server is None or peer.servers[client.server].replied:
            return
        server = peer.servers[client.server]
        server.replied = 487
        data = reply_on_the_wire(Reply(client.server, 487, "Request Terminated", "tm"), server.request)
        transaction = client.server
        self.at(self.fate("final") or DELAY, lambda: self._respond(side, client, data))
        self.at(self.fate("final") or DELAY, lambda: peer.deliver(CancelReceived(transaction)))


def _short(command: Command) -> str:
    match command:
        case SendRequest():
            return f"{command.method} {dict(command.headers)['CSeq']}"
        case Reply():
            return f"{command.status} {command.transaction}"
        case CancelInvite():
            return f"CANCEL {command.cseq}"
