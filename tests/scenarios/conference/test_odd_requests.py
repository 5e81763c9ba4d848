"""Requests that are not wrong, only unusual, and some that are wrong, inside the dialogs of the focus."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import FEATURE_TAG, Agent, Message
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import address
from tests.scenarios.conference.groups import new_group
from tests.scenarios.conference.referring import contact_uri, stand
from tests.scenarios.conference.signalling import (
    ANSWER,
    REQUIRE,
    agents,
    begin,
    begin_session,
    resource_list,
    sdp,
    with_list,
)
from tests.scenarios.conference.watching import RawWatch

SDP = "Content-Type: application/sdp"


def inside(agent: Agent, ok: Message, method: str, *headers: str, body: bytes = b"") -> Message:
    """A request in the dialog of a 2xx: its final response, with the ACK of one to INVITE."""
    data = agent.within(ok, method)
    fields = [f"Contact: <{agent.contact}>", *headers, f"Content-Length: {len(body)}"]
    agent.send(data.replace(b"Content-Length: 0", "\r\n".join(fields).encode()) + body)
    final = next(one for one in iter(lambda: agent.final(ok.value("Call-ID")), None) if one.method == method)
    if method == "INVITE" and final.status == 200:
        agent.send(agent.within(final, "ACK"))
    return final


def tagged(message: Message, name: str, tag: str) -> Message:
    """The message with another tag in From or To; without one it gets it."""
    value = message.value(name)
    return Message(message.raw.replace(value.encode(), f"{value.partition(';tag=')[0]};tag={tag}".encode()))


@pytest.mark.requirement("HDR-04", "CNF-34")
def test_methods_inside_a_session(instance: Instance, new_user: Callable[..., str]) -> None:
    """OPTIONS, by which clients look whether the dialog is alive, tells what the focus can; a 405 allows other methods than
    the one that it refuses."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        session = stand(alice, [bob])
        found = inside(alice, session.ok, "OPTIONS")
        assert found.status == 200
        assert found.value("Contact") == session.ok.value("Contact")
        assert found.value("Allow") == session.ok.value("Allow")
        assert found.value("Supported") == session.ok.value("Supported")
        assert "application/sdp" in found.value("Accept") and found.value("Allow-Events") == "conference"
        for method in ("MESSAGE", "NOTIFY"):
            refused = inside(alice, session.ok, method)
            assert refused.status == 405
            assert method not in refused.value("Allow") and "INVITE" in refused.value("Allow")


@pytest.mark.requirement("CNF-21")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_an_extension_that_is_not_known(instance: Instance, new_user: Callable[..., str], method: str) -> None:
    """420 inside the dialog as outside it (RFC 3261 section 8.2.2.3); the session goes on."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        session = stand(alice, [bob])
        refused = inside(alice, session.ok, method, "Require: timer, unheard-of", SDP, body=sdp(version=2))
        assert (refused.status, refused.value("Unsupported")) == (420, "unheard-of")
        assert inside(alice, session.ok, method, "Require: timer", SDP, body=sdp(version=2)).status == 200
        assert bob.quiet(0.1)


@pytest.mark.requirement("CNF-33", "CNF-21")
def test_new_terms_before_the_200(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who answers in a reliable 183 and changes his mind by UPDATE is told to wait; his 200 needs no other answer."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        call_id = begin_session(alice, [address(bob.user)])
        invite = tagged(bob.receive("INVITE"), "To", "early")
        contact = f"Contact: <{bob.contact}>;{FEATURE_TAG}"
        bob.reply(invite, 183, "Session Progress", contact, "Require: 100rel", "RSeq: 1", SDP, body=ANSWER)
        bob.accept("PRACK")
        swapped = (
            f"SIP/2.0 200 OK\r\nFrom: {invite.value('To')}\r\nTo: {invite.value('From')}\r\n"
            f"Call-ID: {invite.value('Call-ID')}\r\nContact: {invite.value('Contact')}\r\n"
            + "".join(f"Record-Route: {value}\r\n" for value in reversed(invite.values("Record-Route")))
        )
        update = inside(bob, Message(swapped.encode()), "UPDATE", SDP, body=sdp(setup="active", version=2))
        assert update.status == 491
        bob.reply(invite, 200, "OK", contact)
        bob.receive("ACK")
        assert alice.final(call_id).status == 200
        assert "Traceback" not in instance.worker_log()


@pytest.mark.requirement("CES-08")
def test_subscriptions(instance: Instance, new_user: Callable[..., str]) -> None:
    """A refresh with a tag that is not the subscriber's is for no subscription: 481. What cannot be given, if it is
    required: 420."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        room = contact_uri(stand(alice, [bob]).ok)
        refused = RawWatch(alice, room, "Require: eventlist").answer
        assert (refused.status, refused.value("Unsupported")) == (420, "eventlist")
        watch = RawWatch(alice, room)
        watch.notified()
        event = ("Event: conference", "Expires: 0")
        for name in ("From", "To"):
            assert inside(alice, tagged(watch.answer, name, "im-leg-other"), "SUBSCRIBE", *event).status == 481
        assert inside(alice, watch.answer, "SUBSCRIBE", *event).status == 200
        assert watch.notified().value("Subscription-State") == "terminated;reason=timeout"


@pytest.mark.requirement("CNF-08")
def test_a_challenge_is_not_for_the_initiator(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who is invited through somebody that asks the focus for credentials could not be reached: 480."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        for status in (401, 407):
            call_id = begin_session(alice, [address(bob.user)])
            bob.reply(bob.receive("INVITE"), status, "Who is it", 'WWW-Authenticate: Digest realm="x", nonce="y"')
            assert alice.final(call_id).status == 480


@pytest.mark.requirement("CNF-06", "CNF-18", "CNF-20", "CNF-04")
def test_bodies_that_a_session_has_no_use_for(instance: Instance, new_user: Callable[..., str]) -> None:
    """A list is for the factory: who requires that it is served is told that it is not (RFC 5366), and nobody who stands in
    it is forgotten in silence. A body that is no description is no INVITE without one (RFC 3261 section 8.2.3)."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        group = new_group(instance, [alice.user, bob.user], invite=False)
        ok = alice.final(begin(alice, group))
        assert ok.status == 200
        alice.send(alice.within(ok, "ACK"))
        kind, body = with_list(sdp(), resource_list([address(carol.user)]))
        for uri in (group, contact_uri(ok)):
            refused = bob.final(begin(bob, uri, REQUIRE, kind, body=body))
            assert (refused.status, refused.value("Unsupported")) == (420, "recipient-list-invite")
            refused = bob.final(begin(bob, uri, "Content-Type: text/plain", body=b"hello"))
            assert (refused.status, refused.value("Accept")) == (415, "application/sdp")
        assert bob.final(begin(bob, group, kind, body=body)).status == 200
        assert carol.quiet(0.1)
