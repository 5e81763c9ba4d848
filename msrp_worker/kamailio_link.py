"""The worker's end of the link to Kamailio; no other file of the worker knows its channels.

Questions and events come in as packets on a SEQPACKET socket, one connection per Kamailio process. Answers and commands go
out as private SIP requests over a few persistent loopback connections to Kamailio's control listener, where its TCP
processes take them in parallel. `docs/decisions/0001-link.md` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import stat
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from kemi.messages import (
    BEAT,
    MAX_PACKET,
    RELOAD_SUBSCRIPTIONS,
    Answer,
    Failed,
    Incoming,
    Published,
    Settle,
    TraceBatch,
    TransactionId,
    decode_question,
    encode_answer,
    encode_command,
)

log = logging.getLogger("im.link")

QUESTION_SOCKET = "question.sock"
CONTROL_KEY = "control.key"
CONTROL_CONNECTIONS = 4
"""As many as Kamailio has TCP processes by default: each connection belongs to one of them."""
BEAT_PIN = 0
"""Pin of the beats, and of an answer that must not overtake one."""
BEAT_SECONDS = 0.25
"""Interval of the heartbeat; Kamailio takes the worker for hung after 1.5 s without (`kemi/policy.py`)."""
REVISION_SECONDS = 0.05
"""Between two looks whether the store was changed by another process; a few microseconds each."""
PACKETS_PER_TURN = 64
"""Packets read from one connection before the event loop gets to others."""
MAX_OPEN_QUESTIONS = 20_000
"""Questions being answered at once. Above it the sockets are not read, so that Kamailio's breakers open (SEC-06)."""
RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
BACKLOG = 512

Handler = Callable[[Incoming], Answer | Awaitable[Answer] | None]
"""Answers a question, at once or later; takes an event and returns None."""


@dataclass(slots=True)
class LinkCounters:
    """What the link has done, for `/metrics`."""

    questions: int = 0
    events: int = 0
    answers: int = 0
    answers_lost: int = 0
    late: int = 0
    malformed: int = 0
    failures: int = 0


@dataclass(slots=True)
class LinkAddress:
    """Where the two ends meet: the state directory, and Kamailio's control listener."""

    state_dir: Path
    control_host: str = "127.0.0.1"
    control_port: int = 5090


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

    def __init__(self, host: str, port: int, key: bytes) -> None:
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
        self._pending[index].append(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)
        return True

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
                    lambda closed=closed: _ControlConnection(closed),  # type: ignore[misc]
                    self._host,
                    self._port,
                )
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
                attempt += 1
                continue
            attempt = 0
            self._transports[index] = transport
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
    """Only tells when it is over: Kamailio sends nothing back on this channel."""

    def __init__(self, closed: asyncio.Future[None]) -> None:
        self._closed = closed

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


@dataclass(slots=True, eq=False)
class _Process:
    """One Kamailio process."""

    connection: socket.socket
    paused: bool = field(default=False)


