"""The worker's end of the link to Kamailio; no other file of the worker knows its channels.

Questions and events come in as packets on a SEQPACKET socket, one connection per Kamailio process. Answers and commands go
out as private SIP requests over a few persistent loopback connections to Kamailio's control listener, where its TCP
processes take them in parallel. `docs/decisions/0001-link.md` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import secrets
import socket
import stat
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kemi.messages import (
    BEAT,
    KEEP_COMMAND,
    MAX_PACKET,
    RELOAD_SUBSCRIPTIONS,
    AbandonedInvites,
    Answer,
    Failed,
    Incoming,
    Operate,
    Published,
    SendRequest,
    Settle,
    SipEvent,
    SipRequest,
    TraceBatch,
    TransactionId,
    decode_question,
    encode_answer,
    encode_ask_waiting,
    encode_cancel,
    encode_command,
    encode_send_request,
    read_waiting_keys,
)
from msrp_worker import PRODUCT
from msrp_worker.kamailio_channels import (
    BEAT_PIN,
    ControlChannel,
    ReplyChannel,
    control_key,
)
from msrp_worker.sip.message import MalformedMessage, read

log = logging.getLogger("im.link")

QUESTION_SOCKET = "question.sock"
BEAT_SECONDS = 0.25
"""Interval of the heartbeat; Kamailio takes the worker for hung after 1.5 s without (`kemi/policy.py`)."""
KEEP_SECONDS = 20.0
"""Between two looks after Kamailio's connection to itself; it closes one that is idle for two minutes by default."""
REVISION_SECONDS = 0.05
"""Between two looks whether the store was changed by another process; a few microseconds each."""
PACKETS_PER_TURN = 64
"""Packets read from one connection before the event loop gets to others."""
MAX_OPEN_QUESTIONS = 20_000
"""Questions being answered at once. Above it the sockets are not read, so that Kamailio's breakers open (SEC-06)."""
LEG_TAG = "im-leg-"
"""Every tag and every Contact user part of a leg begins with it: `im.cfg` knows its requests by that."""
BACKLOG = 512
RETRY_AFTER = "Retry-After: 5\r\n"

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


async def _nothing() -> None:
    """Nothing more to settle."""


@dataclass(slots=True, eq=False)
class _Process:
    """One Kamailio process."""

    connection: socket.socket
    paused: bool = field(default=False)


