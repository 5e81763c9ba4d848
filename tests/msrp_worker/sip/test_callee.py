"""The callee's side of an INVITE."""

from __future__ import annotations

import pytest

from msrp_worker.sip.callee import Refusal, answer_call
from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Answered,
    Cancelled,
    Cause,
    Confirmed,
    Ended,
    LegPolicy,
    NotStored,
    Offer,
    Offered,
    Refuse,
    Release,
    Ring,
    Send,
    Tick,
)
from msrp_worker.sip.port import Reply, SendRequest
from tests.msrp_worker.sip.legs import (
    INVITE,
    NOW,
    TIMER,
    Script,
    accepted,
    commands,
    incoming,
    invite,
    only,
    statuses,
    told,
)
from tests.msrp_worker.sip.sip_text import ANSWER, CALLEE_CONTACT, OFFER, OTHER_ANSWER, OTHER_OFFER, header

SUPPORTED = (("Supported", "timer, 100rel"),)
REQUIRED = (("Require", "100rel"), ("Supported", "timer"))


def refusal(policy: LegPolicy | None = None, **parts: object) -> Refusal:
    made = answer_call(invite(**parts), INVITE, policy or LegPolicy(), CALLEE_CONTACT, "us", NOW, 0.0)  # type: ignore[arg-type]
    assert isinstance(made, Refusal)
    return made


@pytest.mark.requirement("PFS-12", "CNF-28")
def test_the_200_has_what_a_dialog_and_a_session_timer_need() -> None:
    script = incoming()
    reply = only(script.do(Accept(sdp=ANSWER, headers=(("Server", "IM-serv/OMA1.0"),))), Reply)
    assert (reply.transaction, reply.status, reply.to_tag, reply.body) == (INVITE, 200, "us", ANSWER)
    assert header(reply, "Contact") == CALLEE_CONTACT
    assert header(reply, "Session-Expires") == "1800;refresher=uac" and header(reply, "Require") == "timer"
    assert "UPDATE" in header(reply, "Allow") and "timer" in header(reply, "Supported")
    assert header(reply, "Content-Type") == "application/sdp" and header(reply, "Server") == "IM-serv/OMA1.0"
    assert script.leg.phase is Phase.ACCEPTED
    assert script.ack() == [Confirmed()]
    assert script.leg.phase is Phase.CONFIRMED


def test_the_dialog_is_that_of_the_request() -> None:
    routes = (("Record-Route", "<sip:p1;lr>,<sip:p2;lr>"), ("Record-Route", "<sip:p3;lr>"))
    script = accepted(lines=routes)
    script.ack()
    bye = only(script.do(Release()), SendRequest)
    assert (bye.request_uri, bye.next_hop) == ("sip:alice@198.51.100.1:5060", "sip:p1;lr")
    assert header(bye, "Route") == "<sip:p1;lr>, <sip:p2;lr>, <sip:p3;lr>"
    assert header(bye, "From") == "<sip:im@example.com>;tag=us" and header(bye, "To") == "<sip:alice@example.com>;tag=a"
    assert header(bye, "CSeq") == "1 BYE"


@pytest.mark.parametrize(
    ("lines", "status", "name", "value"),
    [
        ((("Require", "recipient-list-invite, 100rel"),), 420, "Unsupported", "recipient-list-invite"),
        ((("Supported", "timer"), ("Session-Expires", "60")), 422, "Min-SE", "90"),
        ((("Record-Route", "<mailto:x>"),), 400, "Warning", '399 im "a Record-Route cannot be used"'),
    ],
)
def test_an_invite_that_cannot_become_a_leg_is_refused(
    lines: tuple[tuple[str, str], ...], status: int, name: str, value: str
) -> None:
    made = refusal(lines=lines)
    assert (made.status, made.headers) == (status, ((name, value),))


def test_an_invite_without_contact_is_refused_and_an_understood_option_is_not() -> None:
    assert refusal(contact="").status == 400
    assert refusal(contact="<mailto:x@y>").status == 400
    incoming(LegPolicy(understood=frozenset({"recipient-list-invite"})), lines=(("Require", "recipient-list-invite"),))


