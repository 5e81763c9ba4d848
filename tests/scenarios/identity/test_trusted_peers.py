"""Who a message is from, when a trusted peer vouches for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent, Message
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, kinds, steps

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.2"}
PEER, STRANGER = "127.0.0.2", "127.0.0.3"
CAROL = "sip:carol@other.example"

NewUser = Callable[..., str]


def through(instance: Instance, recipient: str, *lines: str, source: str = PEER, **options: str) -> tuple[Message, Message]:
    """A MESSAGE of another domain to a registered user: the request at the device, the response at the peer."""
    with (
        Agent(instance.sip_port, "carol", address=source, host="other.example") as peer,
        Agent(instance.sip_port, recipient) as agent,
    ):
        agent.register()
        call_id = peer.begin_message(recipient, b"Hello", *lines, challenged=False, **options)
        request = agent.accept()
        return request, peer.final(call_id)


@pytest.mark.requirement("IDN-02", "HDR-07", "COR-02")
def test_asserted_identity_is_believed(instance: Instance, new_user: NewUser) -> None:
    """The identity in P-Asserted-Identity, not that in From, is the originator, and goes on as it came."""
    recipient = new_user()
    request, response = through(instance, recipient, f"P-Asserted-Identity: Carol <{CAROL}>", sender="<sip:x@y.example>")
    assert response.status == 200
    assert response.values("P-Asserted-Identity") == [f"<{address(recipient)}>"]
    assert request.values("P-Asserted-Identity") == [f"Carol <{CAROL}>"]
    found = steps(instance, request.value("Call-ID"), "delivered")
    assert {step["originator"] for step in found} == {CAROL}


@pytest.mark.requirement("IDN-04")
def test_privacy_towards_our_user(instance: Instance, new_user: NewUser) -> None:
    """The asserted identity ends at the edge of the trust domain, which the device is outside of."""
    lines = (f"P-Asserted-Identity: <{CAROL}>", "Privacy: id; critical")
    request, response = through(instance, new_user(), *lines, sender="<sip:anonymous@anonymous.invalid>")
    assert response.status == 200
    assert request.values("P-Asserted-Identity") == []
    found = steps(instance, request.value("Call-ID"), "delivered")
    assert {step["originator"] for step in found} == {"anonymous"}


@pytest.mark.requirement("IDN-01", "IDN-02", "IDN-03")
def test_not_vouched_for(instance: Instance, new_user: NewUser) -> None:
    """A trusted peer that asserts nobody, and an untrusted one that asserts somebody: 403."""
    recipient = new_user()
    for source, lines in ((PEER, ()), (STRANGER, (f"P-Asserted-Identity: <{CAROL}>",))):
        with Agent(instance.sip_port, "carol", address=source, host="other.example") as peer:
            response = peer.message(recipient, b"Hello", *lines, challenged=False)
        assert response.status == 403
        assert response.value("Warning") == '399 example.com "No authenticated originator"'
        call_id = response.value("Call-ID")
        assert_refused(instance, call_id, 403, "IDN-01", "unidentified", address(recipient), traced=False)
    assert instance.stored(recipient) == []


@pytest.mark.requirement("COR-01", "IDN-02", "PAG-02")
def test_our_own_user_through_a_peer(instance: Instance, new_user: NewUser) -> None:
    """A user of ours whom the peer vouches for is served as originator, without a challenge."""
    allowed, forbidden, recipient = new_user(), new_user(im_allowed="no"), new_user()
    with Agent(instance.sip_port, "peer", address=PEER) as peer:
        for user, code, last in ((allowed, 202, "deferred"), (forbidden, 403, "refused")):
            uri = address(recipient)
            lines = (ACCEPT_CONTACT, "Content-Type: text/plain", f"P-Asserted-Identity: <{address(user)}>")
            response = peer.ask("MESSAGE", uri, *lines, body=b"Hello", challenged=False, sender=f"<{address(user)}>")
            assert response.status == code
            assert kinds(instance, response.value("Call-ID"), last) == ["received", last]
    assert len(instance.stored(recipient)) == 1
