"""Offers, refreshes and other requests inside a dialog, on both sides."""

from __future__ import annotations

import pytest

from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import (
    AcceptOffer,
    Answered,
    Cancelled,
    Cause,
    Ended,
    LegPolicy,
    Offer,
    OfferDropped,
    Offered,
    OfferRefused,
    RefuseOffer,
    Release,
    Replied,
    Request,
    Requested,
    Respond,
    Response,
    Send,
    Tick,
    TimedOut,
)
from msrp_worker.sip.message import read
from msrp_worker.sip.offer_answer import MAX_TRIES, Exchange
from msrp_worker.sip.port import Reply, SendRequest
from msrp_worker.sip.session_timer import TimerPolicy
from tests.msrp_worker.sip.legs import (
    NOW,
    Script,
    accepted,
    commands,
    confirmed_callee,
    confirmed_caller,
    only,
    statuses,
    told,
)
from tests.msrp_worker.sip.sip_text import (
    ANSWER,
    CALLEE_CONTACT,
    OFFER,
    OTHER_ANSWER,
    OTHER_OFFER,
    header,
    request,
    response,
)

ALLOW = (("Allow", "INVITE, ACK, BYE, UPDATE"),)
SHORT = LegPolicy(timer=TimerPolicy(interval_s=100))


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_new_offer_of_the_peer_is_the_owners(method: str) -> None:
    script = confirmed_callee()
    effects = script.request(method, 2, body=OTHER_OFFER, contact="<sip:alice@198.51.100.2>")
    assert only(effects, Offered).sdp == OTHER_OFFER and commands(effects) == []
    assert script.leg.dialog.remote_target == "sip:alice@198.51.100.1:5060", "not before it is accepted"
    reply = only(script.do(AcceptOffer(sdp=OTHER_ANSWER)), Reply)
    assert (reply.status, reply.body, header(reply, "Contact")) == (200, OTHER_ANSWER, CALLEE_CONTACT)
    assert header(reply, "Session-Expires") == "1800;refresher=uas"
    assert script.leg.dialog.remote_target == "sip:alice@198.51.100.2"
    assert script.leg.exchange is Exchange.STABLE
    assert (script.leg.ack_cseq == 2) is (method == "INVITE")


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refused_offer_leaves_the_session_as_it_was(method: str) -> None:
    script = confirmed_callee()
    before = script.leg
    script.request(method, 2, body=OTHER_OFFER, contact="<sip:alice@198.51.100.2>")
    assert statuses(script.do(RefuseOffer(headers=(("Warning", "304 x y"),)))) == [488]
    assert script.leg == type(before)(**{**fields(before), "dialog": script.leg.dialog})
    assert script.leg.dialog.remote_target == before.dialog.remote_target


def fields(leg: object) -> dict[str, object]:
    return {name: getattr(leg, name) for name in leg.__struct_fields__}  # type: ignore[attr-defined]


def test_a_re_invite_without_offer_asks_for_one() -> None:
    script = confirmed_callee()
    assert only(script.request("INVITE", 2), Offered).sdp == b""
    assert only(script.do(AcceptOffer(sdp=OTHER_ANSWER)), Reply).body == OTHER_ANSWER
    assert only(script.ack(2, OTHER_OFFER), Answered).sdp == OTHER_OFFER


@pytest.mark.requirement("CNF-28")
def test_an_unchanged_description_is_a_refresh_and_needs_no_owner() -> None:
    script = confirmed_callee()
    script.now += 50
    reply = only(script.request("INVITE", 2, body=OFFER), Reply)
    assert (reply.status, reply.body) == (200, ANSWER)
    assert script.leg.timer.expires_at == script.now + 1800
    script.ack(2)
    assert statuses(script.request("UPDATE", 3)) == [200]
    assert told(script.effects[4:]) == []