def test_ringing_creates_the_early_dialog() -> None:
    reply = only(incoming().do(Ring(headers=(("Server", "x"),))), Reply)
    assert (reply.status, reply.to_tag, header(reply, "Contact")) == (180, "us", CALLEE_CONTACT)
    assert header(reply, "RSeq") == "" and reply.body == b""


@pytest.mark.requirement("PFS-15")
def test_a_reliable_response_is_repeated_until_its_prack() -> None:
    script = incoming(lines=SUPPORTED)
    first = only(script.do(Ring(status=183, reason="Session Progress", reliably=True)), Reply)
    assert (header(first, "Require"), header(first, "RSeq")) == ("100rel", "1")
    times = []
    for _ in range(3):
        script.now = script.leg.next_deadline() or 0
        times.append(script.now - NOW)
        assert only(script.do(Tick()), Reply) == first
    assert times == [0.5, 1.5, 3.5]
    assert statuses(script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))) == [200]
    assert script.leg.next_deadline() == NOW + 180


@pytest.mark.requirement("PFS-15")
@pytest.mark.parametrize("rack", ["2 1 INVITE", "1 2 INVITE", "1 1 UPDATE", "1 1", "", "x"])
def test_a_prack_that_matches_nothing_gets_481(rack: str) -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(reliably=True))
    leg = script.leg
    assert statuses(script.request("PRACK", 2, lines=(("RAck", rack),))) == [481]
    assert script.leg == leg


@pytest.mark.requirement("PFS-15")
def test_a_second_prack_gets_481() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(reliably=True))
    for status in (200, 481):
        assert statuses(script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))) == [status]


@pytest.mark.requirement("PFS-15")
def test_without_a_prack_the_invite_is_refused() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(reliably=True))
    while script.leg.phase is Phase.EARLY:
        script.now = script.leg.next_deadline() or 0
        effects = script.do(Tick())
    assert script.now == NOW + 32
    assert statuses(effects) == [504]
    assert only(effects, Ended).cause is Cause.NO_PRACK


@pytest.mark.requirement("PFS-15")
def test_the_next_reliable_response_waits_for_the_prack_of_the_first() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(reliably=True))
    assert script.do(Ring(status=183, reliably=True)) == []
    effects = script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))
    assert statuses(effects) == [200, 183]
    assert header(commands(effects)[1], "RSeq") == "2"  # type: ignore[arg-type]


@pytest.mark.requirement("PFS-15")
def test_the_200_waits_for_the_prack_of_a_description() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(status=183, reliably=True, sdp=ANSWER))
    assert script.do(Accept(sdp=ANSWER)) == []
    effects = script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))
    assert statuses(effects) == [200, 200]
    assert commands(effects)[1].body == b"", "the answer was in the 183"  # type: ignore[union-attr]
    assert script.leg.phase is Phase.ACCEPTED


@pytest.mark.requirement("PFS-15")
def test_the_200_does_not_wait_for_a_prack_without_description() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(reliably=True))
    assert statuses(script.do(Accept(sdp=ANSWER))) == [200]
    assert script.leg.next_deadline() == NOW + 32, "nothing is repeated"
    assert statuses(script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))) == [200]


@pytest.mark.requirement("PFS-15")
def test_a_caller_that_insists_gets_every_response_reliably() -> None:
    assert header(only(incoming(lines=REQUIRED).do(Ring()), Reply), "RSeq") == "1"
    assert header(only(incoming().do(Ring(reliably=True)), Reply), "RSeq") == "", "it does not know 100rel"


@pytest.mark.requirement("PFS-15")
def test_without_offer_the_reliable_response_has_it_and_the_prack_the_answer() -> None:
    script = incoming(lines=SUPPORTED, body=b"")
    assert header(only(script.do(Ring(reliably=True)), Reply), "RSeq") == "", "no offer to send yet"
    reply = only(script.do(Ring(status=183, reliably=True, sdp=OFFER)), Reply)
    assert (reply.body, header(reply, "RSeq")) == (OFFER, "1")
    effects = script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),), body=ANSWER)
    assert only(effects, Answered).sdp == ANSWER and statuses(effects) == [200]
    assert only(script.do(Accept()), Reply).body == b""