class KamailioLink:
    """Receives questions and events, hands them to `handler`, sends the answers and the heartbeat."""

    def __init__(self, address: LinkAddress, handler: Handler, revision: Callable[[], int | None]) -> None:
        self.counters = LinkCounters()
        self._revision = revision
        self._told_revision: int | None = None
        self._reloaded_revision: int | None = None
        self._address = address
        self._handler = handler
        self._listener: socket.socket | None = None
        self._processes: set[_Process] = set()
        self._open = 0
        self._tasks: set[asyncio.Future[Answer]] = set()
        self._paused: deque[_Process] = deque()
        self._control = ControlChannel(address.control_host, address.control_port, control_key(address.state_dir))
        self._beat_task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether Kamailio's control listener is reached."""
        return self._control.connected

    def start(self) -> None:
        """Open the question socket, connect to the control listener, start the heartbeat."""
        path = self._address.state_dir / QUESTION_SOCKET
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(BACKLOG)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)
        self._control.start()
        self._beat_task = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Stop taking questions, let those under way be answered, close."""
        loop = asyncio.get_running_loop()
        if self._beat_task is not None:
            self._beat_task.cancel()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
        for process in list(self._processes):
            self._drop(process)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        await self._control.close()

    def tell_revision(self) -> None:
        """Tell Kamailio at once when the store has changed, so that it forgets what it was told before (SET-07)."""
        revision = self._revision()
        if revision != self._told_revision or revision != self._reloaded_revision:
            self._send_beat()

    def _send_beat(self, *, reload: bool = True) -> None:
        revision = self._revision()
        if reload and revision != self._reloaded_revision:
            self._control.send_all(encode_command(RELOAD_SUBSCRIPTIONS))  # COR-04
            self._reloaded_revision = revision if self.connected else None
        self._control.send_all(encode_command(BEAT, -1 if revision is None else revision))
        self._told_revision = revision if self.connected else None

    async def _beat(self) -> None:
        last = 0.0
        while True:
            now = time.monotonic()
            if now - last >= BEAT_SECONDS:
                self._send_beat()
                last = now
            else:
                self.tell_revision()
            await asyncio.sleep(REVISION_SECONDS)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.error("cannot accept a Kamailio process: %s (raise the limit of open files?)", error)
                return
            connection.setblocking(False)
            process = _Process(connection)
            self._processes.add(process)
            asyncio.get_running_loop().add_reader(connection, self._readable, process)

    def _readable(self, process: _Process) -> None:
        for _ in range(PACKETS_PER_TURN):
            if self._open >= MAX_OPEN_QUESTIONS:
                self._pause(process)
                return
            try:
                packet = process.connection.recv(MAX_PACKET)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self._drop(process)
                return
            self._take(packet, process)

    def _take(self, packet: bytes, process: _Process) -> None:
        try:
            incoming = decode_question(packet)
        except ValueError as error:
            self.counters.malformed += 1
            log.error("packet from Kamailio not understood: %s", error)
            return
        transaction = incoming.transaction
        if isinstance(incoming.message, Settle):
            self.tell_revision()
            with contextlib.suppress(OSError):  # who asked has gone, or does not read
                process.connection.send(packet)
            return
        if transaction is None:
            self.counters.events += 1
            self._tell(incoming)
            return
        self.counters.questions += 1
        if incoming.until and time.time() >= incoming.until:
            self.counters.late += 1  # SEC-06: its sender has been told 503; were it stored now, it would come twice
            return
        try:
            answer = self._handler(incoming)
        except Exception:
            self.counters.failures += 1
            log.exception("cannot answer %s, Call-ID %s", type(incoming.message).__name__, incoming.message.call_id)
            answer = Failed("internal error")
        if answer is None:
            answer = Failed("not a question")
        if isinstance(answer, Awaitable):
            self._answer_later(transaction, incoming, answer)
        else:
            self._answer(transaction, answer)

    def _tell(self, incoming: Incoming) -> None:
        if not isinstance(incoming.message, TraceBatch):
            self.counters.malformed += 1
            log.error("packet from Kamailio not understood: a question without a transaction")
            return
        try:
            self._handler(incoming)
        except Exception:
            self.counters.failures += 1
            log.exception("cannot take %s", type(incoming.message).__name__)

    def _answer_later(self, transaction: TransactionId, incoming: Incoming, pending: Awaitable[Answer]) -> None:
        future = asyncio.ensure_future(pending)
        self._tasks.add(future)
        self._open += 1

        def done(future: asyncio.Future[Answer]) -> None:
            self._tasks.discard(future)
            self._open -= 1
            if future.cancelled():
                self._answer(transaction, Failed("shutting down"))
            elif (error := future.exception()) is not None:
                self.counters.failures += 1
                log.error("cannot answer Call-ID %s", incoming.message.call_id, exc_info=error)
                self._answer(transaction, Failed("internal error"))
            else:
                self._answer(transaction, future.result())
            self._resume_reading()

        future.add_done_callback(done)

    def _answer(self, transaction: TransactionId, answer: Answer) -> None:
        pin = transaction[1]
        if isinstance(answer, Published):  # SET-07: Kamailio forgets what it was told before the client hears of success
            if self._revision() != self._told_revision:
                self._send_beat(reload=False)  # settings say nothing about subscriptions
            pin = BEAT_PIN
        if self._control.send(encode_answer(transaction, answer), pin):
            self.counters.answers += 1
        else:
            self.counters.answers_lost += 1

    def _pause(self, process: _Process) -> None:
        asyncio.get_running_loop().remove_reader(process.connection)
        process.paused = True
        self._paused.append(process)

    def _resume_reading(self) -> None:
        while self._paused and self._open < MAX_OPEN_QUESTIONS:
            process = self._paused.popleft()
            if process in self._processes:
                process.paused = False
                asyncio.get_running_loop().add_reader(process.connection, self._readable, process)

    def _drop(self, process: _Process) -> None:
        asyncio.get_running_loop().remove_reader(process.connection)
        process.connection.close()
        self._processes.discard(process)
