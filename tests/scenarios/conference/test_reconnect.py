"""The MSRP connection of a participant: early, lost and offered anew, moved by a re-INVITE (7.2.2.6, CNF-21)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent, Message
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import address
from tests.scenarios.conference.signalling import agents, answer, attributes, begin_session, sdp
from tests.scenarios.conference.wire import Wire, cpim, path, room_of


def begin(alice: Agent, bob: Agent) -> tuple[Message, Message, Wire, Wire]:
    """A session of two with both connections: the initiator's 200, the other's INVITE."""
    call_id = begin_session(alice, [address(bob.user)], offer=sdp(path=path("a")))
    invite = bob.receive("INVITE")
    answer(bob, invite, body=sdp(setup="active", path=path("b")))
    accepted = alice.final(call_id)
    alice.send(alice.within(accepted, "ACK"))
    bob.receive("ACK")
    ours, theirs = Wire(accepted.body, path("a")), Wire(invite.body, path("b"))
    assert b"200" in ours.send(b"") and b"200" in theirs.send(b"")
    return accepted, invite, ours, theirs


@pytest.mark.requirement("CNF-21", "MED-03")
def test_a_new_session_is_offered(instance: Instance, new_user: Callable[..., str]) -> None:
    """The connection of one breaks: a new MSRP session is offered in its dialog, and the conversation goes on."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        accepted, invite, ours, theirs = begin(alice, bob)
        theirs.close()
        offer = bob.receive()
        assert offer.method in ("INVITE", "UPDATE")
        assert offer.value("Call-ID") == invite.value("Call-ID")
        assert [line for line in attributes(offer.body) if line.startswith("path")] != [
            line for line in attributes(invite.body) if line.startswith("path")
        ]
        answer(bob, offer, body=sdp(setup="active", path=path("c"), version=2))
        again = Wire(offer.body, path("c"))
        assert b"200" in again.send(b"")
        assert b"200" in ours.send(cpim(address(names[0]), room_of(accepted), "are you back?"))
        again.wait(b"are you back?")
        assert b"200" in again.send(cpim(address(names[1]), room_of(accepted), "yes"))
        ours.wait(b"yes")


@pytest.mark.requirement("CNF-21", "CNF-26", "CNF-29")
def test_who_takes_no_new_session_is_removed(instance: Instance, new_user: Callable[..., str]) -> None:
    """A refused offer is the end of a participant without media."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        _, _, _, theirs = begin(alice, bob)
        theirs.close()
        offer = bob.receive()
        bob.reply(offer, 488, "Not Acceptable Here")
        bye = next(request for request in iter(bob.receive, None) if request.method == "BYE")
        assert "503" in bye.value("Reason")
        bob.reply(bye, 200, "OK")
        assert "410" in alice.receive("BYE").value("Reason")


@pytest.mark.requirement("CNF-21")
def test_a_client_moves_to_another_session(instance: Instance, new_user: Callable[..., str]) -> None:
    """A re-INVITE with another path: another MSRP session of ours in the answer; the old one works until then."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        accepted, _, ours, theirs = begin(alice, bob)
        offer = sdp(path=path("d"), version=2)
        kind = f"Contact: <{alice.contact}>\r\nContent-Type: application/sdp\r\nContent-Length: {len(offer)}\r\n\r\n"
        request = alice.within(accepted, "INVITE").replace(b"Content-Length: 0\r\n\r\n", kind.encode() + offer)
        alice.send(request)
        response = alice.final(accepted.value("Call-ID"))
        assert response.status == 200
        alice.send(alice.within(response, "ACK"))
        moved = Wire(response.body, path("d"))
        assert moved.to != ours.to
        assert b"200" in moved.send(b"")
        assert b"200" in moved.send(cpim(address(names[0]), room_of(accepted), "moved"))
        theirs.wait(b"moved")


@pytest.mark.requirement("CNF-07", "MED-08")
def test_a_message_overtakes_the_200(instance: Instance, new_user: Callable[..., str]) -> None:
    """What who is invited sends over MSRP before its 200 is here reaches the others all the same."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])], offer=sdp(path=path("e")))
        invite = bob.receive("INVITE")
        early = Wire(invite.body, path("f"))
        ident = b"early12"
        body = cpim(address(names[1]), room_of(invite), "first!")
        early._socket.sendall(
            b"MSRP "
            + ident
            + b" SEND\r\nTo-Path: "
            + early.to.encode()
            + b"\r\nFrom-Path: "
            + early.path.encode()
            + b"\r\nMessage-ID: m1234\r\nByte-Range: 1-%d/%d\r\nContent-Type: message/cpim\r\n\r\n" % (len(body), len(body))
            + body
            + b"\r\n-------"
            + ident
            + b"$\r\n"
        )
        answer(bob, invite, body=sdp(setup="active", path=early.path))
        accepted = alice.final(call_id)
        alice.send(alice.within(accepted, "ACK"))
        ours = Wire(accepted.body, path("e"))
        assert b"200" in ours.send(b"")
        ours.wait(b"first!")
        early.wait(b"MSRP " + ident + b" 200")