def test_a_missing_ack_to_a_re_invite_ends_the_session() -> None:
    script = confirmed_callee()
    script.request("INVITE", 2, body=OFFER)
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 32
    assert only(script.do(Tick()), Ended).cause is Cause.NO_ACK


def test_a_re_invite_that_overtakes_the_ack_implies_it() -> None:
    script = accepted()
    only(script.request("INVITE", 2, body=OTHER_OFFER), Offered)
    assert script.leg.phase is Phase.CONFIRMED
    assert script.ack(1) == []


@pytest.mark.requirement("PFS-08")
def test_a_cancelled_re_invite_drops_its_offer() -> None:
    script = confirmed_callee()
    script.request("INVITE", 2, body=OTHER_OFFER)
    assert script.leg.offer is not None
    assert script.do(Cancelled(script.leg.offer.transaction)) == [OfferDropped()]
    assert script.do(AcceptOffer(sdp=OTHER_ANSWER)) == [] and script.leg.phase is Phase.CONFIRMED


def test_an_owner_that_does_not_answer_an_offer_is_answered_for() -> None:
    script = confirmed_callee()
    script.request("UPDATE", 2, body=OTHER_OFFER)
    script.now = script.leg.next_deadline() or 0
    effects = script.do(Tick())
    assert statuses(effects) == [504] and told(effects) == [OfferDropped()]


@pytest.mark.parametrize(
    ("pending", "next_method", "body", "status"),
    [
        ("INVITE", "INVITE", OTHER_OFFER, 500),
        ("INVITE", "UPDATE", OTHER_OFFER, 500),
        ("INVITE", "UPDATE", b"", 200),
        ("UPDATE", "UPDATE", OTHER_OFFER, 500),
        ("UPDATE", "UPDATE", b"", 500),
        ("UPDATE", "INVITE", OTHER_OFFER, 500),
    ],
)
@pytest.mark.requirement("PFS-05")
def test_a_second_offer_before_the_answer_to_the_first(pending: str, next_method: str, body: bytes, status: int) -> None:
    script = confirmed_callee()
    script.request(pending, 2, body=OTHER_OFFER)
    reply = only(script.request(next_method, 3, body=body), Reply)
    assert reply.status == status
    assert (header(reply, "Retry-After") == "5") is (status == 500)
    assert only(script.do(AcceptOffer(sdp=OTHER_ANSWER)), Reply).status == 200, "the first one is still there"


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_retry_after_is_chosen_between_0_and_10(chance: float) -> None:
    script = confirmed_callee()
    script.request("INVITE", 2, body=OTHER_OFFER)
    again = read(request("INVITE", 3, from_tag="a", to_tag="us", body=OTHER_OFFER))
    reply = only(script.do(Request((9, 9), again), chance), Reply)
    assert header(reply, "Retry-After") == str(int(chance * 11))


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_glare_is_491_and_our_offer_goes_on(method: str) -> None:
    script = confirmed_caller(lines=ALLOW)
    ours = only(script.do(Offer(sdp=OTHER_OFFER, method=method)), SendRequest)
    assert ours.method == method and header(ours, "CSeq") == f"2 {method}"
    assert statuses(script.request("INVITE", 1, body=OTHER_ANSWER)) == [491]
    assert statuses(script.request("UPDATE", 2, body=OTHER_ANSWER)) == [491]
    assert statuses(script.request("UPDATE", 3)) == [200]
    assert only(script.respond(ours, 200, body=OTHER_ANSWER), Answered).sdp == OTHER_ANSWER


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize(
    ("script", "chance", "delay"),
    [
        (confirmed_caller, 0.0, 2.1),
        (confirmed_caller, 0.5, 3.05),
        (confirmed_caller, 0.9999, 4.0),
        (confirmed_callee, 0.0, 0.0),
        (confirmed_callee, 0.5, 1.0),
        (confirmed_callee, 0.9999, 2.0),
    ],
)
def test_after_a_491_the_offer_is_made_again(script: object, chance: float, delay: float) -> None:
    one: Script = script()  # type: ignore[operator]
    first = only(one.do(Offer(sdp=OTHER_OFFER)), SendRequest)
    tag = one.leg.dialog.remote_tag
    assert one.do(Response(response(first, 491, to_tag=tag)), chance) == []
    assert one.leg.next_deadline() == pytest.approx(NOW + delay)
    one.now += delay
    again = only(one.do(Tick()), SendRequest)
    assert again.body == OTHER_OFFER and header(again, "CSeq").split()[0] == str(one.leg.dialog.local_cseq)
    one.respond(again, 200, to_tag=tag, body=OTHER_ANSWER)
    assert one.leg.remote_sdp == OTHER_ANSWER


