"""Our own requests inside a dialog: offers, refreshes, and what comes back (RFC 3261 12.2.1, 14.1; RFC 3311, 4028)."""

from __future__ import annotations

from msgspec.structs import replace

from msrp_worker.sip import offer_answer, reliable, session_timer
from msrp_worker.sip.caller import WAITING, early
from msrp_worker.sip.dialog import retargeted
from msrp_worker.sip.invite import ENDED, Phase, Signal
from msrp_worker.sip.leg_types import (
    Again,
    Answered,
    Cause,
    Offer,
    OfferRefused,
    Outgoing,
    Replied,
    Role,
    Send,
)
from msrp_worker.sip.message import Message
from msrp_worker.sip.offer_answer import Step
from msrp_worker.sip.port import Headers
from msrp_worker.sip.turn import NEVER, Over, Turn

CHANGING = frozenset({"INVITE", "UPDATE"})
GONE = frozenset({408, 481})
"""Responses that end the dialog (RFC 3261 12.2.1.2)."""


def offer(turn: Turn, order: Offer) -> None:  # PFS-05
    """Send a new offer, now or when the exchange under way is over."""
    leg = turn.leg
    if leg.phase in ENDED:
        return
    if leg.phase in (Phase.CALLING, Phase.INCOMING) or (leg.again is not None and not leg.again.request.refresh):
        turn.tell(OfferRefused(491, "Request Pending"))
        return
    method = "UPDATE" if order.method == "UPDATE" and leg.peer_allows_update else "INVITE"
    if method == "INVITE" and leg.phase in (Phase.PROCEEDING, Phase.EARLY):
        turn.tell(OfferRefused(491, "Request Pending"))  # before the 2xx only an UPDATE changes anything
        return
    turn.set(again=None)
    _attempt(turn, _draft(method, order.sdp, order.headers))


def _draft(method: str, sdp: bytes, headers: Headers = (), *, refresh: bool = False) -> Outgoing:
    return Outgoing(method=method, cseq=0, remote_tag="", give_up_at=NEVER, sdp=sdp, headers=headers, refresh=refresh)


def refresh(turn: Turn) -> None:  # CNF-28
    """Refresh the session: UPDATE without an offer where the peer allows it, else the same description again (7.4)."""
    leg = turn.leg
    plain = leg.peer_allows_update or not leg.local_sdp
    _attempt(turn, _draft("UPDATE", b"", refresh=True) if plain else _draft("INVITE", leg.local_sdp, refresh=True))


def try_again(turn: Turn) -> None:
    """The time after a 491 is over (RFC 3261 14.1)."""
    again = turn.leg.again
    assert again is not None
    turn.set(again=None)
    _attempt(turn, again.request)


def _attempt(turn: Turn, draft: Outgoing) -> None:
    """Send it if its turn has come, else wait as after a 491."""
    leg = turn.leg
    fork = leg.forks[0].dialog.remote_tag if len(leg.forks) == 1 else ""
    with early(turn, fork):
        if _its_turn(turn, draft, fork):
            _send(turn, draft)
            return
    _postpone(turn, draft)


def _its_turn(turn: Turn, draft: Outgoing, fork: str) -> bool:
    leg = turn.leg
    changing = any(one.method in CHANGING for one in leg.outgoing)
    if leg.phase in WAITING and not fork:
        return False
    if leg.phase is Phase.EARLY and (leg.reliable is None or leg.reliable.unanswered is not None):
        return False  # RFC 3311 5.1: the answer has to be acknowledged
    if not draft.sdp:
        return not changing
    return not changing and offer_answer.may_offer(
        leg.exchange,
        method=draft.method,
        confirmed=leg.phase is Phase.CONFIRMED,
        invite_open=bool(leg.ack_cseq) or leg.offer is not None,
        peer_allows_update=leg.peer_allows_update,
    )


def _send(turn: Turn, draft: Outgoing) -> None:
    leg = turn.leg
    timed = leg.phase in (Phase.CONFIRMED, Phase.ACCEPTED)
    timer = session_timer.request_headers(leg.timer, leg.policy.timer) if timed else ()
    headers = (
        ("Supported", ", ".join(leg.policy.supported)),
        ("Allow", ", ".join(leg.policy.allow)),
        *timer,
        *draft.headers,
    )
    command_sdp = draft.sdp
    sent = turn.send(draft.method, headers, command_sdp)
    kept = replace(
        sent,
        sdp=draft.sdp,
        headers=draft.headers,
        asked=session_timer.asked_interval(timer),
        refresh=draft.refresh,
        tries=draft.tries,
    )
    turn.set(outgoing=tuple(kept if one is sent else one for one in turn.leg.outgoing))
    if draft.sdp:
        turn.exchanged(Step.OFFER_SENT)


def _postpone(turn: Turn, draft: Outgoing, response: Message | None = None) -> None:
    """Another try after the delay that RFC 3261 14.1 gives each side, a bounded number of times."""
    if draft.tries >= offer_answer.MAX_TRIES:
        _given_up(turn, draft, 491, "Request Pending", response)
        return
    delay = offer_answer.retry_delay(turn.leg.role is Role.CALLER, turn.chance)
    turn.set(again=Again(at=turn.now + delay, request=replace(draft, tries=draft.tries + 1)))


