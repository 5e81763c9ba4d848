"""The signalling of bridged sessions, header by header: `IM_MEDIA_PATH=always` (6.2.3, 6.2.7, 6.2.10, 6.2.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.scenarios.agent import Message
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.sessions.party import Party, described, path_of

SETTINGS = {"IM_MEDIA_PATH": "always"}
NewUser = Callable[..., str]


@contextmanager
def parties(instance: Instance, new_user: NewUser) -> Iterator[tuple[Party, Party]]:
    """A caller and a callee with a device each."""
    with Party(instance.sip_port, new_user()) as caller, Party(instance.sip_port, new_user()) as callee:
        caller.register()
        callee.register()
        yield caller, callee


def stand(caller: Party, callee: Party, *headers: str, accepting: tuple[str, ...] = ()) -> tuple[Message, Message]:
    """A session that stands: the INVITE as the callee got it, the 200 as the caller got it."""
    caller.invite(address(callee.user), described("caller"), *headers)
    invite = callee.invited()
    callee.answer(invite, 200, *accepting, body=described("callee", setup="active"))
    answer = caller.established()
    callee.heard("ACK")
    return invite, answer


def release(caller: Party, callee: Party) -> None:
    """The caller leaves; the callee hears it."""
    number = caller.begin_within("BYE")
    callee.answer(callee.heard("BYE"), 200)
    assert caller.outcome_of(number).status == 200


@pytest.mark.requirement("PFS-11", "PFS-12", "PFS-02", "HDR-01", "HDR-02", "HDR-04", "HDR-07")
def test_headers_of_the_invite_and_its_responses(instance: Instance, new_user: NewUser) -> None:
    with parties(instance, new_user) as (caller, callee):
        caller.invite(address(callee.user), described("caller"), "Supported: timer", "Subject: gr\u00fc\u00dfe")
        invite = callee.invited()
        assert invite.value("P-Asserted-Identity") == f"<{address(caller.user)}>"
        assert invite.value("Accept-Contact") == "*;+g.oma.sip-im;explicit"
        assert invite.value("Session-Expires") == "1800;refresher=uas"
        assert "timer" in invite.value("Supported")
        assert {"INVITE", "UPDATE", "REFER", "SUBSCRIBE"} <= set(invite.value("Allow").split(", "))
        assert invite.value("User-Agent").startswith("IM-serv/OMA1.0")
        assert invite.value("Contact").startswith("<sip:im-leg-")
        assert invite.value("Contact").endswith(";+g.oma.sip-im")
        assert invite.value("Subject") == "gr\u00fc\u00dfe"
        assert invite.value("IM-Function") == invite.value("IM-Key") == ""
        assert invite.value("Call-ID") != caller.call_id
        callee.answer(invite, 180)
        ringing = caller.provisional(180)
        callee.answer(invite, 200, "Server: phone", body=described("callee", setup="active"))
        answer = caller.established()
        for response in (ringing, answer):
            assert response.value("Server").startswith("IM-serv/OMA1.0")
            assert response.value("P-Asserted-Identity") == f"<{address(callee.user)}>"
            assert response.value("Contact").startswith("<sip:im-leg-")
            assert response.value("Contact").endswith(";+g.oma.sip-im")
            assert "UPDATE" in response.value("Allow")
        assert answer.value("Require") == "timer"
        assert answer.value("Session-Expires") == "1800;refresher=uas"
        callee.heard("ACK")
        release(caller, callee)


@pytest.mark.requirement("IDN-04", "IDN-08", "PFS-11", "PFS-12")
def test_privacy_of_both(instance: Instance, new_user: NewUser) -> None:
    """Neither learns who the other one is from any byte of the session, to its end."""
    with parties(instance, new_user) as (caller, callee):
        anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>'
        body = described("caller-name")
        caller.invite(address(callee.user), body, "Privacy: id", "Supported: timer", sender=anonymous)
        invite = callee.invited()
        answered = described("callee-name", setup="active")
        callee.answer(invite, 200, "Privacy: id", f"P-Asserted-Identity: <{address(callee.user)}>", body=answered)
        answer = caller.established()
        callee.heard("ACK")
        number = caller.begin_within("INVITE", body=described("caller-name", "sendonly", version=2))
        again = callee.heard("INVITE")
        callee.answer(again, 200, body=described("callee-name", "recvonly", version=2, setup="active"))
        changed = caller.outcome_of(number)
        callee.heard("ACK")
        number = caller.begin_within("BYE")
        bye = callee.heard("BYE")
        callee.answer(bye, 200)
        assert caller.outcome_of(number).status == 200
        for message in (invite, again, bye):
            assert "anonymous@anonymous.invalid" in message.value("From")
            assert not message.values("P-Asserted-Identity")
            for secret in (caller.user, "caller-name", "127.0.0.77", str(caller.port)):
                assert secret.encode() not in message.raw, message.raw
        for message in (answer, changed):
            assert not message.values("P-Asserted-Identity")
            for secret in ("callee-name", "127.0.0.77", str(callee.port)):
                assert secret.encode() not in message.raw, message.raw
        assert invite.value("Privacy") == answer.value("Privacy") == "id"


@pytest.mark.requirement("PFS-05")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("by_callee", [False, True])
def test_a_new_offer_of_either_side(instance: Instance, new_user: NewUser, method: str, *, by_callee: bool) -> None:
    """Hold and resume by re-INVITE and UPDATE; each side keeps the MSRP path it was told."""
    with parties(instance, new_user) as (caller, callee):
        invite, answer = stand(caller, callee)
        one, other = (callee, caller) if by_callee else (caller, callee)
        told = {caller: path_of(answer.body), callee: path_of(invite.body)}
        names = {caller: "caller", callee: "callee"}
        for version, (offered, replied) in enumerate([("inactive", "inactive"), ("sendrecv", "sendrecv")], 2):
            number = one.begin_within(method, body=described(names[one], offered, version=version))
            request = other.heard(method)
            assert path_of(request.body) == told[other]
            assert (b"a=inactive" in request.body) is (offered == "inactive")
            other.answer(request, 200, body=described(names[other], replied, version=version, setup="active"))
            response = one.outcome_of(number)
            assert response.status == 200
            assert path_of(response.body) == told[one]
            assert (b"a=inactive" in response.body) is (offered == "inactive")
            assert response.value("Contact").startswith("<sip:im-leg-")
        release(caller, callee)


@pytest.mark.requirement("PFS-05")
def test_an_offer_that_is_refused(instance: Instance, new_user: NewUser) -> None:
    """By the other side, or here; the session stays and can be changed afterwards."""
    with parties(instance, new_user) as (caller, callee):
        stand(caller, callee)
        number = caller.begin_within("INVITE", body=described("caller", "inactive", version=2))
        callee.answer(callee.heard("INVITE"), 488, 'Warning: 305 callee "no"')
        refused = caller.outcome_of(number)
        assert (refused.status, refused.value("Warning")) == (488, '305 callee "no"')
        audio = b"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n"
        assert caller.ask_within("UPDATE", body=audio).status == 488
        number = callee.begin_within("UPDATE", body=described("callee", "inactive", version=2))
        caller.answer(caller.heard("UPDATE"), 200, body=described("caller", "inactive", version=3, setup="active"))
        assert callee.outcome_of(number).status == 200
        release(caller, callee)


@pytest.mark.requirement("PFS-05")
def test_refreshes_and_offerless_invites_are_answered_here(instance: Instance, new_user: NewUser) -> None:
    with parties(instance, new_user) as (caller, callee):
        _, answer = stand(caller, callee)
        assert caller.ask_within("INVITE", body=described("caller")).body == answer.body
        assert caller.ask_within("UPDATE").status == 200
        number = caller.begin_within("INVITE")
        response = caller._next(caller._responses, 10)
        while response.status < 200:
            response = caller._next(caller._responses, 10)
        assert int(response.value("CSeq").split()[0]) == number
        assert response.body == answer.body
        caller.ack(response, described("caller", setup="active"))
        assert callee.quiet(0.3)
        release(caller, callee)


@pytest.mark.requirement("PFS-05")
def test_glare(instance: Instance, new_user: NewUser) -> None:
    """Both offer at once: both hear 491, and the offer of the caller, which reached the server first, is tried again."""
    with parties(instance, new_user) as (caller, callee):
        stand(caller, callee)
        first = caller.begin_within("INVITE", body=described("caller", "inactive", version=2))
        relayed = callee.heard("INVITE")
        second = callee.begin_within("INVITE", body=described("callee", "inactive", version=2))
        assert callee.outcome_of(second).status == 491
        callee.answer(relayed, 491)
        again = callee.heard("INVITE")
        assert again.body == relayed.body
        callee.answer(again, 200, body=described("callee", "inactive", version=3, setup="active"))
        assert caller.outcome_of(first).status == 200
        callee.heard("ACK")
        release(caller, callee)


@pytest.mark.requirement("PFS-15")
def test_reliable_provisional_responses_on_both_legs(instance: Instance, new_user: NewUser) -> None:
    with parties(instance, new_user) as (caller, callee):
        caller.invite(address(callee.user), described("caller"), "Supported: timer, 100rel")
        invite = callee.invited()
        assert "100rel" in invite.value("Supported")
        callee.answer(invite, 180, "Require: 100rel", "RSeq: 41")
        prack = callee.heard("PRACK")
        assert prack.value("RAck") == f"41 {invite.value('CSeq')}"
        callee.answer(prack, 200)
        ringing = caller.provisional(180)
        assert ringing.value("Require") == "100rel"
        number = caller.begin_within("PRACK", f"RAck: {ringing.value('RSeq')} {ringing.value('CSeq')}")
        assert caller.outcome_of(number).status == 200
        callee.answer(invite, 200, body=described("callee", setup="active"))
        caller.established()
        callee.heard("ACK")
        release(caller, callee)


@pytest.mark.requirement("PFS-15")
def test_a_caller_that_insists_on_100rel(instance: Instance, new_user: NewUser) -> None:
    """Require: 100rel, while the callee's device sends ordinary ones: ours is reliable all the same."""
    with parties(instance, new_user) as (caller, callee):
        caller.invite(address(callee.user), described("caller"), "Require: 100rel")
        invite = callee.invited()
        callee.answer(invite, 180)
        ringing = caller.provisional(180)
        assert ringing.value("Require") == "100rel"
        number = caller.begin_within("PRACK", f"RAck: {ringing.value('RSeq')} {ringing.value('CSeq')}")
        assert caller.outcome_of(number).status == 200
        callee.answer(invite, 486)
        assert caller.final(caller.call_id).status == 486


