"""Who connects: a=setup (RFC 6135, RFC 4145), its absence (RFC 4975), and middleboxes that know CEMA (RFC 6714)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.media.parties import (
    SDP_TYPE,
    Party,
    assert_talking,
    attribute,
    attributes,
    description,
    hang_up,
    media_line,
    refused,
    talk,
    two_parties,
)
from tests.scenarios.media.wire import MsrpSocket, text_message

SETTINGS = {"IM_MEDIA_PATH": "always"}
NewUser = Callable[..., str]
MIDDLEBOX = "127.0.0.3"


def connected(party: Party, *, worker_connects: bool) -> MsrpSocket:
    """The connection of one side, made by who has to."""
    return party.accept() if worker_connects else party.bind()


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(
    ("offered", "answered"),
    [("", "passive"), ("active", "passive"), ("actpass", "passive"), ("passive", "active"), ("holdconn", "passive")],
)
def test_who_connects_to_the_caller(instance: Instance, new_user: NewUser, offered: str, answered: str) -> None:
    """Without a=setup the offerer is active, and where the offer leaves it to us we wait, as we are behind no NAT."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        _, response = talk(caller, callee, offer=caller.describe(setup=offered))
        assert attribute(response.body, "setup") == answered
        one = connected(caller, worker_connects=answered == "active")
        other = callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-05")
@pytest.mark.parametrize(("answered", "worker_connects"), [("", True), ("passive", True), ("active", False)])
def test_who_connects_to_the_callee(instance: Instance, new_user: NewUser, answered: str, worker_connects: bool) -> None:
    """The callee is offered actpass, with the port that is really listened on; without an answer to it we connect."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        invite, _ = talk(caller, callee, answer=callee.describe(setup=answered))
        assert attribute(invite.body, "setup") == "actpass"
        assert media_line(invite.body) == f"m=message {instance.deployment.config.msrp_port} TCP/MSRP *"
        one = caller.bind()
        other = connected(callee, worker_connects=worker_connects)
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-05", "MED-03")
def test_both_behind_nats(instance: Instance, new_user: NewUser) -> None:
    """Both offer port 9 and connect; that their paths name addresses nobody reaches does not matter."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        for party in (caller, callee):
            party.path = party.path.replace("127.0.0.1", "10.99.0.1").replace(str(party.listener.port), "9")
        offer, answer = (description(party.path, 9, setup="active", address="10.99.0.1") for party in (caller, callee))
        talk(caller, callee, offer, answer)
        one, other = caller.bind(), callee.bind()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-05", "MED-03")
def test_a_callee_that_is_faster_than_its_answer(instance: Instance, new_user: NewUser) -> None:
    """It connects and sends content before its 200 has come here: that waits for the caller."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.agent.register()
        call_id = caller.invite(callee.agent.user, caller.describe())
        invite = callee.invited()
        other = callee.bind()
        assert other.ask(text_message(callee.server, callee.path, b"early")) == 200
        callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=callee.describe(setup="active"))
        assert caller.answered(call_id).status == 200
        one = caller.bind()
        assert one.message().body == b"early"
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


def behind(party: Party, address: str, port: int, setup: str, *lines: str) -> bytes:
    """What a middlebox has made of a description: c= and m= are its own, a=path is not touched."""
    return description(party.path, port, *lines, setup=setup, address=address)


@pytest.mark.requirement("MED-05")
def test_cema_towards_the_caller(instance: Instance, new_user: NewUser) -> None:
    """We are active: the connection goes to c= and m=, not to the path, and the answer says that we know of it."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        caller.path = caller.path.replace("127.0.0.1", "10.99.0.1")  # reached by nobody
        offer = behind(caller, "127.0.0.1", caller.listener.port, "passive", "a=msrp-cema")
        _, response = talk(caller, callee, offer)
        assert attributes(response.body, "msrp-cema") == [""]
        one, other = caller.accept(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-05")
def test_cema_towards_the_callee(instance: Instance, new_user: NewUser) -> None:
    """The callee is offered it; where its answer has it too, we connect to c= and m=."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        callee.path = callee.path.replace("127.0.0.1", "10.99.0.1")
        answer = behind(callee, "127.0.0.1", callee.listener.port, "passive", "a=msrp-cema")
        invite, response = talk(caller, callee, answer=answer)
        assert attributes(invite.body, "msrp-cema") == [""]
        assert attributes(response.body, "msrp-cema") == [""]  # RFC 6714 section 4.3: also where none was offered
        one, other = caller.bind(), callee.accept()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("MED-05")
def test_a_middlebox_without_cema(instance: Instance, new_user: NewUser) -> None:
    """c= and a=path differ and nobody speaks of CEMA: refused where we had to connect, taken where they come to us."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        response = refused(caller, callee, behind(caller, MIDDLEBOX, 4000, "passive"))
        assert response.status == 488
        assert "msrp-cema" in response.value("Warning")
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee, behind(caller, MIDDLEBOX, 4000, "actpass"), behind(callee, MIDDLEBOX, 9, "active"))
        one, other = caller.bind(), callee.bind()
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
