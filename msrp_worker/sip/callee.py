"""The callee's side of an INVITE: provisional responses and their PRACK, the 2xx and its ACK (RFC 3261 13.3, RFC 3262)."""

from __future__ import annotations

from msgspec import Struct

from kemi.messages import TransactionId
from msrp_worker.sip import dialog, reliable, session_timer
from msrp_worker.sip.invite import Phase, Signal
from msrp_worker.sip.leg_types import (
    TRANSACTION_S,
    Accept,
    Answered,
    Cause,
    Leg,
    LegPolicy,
    Offered,
    PendingOffer,
    Refuse,
    Request,
    Ring,
    Role,
)
from msrp_worker.sip.message import MalformedMessage, Message
from msrp_worker.sip.offer_answer import Exchange, Step
from msrp_worker.sip.port import Headers
from msrp_worker.sip.reliable import Provisional, Reliable
from msrp_worker.sip.turn import Over, Turn, stop_reliable

UNANSWERED = frozenset({Phase.INCOMING, Phase.EARLY})


class Refusal(Struct, frozen=True):
    """The INVITE does not become a leg; this is its response."""

    status: int
    reason: str
    headers: Headers = ()


def refuse_unknown(request: Message, policy: LegPolicy) -> Refusal | None:
    """420 for a request that requires what is not known here (RFC 3261 section 8.2.2.3)."""
    unknown = request.tokens("require") - {*policy.supported, *policy.understood}
    if not unknown:
        return None
    return Refusal(420, "Bad Extension", (("Unsupported", ", ".join(sorted(unknown))),))


def answer_call(
    request: Message, transaction: TransactionId, policy: LegPolicy, contact: str, local_tag: str, now: float, chance: float
) -> Leg | Refusal:
    """The leg of an INVITE that came in outside any dialog, or its refusal; nothing is sent yet.

    `contact` is our whole Contact value, `chance` in [0, 1) chooses the first RSeq.
    """
    required = request.tokens("require")
    if (refusal := refuse_unknown(request, policy)) is not None:
        return refusal
    wish = session_timer.wish_of(request)
    granted = session_timer.answer(session_timer.SessionTimer(), wish, policy.timer, now)
    if isinstance(granted, session_timer.TooSmall):
        return Refusal(422, "Session Interval Too Small", (("Min-SE", str(granted.min_se)),))  # CNF-28
    try:
        made = dialog.as_callee(request, local_tag, contact)
    except MalformedMessage as error:
        return Refusal(400, "Bad Request", (("Warning", f'399 im "{error}"'),))
    knows_reliable = "100rel" in required or "100rel" in request.tokens("supported")
    expires = request.number("expires")
    sdp = request.sdp
    return Leg(
        role=Role.CALLEE,
        phase=Phase.INCOMING,
        policy=policy,
        dialog=made,
        invite_cseq=request.cseq,
        exchange=Exchange.REMOTE_OFFER if sdp else Exchange.NONE,
        invite_limit=now + min(policy.ring_s, policy.ring_s if expires is None else expires),
        remote_sdp=sdp,
        peer_allow=request.tokens("allow"),
        transaction=transaction,
        invite_wish=wish,
        reliable=Reliable(1 + int(chance * (reliable.MAX_FIRST_RSEQ - 1)), request.cseq) if knows_reliable else None,
        must_be_reliable="100rel" in required,
    )


def ring(turn: Turn, order: Ring) -> None:
    """Send a provisional response, or queue it behind one that has no PRACK yet."""
    leg = turn.leg
    if leg.phase not in UNANSWERED or leg.held is not None or leg.transaction is None:
        return
    reliably = leg.reliable is not None and (order.reliably or leg.must_be_reliable)
    if reliably and leg.exchange is Exchange.NONE and not order.sdp:
        # RFC 3262 section 5: such a response must carry the offer; without one an ordinary 180 says less but no wrong.
        reliably = False
        if leg.must_be_reliable:
            return
    turn.signal(Signal.RING)
    provisional = Provisional(order.status, order.reason, order.headers, order.sdp)
    if not reliably or leg.reliable is None:
        _send_provisional(turn, provisional, ())
        return
    try:
        state, to_send = reliable.send(leg.reliable, provisional, turn.now)
    except ValueError:
        return  # progress that the caller cannot keep up with is not worth more memory
    turn.set(reliable=state)
    if order.sdp and leg.exchange in (Exchange.NONE, Exchange.REMOTE_OFFER):
        _description_sent(turn, order.sdp)
    if to_send is not None:
        _send_provisional(turn, to_send, reliable.headers(state))


def _send_provisional(turn: Turn, one: Provisional, extra: Headers) -> None:
    assert turn.leg.transaction is not None
    headers = (*turn.contact_headers(), *extra, *one.headers)
    turn.reply(turn.leg.transaction, one.status, one.reason, headers, one.body)


def _description_sent(turn: Turn, sdp: bytes) -> None:
    """A reliable response or the 200 carries our answer, or our offer when the INVITE had none."""
    turn.exchanged(Step.OFFER_SENT if turn.leg.exchange is Exchange.NONE else Step.ANSWER_SENT)
    turn.set(local_sdp=sdp)


