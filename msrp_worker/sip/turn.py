"""One step of a leg under way: the leg so far and the effects so far, with what every rule needs."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kemi.messages import TransactionId
from msrp_worker.sip import dialog, reliable
from msrp_worker.sip.invite import ENDED, Act, Phase, Signal, move
from msrp_worker.sip.leg_types import (
    GRACE_S,
    TRANSACTION_S,
    Cause,
    Confirmed,
    Effect,
    Ended,
    Leg,
    Outgoing,
    Rejected,
    Role,
)
from msrp_worker.sip.message import Message
from msrp_worker.sip.offer_answer import Step, moved
from msrp_worker.sip.port import CancelInvite, Header, Headers, Reply, SendRequest

NEVER = float("inf")
SDP = ("Content-Type", "application/sdp")


class Over(Struct, frozen=True, kw_only=True):
    """How a leg ends: what its owner and its peer are told."""

    cause: Cause
    why: str = ""
    """Reason value for a BYE of ours, or the peer's."""
    status: int = 480
    reason: str = "Temporarily Unavailable"
    headers: Headers = ()
    message: Message | None = None


LOST = Over(cause=Cause.LOST, why='SIP;cause=408;text="Request Timeout"', status=408, reason="Request Timeout")


class Turn:
    """The working state of `leg.step`; lives for one call."""

    __slots__ = ("_owner_left", "chance", "effects", "leg", "now")

    def __init__(self, leg: Leg, now: float, chance: float) -> None:
        self.leg = leg
        self.now = now
        self.chance = chance
        self.effects: list[Effect] = []
        self._owner_left = leg.phase in ENDED

    def set(self, **changes: Any) -> None:
        """Change fields of the leg."""
        self.leg = replace(self.leg, **changes)

    def tell(self, event: Effect) -> None:
        """Add an effect. What an owner would hear after the end of its leg is dropped."""
        if not isinstance(event, Reply | SendRequest | CancelInvite):
            if self._owner_left:
                return
            self._owner_left = isinstance(event, Ended | Rejected)
        self.effects.append(event)

    # --- responses ---

    def reply(self, transaction: TransactionId, status: int, reason: str, headers: Headers = (), body: bytes = b"") -> None:
        """Answer a request of the peer."""
        if body and not any(name == "Content-Type" for name, _ in headers):
            headers = (*headers, SDP)
        self.tell(Reply(transaction, status, reason, self.leg.dialog.local_tag, headers, body))

    def contact_headers(self) -> tuple[Header, ...]:
        """What a response that creates or refreshes the dialog carries (RFC 3261 12.1.1, 13.3.1.4)."""
        policy = self.leg.policy
        return (
            ("Contact", self.leg.dialog.contact),
            ("Allow", ", ".join(policy.allow)),
            ("Supported", ", ".join(policy.supported)),
        )

    # --- requests ---

    def send(self, method: str, headers: Headers = (), body: bytes = b"", **details: Any) -> Outgoing:
        """Send a request inside the dialog and remember it until its final response."""
        if body and not any(name == "Content-Type" for name, _ in headers):
            headers = (*headers, SDP)
        headers = (*self.leg.policy.request_headers, *headers)
        after, command = dialog.request(self.leg.dialog, method, headers, body)
        wait = self.leg.policy.ring_s if method == "INVITE" else TRANSACTION_S
        sent = Outgoing(
            method=method,
            cseq=after.local_cseq,
            remote_tag=after.remote_tag,
            give_up_at=self.now + wait + GRACE_S,
            **details,
        )
        self.set(dialog=after, outgoing=(*self.leg.outgoing, sent))
        self.tell(command)
        return sent

    def forget(self, sent: Outgoing) -> None:
        """A request of ours has its final response."""
        self.set(outgoing=tuple(one for one in self.leg.outgoing if one is not sent))

    def exchanged(self, step: Step) -> None:
        """Move the offer/answer exchange. ValueError when that is not allowed now: the caller has to have asked."""
        self.set(exchange=moved(self.leg.exchange, step))

    # --- the life of the INVITE ---

    def signal(self, signal: Signal, over: Over | None = None) -> None:
        """Move the INVITE usage by its table."""
        before = self.leg.phase
        phase, acts = move(before, signal)
        self.set(phase=phase, why=self.leg.why or (over.why if over is not None else ""))
        for act in acts:
            self._do(act, over or Over(cause=Cause.LOST))
        if phase is not before:
            self._entered(phase)

    def _do(self, act: Act, over: Over) -> None:
        leg = self.leg
        match act:
            case Act.CANCEL_INVITE:
                self.tell(CancelInvite(leg.dialog.call_id, leg.invite_cseq))
            case Act.SEND_BYE:
                why = over.why or leg.why
                self.send("BYE", (("Reason", why),) if why else ())
            case Act.ANSWER_BYE:
                pass  # the receiver of the BYE has answered it: it alone knows the transaction
            case Act.REFUSE_INVITE:
                assert leg.transaction is not None
                self.reply(leg.transaction, over.status, over.reason, over.headers)
            case Act.CONFIRM:
                self.tell_confirmed()
            case Act.TELL_REJECTED:
                self.tell(Rejected(over.status, over.reason, over.message))
            case Act.TELL_END:
                self.tell(Ended(over.cause, over.why, over.message))

    def tell_confirmed(self) -> None:
        """The callee's owner hears of the ACK; the caller's hears `Answered`, which has the description."""
        if self.leg.role is Role.CALLEE:
            self.tell(Confirmed())

    def _entered(self, phase: Phase) -> None:
        match phase:
            case Phase.CANCELLING | Phase.WITHDRAWN:
                self.set(invite_limit=self.now + TRANSACTION_S + GRACE_S)
            case Phase.CONFIRMED:
                self.set(invite_limit=NEVER, forks=())
            case Phase.RELEASING | Phase.TERMINATED:
                self._wind_up(phase)

    def _wind_up(self, phase: Phase) -> None:
        """The session is over: answer what is open with 487 (RFC 3261 15.1.2), keep nothing but our BYE."""
        leg = self.leg
        if leg.offer is not None:
            self.reply(leg.offer.transaction, 487, "Request Terminated")
        for transaction in leg.requests:
            self.reply(transaction, 487, "Request Terminated")
        releasing = phase is Phase.RELEASING
        self.set(
            offer=None,
            requests=(),
            again=None,
            held=None,
            reliable=None,
            transaction=None,
            forks=(),
            outgoing=tuple(one for one in leg.outgoing if releasing and one.method == "BYE"),
            invite_limit=NEVER,
            ack_cseq=0,
            ack_limit=NEVER,
        )


def stop_reliable(turn: Turn) -> None:
    """A final response to the INVITE was sent: nothing is repeated."""
    if turn.leg.reliable is not None:
        turn.set(reliable=reliable.stopped(turn.leg.reliable))