@pytest.mark.requirement("PFS-15")
def test_an_offer_in_a_prack_is_answered_in_its_200() -> None:
    script = incoming(lines=SUPPORTED)
    script.do(Ring(status=183, reliably=True, sdp=ANSWER))
    script.do(Accept())
    effects = script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),), body=OTHER_OFFER)
    assert only(effects, Offered).sdp == OTHER_OFFER and commands(effects) == []
    replies = [one for one in script.do(AcceptOffer(sdp=OTHER_ANSWER)) if isinstance(one, Reply)]
    assert [(one.status, one.body) for one in replies] == [(200, OTHER_ANSWER), (200, b"")]
    assert script.leg.phase is Phase.ACCEPTED


def test_without_offer_the_200_has_it_and_the_ack_the_answer() -> None:
    script = incoming(body=b"")
    assert only(script.do(Accept(sdp=OFFER)), Reply).body == OFFER
    effects = script.ack(body=ANSWER)
    assert told(effects)[0] == Confirmed() and only(effects, Answered).sdp == ANSWER


def test_an_ack_without_the_answer_that_is_due_ends_the_session() -> None:
    script = incoming(body=b"")
    script.do(Accept(sdp=OFFER))
    effects = script.ack()
    assert only(effects, Ended).cause is Cause.NO_ANSWER
    assert only(effects, SendRequest).method == "BYE"


def test_the_owner_cannot_forget_the_answer() -> None:
    with pytest.raises(ValueError, match="description"):
        incoming().do(Accept())


def test_a_missing_ack_ends_in_a_bye_after_64_t1() -> None:
    script = accepted()
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + 32
    effects = script.do(Tick())
    assert only(effects, Ended).cause is Cause.NO_ACK
    bye = only(effects, SendRequest)
    assert bye.method == "BYE" and "No ACK" in header(bye, "Reason")
    script.respond(bye, 481)
    assert script.leg.phase is Phase.TERMINATED


def test_an_ack_of_another_invite_is_dropped() -> None:
    script = accepted()
    assert script.ack(cseq=2) == [] and script.leg.phase is Phase.ACCEPTED
    script.ack()
    assert script.ack() == [], "repeated"


def test_released_before_the_ack_the_bye_waits_for_it() -> None:
    script = accepted()
    effects = script.do(Release(why="SIP;cause=410"))
    assert only(effects, Ended).cause is Cause.RELEASED and commands(effects) == []
    bye = only(script.ack(), SendRequest)
    assert header(bye, "Reason") == "SIP;cause=410"


def test_released_before_an_ack_that_never_comes() -> None:
    script = accepted()
    script.do(Release())
    script.now = script.leg.next_deadline() or 0
    assert only(script.do(Tick()), SendRequest).method == "BYE"


@pytest.mark.requirement("PFS-08")
@pytest.mark.parametrize("ring", [False, True])
def test_a_cancel_ends_the_leg_and_tm_has_answered(ring: bool) -> None:
    script = incoming()
    if ring:
        script.do(Ring())
    effects = script.do(Cancelled(INVITE))
    assert [type(one) for one in effects] == [Ended] and script.leg.phase is Phase.TERMINATED
    assert script.do(Accept(sdp=ANSWER)) == [], "too late"


@pytest.mark.requirement("PFS-08")
def test_a_cancel_that_crossed_the_200_is_settled_by_the_ack() -> None:
    script = accepted()
    assert only(script.do(Cancelled(INVITE)), Ended).cause is Cause.CANCELLED
    assert only(script.ack(), SendRequest).method == "BYE", "the 200 was first: the session stands and nobody wants it"


@pytest.mark.requirement("PFS-08")
def test_a_cancel_that_was_first_leaves_nothing() -> None:
    script = accepted()
    script.do(Cancelled(INVITE))
    script.now = script.leg.next_deadline() or 0
    assert script.do(Tick()) == [] and script.leg.phase is Phase.TERMINATED


