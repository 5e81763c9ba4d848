"""Requests of the peer inside a dialog, and how its offers are answered (RFC 3261 12.2.2 and 14.2, RFC 3311)."""

from __future__ import annotations

from msgspec.structs import replace

from msrp_worker.sip import callee, dialog, offer_answer, session_timer
from msrp_worker.sip.caller import WAITING, early, fork_of, store_fork
from msrp_worker.sip.dialog import retargeted
from msrp_worker.sip.invite import IN_DIALOG, Phase, Signal
from msrp_worker.sip.leg_types import (
    MAX_OPEN,
    TRANSACTION_S,
    AcceptOffer,
    Cancelled,
    Cause,
    Fork,
    OfferDropped,
    Offered,
    PendingOffer,
    RefuseOffer,
    Request,
    Requested,
    Respond,
)
from msrp_worker.sip.offer_answer import Exchange, Step
from msrp_worker.sip.turn import Over, Turn


def on_request(turn: Turn, request: Request) -> None:
    """A request inside the dialog; each gets its final response, now or from the owner."""
    leg, message = turn.leg, request.message
    if leg.phase in WAITING:
        _in_early_dialog(turn, request)
        return
    if message.from_tag != leg.dialog.remote_tag:
        turn.reply(request.transaction, 481, "Call/Transaction Does Not Exist")
        return
    _take(turn, request)


def _in_early_dialog(turn: Turn, request: Request) -> None:
    """A request of one branch of our INVITE, in that branch's own dialog."""
    message = request.message
    fork = fork_of(turn.leg, message.from_tag)
    if message.method == "BYE":
        # Not allowed to a callee before its 2xx (15), so the 2xx is on its way behind it.
        if fork is None:
            fork = Fork(dialog=replace(turn.leg.dialog, remote_tag=message.from_tag))
        store_fork(turn, replace(fork, ended=True))
        turn.reply(request.transaction, 200, "OK")
        return
    if fork is None or fork.ended:
        turn.reply(request.transaction, 481, "Call/Transaction Does Not Exist")
        return
    with early(turn, message.from_tag):
        _take(turn, request)


def _take(turn: Turn, request: Request) -> None:
    leg, message = turn.leg, request.message
    if message.method == "PRACK":
        callee.on_prack(turn, request)
        return
    if not dialog.in_order(leg.dialog, message):
        turn.reply(request.transaction, 500, "Server Internal Error")  # RFC 3261 12.2.2
        return
    turn.set(dialog=dialog.received(leg.dialog, message))
    if message.method == "BYE":
        _bye(turn, request)
    elif leg.phase not in IN_DIALOG and leg.phase not in WAITING:
        turn.reply(request.transaction, 481, "Call/Transaction Does Not Exist")
    elif message.method not in leg.policy.allow:
        turn.reply(request.transaction, 405, "Method Not Allowed", (("Allow", ", ".join(leg.policy.allow)),))
    elif message.method in ("INVITE", "UPDATE"):
        _offer(turn, request)
    elif len(leg.requests) >= MAX_OPEN:
        turn.reply(request.transaction, 503, "Service Unavailable", (("Retry-After", "5"),))
    else:
        turn.set(requests=(*leg.requests, request.transaction))
        turn.tell(Requested(request.transaction, message))


def _bye(turn: Turn, request: Request) -> None:  # PFS-09
    turn.reply(request.transaction, 200, "OK")
    why = ", ".join(request.message.lines("reason"))
    over = Over(cause=Cause.BYE, why=why, status=487, reason="Request Terminated", message=request.message)
    turn.signal(Signal.BYE, over)


def _offer(turn: Turn, request: Request) -> None:  # PFS-05
    """An INVITE or UPDATE of the peer: refuse it, answer it from what is known, or ask the owner."""
    leg, message = turn.leg, request.message
    if (unknown := callee.refuse_unknown(message, leg.policy)) is not None:
        turn.reply(request.transaction, unknown.status, unknown.reason, unknown.headers)
        return
    if message.method == "INVITE" and leg.ack_cseq and leg.exchange is Exchange.STABLE:
        callee.imply_ack(turn)
        leg = turn.leg
    sdp = message.sdp
    pending = leg.offer.message.method if leg.offer is not None else ""
    refusal = offer_answer.judge_request(
        leg.exchange,
        method=message.method,
        has_offer=bool(sdp),
        our_invite=leg.phase in WAITING or any(one.method == "INVITE" for one in leg.outgoing),
        their_invite=pending == "INVITE" or leg.transaction is not None or bool(leg.ack_cseq),
        their_update=pending == "UPDATE",
        chance=turn.chance,
    )
    if refusal is not None:
        extra = () if refusal.retry_after is None else (("Retry-After", str(refusal.retry_after)),)
        turn.reply(request.transaction, refusal.status, refusal.reason, extra)
        return
    wish = session_timer.wish_of(message)
    if isinstance(granted := session_timer.answer(leg.timer, wish, leg.policy.timer, turn.now), session_timer.TooSmall):
        turn.reply(request.transaction, 422, "Session Interval Too Small", (("Min-SE", str(granted.min_se)),))
        return
    turn.set(peer_allow=message.tokens("allow") or leg.peer_allow)
    offer = PendingOffer(
        transaction=request.transaction, message=message, give_up_at=turn.now + leg.policy.offer_s, wish=wish
    )
    if message.method == "UPDATE" and not sdp:
        _accept(turn, offer, AcceptOffer(sdp=b""))  # a refresh
        return
    if sdp:
        turn.exchanged(Step.OFFER_RECEIVED)
    if sdp and sdp == leg.remote_sdp and leg.local_sdp:
        _accept(turn, offer, AcceptOffer(sdp=leg.local_sdp))  # unchanged: a refresh (RFC 4028 section 7.4)
        return
    turn.set(offer=offer)
    turn.tell(Offered(sdp, message))


