"""What goes over the wire when an ad-hoc session is set up: headers, order, refusals (7.2.1.1, 7.2.1.2, 7.2.2.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, Message
from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.conference.conference import FACTORY, address
from tests.scenarios.conference.signalling import (
    REQUIRE,
    agents,
    answer,
    attributes,
    begin,
    begin_session,
    refuse,
    resource_list,
    ring,
    sdp,
    with_list,
)

SETTINGS = {"IM_ADHOC_MAX_PARTICIPANTS": "4"}


def provisional(agent: object, seconds: float = 5.0) -> Message:
    """The next provisional response above 100."""
    while True:
        response = agent._next(agent._responses, seconds)  # type: ignore[attr-defined]
        if 100 < response.status < 200:
            return response


@pytest.mark.requirement("HDR-02", "HDR-03", "HDR-04", "HDR-05", "HDR-06", "CNF-06", "CNF-07", "CNF-09", "CNF-28")
def test_headers_of_all_messages(instance: Instance, new_user: Callable[..., str]) -> None:
    """The INVITEs of the focus, its 180 and its 200, with all that the specification wants in them."""
    names = [new_user() for _ in range(3)]
    with agents(instance, names) as (alice, bob, carol):
        offer = sdp("a=x-shade:blue", wrapped="text/plain image/png")
        call_id = begin_session(alice, [address(one) for one in names], "Subject: lunch", offer=offer)
        invites = [bob.receive("INVITE"), carol.receive("INVITE")]
        for invite in invites:
            contact = invite.value("Contact")
            assert contact.startswith("<sip:im-session-") and ";isfocus" in contact and ";+g.oma.sip-im" in contact
            assert "+g.oma.sip-im" in invite.value("Accept-Contact") and "explicit" in invite.value("Accept-Contact")
            assert address(names[0]) in invite.value("P-Asserted-Identity")
            assert invite.value("Referred-By") == f"<{address(names[0])}>"
            assert address(names[0]) in invite.value("From")
            assert invite.value("Subject") == "lunch"
            assert "timer" in invite.value("Supported") and "100rel" in invite.value("Supported")
            assert "refresher=uas" in invite.value("Session-Expires")
            assert "UPDATE" in invite.value("Allow")
            assert "message/cpim" in next(one for one in attributes(invite.body) if one.startswith("accept-types"))
            assert "x-shade:blue" in attributes(invite.body)
            assert any(one.startswith("chatroom") for one in attributes(invite.body))
        ring(bob, invites[0])
        ringing = provisional(alice)
        assert (ringing.status, ringing.reason) == (180, "Ringing")
        ring(carol, invites[1])
        answer(bob, invites[0], body=sdp(setup="active", wrapped="text/plain"))
        accepted = alice.final(call_id)
        assert accepted.status == 200
        for response in (ringing, accepted):
            assert response.value("Contact") == invites[0].value("Contact")
            assert response.value("P-Asserted-Identity") == f"<{FACTORY}>"
            assert "INVITE" in response.value("Allow")
            assert response.value("Server").startswith("IM-serv/OMA1.0")
        assert "refresher=uac" in accepted.value("Session-Expires")
        lines = attributes(accepted.body)
        assert "accept-types:message/cpim" in lines
        wrapped = next(one for one in lines if one.startswith("accept-wrapped-types"))
        assert "text/plain" in wrapped and "image/png" not in wrapped  # what both take
        alice.send(alice.within(accepted, "ACK"))
        alice.send(alice.within(accepted, "BYE"))
        assert alice.final(call_id).status == 200
        assert carol.receive("CANCEL")  # CNF-30
        assert bob.receive("ACK")
        assert bob.receive("BYE")


@pytest.mark.requirement("CNF-08")
@pytest.mark.parametrize(
    ("statuses", "heard"),
    [((486, 480), 480), ((603, 486), 486), ((302, 486), 486), ((302, 302), 480), ((404, 603), 404)],
)
def test_everybody_refuses(instance: Instance, new_user: Callable[..., str], statuses: tuple[int, int], heard: int) -> None:
    """The lowest final response; a redirection is a failure that tells nothing."""
    names = [new_user() for _ in range(3)]
    with agents(instance, names) as (alice, *others):
        call_id = begin_session(alice, [address(one) for one in names[1:]])
        for agent, status in zip(others, statuses, strict=True):
            refuse(agent, agent.receive("INVITE"), status)
        assert alice.final(call_id).status == heard


@pytest.mark.requirement("CNF-08")
def test_an_answer_that_cannot_be_used(instance: Instance, new_user: Callable[..., str]) -> None:
    """A 200 whose description refuses the line counts as a refusal, and is released."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])])
        invite = bob.receive("INVITE")
        answer(bob, invite, body=sdp().replace(b"m=message 9999", b"m=message 0"))
        assert alice.final(call_id).status == 488
        bob.receive("ACK")
        assert "488" in bob.receive("BYE").value("Reason")