@pytest.mark.requirement("PFS-08")
def test_a_bye_after_a_crossing_cancel_is_answered() -> None:
    script = accepted()
    script.do(Cancelled(INVITE))
    assert statuses(script.request("BYE", 2)) == [200] and script.leg.phase is Phase.TERMINATED


def test_a_bye_before_the_final_response_ends_both() -> None:
    script = incoming()
    script.do(Ring())
    effects = script.request("BYE", 2)
    assert statuses(effects) == [200, 487]
    assert [one.transaction for one in effects if isinstance(one, Reply)][1] == INVITE
    assert only(effects, Ended).cause is Cause.BYE


@pytest.mark.requirement("PFS-09")
def test_a_bye_that_overtakes_the_ack_ends_the_leg() -> None:
    script = accepted()
    effects = script.request("BYE", 2)
    assert statuses(effects) == [200] and script.leg.phase is Phase.TERMINATED
    assert script.ack() == []


def test_refusing_and_releasing_answer_the_invite_once() -> None:
    script = incoming()
    effects = script.do(Refuse(status=486, reason="Busy Here", headers=(("Warning", "399 x y"),)))
    assert statuses(effects) == [486] and only(effects, Ended).cause is Cause.RELEASED
    assert script.do(Refuse(status=486, reason="Busy Here")) == [] and script.do(Release()) == []
    other = incoming()
    assert statuses(other.do(Release(status=404, reason="Not Found"))) == [404]


@pytest.mark.parametrize(("lines", "seconds"), [((), 180), ((("Expires", "20"),), 20), ((("Expires", "9999"),), 180)])
def test_an_invite_that_nobody_answers_expires(lines: tuple[tuple[str, str], ...], seconds: int) -> None:
    script = incoming(lines=lines)
    script.now = script.leg.next_deadline() or 0
    assert script.now == NOW + seconds
    effects = script.do(Tick())
    assert statuses(effects) == [487] and only(effects, Ended).cause is Cause.INVITE_EXPIRED


def test_a_200_that_could_not_be_stored_is_the_end() -> None:
    script = accepted()
    assert script.do(NotStored()) == [Ended(Cause.NOT_STORED)]
    assert script.leg.phase is Phase.TERMINATED


def test_a_bye_from_another_dialog_or_an_old_one_is_refused() -> None:
    script = accepted()
    script.ack()
    assert statuses(script.request("BYE", 2, from_tag="other")) == [481]
    assert statuses(script.request("BYE", 1)) == [500]
    assert script.leg.phase is Phase.CONFIRMED


def test_a_reply_always_has_our_tag(script: Script | None = None) -> None:
    script = incoming(lines=(*TIMER, ("Supported", "100rel")))
    script.do(Ring(reliably=True))
    script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))
    script.do(Accept(sdp=ANSWER))
    assert {one.to_tag for one in script.effects if isinstance(one, Reply)} == {"us"}


def test_after_the_end_the_owner_hears_nothing() -> None:
    script = accepted()
    info = only(script.do(Send(method="INFO")), SendRequest)
    script.do(Release())
    assert script.respond(info, 200, to_tag="a") == []


@pytest.mark.requirement("PFS-05", "PFS-15")
def test_an_early_update_waits_for_the_prack_of_the_answer() -> None:
    script = incoming(lines=(*SUPPORTED, ("Allow", "UPDATE, PRACK")))
    script.do(Ring(status=183, reliably=True, sdp=ANSWER))
    assert script.do(Offer(sdp=OTHER_ANSWER, method="UPDATE")) == []
    script.request("PRACK", 2, lines=(("RAck", "1 1 INVITE"),))
    script.now = NOW + 1.0
    update = only(script.do(Tick()), SendRequest)
    assert (update.method, header(update, "CSeq")) == ("UPDATE", "1 UPDATE")
    assert only(script.respond(update, 200, to_tag="a", body=OTHER_OFFER), Answered).sdp == OTHER_OFFER