def send(turn: Turn, order: Send) -> None:
    """Send INFO, REFER, NOTIFY, MESSAGE inside the dialog."""
    if turn.leg.phase not in (Phase.CONFIRMED, Phase.ACCEPTED, Phase.EARLY):
        if turn.leg.phase not in ENDED:
            turn.tell(Replied(order.method, 0, 491))
        return
    turn.send(order.method, order.headers, order.body)


def on_response(turn: Turn, message: Message) -> None:
    """A response to a request inside the dialog; repeated and late ones find nothing."""
    sent = next(
        (
            one
            for one in turn.leg.outgoing
            if one.cseq == message.cseq and one.method == message.method and one.remote_tag == message.to_tag
        ),
        None,
    )
    if sent is None:
        return
    if message.status < 200:
        _provisional(turn, sent, message)
        return
    turn.forget(sent)
    if sent.method == "BYE":
        turn.signal(Signal.BYE_DONE)  # 481 and all others: the dialog is over (15.1.1)
    elif sent.method in CHANGING:
        with early(turn, sent.remote_tag):
            _changed(turn, sent, message)
    elif sent.method != "PRACK":
        # A 481 to these ends what they belong to (a subscription, a transfer), not the session.
        turn.tell(Replied(sent.method, sent.cseq, message.status, message))


def on_timeout(turn: Turn, method: str, cseq: int, remote_tag: str) -> None:
    """A request inside the dialog has no final response: the dialog ends, as with 408 (12.2.1.2)."""
    for sent in turn.leg.outgoing:
        if sent.method == method and sent.cseq == cseq and (not remote_tag or sent.remote_tag == remote_tag):
            _timed_out(turn, sent)
            return


def on_limits(turn: Turn) -> None:
    """Requests whose final response is overdue although nothing was told."""
    for sent in turn.leg.outgoing:
        if turn.now >= sent.give_up_at and sent in turn.leg.outgoing:
            _timed_out(turn, sent)


def _timed_out(turn: Turn, sent: Outgoing) -> None:
    turn.forget(sent)
    if sent.method == "BYE":
        turn.signal(Signal.BYE_DONE)
    elif sent.method in CHANGING:
        _lost(turn, 408)
    elif sent.method != "PRACK":
        turn.tell(Replied(sent.method, sent.cseq, 408))


def _lost(turn: Turn, status: int) -> None:
    """The peer does not know the dialog any more, or is gone."""
    text = "Call/Transaction Does Not Exist" if status == 481 else "Request Timeout"
    turn.signal(Signal.LOST, Over(cause=Cause.LOST, why=f'SIP;cause={status};text="{text}"'))


def _provisional(turn: Turn, sent: Outgoing, message: Message) -> None:
    """A reliable provisional response to a re-INVITE is acknowledged like any other (PFS-15)."""
    rseq = reliable.rseq_of(message)
    if sent.method != "INVITE" or rseq is None or reliable.hear(sent.rseq, rseq) is not reliable.Heard.NEW:
        return
    kept = replace(sent, rseq=rseq)
    turn.set(outgoing=tuple(kept if one is sent else one for one in turn.leg.outgoing))
    turn.send("PRACK", (reliable.rack_header(rseq, sent.cseq),))


def _changed(turn: Turn, sent: Outgoing, message: Message) -> None:
    """Final response to an INVITE or UPDATE of ours."""
    leg = turn.leg
    if message.status < 300:
        _accepted(turn, sent, message)
        return
    if sent.sdp:
        turn.exchanged(Step.ABANDONED)  # as if it had not been sent (14.1)
    if leg.phase in ENDED:
        return
    if message.status in GONE:
        _lost(turn, message.status)
    elif message.status == 491:
        _postpone(turn, sent, message)
    elif message.status == 422 and (raised := session_timer.raised(leg.timer, message, leg.policy.timer)) is not None:
        turn.set(timer=raised)
        _attempt(turn, sent)
    else:
        _given_up(turn, sent, message.status, message.reason, message)


def _accepted(turn: Turn, sent: Outgoing, message: Message) -> None:
    leg = turn.leg
    turn.set(dialog=retargeted(leg.dialog, message), peer_allow=message.tokens("allow") or leg.peer_allow)
    if sent.asked:
        turn.set(timer=session_timer.answered(leg.timer, sent.asked, message, turn.now))
    if not sent.sdp:
        return
    sdp = message.sdp
    turn.exchanged(Step.ANSWER_RECEIVED if sdp else Step.ABANDONED)
    if not sdp:
        if not sent.refresh:
            turn.tell(OfferRefused(502, "No session description in the answer", message))
        return
    changed = sdp != leg.remote_sdp
    turn.set(local_sdp=sent.sdp, remote_sdp=sdp)
    if changed or not sent.refresh:
        turn.tell(Answered(sdp, message))


def _given_up(turn: Turn, sent: Outgoing, status: int, reason: str, response: Message | None) -> None:
    if sent.refresh:
        turn.set(timer=session_timer.refused(turn.leg.timer, turn.now))
    else:
        turn.tell(OfferRefused(status, reason, response))
