"""The only file that touches `KSR`: requests become values, actions become SIP, questions go to the worker.

Channels (why they are these: `docs/decisions/0001-link.md`)
- question or event to the worker: one packet on a non-blocking SEQPACKET socket per Kamailio process, behind a circuit
  breaker; the SIP transaction is suspended, the process goes on;
- answer or command from the worker: a private request on the loopback control listener, checked for where it came in,
  where it came from and the control key.

Every entry point of `im.cfg` ends in `Adapter.run`, so that an exception never leaves a client without an answer (SEC-05).
"""

from __future__ import annotations

import hmac
import json
import select
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import KSR

from kemi.actions import Action, Ask, Refuse, Respond, ToCore, ToRecipient, server_unavailable
from kemi.messages import (
    ANSWER,
    BEAT,
    MAX_PACKET,
    RELOAD_SUBSCRIPTIONS,
    Answer,
    Question,
    TraceEvent,
    TraceKind,
    TransactionId,
    decode_answer,
    encode_question,
)
from kemi.policy import Policy, load
from kemi.request import Request
from kemi.sip_values import asks_for_anonymity, canonical, contact_capabilities

QUESTION_SOCKET = "question.sock"
CONTROL_KEY = "control.key"
SEND_WAIT = 0.1
"""Seconds a Kamailio process waits for room in the worker's queue before its breaker opens."""
BREAKER_OPEN = 2.0
"""Seconds an open breaker refuses at once. With SEND_WAIT it bounds what a hung worker can cost a process."""
ANONYMOUS = "anonymous"
FEATURE_TAG = "+g.oma.sip-im"


