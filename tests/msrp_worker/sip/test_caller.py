"""The caller's side of an INVITE."""

from __future__ import annotations

import pytest

from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import (
    AcceptOffer,
    Answered,
    Cause,
    Ended,
    LegPolicy,
    NotStored,
    Offer,
    OfferDropped,
    Offered,
    OfferRefused,
    Rejected,
    Release,
    Ringing,
    Tick,
    TimedOut,
)
from msrp_worker.sip.offer_answer import Exchange
from msrp_worker.sip.port import CancelInvite, Reply, SendRequest
from msrp_worker.sip.session_timer import TimerPolicy
from tests.msrp_worker.sip.legs import NOW, calling, commands, confirmed_caller, only, statuses, told
from tests.msrp_worker.sip.sip_text import ANSWER, OFFER, OTHER_ANSWER, header, on_the_wire

RELIABLE = (("Require", "100rel"),)


def test_the_invite_has_all_that_tm_does_not_add() -> None:
    sent = calling().sent()
    assert (sent.method, sent.request_uri, sent.next_hop) == ("INVITE", "sip:bob@example.com", "sip:127.0.0.1:5060;lr")
    assert header(sent, "From") == '"Alice" <sip:alice@example.com>;tag=us'
    assert header(sent, "To") == "<sip:bob@example.com>"
    assert header(sent, "CSeq") == "1 INVITE"
    assert header(sent, "Contact") == "<sip:im@192.0.2.1:5060>;isfocus"
    assert "timer" in header(sent, "Supported") and "100rel" in header(sent, "Supported")
    assert header(sent, "Session-Expires") == "1800"
    assert sent.body == OFFER
    on_the_wire(sent)


def test_an_answer_makes_the_dialog_with_the_route_set_reversed() -> None:
    script = calling()
    routes = (("Record-Route", "<sip:p2;lr>, <sip:p1;lr;x=1>"), ("Record-Route", "<sip:p0;lr>"))
    effects = script.respond(script.sent(), 200, "OK", body=ANSWER, lines=routes)
    assert only(effects, Answered).sdp == ANSWER
    assert script.leg.phase is Phase.CONFIRMED
    assert script.leg.dialog.route_set == ("<sip:p0;lr>", "<sip:p1;lr;x=1>", "<sip:p2;lr>")
    assert script.leg.dialog.remote_target == "sip:bob@203.0.113.5"
    bye = only(script.do(Release(why='SIP;cause=410;text="Gone"')), SendRequest)
    assert (bye.request_uri, bye.next_hop) == ("sip:bob@203.0.113.5", "sip:p0;lr")
    assert header(bye, "Route") == "<sip:p0;lr>, <sip:p1;lr;x=1>, <sip:p2;lr>"
    assert (header(bye, "CSeq"), header(bye, "Reason")) == ("2 BYE", 'SIP;cause=410;text="Gone"')
    assert header(bye, "To") == "<sip:bob@example.com>;tag=b"


def test_ringing_is_told_and_changes_no_route_set_of_the_leg() -> None:
    script = calling()
    effects = script.respond(script.sent(), 180, "Ringing")
    assert (only(effects, Ringing).status, script.leg.phase) == (180, Phase.PROCEEDING)
    assert script.leg.dialog.remote_tag == ""


def test_100_is_not_told() -> None:
    script = calling()
    assert script.respond(script.sent(), 100, to_tag="") == []
    assert script.leg.phase is Phase.PROCEEDING


@pytest.mark.parametrize("status", [302, 404, 486, 500, 603])
def test_a_final_refusal_ends_the_leg(status: int) -> None:
    script = calling()
    effects = script.respond(script.sent(), status, "No")
    rejected = only(effects, Rejected)
    assert (rejected.status, rejected.reason, len(effects)) == (status, "No", 1)
    assert script.leg.phase is Phase.TERMINATED and script.leg.next_deadline() is None


def test_no_final_response_counts_as_408() -> None:
    script = calling()
    assert only(script.do(TimedOut("INVITE", 1, "")), Rejected).status == 408