def resend(turn: Turn) -> None:
    """A retransmission of a reliable response is due, or it is time to give up."""
    leg = turn.leg
    if leg.reliable is None:
        return
    state, again, given_up = reliable.due(leg.reliable, turn.now)
    turn.set(reliable=state)
    if given_up:
        turn.signal(Signal.EXPIRED, Over(cause=Cause.NO_PRACK, status=504, reason="Server Time-out"))
    elif again is not None:
        _send_provisional(turn, again, reliable.headers(state))


def on_prack(turn: Turn, request: Request) -> None:  # PFS-15, CNF-33
    """PRACK: 200 when its RAck is that of the response under way, 481 otherwise; it may hold an answer or a new offer.

    It is judged by RAck alone and not by the order of CSeq: Kamailio's processes may hand two requests over crosswise.
    """
    leg, message = turn.leg, request.message
    if leg.reliable is None or not reliable.matches(leg.reliable, message):
        turn.reply(request.transaction, 481, "Call/Transaction Does Not Exist")
        return
    sdp = message.sdp
    state, following = reliable.acknowledged(leg.reliable, turn.now)
    turn.set(reliable=state, dialog=dialog.received(leg.dialog, message))
    if sdp and leg.exchange is Exchange.STABLE and leg.offer is None:
        turn.exchanged(Step.OFFER_RECEIVED)
        turn.set(
            offer=PendingOffer(
                transaction=request.transaction,
                message=message,
                give_up_at=turn.now + leg.policy.offer_s,
                wish=session_timer.Wish(),
            ),
        )
        turn.tell(Offered(sdp, message))
    else:
        turn.reply(request.transaction, 200, "OK")
        if sdp and leg.exchange is Exchange.LOCAL_OFFER:
            turn.exchanged(Step.ANSWER_RECEIVED)
            turn.set(remote_sdp=sdp)
            turn.tell(Answered(sdp, message))
    if following is not None:
        _send_provisional(turn, following, reliable.headers(state))
    release_held(turn)


def release_held(turn: Turn) -> None:
    """Send the 2xx that had to wait, when nothing holds it any more."""
    leg = turn.leg
    if leg.held is not None and not must_hold(leg):
        turn.set(held=None)
        accept(turn, leg.held)


def must_hold(leg: Leg) -> bool:
    """Whether the 2xx has to wait for a PRACK with or for a description (RFC 3262 section 5)."""
    in_prack = leg.offer is not None and leg.offer.message.method != "INVITE"
    return in_prack or (leg.reliable is not None and leg.reliable.holds_answer)


def accept(turn: Turn, order: Accept) -> None:
    """Send the 200 to the INVITE. ValueError when it lacks the description that is due."""
    leg = turn.leg
    if leg.phase not in UNANSWERED or leg.transaction is None:
        return
    if must_hold(leg):
        turn.set(held=order)
        return
    granted = session_timer.answer(leg.timer, leg.invite_wish, leg.policy.timer, turn.now)
    assert isinstance(granted, session_timer.Granted)  # 422 was considered when the INVITE came
    body = b""
    if leg.exchange in (Exchange.NONE, Exchange.REMOTE_OFFER):
        if not order.sdp:
            raise ValueError("the 200 needs a session description")
        body = order.sdp
        _description_sent(turn, body)
    turn.reply(leg.transaction, 200, "OK", (*turn.contact_headers(), *granted.headers, *order.headers), body)
    turn.set(
        transaction=None,
        timer=granted.timer,
        invite_limit=float("inf"),
        ack_cseq=leg.invite_cseq,
        ack_limit=turn.now + TRANSACTION_S,
    )
    stop_reliable(turn)
    turn.signal(Signal.ANSWER)


def refuse(turn: Turn, order: Refuse) -> None:
    """Send the final response that says no."""
    leg = turn.leg
    if leg.phase not in UNANSWERED or leg.transaction is None:
        return
    turn.reply(leg.transaction, order.status, order.reason, order.headers)
    turn.signal(Signal.REFUSE, Over(cause=Cause.RELEASED))


def on_ack(turn: Turn, message: Message) -> None:
    """The ACK to a 2xx of ours, to the first INVITE or to one inside the dialog; any other one is dropped."""
    leg = turn.leg
    if not leg.ack_cseq or message.cseq != leg.ack_cseq:
        return
    turn.set(ack_cseq=0, ack_limit=float("inf"))
    turn.signal(Signal.ACK)
    if turn.leg.exchange is not Exchange.LOCAL_OFFER or turn.leg.phase is not Phase.CONFIRMED:
        return
    if leg.outgoing and any(one.method == "UPDATE" and one.sdp for one in leg.outgoing):
        return  # that offer is of an UPDATE of ours
    sdp = message.sdp
    if not sdp:
        turn.signal(Signal.LOST, Over(cause=Cause.NO_ANSWER, why='SIP;cause=488;text="No answer to the offer"'))
        return
    turn.exchanged(Step.ANSWER_RECEIVED)
    turn.set(remote_sdp=sdp)
    turn.tell(Answered(sdp, message))


def imply_ack(turn: Turn) -> None:
    """A later INVITE has overtaken the ACK, without which its sender would not have sent it."""
    turn.set(ack_cseq=0, ack_limit=float("inf"))
    turn.signal(Signal.ACK)


def on_no_ack(turn: Turn) -> None:
    """64*T1 without the ACK (13.3.1.4, 14.2); tm does not tell."""
    turn.set(ack_cseq=0, ack_limit=float("inf"))
    turn.signal(Signal.NO_ACK, Over(cause=Cause.NO_ACK, why='SIP;cause=408;text="No ACK"'))
