"""The two ways out to Kamailio: private SIP requests on its control listener, and replies by JSON-RPC.

Only `kamailio_link` uses them; `docs/decisions/0001-link.md` says why they are two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from kemi.messages import TransactionId, waiting_key

log = logging.getLogger("im.link")

_LENGTH = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*:[ \t]*([0-9]{1,7})[ \t]*\r\n", re.IGNORECASE)

CONTROL_KEY = "control.key"
CONTROL_CONNECTIONS = 4
"""As many as Kamailio has TCP processes by default: each connection belongs to one of them."""
BEAT_PIN = 0
"""Pin of the beats, and of an answer that must not overtake one."""
RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
RPC_SOCKET = "kamailio-rpc.sock"
MAX_WAITING_REPLIES = 50_000
HOLD_SECONDS = 0.005
"""How long each reply is held. One that overtakes the SIP process which has just suspended its request is built from a
message that this process still works on: seen in 2 of 100 refusals sent at once, as a reply without the headers of ours,
and behind it what was in that memory before. None in 1,800 held so."""
REPLY_RETRY_SECONDS = 0.002
"""Until the next look at a full datagram queue; Kamailio takes about 30 replies per millisecond."""


def control_key(state_dir: Path) -> bytes:
    """The secret that makes Kamailio believe a command; made at the first start, readable by the owner only."""
    path = state_dir / CONTROL_KEY
    try:
        key = path.read_bytes().strip()
        if len(key) >= 32:
            return key
    except FileNotFoundError:
        pass
    key = secrets.token_hex(32).encode()
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")
    temporary.replace(path)
    return key


class ControlChannel:
    """Persistent connections to the control listener; sends are coalesced per turn of the event loop."""

    def __init__(
        self, host: str, port: int, key: bytes, heard: Callable[[bytes], None], reached: Callable[[], None]
    ) -> None:
        """`heard` takes each response to a request sent by `send_request`, whole; `reached` is called when a connection
        stands while no other does: what it sends comes first to a Kamailio that may have just started."""
        self._heard = heard
        self._reached = reached
        self._host = host
        self._port = port
        self._head = (
            f"IMW sip:im@{host}:{port} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKimw\r\n"
            "From: <sip:worker@127.0.0.1>;tag=w\r\nTo: <sip:kamailio@127.0.0.1>\r\nCall-ID: im-worker\r\n"
            f"CSeq: 1 IMW\r\nIM-Key: {key.decode()}\r\nContent-Length: "
        ).encode()
        self._transports: list[asyncio.Transport | None] = [None] * CONTROL_CONNECTIONS
        self._pending: list[list[bytes]] = [[] for _ in range(CONTROL_CONNECTIONS)]
        self._flush_due = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect and keep connected; Kamailio may come later than we, and may restart."""
        self._tasks = [asyncio.create_task(self._keep(index)) for index in range(CONTROL_CONNECTIONS)]

    async def close(self) -> None:
        """Flush what is pending and close the connections."""
        self._flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether any connection to Kamailio stands."""
        return any(self._transports)

    def send(self, body: bytes, pin: int) -> bool:
        """Queue one command; `pin` keeps what belongs together on one connection. False when Kamailio is away."""
        index = pin % CONTROL_CONNECTIONS
        if self._transports[index] is None:
            index = next((i for i, transport in enumerate(self._transports) if transport is not None), -1)
            if index < 0:
                return False
        self._append(index, b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        return True

    def send_request(self, request: bytes, pin: int) -> bool:
        """Queue a request as it is, Via and Content-Length included. False when Kamailio is away."""
        index = pin % CONTROL_CONNECTIONS
        if self._transports[index] is None:
            return False
        self._append(index, request)
        return True

    def _append(self, index: int, data: bytes) -> None:
        self._pending[index].append(data)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def send_all(self, body: bytes) -> None:
        """Queue one command on the first connection that stands: these arrive in the order they were sent."""
        self.send(body, BEAT_PIN)

    def _flush(self) -> None:
        self._flush_due = False
        for index, pending in enumerate(self._pending):
            transport = self._transports[index]
            if pending and transport is not None:
                transport.write(b"".join(pending))
            pending.clear()

    async def _keep(self, index: int) -> None:
        attempt = 0
        while True:
            closed = asyncio.get_running_loop().create_future()
            try:
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda closed=closed: _ControlConnection(closed, self._heard),  # type: ignore[misc]
                    self._host,
                    self._port,
                )
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
                attempt += 1
                continue
            attempt = 0
            first = not self.connected
            self._transports[index] = transport
            if first:
                self._reached()
            if index == 0:
                log.info("connected to Kamailio's control listener %s:%d", self._host, self._port)
            try:
                await closed
            finally:
                self._transports[index] = None
                transport.close()
            if index == 0:
                log.warning("Kamailio's control listener %s:%d is gone, reconnecting", self._host, self._port)


class _ControlConnection(asyncio.Protocol):
    """Takes responses apart: commands have none, requests have one or more (RFC 3261 section 18.3)."""

    def __init__(self, closed: asyncio.Future[None], heard: Callable[[bytes], None]) -> None:
        self._closed = closed
        self._heard = heard
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """Whole responses are handed on."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            response = bytes(self._buffer[:size]).lstrip()
            del self._buffer[:size]
            if response:
                self._heard(response)

    def connection_lost(self, error: Exception | None) -> None:
        """Kamailio is gone, or we are."""
        if not self._closed.done():
            self._closed.set_result(None)


