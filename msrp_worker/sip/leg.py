"""One leg: `step(leg, input, now, chance) -> (leg, effects)`, pure.

A leg is one INVITE dialog with one peer. Its owner (a session, a participating function) orders, the peer's messages come
in through the shell, time comes as `Tick` when `leg.next_deadline()` says so; out come commands for Kamailio and events
for the owner, in order. The last event is `Rejected` or `Ended`, exactly once; the leg may live on to end its dialog.
"""

from __future__ import annotations

from msgspec.structs import replace

from msrp_worker.sip import callee, caller, inside, outgoing
from msrp_worker.sip.invite import ENDED, Phase, Signal
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Ack,
    Cancelled,
    Cause,
    Effect,
    Ended,
    Input,
    Leg,
    NotStored,
    Offer,
    Present,
    Refuse,
    RefuseOffer,
    Rejected,
    Release,
    Request,
    Respond,
    Response,
    Ring,
    Role,
    Send,
    Tick,
    TimedOut,
)
from msrp_worker.sip.turn import LOST, Over, Turn

EXPIRED = Over(cause=Cause.SESSION_EXPIRED, why='SIP;cause=408;text="Session expired"')
RANG_OUT = Over(cause=Cause.INVITE_EXPIRED, status=487, reason="Request Terminated")


def step(leg: Leg, what: Input, now: float, chance: float = 0.5) -> tuple[Leg, list[Effect]]:
    """The leg and its effects after `what` at `now` (seconds of a clock that does not jump).

    `chance` in [0, 1) is drawn anew for each step; it decides waiting times that must differ between the two sides.
    """
    if leg.phase is Phase.TERMINATED:
        return leg, _after_the_end(leg, what)
    turn = Turn(leg, now, chance)
    _dispatch(turn, what)
    return turn.leg, turn.effects


def _dispatch(turn: Turn, what: Input) -> None:
    match what:
        case Request():
            inside.on_request(turn, what)
        case Response(message):
            if _is_first_invite(turn.leg, message.method, message.cseq):
                caller.on_response(turn, message)
            else:
                outgoing.on_response(turn, message)
        case TimedOut(method, cseq, remote_tag):
            if _is_first_invite(turn.leg, method, cseq):
                caller.on_timeout(turn)
            else:
                outgoing.on_timeout(turn, method, cseq, remote_tag)
        case Ack(message):
            callee.on_ack(turn, message)
        case Cancelled():
            inside.on_cancelled(turn, what)
        case Tick():
            _tick(turn)
        case NotStored():
            _not_stored(turn)
        case Ring():
            callee.ring(turn, what)
        case Accept():
            callee.accept(turn, what)
        case Refuse():
            callee.refuse(turn, what)
        case Offer():
            outgoing.offer(turn, what)
        case AcceptOffer():
            inside.accept_offer(turn, what)
        case RefuseOffer():
            inside.refuse_offer(turn, what)
        case Send():
            outgoing.send(turn, what)
        case Respond():
            inside.respond(turn, what)
        case Present():
            turn.set(dialog=replace(turn.leg.dialog, contact=what.contact))
        case Release():
            over = Over(cause=what.cause, why=what.why, status=what.status, reason=what.reason)
            turn.signal(Signal.RELEASE, over)


def _is_first_invite(leg: Leg, method: str, cseq: int) -> bool:
    return leg.role is Role.CALLER and method == "INVITE" and cseq == leg.invite_cseq


def _after_the_end(leg: Leg, what: Input) -> list[Effect]:
    """A terminated leg knows only that its dialog does not exist any more."""
    if not isinstance(what, Request):
        return []
    turn = Turn(leg, 0.0, 0.0)
    turn.reply(what.transaction, 481, "Call/Transaction Does Not Exist")
    return turn.effects


def _tick(turn: Turn) -> None:
    """Everything that is due, in the order in which one thing makes the next needless."""
    now = turn.now
    if now >= turn.leg.invite_limit:
        turn.set(invite_limit=float("inf"))
        if turn.leg.role is Role.CALLER:
            turn.signal(Signal.LOST, LOST)
        else:
            turn.signal(Signal.EXPIRED, RANG_OUT)
    if (state := turn.leg.reliable) is not None and (at := state.deadline()) is not None and now >= at:
        callee.resend(turn)
    if now >= turn.leg.ack_limit:
        callee.on_no_ack(turn)
    outgoing.on_limits(turn)
    if (offer := turn.leg.offer) is not None and now >= offer.give_up_at:
        inside.on_offer_limit(turn)
    if (again := turn.leg.again) is not None and now >= again.at:
        outgoing.try_again(turn)
    if turn.leg.phase in (Phase.CONFIRMED, Phase.ACCEPTED):
        _check_session(turn)


def _check_session(turn: Turn) -> None:
    leg = turn.leg
    match leg.timer.due(turn.now):
        case "expired":
            turn.signal(Signal.LOST, EXPIRED)  # PFS-10, CNF-28
        case "refresh" if not leg.refresh_blocked:
            outgoing.refresh(turn)
        case _:
            pass


def abandon(leg: Leg) -> tuple[Leg, list[Effect]]:
    """Give a leg up without another word to the peer: the last resort, when its rules fail."""
    turn = Turn(leg, 0.0, 0.0)
    turn.set(phase=Phase.TERMINATED)
    turn.tell(Ended(Cause.LOST))
    return turn.leg, turn.effects


def _not_stored(turn: Turn) -> None:
    """The step before promised what could not be stored: nothing of it was sent, so the leg never came to be."""
    leg = turn.leg
    turn.set(phase=Phase.TERMINATED)
    if leg.phase in ENDED:
        return
    if leg.role is Role.CALLER:
        turn.tell(Rejected(503, "Service Unavailable"))
    else:
        turn.tell(Ended(Cause.NOT_STORED))
