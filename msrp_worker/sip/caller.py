"""The caller's side of an INVITE: responses, forks, 422, and the 2xx that nobody wants (RFC 3261 section 13.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from msrp_worker.sip import dialog, reliable, session_timer
from msrp_worker.sip.dialog import Dialog
from msrp_worker.sip.invite import ENDED, Phase, Signal
from msrp_worker.sip.leg_types import (
    MAX_FORKS,
    Answered,
    Cause,
    Effect,
    Fork,
    Invitation,
    Leg,
    LegPolicy,
    OfferDropped,
    Rejected,
    Ringing,
    Role,
)
from msrp_worker.sip.message import MalformedMessage, Message
from msrp_worker.sip.offer_answer import Exchange, Step, moved
from msrp_worker.sip.port import Headers, SendRequest
from msrp_worker.sip.turn import LOST, Over, Turn

WAITING = frozenset({Phase.CALLING, Phase.PROCEEDING})
"""The owner wants an answer."""
ASKING = WAITING | {Phase.WITHDRAWN, Phase.CANCELLING}
"""The INVITE has no final response."""
FORKED = 'SIP;cause=200;text="Call completed elsewhere"'
"""Reason of the BYE to a second branch that answered (RFC 3326 section 2)."""
UNWANTED = 'SIP;cause=503;text="No such call"'


def call(
    invitation: Invitation, policy: LegPolicy, call_id: str, local_tag: str, cseq: int, now: float
) -> tuple[Leg, list[Effect]]:
    """A new leg and its INVITE. `call_id` and `local_tag` are fresh and unguessable, `cseq` the number to start with."""
    base = Dialog(
        call_id=call_id,
        local_tag=local_tag,
        local_uri=invitation.from_uri,
        remote_uri=invitation.to_uri,
        remote_target=invitation.request_uri,
        route_set=invitation.routes,
        contact=invitation.contact,
        local_cseq=cseq - 1,
    )
    leg = Leg(
        role=Role.CALLER,
        phase=Phase.CALLING,
        policy=policy,
        dialog=base,
        invite_cseq=cseq,
        exchange=Exchange.LOCAL_OFFER,
        local_sdp=invitation.sdp,
        invitation=invitation,
    )
    turn = Turn(leg, now, 0.0)
    _invite(turn)
    return turn.leg, turn.effects


def _invite(turn: Turn) -> None:
    """Send the INVITE, first or again after a 422."""
    leg = turn.leg
    invitation = leg.invitation
    assert invitation is not None
    timer = session_timer.request_headers(leg.timer, leg.policy.timer)
    headers: Headers = (
        *leg.policy.request_headers,
        *invitation.headers,
        ("Supported", ", ".join(leg.policy.supported)),
        ("Allow", ", ".join(leg.policy.allow)),
        *timer,
        ("Content-Type", invitation.content_type),
    )
    names = (invitation.from_name, invitation.to_name)
    after, command = dialog.request(leg.dialog, "INVITE", headers, invitation.body or invitation.sdp, names)
    if invitation.next_hop:
        command = SendRequest(command.method, command.request_uri, invitation.next_hop, command.headers, command.body)
    turn.set(
        dialog=after,
        invite_cseq=after.local_cseq,
        asked=session_timer.asked_interval(timer),
        invite_limit=turn.now + leg.policy.ring_s,
    )
    turn.tell(command)


def on_response(turn: Turn, message: Message) -> None:
    """A response to the initial INVITE; any order, any number of times."""
    if message.status == 100:
        turn.signal(Signal.PROVISIONAL)
    elif message.status < 200:
        _provisional(turn, message)
    elif message.status < 300:
        _success(turn, message)
    else:
        _failure(turn, message)


def on_timeout(turn: Turn) -> None:
    """No final response came: as if it were 408 (13.2.2)."""
    turn.signal(Signal.FAILURE, LOST)


def _provisional(turn: Turn, message: Message) -> None:
    leg = turn.leg
    if leg.phase not in ASKING:
        return  # late, after a final response
    wanted = leg.phase in WAITING
    turn.signal(Signal.PROVISIONAL)
    if not wanted:
        return
    fork = _fork(turn, message)
    rseq = reliable.rseq_of(message)
    if rseq is not None:
        if fork is None or reliable.hear(fork.rseq, rseq) is not reliable.Heard.NEW:
            return
        fork = _prack(turn, replace(fork, rseq=rseq), rseq)
    sdp = message.sdp
    if fork is not None:
        if sdp and not fork.answer:
            fork = replace(fork, answer=sdp)
        if sdp and rseq is not None and fork.exchange is Exchange.LOCAL_OFFER:
            fork = replace(
                fork, exchange=moved(fork.exchange, Step.ANSWER_RECEIVED)
            )  # a reliable answer ends the exchange (RFC 3262 section 5)
        store_fork(turn, fork)
    turn.set(peer_allow=message.tokens("allow") or leg.peer_allow)
    turn.tell(Ringing(message.status, message.reason, message, sdp))


def _fork(turn: Turn, message: Message) -> Fork | None:
    """The early dialog of a response, made when it is new; None without a To tag or when there are too many."""
    if not message.to_tag:
        return None
    found = fork_of(turn.leg, message.to_tag)
    if found is not None or len(turn.leg.forks) >= MAX_FORKS:
        return found
    try:
        return Fork(dialog=dialog.as_caller(_base(turn.leg), message))
    except MalformedMessage:
        return None


def _base(leg: Leg) -> Dialog:
    """The dialog as it was when the INVITE was sent."""
    return replace(leg.dialog, remote_tag="", local_cseq=leg.invite_cseq)


def fork_of(leg: Leg, remote_tag: str) -> Fork | None:
    """The early dialog with this peer tag."""
    return next((fork for fork in leg.forks if fork.dialog.remote_tag == remote_tag), None)


def store_fork(turn: Turn, fork: Fork) -> None:
    """Put an early dialog back, changed."""
    tag = fork.dialog.remote_tag
    if fork_of(turn.leg, tag) is None:
        turn.set(forks=(*turn.leg.forks, fork))
        return
    turn.set(forks=tuple(fork if one.dialog.remote_tag == tag else one for one in turn.leg.forks))


@contextmanager
def early(turn: Turn, remote_tag: str) -> Iterator[None]:
    """Work in the early dialog with this peer tag as if it were the leg's own; no change when there is none."""
    leg = turn.leg
    fork = fork_of(leg, remote_tag) if leg.phase in WAITING else None
    if fork is None:
        yield
        return
    turn.set(dialog=fork.dialog, exchange=fork.exchange, remote_sdp=fork.answer)
    yield
    now = turn.leg
    store_fork(turn, replace(fork, dialog=now.dialog, exchange=now.exchange, answer=now.remote_sdp))
    turn.set(dialog=leg.dialog, exchange=leg.exchange, remote_sdp=leg.remote_sdp)