@pytest.mark.requirement("PFS-08")
def test_cancel(instance: Instance, new_user: NewUser) -> None:
    """200 to the CANCEL, 487 to the INVITE, and the callee's INVITE is cancelled."""
    with parties(instance, new_user) as (caller, callee):
        caller.invite(address(callee.user), described("caller"))
        invite = callee.invited()
        callee.answer(invite, 180)
        caller.provisional(180)
        caller.give_up()
        finals = {caller.final(caller.call_id).method: None for _ in range(2)}
        assert set(finals) == {"CANCEL", "INVITE"}
        cancel = callee.heard("CANCEL")
        callee.answer(cancel, 200)
        callee.answer(invite, 487)


@pytest.mark.requirement("PFS-08")
def test_cancel_crosses_the_200(instance: Instance, new_user: NewUser) -> None:
    """The callee has answered when the CANCEL comes: it gets a BYE; the caller has its 487, or its 200 and then a BYE."""
    with parties(instance, new_user) as (caller, callee):
        caller.invite(address(callee.user), described("caller"))
        invite = callee.invited()
        callee.answer(invite, 180)
        caller.provisional(180)
        caller.give_up()
        callee.answer(invite, 200, body=described("callee", setup="active"))
        statuses = {}
        for _ in range(2):
            response = caller.final(caller.call_id)
            statuses[response.method] = response.status
            if response.method == "INVITE" and response.status == 200:
                caller._learn(response)
                caller.ack(response)
                caller.answer(caller.heard("BYE"), 200)
        assert statuses["CANCEL"] == 200
        assert statuses["INVITE"] in (200, 487)
        request = callee.receive()
        while request.method != "BYE":
            if request.method == "CANCEL":
                callee.answer(request, 200)
            request = callee.receive()
        callee.answer(request, 200)


@pytest.mark.requirement("PFS-13")
def test_barred_and_rejected_ring_nowhere(instance: Instance, new_user: NewUser) -> None:
    with (
        Party(instance.sip_port, new_user()) as caller,
        Party(instance.sip_port, new_user(session_barred="yes")) as barred,
        Party(instance.sip_port, new_user()) as choosy,
    ):
        caller.register()
        barred.register()
        choosy.register()
        rules = instance.directory / f"{choosy.user}.xml"
        rules.write_text(REJECT.format(address(caller.user)))
        instance.command("rules", "put", choosy.user, str(rules))
        for callee, status in ((barred, 480), (choosy, 403)):
            caller.invite(address(callee.user), described("caller"))
            assert caller.final(caller.call_id).status == status
            assert callee.quiet(0.2)


REJECT = """<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules">
<rule id="r"><conditions><identity><one id="{}"/></identity></conditions>
<actions><im:allow-session>reject</im:allow-session></actions></rule></ruleset>"""