def accept_offer(turn: Turn, order: AcceptOffer) -> None:
    """Answer the peer's INVITE, UPDATE or PRACK with 200; the session and the remote target change now.

    ValueError when a description is due and missing.
    """
    offer = turn.leg.offer
    if offer is None:
        return
    turn.set(offer=None)
    with early(turn, offer.message.from_tag):
        _accept(turn, offer, order)
    callee.release_held(turn)


def _accept(turn: Turn, offer: PendingOffer, order: AcceptOffer) -> None:
    leg = turn.leg
    message, transaction = offer.message, offer.transaction
    method = message.method
    if method != "UPDATE" and not order.sdp:
        raise ValueError(f"the 200 to {method} needs a session description")
    if method == "PRACK":
        turn.exchanged(Step.ANSWER_SENT)
        turn.set(local_sdp=order.sdp, remote_sdp=message.sdp)
        turn.reply(transaction, 200, "OK", order.headers, order.sdp)
        return
    headers = turn.contact_headers()
    if leg.phase is not Phase.EARLY and leg.phase not in WAITING:  # a session is there to be timed
        granted = session_timer.answer(leg.timer, offer.wish, leg.policy.timer, turn.now)
        assert isinstance(granted, session_timer.Granted)  # 422 was considered when it came
        turn.set(timer=granted.timer)
        headers = (*headers, *granted.headers)
    turn.set(dialog=retargeted(leg.dialog, message))
    if message.sdp:
        turn.exchanged(Step.ANSWER_SENT)
        turn.set(local_sdp=order.sdp, remote_sdp=message.sdp)
    elif method == "INVITE":
        turn.exchanged(Step.OFFER_SENT)
        turn.set(local_sdp=order.sdp)
    if method == "INVITE":
        undo = (transaction, leg.local_sdp, leg.remote_sdp)
        turn.set(ack_cseq=message.cseq, ack_limit=turn.now + TRANSACTION_S, undo=undo)
    turn.reply(transaction, 200, "OK", (*headers, *order.headers), order.sdp)


def refuse_offer(turn: Turn, order: RefuseOffer) -> None:
    """Say no to the peer's offer: the session stays as it was."""
    leg = turn.leg
    if leg.offer is None:
        return
    turn.reply(leg.offer.transaction, order.status, order.reason, order.headers)
    _abandon(turn)
    callee.release_held(turn)


def _abandon(turn: Turn) -> None:
    """The peer's offer is over without an answer."""
    offer = turn.leg.offer
    assert offer is not None
    turn.set(offer=None)
    with early(turn, offer.message.from_tag):
        if offer.message.sdp:
            turn.exchanged(Step.ABANDONED)


def on_offer_limit(turn: Turn) -> None:
    """The owner did not answer the peer's offer in time."""
    refuse_offer(turn, RefuseOffer(status=504, reason="Server Time-out"))
    turn.tell(OfferDropped())


def on_cancelled(turn: Turn, cancelled: Cancelled) -> None:
    """The peer took an INVITE back: the first one, or one inside the dialog; tm has answered it."""
    leg = turn.leg
    if leg.offer is not None and leg.offer.transaction == cancelled.transaction:
        _abandon(turn)
        turn.tell(OfferDropped())
        return
    if leg.ack_cseq and leg.undo is not None and leg.undo[0] == cancelled.transaction:
        # Our 200 came too late, the re-INVITE has its 487: no ACK will come, and the session is as it was.
        _, local_sdp, remote_sdp = leg.undo
        turn.set(ack_cseq=0, ack_limit=float("inf"), undo=None, local_sdp=local_sdp, remote_sdp=remote_sdp)
        if leg.exchange is Exchange.LOCAL_OFFER:
            turn.exchanged(Step.ABANDONED)
        turn.tell(OfferDropped())
        return
    turn.signal(Signal.CANCEL, Over(cause=Cause.CANCELLED))


def respond(turn: Turn, order: Respond) -> None:
    """The owner's response to a request that it was told of."""
    requests = turn.leg.requests
    if order.transaction not in requests:
        return  # answered when the leg ended
    turn.set(requests=tuple(one for one in requests if one != order.transaction))
    turn.reply(order.transaction, order.status, order.reason, order.headers, order.body)