class KamailioLink:
    """Receives questions and events, hands them to `handler`, sends the answers and the heartbeat."""

    def __init__(self, address: LinkAddress, handler: Handler, revision: Callable[[], int | None]) -> None:
        self.counters = LinkCounters()
        self.on_leg: Callable[[Incoming], None] | None = None
        """Takes requests for legs (answered with `reply`) and what happens to them."""
        self.settle: Callable[[], Awaitable[None]] = _nothing
        """What else is to be done before an operator's command sees the state of things."""
        self.operate: Callable[[bytes], bytes] | None = None
        """Answers the request of an operator's command."""
        self._revision = revision
        self._inviting: dict[TransactionId, None] = {}
        """INVITEs without a final response, the oldest first; those that were cancelled stay until there are too many."""
        self._began = 0
        self._told = False
        self._told_revision: int | None = None
        self._reloaded_revision: int | None = None
        self._address = address
        self._handler = handler
        self._listener: socket.socket | None = None
        self._processes: set[_Process] = set()
        self._open = 0
        self._tasks: set[asyncio.Future[Any]] = set()
        self._paused: deque[_Process] = deque()
        self._key = control_key(address.state_dir)
        self._replies = ReplyChannel(address.state_dir)
        self._control = ControlChannel(address.control_host, address.control_port, self._key, self._heard, self._reached)
        self._branches = itertools.count(1)
        self._branch = secrets.token_hex(8)
        self._hop = f"sip:{address.control_host}:{address.control_port};transport=tcp"
        self._beat_task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether Kamailio's control listener is reached."""
        return self._control.connected

    @property
    def ready(self) -> bool:
        """Whether Kamailio has been reached and told that the worker is there: from now on it asks (SEC-06)."""
        return self.connected and self._told

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
        self._began = int(time.monotonic() * 10)
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
        self._replies.close()
        await self._control.close()

    def send_request(self, request: SendRequest, pin: int, *, initial: bool) -> bool:
        """Have Kamailio send a request; False when it is away. An initial one is routed by Kamailio like one of the
        core; within a dialog it goes to the next hop of the route set. The From tag begins with LEG_TAG."""
        if initial:
            hop = self._hop
            headers = f"{request.headers}IM-Key: {self._key.decode()}\r\n"
            request = dataclasses.replace(request, next_hop=hop, headers=headers)
        return self._control.send(encode_send_request(request), pin)

    def send_message(self, request_uri: str, headers: str, body: bytes, pin: int) -> bool:
        """Have Kamailio route a MESSAGE of ours like one of the core; False when it is away.

        It goes on the control connection itself: a body that is no text passes (KSR takes none), From keeps its display
        name (t_uac_send drops it), and Kamailio has one transaction for it in place of two.
        """
        address = self._address
        head = (
            f"MESSAGE {request_uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP {address.control_host}:9;branch=z9hG4bK{self._branch}{next(self._branches)};rport\r\n"
            f"Max-Forwards: 70\r\nUser-Agent: {PRODUCT}\r\n{headers}"
            f"IM-Key: {self._key.decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return self._control.send_request(head.encode("utf-8", "surrogateescape") + body, pin)

    def cancel_invite(self, call_id: str, cseq: int, pin: int) -> bool:
        """Have Kamailio cancel an INVITE that it sent for us; False when it is away."""
        return self._control.send(encode_cancel(call_id, cseq), pin)

    def reply(
        self, transaction: TransactionId, status: int, reason: str, to_tag: str, headers: str = "", body: str = ""
    ) -> None:
        """Answer a request that waits for us: any number of provisional responses, one final."""
        self._replies.send(transaction, status, reason, to_tag, headers, body)
        if status >= 200 and transaction in self._inviting:
            del self._inviting[transaction]
            self._replies.forget(transaction)

    def _heard(self, data: bytes) -> None:
        """A response to a MESSAGE of `send_message`."""
        try:
            response = read(data)
        except MalformedMessage as error:
            self.counters.malformed += 1
            log.error("response from Kamailio not understood: %s", error)
            return
        tags = response.from_tag, response.to_tag
        self._tell_leg(Incoming(None, SipEvent(response.call_id, "response", response.method, response.cseq, *tags), data))

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
        self._told = self.connected
        self._told_revision = revision if self._told else None

    def _reached(self) -> None:
        self._keep()
        self._control.send_all(encode_ask_waiting(self._began))  # SEC-06: each time, as the last may be lost

    def _keep(self) -> None:
        """Let Kamailio keep the connection to itself on which it routes what it sends for us. Two processes that open it at
        once lose what one of them has written, and nobody repeats that over TCP. So this comes before the first beat, by
        which a Kamailio that was started knows that it may ask."""  # SEC-06
        host = self._address.control_host
        headers = (
            f"From: <sip:worker@{host}>;tag=keep\r\nTo: <sip:kamailio@{host}>\r\n"
            f"IM-Key: {self._key.decode()}\r\nContent-Type: application/json\r\n"
        )
        uri = self._hop.partition(";")[0]
        self._control.send(encode_send_request(SendRequest("IMW", uri, self._hop, headers, KEEP_COMMAND)), BEAT_PIN)

    async def _beat(self) -> None:
        last = 0.0
        keep_at = time.monotonic() + KEEP_SECONDS
        while True:
            now = time.monotonic()
            if now >= keep_at and self.connected:
                self._keep()
                keep_at = now + KEEP_SECONDS
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
            self._tasks.add(task := asyncio.ensure_future(self._settle(process, packet)))
            task.add_done_callback(self._tasks.discard)
            return
        if isinstance(incoming.message, Operate):
            self._operate(process, incoming.content)
            return
        if isinstance(incoming.message, AbandonedInvites):
            self._answer_abandoned(read_waiting_keys(incoming.content))
            return
        if isinstance(incoming.message, SipRequest | SipEvent):
            if transaction is not None and incoming.message.method == "INVITE":
                self._inviting[transaction] = None
                if len(self._inviting) > MAX_OPEN_QUESTIONS:
                    del self._inviting[next(iter(self._inviting))]
            self._tell_leg(incoming)
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

    def _answer_abandoned(self, transactions: Sequence[TransactionId]) -> None:
        """Tell those who invited by a worker that has died; else they would wait for as long as somebody may ring."""
        for transaction in transactions:
            self._replies.send(transaction, 503, "Service Unavailable", LEG_TAG + "gone", RETRY_AFTER, "")  # SEC-06
            self._replies.forget(transaction)  # goes behind it
        log.warning("SEC-06 %d invitations that waited for the worker before this one: 503", len(transactions))

    async def _settle(self, process: _Process, packet: bytes) -> None:
        """Tell Kamailio of a change, have what was traced on disk, then echo the packet."""
        self.tell_revision()
        try:
            await self.settle()
        except Exception:
            self.counters.failures += 1
            log.exception("cannot settle")
        with contextlib.suppress(OSError):  # who asked has gone, or does not read
            process.connection.send(packet)

    def _operate(self, process: _Process, request: bytes) -> None:
        try:
            answer = b"" if self.operate is None else self.operate(request)
        except Exception:
            self.counters.failures += 1
            log.exception("cannot answer an operator's command")
            answer = b""
        with contextlib.suppress(OSError):  # who asked has gone, or does not read
            process.connection.send(answer or b"{}")

    def _tell_leg(self, incoming: Incoming) -> None:
        message = incoming.message
        try:
            if self.on_leg is not None:
                self.on_leg(incoming)
                return
        except Exception:
            self.counters.failures += 1
            log.exception("cannot take %s, Call-ID %s", type(message).__name__, message.call_id)
        if incoming.transaction is not None:
            self.reply(incoming.transaction, 500, "Server Internal Error", LEG_TAG + "none")

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