MANY = [f"sip:nobody{number}@{DOMAIN}" for number in range(4)]


@pytest.mark.parametrize(
    ("document", "status", "warning"),
    [
        pytest.param(resource_list(MANY), 486, "Too many participants", marks=pytest.mark.requirement("CNF-05")),
        pytest.param(resource_list([]), 400, "empty", marks=pytest.mark.requirement("CNF-06")),
        pytest.param(b"<resource-lists", 400, "URI-list", marks=pytest.mark.requirement("CNF-06")),
        pytest.param(resource_list(["http://a.example/"]), 400, "URI-list", marks=pytest.mark.requirement("CNF-06")),
        pytest.param(resource_list(["bob"]), 400, "URI-list", marks=pytest.mark.requirement("CNF-06")),
    ],
)
def test_lists_that_are_refused(
    instance: Instance, new_user: Callable[..., str], document: bytes, status: int, warning: str
) -> None:
    """Too long, empty, malformed, with other schemes."""
    with agents(instance, [new_user()]) as (alice,):
        kind, body = with_list(sdp(), document)
        response = alice.final(begin(alice, FACTORY, REQUIRE, kind, body=body))
        assert response.status == status
        assert warning in response.value("Warning") and response.value("Warning").startswith("399 ")


@pytest.mark.requirement("CNF-06")
def test_who_is_invited(instance: Instance, new_user: Callable[..., str]) -> None:
    """Each once, however often and in whatever spelling, and the initiator not at all."""
    names = [new_user() for _ in range(3)]
    with agents(instance, names) as (alice, bob, carol):
        uris = [address(names[1]), f"SIP:{names[1]}@EXAMPLE.com", *map(address, names), f"{address(names[2])};x=1"]
        uris += [f"{uri};transport=udp" for uri in map(address, names)]
        call_id = begin_session(alice, uris)
        for agent in (bob, carol):
            refuse(agent, agent.receive("INVITE"), 480)
        assert alice.final(call_id).status == 480
        for agent in (alice, bob, carol):
            assert "INVITE" not in {request.method for request in iter(agent.poll, None)}


@pytest.mark.requirement("CNF-04")
@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\n", 488),
        (sdp(types="text/plain", wrapped=""), 488),
        (b"v=0\r\no=-", 400),
    ],
)
def test_offers_that_are_refused(instance: Instance, new_user: Callable[..., str], offer: bytes, status: int) -> None:
    """No MSRP, no message/cpim, no description at all."""
    with agents(instance, [new_user()]) as (alice,):
        response = alice.final(begin_session(alice, [MANY[0]], offer=offer))
        assert response.status == status
        assert response.value("Warning")