@pytest.mark.requirement("PFS-15", "CNF-33")
def test_reliable_responses_are_acknowledged_in_order_and_once() -> None:
    script = calling()
    invite = script.sent()

    def ring(rseq: int) -> list[str]:
        effects = script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", str(rseq))))
        return [header(one, "RAck") for one in commands(effects) if isinstance(one, SendRequest)]

    assert ring(7) == ["7 1 INVITE"]
    assert ring(7) == [], "repeated"
    assert ring(9) == [], "one is missing"
    assert ring(8) == ["8 1 INVITE"]
    assert ring(7) == []
    pracks = [one for one in script.effects if isinstance(one, SendRequest) and one.method == "PRACK"]
    assert [header(one, "CSeq") for one in pracks] == ["2 PRACK", "3 PRACK"]
    assert {header(one, "To") for one in pracks} == {"<sip:bob@example.com>;tag=b"}
    for one in pracks:
        assert script.respond(one, 200) == []
    script.respond(invite, 200, body=ANSWER)
    assert header(only(script.do(Release()), SendRequest), "CSeq") == "4 BYE"
    assert len([one for one in script.effects if isinstance(one, Ringing)]) == 2


@pytest.mark.requirement("PFS-15")
def test_100_is_never_reliable() -> None:
    script = calling()
    assert script.respond(script.sent(), 100, lines=(*RELIABLE, ("RSeq", "1"))) == []


@pytest.mark.requirement("PFS-15")
def test_the_first_description_is_the_answer() -> None:
    script = calling()
    script.respond(script.sent(), 183, lines=(*RELIABLE, ("RSeq", "1")), body=ANSWER)
    effects = script.respond(script.sent("INVITE"), 200, body=OTHER_ANSWER)
    assert only(effects, Answered).sdp == ANSWER


def test_each_branch_has_its_own_early_dialog() -> None:
    script = calling()
    invite = script.sent()
    for tag, rseq in (("b", 5), ("c", 900)):
        effects = script.respond(invite, 183, to_tag=tag, lines=(*RELIABLE, ("RSeq", str(rseq))))
        prack = only(effects, SendRequest)
        assert header(prack, "RAck") == f"{rseq} 1 INVITE" and header(prack, "CSeq") == "2 PRACK"
    script.respond(invite, 200, to_tag="c", body=ANSWER)
    assert script.leg.dialog.remote_tag == "c" and script.leg.dialog.local_cseq == 2


def test_a_second_branch_that_answers_gets_ack_and_bye_and_nothing_else_changes() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 200, body=ANSWER)
    leg = script.leg
    effects = script.respond(
        invite, 200, to_tag="c", contact="<sip:bob@203.0.113.6>", lines=(("Record-Route", "<sip:q;lr>"),), body=ANSWER
    )
    ack, bye = (one for one in effects if isinstance(one, SendRequest))
    for one, method in ((ack, "ACK"), (bye, "BYE")):
        assert (one.method, one.request_uri, header(one, "Route")) == (method, "sip:bob@203.0.113.6", "<sip:q;lr>")
        assert header(one, "To") == "<sip:bob@example.com>;tag=c" and header(one, "From").endswith(";tag=us")
    assert header(ack, "CSeq") == header(invite, "CSeq").replace("INVITE", "ACK")
    assert "cause=200" in header(bye, "Reason")
    assert script.respond(invite, 200, to_tag="c", body=ANSWER) == [], "once"
    assert script.respond(bye, 200, to_tag="c") == []
    assert script.respond(invite, 200, body=ANSWER) == [], "repeated 2xx"
    assert (script.leg.phase, script.leg.dialog) == (Phase.CONFIRMED, leg.dialog)


def test_a_late_provisional_response_changes_nothing() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 200, body=ANSWER)
    leg = script.leg
    assert script.respond(invite, 180) == [] and script.respond(invite, 100, to_tag="") == []
    assert script.leg == leg


@pytest.mark.requirement("PFS-08")
def test_giving_up_waits_for_a_provisional_response() -> None:
    script = calling()
    assert only(script.do(Release()), Ended).cause is Cause.RELEASED
    assert commands(script.effects[1:]) == []
    assert script.respond(script.sent(), 180) == [CancelInvite("call-2", 1)]
    assert script.respond(script.sent(), 180) == []
    assert script.respond(script.sent(), 487) == []
    assert script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("PFS-08")
@pytest.mark.parametrize("before", [(), (100,), (180,)])
def test_a_cancel_that_crosses_the_200_becomes_a_bye(before: tuple[int, ...]) -> None:
    script = calling()
    invite = script.sent()
    for status in before:
        script.respond(invite, status)
    effects = script.do(Release(why="SIP;cause=410"))
    assert [type(one) for one in commands(effects)] == ([CancelInvite] if before else [])
    bye = only(script.respond(invite, 200, body=ANSWER), SendRequest)
    assert (bye.method, header(bye, "CSeq"), header(bye, "Reason")) == ("BYE", "2 BYE", "SIP;cause=410")
    assert script.respond(invite, 200, body=ANSWER) == []
    script.respond(bye, 200)
    assert script.leg.phase is Phase.TERMINATED
    assert [type(one) for one in told(script.effects) if not isinstance(one, Ringing)] == [Ended]