class Breaker:
    """The socket to the worker and its circuit breaker; one per Kamailio process, opened at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._closed_until = 0.0

    def send(self, packet: bytes, wait: float) -> bool:
        """Hand one packet to the worker. False, at once, when it is away, and within `wait` seconds when it is full."""
        if time.monotonic() < self._closed_until:
            return False
        for _ in (0, 1):  # a worker that restarted is found by the second attempt
            try:
                if self._socket is None:
                    self._socket = self._connect()
                return self._push(self._socket, packet, wait)
            except OSError:
                self._drop()
        return False

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection

    def _push(self, connection: socket.socket, packet: bytes, wait: float) -> bool:
        try:
            connection.send(packet)
            return True
        except BlockingIOError:
            if wait > 0 and select.select([], [connection], [], wait)[1]:
                try:
                    connection.send(packet)
                    return True
                except BlockingIOError:
                    pass
            if wait > 0:
                self._closed_until = time.monotonic() + BREAKER_OPEN
            return False

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def read(name: str) -> str:
    """A pseudo-variable as text; bytes that are not UTF-8 become replacement characters, a missing one is empty."""
    try:
        value = KSR.pv.get(name)
    except UnicodeDecodeError as error:
        return str(error.object, "utf-8", "replace")
    return "" if value is None else str(value)


def read_bytes(name: str) -> bytes:
    """A pseudo-variable as the bytes on the wire."""
    try:
        value = KSR.pv.get(name)
    except UnicodeDecodeError as error:
        return bytes(error.object)
    return b"" if value is None else str(value).encode()


def number(name: str) -> int:
    """A numeric pseudo-variable, 0 when it is missing."""
    value = KSR.pv.get(name)
    return value if isinstance(value, int) else int(value or 0)


def setting(name: str) -> str | None:
    """A `#!define` of the configuration, without the quotes a string define keeps."""
    value = KSR.pv.get(f"$def({name})")
    return None if value is None else str(value).strip('"')


def current_transaction() -> TransactionId:
    """Identity of the transaction being routed; (-1, -1) outside of one."""
    index, label = KSR.pv.get("$T(id_index)"), KSR.pv.get("$T(id_label)")
    return (-1, -1) if index is None or label is None else (int(index), int(label))


def next_step(name: str) -> int:
    """Tell the native route that called us where to go on."""
    KSR.pv.sets("$var(im_next)", name)
    return 1


def sent_safely(text: str) -> str:
    """Text that may go into a header: no line ends, no NUL, no surrogates (they crash the C side)."""
    return "".join(char if char >= " " and char.isprintable() else "?" for char in text)


class Adapter:
    """Requests in, actions out. One per Kamailio process; holds what a process remembers between requests."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._breaker: Breaker | None = None
        self._key = b""
        self._answer: tuple[TransactionId, Answer] | None = None

    @property
    def policy(self) -> Policy:
        """The operator's policy, read at the process's first request."""
        if self._policy is None:
            self._policy = load(setting)
        return self._policy

    @property
    def answer(self) -> Answer | None:
        """The worker's answer that resumed the current transaction in this process; None when there is none."""
        if self._answer is None or self._answer[0] != current_transaction():
            return None
        return self._answer[1]

    def run(self, procedure: Callable[[], int]) -> int:
        """Call a procedure; a bug in it is logged with the Call-ID and answered 500 (SEC-05)."""
        try:
            return procedure()
        except Exception:
            KSR.err(f"IM bug, Call-ID {sent_safely(read('$ci'))}:\n{sent_lines(traceback.format_exc())}\n")
            self._reply(500, "Server Internal Error")
            return next_step("done")

    def request(self, *, with_availability: bool = False) -> Request:
        """The request being routed, as values. The registrar is asked only where a decision needs it."""
        content_length = number("$bs") if KSR.pv.get("$bs") is not None else len(read_bytes("$rb"))
        separate_core = bool(number("$avp(im_separate_core)"))
        uri = read("$avp(im_uri)") or read("$ru")
        return Request(
            method=read("$rm"),
            request_uri=uri,
            call_id=read("$ci"),
            cseq=int(read("$cs") or 0),
            from_tag=read("$ft"),
            from_header=read("$hdr(From)") or read("$hdr(f)"),
            to_header=read("$hdr(To)") or read("$hdr(t)"),
            originator=canonical(read("$avp(im_ao)")),
            recipient=canonical(uri),
            accept_contact=_all_values("Accept-Contact", "a"),
            privacy=_all_values("Privacy"),
            content_type=read("$cT"),
            content_length=content_length,
            message_length=number("$ml"),
            reliable_transport=read("$pr").lower() != "udp",
            from_trusted_peer=bool(number("$avp(im_trusted)")),
            received=number("$avp(im_received)") or time.time(),
            date=read("$hdr(Date)"),
            expires=read("$hdr(Expires)"),
            subject=read("$hdr(Subject)") or read("$hdr(s)"),
            priority=read("$hdr(Priority)"),
            available=with_availability and self._available(canonical(uri)),
            separate_core=separate_core,
        )

    def perform(self, request: Request, action: Action) -> int:
        """Carry out what a procedure decided."""
        match action:
            case Refuse():
                return self.refuse(request, action)
            case Respond():
                self._reply(action.status, action.reason, action.headers)
                return next_step("done")
            case Ask():
                return self.ask(request, action)
            case ToCore() | ToRecipient():
                KSR.pv.sets("$avp(im_uri)", action.request_uri)
                return next_step("core" if isinstance(action, ToCore) else "recipient")

    def refuse(self, request: Request, refusal: Refuse) -> int:
        """Answer with a failure, log Call-ID, originator (privacy kept) and requirement, leave a trace."""
        who = ANONYMOUS if asks_for_anonymity(request.privacy) else request.originator or "unidentified"
        KSR.notice(
            f"IM refused {refusal.status} {refusal.requirement} {request.method} Call-ID={sent_safely(request.call_id)} "
            f"originator={sent_safely(who)} recipient={sent_safely(request.recipient)}: {sent_safely(refusal.warning)}\n"
        )
        headers = []
        if refusal.warning:
            headers.append(f'Warning: 399 {self.policy.domain} "{sent_safely(refusal.warning)}"')
        if refusal.retry_after is not None:
            headers.append(f"Retry-After: {refusal.retry_after}")
        self.trace(request, "refused", refusal.status, refusal.requirement, refusal.warning)
        self._reply(refusal.status, refusal.reason, tuple(headers))
        return next_step("done")

    def ask(self, request: Request, action: Ask) -> int:
        """Suspend the transaction and send the question; 503 at once when the worker cannot take it (SEC-06)."""
        if not self._worker_alive():
            return self.refuse(request, server_unavailable("IM worker is not running", self.policy.retry_after))
        if not number("$avp(im_suspended)"):  # a transaction that was suspended before exists already
            created = KSR.tm.t_newtran()
            if created == 0:
                return next_step("done")  # a retransmission: tm has answered it
            if created < 0:
                self._reply(500, "Server Internal Error")
                return next_step("done")
        KSR.pv.sets("$avp(im_stage)", action.stage)
        KSR.pv.sets("$avp(im_uri)", request.request_uri)
        KSR.pv.seti("$avp(im_received)", int(request.received))
        KSR.pv.sets("$avp(im_who)", ANONYMOUS if asks_for_anonymity(request.privacy) else request.originator)
        KSR.pv.seti("$avp(im_suspended)", 1)
        KSR.tm.t_set_fr(0, self.policy.answer_timeout)
        KSR.tm.t_on_failure("IM_UNANSWERED")
        content = read_bytes("$mb") if action.with_message else b""
        if KSR.tmx.t_suspend() < 0:
            self._reply(500, "Server Internal Error")
            return next_step("done")
        transaction = current_transaction()
        if self._send(transaction, action.question, content):
            return next_step("done")
        self._answer = None
        return self._continue(transaction)

    def control(self, resume: Callable[[TransactionId, Answer], int]) -> int:
        """A private request of the worker (SEC-01): believed with the control key only, never answered."""
        if read("$rm") != "IMW" or not self._key_matches(read("$hdr(IM-Key)")):
            KSR.warn(f"IM control: refused {sent_safely(read('$rm'))} from {read('$si')}:{read('$sp')}\n")
            return next_step("done")
        command = json.loads(KSR.pv.get("$rb"))
        match command["do"]:
            case "answer":
                assert command["do"] == ANSWER
                return resume(*decode_answer(command))
            case "beat":
                assert command["do"] == BEAT
                KSR.htable.sht_seti("im_link", "beat", int(time.monotonic() * 10))
            case "reload-subscriptions":
                assert command["do"] == RELOAD_SUBSCRIPTIONS
                KSR.jsonrpcs.exec('{"jsonrpc":"2.0","method":"htable.reload","params":["im_without_service"],"id":1}')
            case other:
                KSR.err(f"IM control: unknown command {sent_safely(str(other))}\n")
        return next_step("done")

    def resume(self, transaction: TransactionId, answer: Answer) -> int:
        """Continue the suspended transaction in this process, with its answer at hand."""
        self._answer = (transaction, answer)
        return self._continue(transaction)

    def trace(self, request: Request, kind: TraceKind, status: int = 0, requirement: str = "", detail: str = "") -> None:
        """Tell the worker a step in the life of a message; dropped when the worker is busy or away."""
        originator = ANONYMOUS if asks_for_anonymity(request.privacy) else request.originator
        self._tell(TraceEvent(request.call_id, kind, originator, request.recipient, status, requirement, detail))

    def trace_response(self) -> None:
        """The same for the final response that is being routed; who it is about was kept with the question."""
        status = number("$rs")
        if status >= 200:
            kind: TraceKind = "delivered" if status < 300 else "failed"
            self._tell(TraceEvent(read("$ci"), kind, read("$avp(im_who)"), canonical(read("$avp(im_uri)")), status))

    def capable_contacts(self) -> list[tuple[str, bool, bool]]:
        """The contacts of a REGISTER; those without the feature tag are remembered beside the others (COR-10)."""
        contacts = contact_capabilities(_all_values("Contact", "m"))
        mixed = any(capable for _, capable, _ in contacts)
        for uri, capable, _ in contacts:
            if capable:
                KSR.htable.sht_rm("im_plain", sent_safely(uri))
            elif mixed:
                KSR.htable.sht_seti("im_plain", sent_safely(uri), 1)
        return contacts

    def _available(self, address: str) -> bool:
        """Whether the registrar has an IM-capable binding of the address (COR-07)."""
        if KSR.registrar.reg_fetch_contacts("location", address, "im") < 0:
            return False
        bit = 1 << int(setting("IM_BFLAG_CAPABLE") or 0)
        count = number("$(ulc(im=>count))")
        found = any(number(f"$(ulc(im=>cflags)[{index}])") & bit for index in range(count))
        KSR.registrar.reg_free_contacts("im")
        return found

    def _tell(self, event: TraceEvent) -> None:
        if self._worker_alive():
            self._link().send(encode_question(None, event), 0.0)

    def _continue(self, transaction: TransactionId) -> int:
        KSR.pv.seti("$var(im_index)", transaction[0])
        KSR.pv.seti("$var(im_label)", transaction[1])
        return next_step("continue")

    def _send(self, transaction: TransactionId, question: Question, content: bytes) -> bool:
        packet = encode_question(transaction, question, content)
        return len(packet) <= MAX_PACKET and self._link().send(packet, SEND_WAIT)

    def _link(self) -> Breaker:
        if self._breaker is None:
            self._breaker = Breaker(Path(self.policy.state_dir) / QUESTION_SOCKET)
        return self._breaker

    def _worker_alive(self) -> bool:
        beat = KSR.htable.sht_get("im_link", "beat")
        return beat is not None and time.monotonic() - beat / 10 <= self.policy.beat_timeout

    def _key_matches(self, key: str) -> bool:
        if self._key and hmac.compare_digest(key.encode(), self._key):
            return True
        try:  # a worker with a new state directory has a new key
            self._key = (Path(self.policy.state_dir) / CONTROL_KEY).read_bytes().strip()
        except OSError as error:
            KSR.err(f"IM control: cannot read the control key: {error}\n")
            return False
        return bool(self._key) and hmac.compare_digest(key.encode(), self._key)

    def _reply(self, status: int, reason: str, headers: tuple[str, ...] = ()) -> None:
        for header in headers:
            KSR.hdr.append_to_reply(header + "\r\n")
        KSR.sl.send_reply(status, reason)


def _all_values(*names: str) -> str:
    """Every value of a header under its full and compact names, joined by commas."""
    values = []
    for name in names:
        index = 0
        while True:
            value = read(f"$(hdr({name})[{index}])")
            if not value:
                break
            values.append(value)
            index += 1
    return ",".join(values)


def sent_lines(text: str) -> str:
    """A traceback for the log: line ends kept, everything else printable."""
    return "\n".join(sent_safely(line) for line in text.splitlines())