def test_an_offer_that_meets_491_for_ever_is_given_up() -> None:
    script = confirmed_caller()
    script.do(Offer(sdp=OTHER_OFFER))
    for number in range(MAX_TRIES):
        effects = script.respond(script.sent(), 491)
        if number < MAX_TRIES - 1:
            script.now = script.leg.next_deadline() or 0
            script.do(Tick())
    assert only(effects, OfferRefused).status == 491
    assert script.leg.phase is Phase.CONFIRMED and script.leg.exchange is Exchange.STABLE


def test_an_offer_waits_for_the_ack_and_for_the_peers_exchange() -> None:
    script = accepted()
    assert script.do(Offer(sdp=OTHER_ANSWER), 0.5) == []
    assert only(script.do(Offer(sdp=OTHER_ANSWER)), OfferRefused).status == 491, "one at a time"
    script.ack()
    script.now += 1.0
    assert only(script.do(Tick()), SendRequest).method == "INVITE"


@pytest.mark.requirement("PFS-05")
def test_update_only_where_allow_said_so() -> None:
    assert confirmed_caller().do(Offer(sdp=OTHER_OFFER, method="UPDATE"))[0].method == "INVITE"  # type: ignore[union-attr]
    assert confirmed_caller(lines=ALLOW).do(Offer(sdp=OTHER_OFFER, method="UPDATE"))[0].method == "UPDATE"  # type: ignore[union-attr]


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("status", [488, 500, 403, 606])
def test_a_refusal_of_our_offer_keeps_the_old_session(status: int) -> None:
    script = confirmed_caller()
    script.do(Offer(sdp=OTHER_OFFER))
    effects = script.respond(script.sent(), status, contact="<sip:elsewhere@x>")
    assert only(effects, OfferRefused).status == status and len(effects) == 1
    assert (script.leg.local_sdp, script.leg.remote_sdp) == (OFFER, ANSWER)
    assert script.leg.dialog.remote_target == "sip:bob@203.0.113.5"


@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_peer_that_lost_the_dialog_gets_a_bye(status: int, method: str) -> None:
    script = confirmed_caller(lines=ALLOW)
    script.do(Offer(sdp=OTHER_OFFER, method=method))
    effects = script.respond(script.sent(), status)
    assert only(effects, Ended).cause is Cause.LOST and only(effects, SendRequest).method == "BYE"
    assert f"cause={status}" in header(script.sent(), "Reason")


@pytest.mark.parametrize("told_by_tm", [True, False])
def test_an_offer_without_any_response_ends_the_session(told_by_tm: bool) -> None:
    script = confirmed_caller(lines=ALLOW)
    script.do(Offer(sdp=OTHER_OFFER, method="UPDATE"))
    script.now = script.leg.next_deadline() or 0
    effects = script.do(TimedOut("UPDATE", 2, "b") if told_by_tm else Tick())
    assert only(effects, Ended).cause is Cause.LOST


def test_a_late_and_a_repeated_response_find_nothing() -> None:
    script = confirmed_caller()
    script.do(Offer(sdp=OTHER_OFFER))
    sent = script.sent()
    script.respond(sent, 200, body=OTHER_ANSWER)
    leg = script.leg
    for status in (100, 180, 200, 491, 481):
        assert script.respond(sent, status, body=ANSWER) == []
    assert script.leg == leg