def _prack(turn: Turn, fork: Fork, rseq: int) -> Fork:  # PFS-15, CNF-33
    """Acknowledge a reliable response in its own early dialog."""
    outer = turn.leg.dialog
    turn.set(dialog=fork.dialog)
    turn.send("PRACK", (reliable.rack_header(rseq, turn.leg.invite_cseq),))
    fork = replace(fork, dialog=turn.leg.dialog)
    turn.set(dialog=outer)
    return fork


def _success(turn: Turn, message: Message) -> None:
    leg = turn.leg
    if leg.phase not in ASKING:
        if message.to_tag != leg.dialog.remote_tag:
            _release_branch(turn, message)
        return  # repeated: tm has sent its ACK again
    fork = fork_of(leg, message.to_tag)
    try:
        made = dialog.confirmed(fork.dialog, message) if fork else dialog.as_caller(_base(leg), message)
    except MalformedMessage:
        made = replace(_base(leg), remote_tag=message.to_tag, route_set=())
    turn.set(dialog=made, peer_allow=message.tokens("allow") or leg.peer_allow, forks=())
    if fork is not None and fork.ended:
        _ended_before(turn)
        return
    sdp = (fork.answer if fork else b"") or message.sdp
    if leg.phase in ENDED:
        turn.signal(Signal.SUCCESS, Over(cause=Cause.RELEASED, why=leg.why))
        return
    if not sdp:  # tm's ACK has gone out: the session stands, without terms
        turn.tell(Rejected(502, "No session description in the answer", message))
        turn.set(phase=Phase.CANCELLING)
        turn.signal(Signal.SUCCESS, Over(cause=Cause.NO_ANSWER, why='SIP;cause=488;text="No answer to the offer"'))
        return
    timer = session_timer.answered(leg.timer, leg.asked, message, turn.now)  # CNF-28
    turn.set(
        timer=replace(timer, min_se=0),  # section 7.4: what was learned before the dialog does not count in it
        exchange=_exchange_after(leg, fork),
        remote_sdp=sdp,
    )
    _drop_what_is_elsewhere(turn)
    turn.signal(Signal.SUCCESS)
    turn.tell(Answered(sdp, message))