def test_a_cancelled_invite_without_final_response_is_forgotten() -> None:
    script = calling()
    script.respond(script.sent(), 180)
    script.do(Release())
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 36
    assert script.do(Tick()) == []
    assert script.leg.phase is Phase.TERMINATED


def test_ringing_for_too_long_is_cancelled() -> None:
    script = calling()
    script.respond(script.sent(), 180)
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 180
    effects = script.do(Tick())
    assert only(effects, Rejected).status == 408
    assert only(effects, CancelInvite).cseq == 1
    script.respond(script.sent(), 487)
    assert script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("CNF-28")
def test_422_repeats_the_invite_with_the_larger_interval_once() -> None:
    script = calling(LegPolicy(timer=TimerPolicy(interval_s=300)))
    first = script.sent()
    again = only(script.respond(first, 422, lines=(("Min-SE", "600"),)), SendRequest)
    assert (header(again, "CSeq"), header(again, "Session-Expires")) == ("2 INVITE", "600")
    assert (
        header(again, "Min-SE") == "600"
        and header(again, "Call-ID") == "call-2"
        and header(again, "To") == header(first, "To")
    )
    assert script.respond(first, 422, lines=(("Min-SE", "700"),)) == [], "of the first INVITE"
    assert only(script.respond(again, 422, lines=(("Min-SE", "600"),)), Rejected).status == 422


@pytest.mark.requirement("CNF-28")
def test_a_422_with_nothing_new_ends_it() -> None:
    script = calling()
    assert only(script.respond(script.sent(), 422, lines=(("Min-SE", "90"),)), Rejected).status == 422


def test_a_200_without_an_answer_is_released() -> None:
    script = calling()
    effects = script.respond(script.sent(), 200)
    assert only(effects, Rejected).status == 502
    assert "cause=488" in header(only(effects, SendRequest), "Reason")
    assert script.leg.phase is Phase.RELEASING


def test_a_bye_that_overtakes_its_200_ends_the_leg() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 180)
    assert statuses(script.request("BYE", 1, from_tag="b")) == [200]
    effects = script.respond(invite, 200, body=ANSWER)
    assert only(effects, Ended).cause is Cause.BYE
    assert commands(effects) == [] and script.leg.phase is Phase.TERMINATED


def test_an_early_dialog_is_changed_by_update_after_a_reliable_answer() -> None:
    script = calling()
    invite = script.sent()
    allow = ("Allow", "INVITE, UPDATE")
    assert only(script.do(Offer(sdp=OTHER_ANSWER, method="UPDATE")), OfferRefused).status == 491
    script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", "1"), allow), body=ANSWER)
    update = only(script.do(Offer(sdp=OTHER_ANSWER, method="UPDATE")), SendRequest)
    assert (update.method, header(update, "CSeq"), header(update, "To")) == (
        "UPDATE",
        "3 UPDATE",
        "<sip:bob@example.com>;tag=b",
    )
    assert only(script.respond(update, 200, body=OTHER_ANSWER), Answered).sdp == OTHER_ANSWER
    assert only(script.respond(invite, 200), Answered).sdp == OTHER_ANSWER


def test_an_update_in_an_early_dialog_before_the_answer_meets_491() -> None:
    script = calling()
    script.respond(script.sent(), 180)
    effects = script.request("UPDATE", 1, from_tag="b", body=OTHER_ANSWER)
    assert statuses(effects) == [491]
    assert statuses(script.request("UPDATE", 2, from_tag="b")) == [200]
    assert statuses(script.request("UPDATE", 3, from_tag="x")) == [481]


def test_what_cannot_be_stored_is_not_called() -> None:
    script = calling()
    assert only(script.do(NotStored()), Rejected).status == 503
    assert script.leg.phase is Phase.TERMINATED


def test_requests_after_the_end_get_481() -> None:
    script = calling()
    script.respond(script.sent(), 486)
    (reply,) = script.request("BYE", 1, from_tag="b")
    assert isinstance(reply, Reply) and reply.status == 481


@pytest.mark.requirement("PFS-09")
def test_a_bye_ends_the_leg_at_once() -> None:
    script = confirmed_caller()
    effects = script.request("BYE", 1, lines=(("Reason", "SIP;cause=200"),))
    assert statuses(effects) == [200]
    assert only(effects, Ended) == Ended(Cause.BYE, "SIP;cause=200", only(effects, Ended).message)
    assert script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("PFS-09")
