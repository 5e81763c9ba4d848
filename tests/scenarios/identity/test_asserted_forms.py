"""The forms in which a trusted peer may assert an identity, and what a trusted peer may not say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import steps

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.2", "IM_SOURCE_RATE": "20"}
CAROL = "sip:carol@other.example"

NewUser = Callable[..., str]


@pytest.mark.requirement("IDN-02")
@pytest.mark.parametrize(
    "lines",
    [
        (f"P-Asserted-Identity: <{CAROL}>, <tel:+15550100>",),
        (f"P-Asserted-Identity: <tel:+15550100>, <{CAROL}>",),
        (f'P-Asserted-Identity: "Carol, C." <tel:+15550100>, "Carol" <{CAROL}>',),
        ("P-Asserted-Identity: <tel:+15550100>", f"P-Asserted-Identity: <{CAROL}>"),
    ],
)
def test_the_sip_identity_of_two(instance: Instance, new_user: NewUser, lines: tuple[str, ...]) -> None:
    """RFC 3325 9.1 allows one tel and one sip identity, in either order: the sip one is the IM address."""
    recipient = new_user()
    with (
        Agent(instance.sip_port, "carol", address="127.0.0.2", host="other.example") as peer,
        Agent(instance.sip_port, recipient) as agent,
    ):
        agent.register()
        call_id = peer.begin_message(recipient, b"Hello", *lines, challenged=False)
        agent.accept()
        assert peer.final(call_id).status == 200
    assert {step["originator"] for step in steps(instance, call_id, "delivered")} == {CAROL}


@pytest.mark.requirement("COR-01", "PAG-02")
def test_the_case_of_a_domain_does_not_lead_around_the_originating_side(instance: Instance, new_user: NewUser) -> None:
    """A user who may not use IM stays so when the peer writes the domain in capitals."""
    user, recipient = new_user(im_allowed="no"), new_user()
    with Agent(instance.sip_port, "peer", address="127.0.0.2") as peer:
        asserted = f"P-Asserted-Identity: <sip:{user}@EXAMPLE.com>"
        assert peer.message(recipient, b"Hello", asserted, challenged=False).status == 403
    assert instance.stored(recipient) == []


@pytest.mark.requirement("COR-07", "SEC-01")
def test_a_peer_registers_nobody(instance: Instance, new_user: NewUser) -> None:
    """Where a user's messages go, the user alone says: a trusted peer is asked for the password, whoever it asserts."""
    user = new_user()
    contact = "Contact: <sip:x@127.0.0.1:9>;+g.oma.sip-im"
    with Agent(instance.sip_port, user, address="127.0.0.2") as peer:
        lines = (contact, f"P-Asserted-Identity: <{peer.identity}>")
        to = f"<{peer.identity}>"
        assert peer.ask("REGISTER", "sip:example.com", *lines, to=to, challenged=False).status == 401
    with Agent(instance.sip_port, user, address="127.0.0.2", password="wrong") as peer:
        assert peer.register().status == 401
    with Agent(instance.sip_port, user, address="127.0.0.2") as peer:
        assert peer.register().status == 200


@pytest.mark.requirement("SEC-02")
def test_a_peer_is_not_a_flood(instance: Instance, new_user: NewUser) -> None:
    """The limit per address is for single devices: behind a peer stand many users."""
    recipient = new_user()
    with Agent(instance.sip_port, "carol", address="127.0.0.2", host="other.example") as peer:
        lines = (f"P-Asserted-Identity: <{CAROL}>",)
        statuses = [peer.message(recipient, b"Hello", *lines, challenged=False).status for _ in range(60)]
    assert statuses == [202] * 60


@pytest.mark.requirement("IDN-02", "HDR-07")
def test_the_identity_in_a_stranger_s_response_ends_here(instance: Instance, new_user: NewUser) -> None:
    """Another domain that is no trusted peer answers, and says who it is: our user is not told."""
    user = new_user()
    for source, expected in (("127.0.0.3", []), ("127.0.0.2", [f"<{CAROL}>"])):
        with (
            Agent(instance.sip_port, user) as origin,
            Agent(instance.sip_port, "carol", address=source, host="other.example") as carol,
        ):
            call_id = origin.begin_message(carol.contact)
            carol.reply(carol.receive("MESSAGE"), 200, "OK", f"P-Asserted-Identity: <{CAROL}>")
            response = origin.final(call_id)
            assert response.status == 200
            assert response.values("P-Asserted-Identity") == expected


@pytest.mark.requirement("IDN-02")
def test_address_of_a_plain_identity(instance: Instance, new_user: NewUser) -> None:
    """Only a telephone number: there is no IM address to serve, so it is refused."""
    recipient = new_user()
    with Agent(instance.sip_port, "carol", address="127.0.0.2", host="other.example") as peer:
        line = "P-Asserted-Identity: <tel:+15550100>"
        assert peer.message(recipient, b"Hello", line, challenged=False).status == 403
    assert instance.stored(recipient) == []