@pytest.mark.requirement("PFS-15")
def test_a_reliable_response_to_a_re_invite_is_acknowledged() -> None:
    script = confirmed_caller()
    script.do(Offer(sdp=OTHER_OFFER))
    sent = script.sent()
    lines = (("Require", "100rel"), ("RSeq", "4"))
    prack = only(script.respond(sent, 183, lines=lines), SendRequest)
    assert (header(prack, "RAck"), header(prack, "CSeq")) == ("4 2 INVITE", "3 PRACK")
    assert script.respond(sent, 183, lines=lines) == []
    assert only(script.respond(sent, 200, body=OTHER_ANSWER), Answered).sdp == OTHER_ANSWER


@pytest.mark.requirement("CNF-28")
@pytest.mark.parametrize(
    ("lines", "method"), [(ALLOW, "UPDATE"), ((), "INVITE")], ids=["peer allows UPDATE", "peer does not"]
)
def test_the_session_is_refreshed_at_half_its_interval(lines: tuple[tuple[str, str], ...], method: str) -> None:
    expires = (("Session-Expires", "100;refresher=uac"), ("Require", "timer"))
    script = confirmed_caller(SHORT, lines=(*expires, *lines))
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 50
    refresh = only(script.do(Tick()), SendRequest)
    assert refresh.method == method and refresh.body == (b"" if method == "UPDATE" else OFFER)
    assert header(refresh, "Session-Expires") == "100;refresher=uac"
    body = b"" if method == "UPDATE" else ANSWER
    assert script.respond(refresh, 200, lines=expires, body=body) == []
    assert script.leg.timer.expires_at == NOW + 150


@pytest.mark.requirement("CNF-28", "PFS-10")
def test_without_a_refresh_of_the_peer_the_session_ends_before_its_time() -> None:
    script = confirmed_callee(lines=(("Supported", "timer"), ("Session-Expires", "90;refresher=uac")))
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 60
    effects = script.do(Tick())
    assert only(effects, Ended).cause is Cause.SESSION_EXPIRED
    assert only(effects, SendRequest).method == "BYE"


@pytest.mark.requirement("CNF-28", "PFS-10")
def test_a_refresh_that_keeps_failing_ends_at_the_expiry() -> None:
    script = confirmed_caller(SHORT, lines=(("Session-Expires", "100;refresher=uac"),))
    tries = []
    while script.leg.phase is Phase.CONFIRMED:
        script.now = script.leg.next_deadline() or 0
        effects = script.do(Tick())
        if script.leg.phase is Phase.CONFIRMED:
            tries.append(script.now - NOW)
            script.respond(script.sent(), 503)
    assert tries == [50, 75, 87.5, 97.5]
    assert script.now == NOW + 100 and only(effects, Ended).cause is Cause.SESSION_EXPIRED


@pytest.mark.requirement("CNF-28")
def test_a_refresh_without_response_ends_at_the_expiry_at_the_latest() -> None:
    script = confirmed_caller(SHORT, lines=(*ALLOW, ("Session-Expires", "100;refresher=uac")))
    script.now = NOW + 50
    script.do(Tick())
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 86
    assert only(script.do(Tick()), Ended).cause is Cause.LOST


@pytest.mark.requirement("CNF-28")
def test_a_refresh_that_gets_422_is_repeated_with_more() -> None:
    script = confirmed_caller(SHORT, lines=ALLOW)
    script.now = NOW + 50
    script.do(Tick())
    again = only(script.respond(script.sent(), 422, lines=(("Min-SE", "300"),)), SendRequest)
    assert (header(again, "Session-Expires"), header(again, "Min-SE")) == ("300;refresher=uac", "300")
    script.respond(again, 200, lines=(("Session-Expires", "300;refresher=uac"),))
    assert script.leg.timer.interval == 300