@pytest.mark.parametrize("status", [200, 408, 481, 500])
def test_any_response_to_our_bye_is_the_end(status: int) -> None:
    script = confirmed_caller()
    bye = only(script.do(Release()), SendRequest)
    assert script.do(Release()) == []
    assert script.respond(bye, status) == []
    assert script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("PFS-09")
def test_a_bye_without_response_ends_by_tm_and_without_tm() -> None:
    script = confirmed_caller()
    script.do(Release())
    other = script.leg
    assert script.do(TimedOut("BYE", 2, "b")) == [] and script.leg.phase is Phase.TERMINATED
    script.leg = other
    script.now = other.next_deadline() or 0
    assert script.now == NOW + 36
    script.do(Tick())
    assert script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("PFS-09")
def test_two_byes_that_cross_are_both_answered() -> None:
    script = confirmed_caller()
    bye = only(script.do(Release()), SendRequest)
    assert statuses(script.request("BYE", 1)) == [200]
    script.respond(bye, 481)
    assert script.leg.phase is Phase.TERMINATED
    assert len([one for one in script.effects if isinstance(one, Ended)]) == 1


def test_a_response_in_a_branch_that_was_not_chosen_changes_nothing() -> None:
    script = calling()
    invite = script.sent()
    reliable = (*RELIABLE, ("RSeq", "1"), ("Allow", "UPDATE"))
    script.respond(invite, 183, lines=reliable, body=ANSWER)
    update = only(script.do(Offer(sdp=OTHER_ANSWER, method="UPDATE")), SendRequest)
    script.respond(invite, 200, to_tag="c", contact="<sip:bob@203.0.113.7>", body=ANSWER)
    assert script.respond(update, 200, body=OTHER_ANSWER) == []
    assert script.leg.dialog.remote_target == "sip:bob@203.0.113.7"


def test_an_offer_of_a_branch_that_was_not_chosen_is_answered() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", "1")), body=ANSWER)
    only(script.request("UPDATE", 1, from_tag="b", body=OTHER_ANSWER), Offered)
    effects = script.respond(invite, 200, to_tag="c", body=ANSWER)
    assert statuses(effects) == [487] and OfferDropped() in effects
    assert script.leg.exchange is Exchange.STABLE


def test_an_offer_in_an_early_dialog_is_answered_there() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", "1")), body=ANSWER)
    only(script.request("UPDATE", 1, from_tag="b", body=OTHER_ANSWER, contact="<sip:bob@203.0.113.8>"), Offered)
    assert only(script.do(AcceptOffer(sdp=OFFER)), Reply).status == 200
    assert only(script.respond(invite, 200, contact=""), Answered).sdp == OTHER_ANSWER
    assert script.leg.dialog.remote_target == "sip:bob@203.0.113.8"


@pytest.mark.requirement("PFS-09")
def test_the_end_of_another_branch_is_not_ours() -> None:
    script = calling()
    invite = script.sent()
    script.respond(invite, 200, body=ANSWER)
    _ack, other = (one for one in script.respond(invite, 200, to_tag="c", body=ANSWER) if isinstance(one, SendRequest))
    ours = only(script.do(Release()), SendRequest)
    assert header(other, "CSeq") == header(ours, "CSeq") == "2 BYE"
    script.respond(other, 200, to_tag="c")
    script.do(TimedOut("BYE", 2, "c"))
    assert script.leg.phase is Phase.RELEASING
    script.respond(ours, 200)
    assert script.leg.phase is Phase.TERMINATED


def test_headers_of_the_policy_are_in_every_request() -> None:
    script = calling(LegPolicy(request_headers=(("User-Agent", "IM-serv/OMA1.0"),)))
    invite = script.sent()
    script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", "1")), body=ANSWER)
    script.respond(invite, 200)
    script.do(Release())
    sent = [one for one in script.effects if isinstance(one, SendRequest)]
    assert [(one.method, header(one, "User-Agent")) for one in sent] == [
        (method, "IM-serv/OMA1.0") for method in ("INVITE", "PRACK", "BYE")
    ]


@pytest.mark.requirement("PFS-15")
def test_a_prack_that_fails_leaves_the_rest_to_the_callee() -> None:
    script = calling()
    invite = script.sent()
    for rseq, fails in ((1, True), (2, False)):
        prack = only(script.respond(invite, 183, lines=(*RELIABLE, ("RSeq", str(rseq)))), SendRequest)
        assert (script.respond(prack, 481) if fails else script.do(TimedOut("PRACK", 3, "b"))) == []
    assert script.leg.phase is Phase.PROCEEDING and script.leg.outgoing == ()
