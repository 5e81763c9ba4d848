"""Kamailio and the procedures: requests become values, actions become SIP, questions go to the worker. Touches `KSR`.

Channels (why they are these: `docs/decisions/0001-link.md`)
- question to the worker: one packet on a non-blocking SEQPACKET socket per Kamailio process, behind a circuit breaker;
  the SIP transaction is suspended, the process goes on;
- answer or command from the worker: a private request on the loopback control listener, checked for where it came in,
  where it came from and the control key;
- trace events: a queue in shared memory that a timer process sends in batches.

Every entry point of `im.cfg` ends in `Adapter.run`, so that an exception never leaves a client without an answer (SEC-05).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import KSR

from kemi import bindings
from kemi.actions import Action, Ask, Refuse, Respond, ToCore, ToFocus, ToRecipient, ToWorker, server_unavailable
from kemi.breaker import SEND_WAIT, Breaker
from kemi.ksr import current_transaction, keys_below, next_step, number, read, read_bytes, setting
from kemi.large_message import read_large_message
from kemi.messages import (
    ANSWER,
    BEAT,
    CANCEL_INVITE,
    KEEP,
    MAX_PACKET,
    RELOAD_SUBSCRIPTIONS,
    SEND_REQUEST,
    WAITING,
    AbandonedInvites,
    Answer,
    EndFacts,
    PagerFacts,
    PagerQuestion,
    Question,
    SendRequest,
    SipEvent,
    SipEventKind,
    SipRequest,
    TraceBatch,
    TransactionId,
    decode_answer,
    decode_send_request,
    encode_question,
    not_sent,
    waiting_key,
)
from kemi.policy import Flags, Policy, load, load_flags
from kemi.printable import quoted, sent_lines, sent_safely, sent_safely_line
from kemi.request import LONGEST_READ, Request
from kemi.separate_core import way_back
from kemi.shared_facts import SharedFacts, encode_shared
from kemi.sip_values import (
    asks_for_advertisement_devices,
    asks_for_anonymity,
    canonical,
    without_session_parameter,
)
from kemi.trace_events import TraceEvent, TraceKind, trace_line
from kemi.websocket_offer import is_of_websocket

QUESTION_SOCKET = "question.sock"
CONTROL_KEY = "control.key"
ANONYMOUS = "anonymous"
TRACES_PER_PACKET = 200
LONGEST_TRACED = 255
"""Characters of each text in a trace event: what waits for the worker lies in shared memory (SEC-05)."""
KEYS_PER_PACKET = 10_000
"""Transactions of 24 bytes at most, far below MAX_PACKET."""
LEG_INVITE_MS = 200_000
"""Milliseconds an INVITE waits for the worker: longer than anybody lets a telephone ring (RFC 3261 Timer C)."""


class Adapter:
    """Requests in, actions out. One per Kamailio process; holds what a process remembers between requests."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._breaker: Breaker | None = None
        self._flags_read: Flags | None = None
        self._key = b""
        self._answer: tuple[TransactionId, Answer] | None = None
        self._shared = SharedFacts()

    @property
    def policy(self) -> Policy:
        """The operator's policy, read at the process's first request."""
        if self._policy is None:
            self._policy = load(setting)
        return self._policy

    @property
    def _flags(self) -> Flags:
        if self._flags_read is None:
            self._flags_read = load_flags(setting)
        return self._flags_read

    @property
    def answer(self) -> Answer | None:
        """The worker's answer that resumed the current transaction in this process; None when there is none."""
        if self._answer is None or self._answer[0] != current_transaction():
            return None
        return self._answer[1]

    def run(self, procedure: Callable[[], int], *, answer: bool = True) -> int:
        """Call a procedure; a bug in it is logged with the Call-ID and, where a client waits, answered 500 (SEC-05)."""
        try:
            return procedure()
        except Exception:
            KSR.err(f"IM bug, Call-ID {sent_safely(read('$ci'))}:\n{sent_lines(traceback.format_exc())}\n")
            if answer:
                self._reply(500, "Server Internal Error")
            return next_step("done")

    def request(self, *, look_up: bool = False) -> Request:
        """The request being routed, as values. With `look_up` the branches to the recipient are set as well."""
        uri = read("$var(im_uri)")
        separate_core = KSR.isflagset(self._flags.separate_core) > 0
        serves_recipient = KSR.isflagset(self._flags.serves_recipient) > 0
        method = read("$rm")
        of_invite = self._of_invite() if method == "INVITE" else {}  # a MESSAGE takes as few readings as can be
        accept_contact = read("$(hdr(Accept-Contact)[*])")[:LONGEST_READ]
        available = unmatched = False
        if look_up and serves_recipient and not separate_core:
            large = bool(of_invite.get("large_message"))
            advertisement = asks_for_advertisement_devices(accept_contact)
            available, unmatched = bindings.look_up(self._flags.marks, uri, large=large, advertisement=advertisement)
        return Request(
            method=method,
            request_uri=uri,
            call_id=read("$ci"),
            originator=canonical(read("$var(im_ao)")),
            recipient=canonical(uri),
            accept_contact=accept_contact,
            privacy=read("$(hdr(Privacy)[*])"),
            content_type=read("$cT"),
            content_length=number("$bs"),
            message_length=number("$ml"),
            reliable_transport=read("$pr") not in ("udp", "UDP"),
            from_trusted_peer=KSR.isflagset(self._flags.trusted) > 0,
            received=number("$var(im_received)") or time.time(),
            date=read("$hdr(Date)"),
            expires=read("$hdr(Expires)"),
            event=read("$hdr(Event)"),
            serves_recipient=serves_recipient,
            available=available,
            unmatched=unmatched,
            separate_core=separate_core,
            **of_invite,
        )

    @staticmethod
    def _of_invite() -> dict[str, Any]:
        """What only an INVITE is asked for."""
        offer = read("$rb")
        return {
            "contact": read("$hdr(Contact)"),
            "from_tag": read("$ft"),
            "large_message": read_large_message(offer),
            "websocket": is_of_websocket(offer),
            "own": read("$Rp") == setting("IM_CONTROL_PORT"),
            "from_server": bool(read("$hdr(IM-Function)")),
        }

    def save_state(self, request: Request, stage: str) -> None:
        """Keep with the transaction what `$var` forgets while it is suspended."""
        state = {"stage": stage, "uri": request.request_uri, "ao": request.originator, "received": request.received}
        KSR.pv.sets("$avp(im_state)", json.dumps(state))

    def restore_state(self) -> str:
        """The stage that `save_state` noted, empty for none; the `$var` of `im.cfg` are as they were."""
        saved = read("$avp(im_state)")
        if saved:
            state = json.loads(saved)
        else:  # relayed without having been suspended: what route[IM_NOTE] kept
            received, _, who = read("$avp(im_seen)").partition("\t")
            originator = read("$avp(im_ao)") or who
            state = {"stage": "", "uri": read("$avp(im_to)"), "ao": originator, "received": int(received or 0)}
        KSR.pv.sets("$var(im_uri)", state["uri"])
        KSR.pv.sets("$var(im_to)", canonical(state["uri"]))
        KSR.pv.sets("$var(im_ao)", state["ao"])
        KSR.pv.seti("$var(im_received)", int(state["received"]))
        return str(state["stage"])

    def known(self, request: Request, question: PagerQuestion) -> PagerFacts | None:
        """Facts that the processes of Kamailio share, when they answer the question; None: the worker must be asked.

        They are used only while the worker is alive and the store has not changed since they were told.
        """
        revision = KSR.htable.sht_get("im_link", "revision")
        if revision is None or revision < 0 or request.separate_core or not self._worker_alive():
            return None
        originator = self._shared_facts(question.originator, revision) if question.serves_originator else None
        recipient = self._shared_facts(question.recipient, revision) if question.serves_recipient else None
        if question.serves_originator and originator is None:
            return None
        if question.serves_recipient and (recipient is None or recipient.has_rules):
            return None
        return PagerFacts(originator, recipient, revision)

    def remember(self, question: PagerQuestion, facts: PagerFacts) -> None:
        """Share facts with the other processes until the store changes. A user that does not exist is not remembered,
        so that made-up addresses take no room."""
        if facts.revision < 0:
            return
        for address, end in ((question.originator, facts.originator), (question.recipient, facts.recipient)):
            if end is not None:
                KSR.htable.sht_sets("im_facts", sent_safely(address), encode_shared(facts.revision, end))

    def perform(self, request: Request, action: Action) -> int:
        """Carry out what a procedure decided."""
        match action:
            case ToCore() | ToRecipient() | ToFocus():
                KSR.pv.sets("$var(im_uri)", action.request_uri)
                return next_step(action.step)
            case Ask():
                return self.ask(request, action)
            case ToWorker():
                return self.hand_over(request, action)
            case Refuse():
                return self.refuse(request, action)
            case Respond():
                self._reply(action.status, action.reason, action.headers)
                return next_step("done")

    def refuse(self, request: Request, refusal: Refuse) -> int:
        """Answer with a failure, log Call-ID, originator (privacy kept) and requirement, leave a trace."""
        who = ANONYMOUS if asks_for_anonymity(request.privacy) else request.originator or "unidentified"
        KSR.notice(
            f"IM refused {refusal.status} {refusal.requirement} {request.method} Call-ID={sent_safely(request.call_id)} "
            f"originator={sent_safely(who)} recipient={sent_safely(request.recipient)}: {sent_safely(refusal.warning)}\n"
        )
        headers = list(refusal.headers)
        if refusal.warning:
            headers.append(f"Warning: 399 {self.policy.domain} {quoted(refusal.warning)}")
        if refusal.retry_after is not None:
            headers.append(f"Retry-After: {refusal.retry_after}")
        self.trace(request, "refused", refusal.status, refusal.requirement, refusal.warning)
        self._reply(refusal.status, refusal.reason, tuple(headers))
        return next_step("done")

    def ask(self, request: Request, action: Ask) -> int:
        """Suspend the transaction and send the question; 503 at once when the worker cannot take it (SEC-06)."""
        if not self._worker_alive():
            return self.refuse(request, server_unavailable("IM worker is not running", self.policy.retry_after))
        if current_transaction() == (-1, -1) and not self._new_transaction():
            return next_step("done")
        self.save_state(request, action.stage)
        KSR.tm.t_set_fr(0, self.policy.answer_timeout)
        KSR.tm.t_on_failure("IM_UNANSWERED")
        content = read_bytes("$mb") if action.with_message else read_bytes("$rb") if action.with_body else b""
        if KSR.tmx.t_suspend() < 0:
            self._reply(500, "Server Internal Error")
            return next_step("done")
        transaction = current_transaction()
        if self._send(transaction, action.question, content):
            return next_step("done")
        self._answer = None
        return self._continue(transaction)

    def control(self) -> int:
        """A private request of the worker (SEC-01): believed with the control key only, never answered."""
        if read("$rm") != "IMW" or not self._key_matches(read("$hdr(IM-Key)")):
            KSR.warn(f"IM control: refused {sent_safely(read('$rm'))} from {read('$si')}:{read('$sp')}\n")
            return next_step("done")
        command = json.loads(KSR.pv.get("$rb"))
        name = command["do"]
        if name == ANSWER:
            transaction, answer = decode_answer(command)
            self._answer = (transaction, answer)
            return self._continue(transaction)
        if name == BEAT:
            KSR.htable.sht_seti("im_link", "revision", int(command["revision"]))
            KSR.htable.sht_seti("im_link", "beat", int(time.monotonic() * 10))
        elif name == SEND_REQUEST:
            self._send_request(decode_send_request(command))
        elif name == CANCEL_INVITE:
            KSR.tmx.t_cancel_callid(str(command["call_id"]), str(command["cseq"]), 0)
        elif name == WAITING:
            self._hand_back(int(command["before"]))
        elif name == RELOAD_SUBSCRIPTIONS:
            KSR.jsonrpcs.exec('{"jsonrpc":"2.0","method":"htable.reload","params":["im_without_service"],"id":1}')
        elif name == KEEP:
            self._reply(200, "OK")  # the only one with a transaction of Kamailio behind it
        else:
            KSR.err(f"IM control: unknown command {sent_safely(str(name))}\n")
        return next_step("done")

    def server_request(self) -> int:
        """A request of the worker itself on the control listener, to be routed like one of the core (SEC-01)."""
        if not self._key_matches(read("$hdr(IM-Key)")):
            KSR.warn(f"IM control: refused {sent_safely(read('$rm'))} from {read('$si')}:{read('$sp')}\n")
            return next_step("done")
        return next_step("server")

    def leg_request(self) -> int:
        """A request for a leg of the worker: wait for its replies, which come by JSON-RPC; ACK is only told."""
        method = read("$rm")
        if method == "ACK":
            return self.tell_leg("ack", read_bytes("$mb"))
        if not self._worker_alive():
            KSR.hdr.append_to_reply(f"Retry-After: {self.policy.retry_after}\r\n")
            self._reply(503, "Service Unavailable")
            return next_step("done")
        if not self._new_transaction():
            return next_step("done")
        return self._wait_for_replies(self._leg_question())

    def hand_over(self, request: Request, action: ToWorker) -> int:
        """Make an initial request a leg of the worker, at once or after the worker's answer to a question."""
        if not self._worker_alive():
            return self.refuse(request, server_unavailable("IM worker is not running", self.policy.retry_after))
        if current_transaction() == (-1, -1) and not self._new_transaction():
            return next_step("done")
        self.save_state(request, "")
        return self._wait_for_replies(
            dataclasses.replace(
                self._leg_question(),
                originator=request.originator,
                function=action.function,
                recipient=request.recipient,
                target=without_session_parameter(request.request_uri)[0],
                anonymous=asks_for_anonymity(request.privacy),
                records_originator=action.records_originator,
                records_recipient=action.records_recipient,
                **way_back(request, read),
            )
        )

    def _leg_question(self) -> SipRequest:
        return SipRequest(
            call_id=read("$ci"),
            method=read("$rm"),
            cseq=int(read("$cs") or 0),
            from_tag=read("$ft"),
            source=f"{read('$si')}:{read('$sp')};{read('$pr')}",
        )

    def _wait_for_replies(self, question: SipRequest) -> int:
        patience = self.policy.answer_timeout
        if question.method == "INVITE":
            patience = LEG_INVITE_MS
            # im.cfg looks for $(ci{s.md5}): an entry takes the same room whatever the Call-ID is (SEC-05).
            key = hashlib.md5(read_bytes("$ci"), usedforsecurity=False).hexdigest()
            KSR.htable.sht_seti("im_legs", key, 1)
        KSR.tm.t_set_fr(patience, patience)
        KSR.tm.t_on_failure("IM_LEG_UNANSWERED")
        if KSR.tmx.t_suspend() < 0:
            self._reply(500, "Server Internal Error")
            return next_step("done")
        transaction = current_transaction()
        if question.method == "INVITE":
            KSR.htable.sht_seti("im_waiting", waiting_key(transaction), int(time.monotonic() * 10))
        if self._send(transaction, question, read_bytes("$mb")):
            return next_step("done")
        self._answer = None
        return self._continue(transaction)

    def tell_leg(self, kind: SipEventKind, message: bytes) -> int:
        """Tell the worker what happened to a leg. Waits a little for room: such an event must not be lost (SEC-06)."""
        method = read("$rm")
        event = SipEvent(read("$ci"), kind, method, int(read("$cs") or 0), read("$ft"), read("$tt"))
        if not self._link().send(encode_question(None, event, message), SEND_WAIT):
            KSR.err(f"IM leg: worker not told of {kind} {method}, Call-ID {sent_safely(read('$ci'))}\n")
        return next_step("done")

    def _hand_back(self, before: int) -> None:
        """Give the worker the INVITEs that one before it has left, so that nobody waits for the dead (SEC-06). They stay in
        the table until it has answered them: it may die, too."""
        keys = keys_below("im_waiting", before)
        for start in range(0, len(keys), KEYS_PER_PACKET):
            content = "\n".join(keys[start : start + KEYS_PER_PACKET]).encode()
            self._link().send(encode_question(None, AbandonedInvites(), content), SEND_WAIT)

    def _new_transaction(self) -> bool:
        """Create the request's transaction. False for a retransmission, which tm has answered, and for want of memory."""
        created = KSR.tm.t_newtran()
        if created < 0:
            self._reply(500, "Server Internal Error")
        return bool(created > 0)

    def _send_request(self, request: SendRequest) -> None:
        hop = request.next_hop or "."
        if KSR.tm.t_uac_send(request.method, request.request_uri, hop, ".", request.headers, request.body) < 0:
            KSR.err(f"IM leg: cannot send {sent_safely(request.method)} to {sent_safely(request.request_uri)}\n")
            self._link().send(encode_question(None, not_sent(request)), SEND_WAIT)

    def trace(
        self,
        request: Request,
        kind: TraceKind,
        status: int = 0,
        requirement: str = "",
        detail: str = "",
        *,
        note_received: bool = True,
    ) -> None:
        """Note a step in the life of a message, and before it its reception unless the worker notes that.

        The queue drops the oldest when the worker is away for long.
        """
        originator = ANONYMOUS if asks_for_anonymity(request.privacy) else request.originator
        event = TraceEvent(
            request.call_id,
            kind,
            originator[:LONGEST_TRACED],
            request.recipient[:LONGEST_TRACED],
            status,
            requirement,
            detail[:LONGEST_TRACED],
            time.time(),
            request.received if note_received else 0.0,
        )
        KSR.mqueue.mq_add("im_trace", "-", sent_safely_line(trace_line(event)))

    def send_traces(self) -> int:
        """Send what the queue holds, in batches; called by the timer process."""
        while self._worker_alive():
            lines: list[str] = []
            while len(lines) < TRACES_PER_PACKET and KSR.mqueue.mq_fetch("im_trace") > 0:
                lines.append(read("$mqv(im_trace)"))
            if not lines:
                break
            self._link().send(encode_question(None, TraceBatch(), "\n".join(lines).encode("utf-8", "replace")), SEND_WAIT)
        return 1

    def registers_for_im(self) -> bool:
        """Whether a contact of a REGISTER is IM-capable (COR-07)."""
        return bindings.registers_for_im()

    def mark_contacts(self) -> bool:
        """Give the bindings of a REGISTER their marks (COR-07, COR-10); False, and an answer was sent, when that failed."""
        marked = bindings.mark_contacts(self._flags.marks)
        if not marked:
            self._reply(500, "Server Internal Error")
        return marked

    def _shared_facts(self, address: str, revision: int) -> EndFacts | None:
        try:
            text = KSR.htable.sht_get("im_facts", address)
        except UnicodeDecodeError:  # read while another process wrote it: `encode_shared` says why
            return None
        return self._shared.read(text, revision)

    def _continue(self, transaction: TransactionId) -> int:
        KSR.pv.seti("$var(im_index)", transaction[0])
        KSR.pv.seti("$var(im_label)", transaction[1])
        return next_step("continue")

    def _send(self, transaction: TransactionId, question: Question, content: bytes) -> bool:
        until = time.time() + self.policy.answer_timeout / 1000
        packet = encode_question(transaction, question, content, until)
        return len(packet) <= MAX_PACKET and self._link().send(packet, SEND_WAIT)

    def _link(self) -> Breaker:
        if self._breaker is None:
            self._breaker = Breaker(Path(self.policy.state_dir) / QUESTION_SOCKET)
        return self._breaker

    def _worker_alive(self) -> bool:
        beat = KSR.htable.sht_get("im_link", "beat")
        if beat is None or time.monotonic() - beat / 10 > self.policy.beat_timeout:
            return False
        return self._link().alive()

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