class ReplyChannel:
    """Kamailio's JSON-RPC on a datagram socket: replies to suspended requests, in order, without waiting for the queue of
    ten packets that such a socket has.

    Our end has no name, so Kamailio answers nothing: it would only say that a reply came too late, which nobody can help,
    and log an error whenever our queue of ten is full.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = str(state_dir / RPC_SOCKET)
        self._socket: socket.socket | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()
        """When each may go, and the packet."""
        self.lost = 0

    def send(self, transaction: TransactionId, status: int, reason: str, to_tag: str, headers: str, body: str) -> None:
        """Queue one reply; it is dropped, and counted, when Kamailio is away or far behind."""
        parameters = [status, reason, waiting_key(transaction), to_tag, headers, body]
        self._queue("tm.reply", parameters)

    def forget(self, transaction: TransactionId) -> None:
        """Have Kamailio no longer take an INVITE for one that waits."""
        self._queue("htable.delete", ["im_waiting", waiting_key(transaction)])

    def _queue(self, method: str, parameters: Sequence[object]) -> None:
        packet = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}).encode()
        if len(self._waiting) >= MAX_WAITING_REPLIES:
            self.lost += 1
            return
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + HOLD_SECONDS, packet))
        if len(self._waiting) == 1:
            loop.call_later(HOLD_SECONDS, self._drain)

    def close(self) -> None:
        """Send what is held, close the socket."""
        if self._socket is not None or self._waiting:
            connection = self._open()
            for _due, packet in self._waiting:
                with contextlib.suppress(OSError):
                    connection.sendto(packet, self._path)
            self._waiting.clear()
            connection.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        return self._socket

    def _drain(self) -> None:
        connection = self._open()
        loop = asyncio.get_running_loop()
        while self._waiting:
            due, packet = self._waiting[0]
            if due > loop.time():
                loop.call_at(due, self._drain)
                return
            try:
                connection.sendto(packet, self._path)
            except BlockingIOError:
                # A datagram socket that is not connected is always writable: look again in a moment.
                loop.call_later(REPLY_RETRY_SECONDS, self._drain)
                return
            except OSError as error:
                self.lost += 1
                log.error("reply lost, Kamailio's JSON-RPC socket %s: %s", self._path, error)
            self._waiting.popleft()