@pytest.mark.requirement("CNF-28")
def test_a_peer_without_timers_is_refreshed_by_us() -> None:
    script = confirmed_caller(SHORT)
    assert script.leg.timer.refreshes_here and script.leg.timer.interval == 100
    callee = confirmed_callee(lines=())
    assert callee.leg.timer.refreshes_here


@pytest.mark.requirement("CNF-28")
def test_a_refresh_of_the_peer_with_too_small_an_interval_gets_422() -> None:
    script = confirmed_callee()
    leg = script.leg
    reply = only(script.request("UPDATE", 2, lines=(("Supported", "timer"), ("Session-Expires", "30"))), Reply)
    assert (reply.status, header(reply, "Min-SE")) == (422, "90")
    assert script.leg.timer == leg.timer


def test_other_requests_are_the_owners() -> None:
    script = confirmed_callee()
    requested = only(script.request("REFER", 2, lines=(("Refer-To", "<sip:x@y>"),)), Requested)
    assert requested.message.first("refer-to") == "<sip:x@y>"
    reply = only(script.do(Respond(transaction=requested.transaction, status=202, reason="Accepted")), Reply)
    assert (reply.transaction, reply.status) == (requested.transaction, 202)
    assert script.do(Respond(transaction=requested.transaction, status=202, reason="Accepted")) == []


def test_open_requests_are_bounded_and_end_with_the_leg() -> None:
    script = confirmed_callee()
    for number in range(16):
        assert statuses(script.request("INFO", 2 + number)) == []
    assert statuses(script.request("INFO", 18)) == [503]
    script.request("INVITE", 19, body=OTHER_OFFER)
    effects = script.request("BYE", 20)
    assert statuses(effects) == [200] + [487] * 17


def test_unknown_methods_and_old_numbers_are_refused() -> None:
    script = confirmed_callee()
    reply = only(script.request("FOO", 2), Reply)
    assert reply.status == 405 and "INVITE" in header(reply, "Allow")
    assert statuses(script.request("INFO", 2)) == [500]
    assert statuses(script.request("INFO", 1)) == [500]
    assert told(script.request("INFO", 90)) != []


def test_a_request_of_the_owner_and_its_response() -> None:
    script = confirmed_callee()
    info = only(script.do(Send(method="INFO", headers=(("Content-Type", "text/plain"),), body=b"x")), SendRequest)
    assert header(info, "Contact") == "" and header(info, "Content-Type") == "text/plain"
    tag = script.leg.dialog.remote_tag
    assert script.respond(info, 180, to_tag=tag) == []
    replied = only(script.respond(info, 481, to_tag=tag), Replied)
    assert (replied.method, replied.status) == ("INFO", 481)
    assert script.leg.phase is Phase.CONFIRMED
    script.do(Send(method="INFO"))
    assert only(script.do(TimedOut("INFO", 2, tag)), Replied).status == 408
    script.do(Release())
    assert script.do(Send(method="INFO")) == []


@pytest.mark.requirement("PFS-08")
@pytest.mark.parametrize("offer", [OTHER_OFFER, b""])
def test_a_cancel_that_was_before_our_200_to_a_re_invite_undoes_it(offer: bytes) -> None:
    script = confirmed_callee()
    script.request("INVITE", 2, body=offer)
    accepted = only(script.do(AcceptOffer(sdp=OTHER_ANSWER)), Reply)
    assert script.do(Cancelled(accepted.transaction)) == [OfferDropped()]
    assert (script.leg.local_sdp, script.leg.remote_sdp) == (ANSWER, OFFER)
    assert script.leg.exchange is Exchange.STABLE
    assert script.leg.next_deadline() == NOW + 900, "no ACK is waited for, only the next refresh"
    assert script.do(Cancelled(accepted.transaction)) == [] and script.leg.phase is Phase.CONFIRMED