@pytest.mark.requirement("CNF-04")
def test_lines_that_are_no_msrp_get_port_0(instance: Instance, new_user: Callable[..., str]) -> None:
    """One of two media is refused in the answer."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])], offer=sdp() + b"m=audio 7000 RTP/AVP 0\r\n")
        answer(bob, bob.receive("INVITE"))
        accepted = alice.final(call_id)
        assert b"m=audio 0 " in accepted.body and b"m=message 0 " not in accepted.body
        alice.send(alice.within(accepted, "ACK"))


@pytest.mark.requirement("CNF-30")
def test_the_initiator_cancels(instance: Instance, new_user: Callable[..., str]) -> None:
    """CANCEL of the initiator: 487 for it, CANCEL for all who are invited."""
    names = [new_user() for _ in range(3)]
    with agents(instance, names) as (alice, bob, carol):
        call_id = begin_session(alice, [address(one) for one in names[1:]])
        invites = {agent: agent.receive("INVITE") for agent in (bob, carol)}
        carol.reply(invites[carol], 100, "Trying")
        ring(bob, invites[bob])
        assert provisional(alice).status == 180
        alice.send(alice.cancel(alice.sent[-1]))
        finals = [alice.final(call_id).status, alice.final(call_id).status]
        assert sorted(finals) == [200, 487]
        for agent in (bob, carol):
            cancel = agent.receive("CANCEL")
            agent.reply(cancel, 200, "OK")
            refuse(agent, invites[agent], 487, "Request Terminated")


@pytest.mark.requirement("CNF-33")
def test_reliable_progress_is_acknowledged(instance: Instance, new_user: Callable[..., str]) -> None:
    """183 with 100rel of who is invited gets its PRACK, and rings nobody; 180 does."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        begin_session(alice, [address(names[1])])
        invite = bob.receive("INVITE")
        tagged = f"Contact: <{bob.contact}>"
        bob.reply(invite, 183, "Session Progress", tagged, "Require: 100rel", "RSeq: 17")
        prack = bob.receive("PRACK")
        assert prack.value("RAck").split()[0] == "17"
        bob.reply(prack, 200, "OK")
        ring(bob, invite)
        assert provisional(alice).status == 180


@pytest.mark.requirement("CNF-28")
def test_session_interval_too_small(instance: Instance, new_user: Callable[..., str]) -> None:
    """422 with Min-SE."""
    with agents(instance, [new_user()]) as (alice,):
        response = alice.final(begin_session(alice, [MANY[0]], "Session-Expires: 30"))
        assert response.status == 422 and int(response.value("Min-SE")) == 90


@pytest.mark.requirement("CNF-02")
def test_who_may_not_use_im(instance: Instance, new_user: Callable[..., str]) -> None:
    """A user whom the operator does not let use IM."""
    with agents(instance, [new_user(im_allowed="no")]) as (alice,):
        assert alice.final(begin_session(alice, [MANY[0]])).status == 403


@pytest.mark.requirement("CNF-13")
def test_a_focus_that_comes_itself(instance: Instance, new_user: Callable[..., str]) -> None:
    """isfocus in the Contact of an INVITE to a session of ours."""
    with agents(instance, [new_user()]) as (alice,):
        contact = f"Contact: <{alice.contact}>;isfocus;{FEATURE_TAG}"
        fields = (ACCEPT_CONTACT, contact, "Content-Type: application/sdp")
        response = alice.final(alice.begin("INVITE", FACTORY, *fields, body=sdp()))
        assert response.status == 403
        assert "isfocus already assigned" in response.value("Warning")


@pytest.mark.requirement("CNF-01", "CNF-12", "CNF-20")
@pytest.mark.parametrize("user", ["conference-factory2", "im-session-unknown", "no-such-group"])
def test_unknown_targets(instance: Instance, new_user: Callable[..., str], user: str) -> None:
    """No factory, no session, no group."""
    with agents(instance, [new_user()]) as (alice,):
        assert alice.final(begin(alice, f"sip:{user}@{DOMAIN}")).status == 404


@pytest.mark.requirement("IDN-02", "HDR-06", "SEC-01")
def test_no_name_is_an_identity(instance: Instance, new_user: Callable[..., str]) -> None:
    """What stands before the address in From is a name for those invited, whatever it looks like."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        kind, body = with_list(sdp(), resource_list([address(bob.user)]))
        fields = (ACCEPT_CONTACT, f"Contact: <{alice.contact}>;{FEATURE_TAG}", REQUIRE, kind)
        for written, quoted in (
            ("sip:boss@example.com, Foo", '"sip:boss@example.com, Foo"'),
            ("Foo Bar", '"Foo Bar"'),
            ('"a\\" <sip:boss@example.com>, \\"b"', '"a\\" <sip:boss@example.com>, \\"b"'),
        ):
            call_id = alice.begin("INVITE", FACTORY, *fields, body=body, sender=f"{written} <{alice.identity}>")
            invite = bob.receive("INVITE")
            assert invite.values("P-Asserted-Identity") == [f"{quoted} <{alice.identity}>"]
            refuse(bob, invite, 480)
            assert alice.final(call_id).status == 480