def _exchange_after(leg: Leg, fork: Fork | None) -> Exchange:
    """The exchange after the 2xx: the INVITE's own is over, a later one in the early dialog may be under way."""
    if fork is None:
        return Exchange.STABLE
    updating = any(one.sdp and one.remote_tag == fork.dialog.remote_tag for one in leg.outgoing)
    return fork.exchange if updating or fork.exchange is not Exchange.LOCAL_OFFER else Exchange.STABLE


def _drop_what_is_elsewhere(turn: Turn) -> None:
    """Requests in branches that were not chosen: theirs are answered with their end, responses to ours do not count."""
    offer, chosen = turn.leg.offer, turn.leg.dialog.remote_tag
    turn.set(outgoing=tuple(one for one in turn.leg.outgoing if one.remote_tag == chosen))
    if offer is not None and offer.message.from_tag != chosen:
        turn.reply(offer.transaction, 487, "Request Terminated")
        turn.set(offer=None)
        turn.tell(OfferDropped())


def _ended_before(turn: Turn) -> None:
    """The BYE of this branch came before its 2xx."""
    turn.set(phase=Phase.CONFIRMED)
    turn.signal(Signal.BYE, Over(cause=Cause.BYE))


def _release_branch(turn: Turn, message: Message) -> None:
    """Another branch answered as well (13.2.2.4). tm acknowledges the first alone: this one gets ACK and BYE from us."""
    leg = turn.leg
    if message.to_tag in leg.extra_tags or len(leg.extra_tags) >= MAX_FORKS:
        return
    turn.set(extra_tags=(*leg.extra_tags, message.to_tag))
    for command in release(message, leg.dialog.local_uri, leg.dialog.remote_uri, leg.dialog.contact, FORKED):
        turn.tell(command)


def release(response: Message, local_uri: str, remote_uri: str, contact: str, why: str) -> tuple[SendRequest, ...]:
    """ACK and BYE for the dialog that an unwanted 2xx has made; nothing when there is no way to its sender."""
    if not response.contact or not response.to_tag:
        return ()
    base = Dialog(
        call_id=response.call_id,
        local_tag=response.from_tag,
        local_uri=local_uri,
        remote_uri=remote_uri,
        remote_target=response.contact,
        contact=contact,
        local_cseq=response.cseq - 1,  # an ACK has the number of its INVITE
    )
    try:
        made = dialog.as_caller(base, response)
    except MalformedMessage:
        return ()
    made, ack = dialog.request(made, "ACK")
    return ack, dialog.request(made, "BYE", (("Reason", why),))[1]


def _failure(turn: Turn, message: Message) -> None:
    leg = turn.leg
    if leg.phase not in ASKING:
        return
    if message.status == 422 and leg.phase in WAITING:
        raised = session_timer.raised(leg.timer, message, leg.policy.timer)
        if raised is not None:  # CNF-28
            # The same Call-ID and tag, one number higher (RFC 4028 section 7.3).
            invitation = leg.invitation
            assert invitation is not None
            turn.set(timer=raised, forks=(), phase=Phase.CALLING)
            _invite(turn)
            return
    over = Over(cause=Cause.LOST, status=message.status, reason=message.reason, message=message)
    turn.signal(Signal.FAILURE, over)  # 3xx to 6xx: what to do about it is the owner's
