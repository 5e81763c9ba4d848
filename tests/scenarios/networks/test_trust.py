"""Who is believed across networks, and what is told to whom: one home trusts the other, which does not trust it, and a
third domain is trusted by nobody (5.2, RFC 3325)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.networks.networks import ELSEWHERE, GATEWAYS, Networks, networks_with

PRIVACY = "Privacy: id"
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'
SIP_PORT = 5060


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """The first home believes the second one; the second one nobody."""
    with networks_with(tmp_path_factory.mktemp("trust"), trusting=(True, False)) as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[Agent]:
    """The whole third domain."""
    with Agent(0, "carol", address=GATEWAYS[0], port=SIP_PORT, host=ELSEWHERE) as agent:
        yield agent


@pytest.mark.requirement("IDN-02", "HDR-07", "SEC-01")
def test_trust_has_a_direction(networks: Networks) -> None:
    """The home that trusts takes the other's users by what that one asserts; the one that does not refuses them, its own
    users' answers apart."""
    one, two = networks.one, networks.two
    with one.agent(one.new_user()) as alice, two.agent(two.new_user()) as bob:
        alice.register()
        bob.register()
        call_id = bob.begin_message(alice.identity, b"believed")
        copy = alice.accept()
        assert copy.values("P-Asserted-Identity") == [f"<{bob.identity}>"]
        answer = bob.final(call_id)
        assert answer.status == 200
        assert answer.values("P-Asserted-Identity") == []  # of whom two has no reason to believe it
        refused = alice.message(bob.identity, b"not believed")
        assert refused.status == 403
        assert refused.value("Warning") == f'399 {two.domain} "No authenticated originator"'
        assert "IDN-01" in two.instance.kamailio_log()
        assert bob.quiet(0.2)


@pytest.mark.requirement("IDN-02", "IDN-04")
def test_an_anonymous_user_is_named_to_trusted_domains_only(networks: Networks, elsewhere: Agent) -> None:
    """With Privacy: id the asserted identity ends where the trust does; without it, it may go on (RFC 3325 section 5)."""
    one, two = networks.one, networks.two
    with one.agent(one.new_user()) as alice, two.agent(two.new_user()) as bob:
        alice.register()
        bob.register()
        for home, sender in ((one, alice), (two, bob)):
            elsewhere.target = home.address, home.instance.sip_port
            call_id = sender.begin_message(elsewhere.identity, b"guess", PRIVACY, sender=ANONYMOUS)
            copy = elsewhere.accept()
            assert sender.user.encode() not in copy.raw
            assert copy.values("P-Asserted-Identity") == copy.values("P-Preferred-Identity") == []
            assert sender.final(call_id).status == 200
            call_id = sender.begin_message(elsewhere.identity, b"it is me")
            assert elsewhere.accept().values("P-Asserted-Identity") == [f"<{sender.identity}>"]
            assert sender.final(call_id).status == 200
        # two does not name its user to one, which it does not trust: one knows nobody then
        assert bob.message(alice.identity, b"guess", PRIVACY, sender=ANONYMOUS).status == 403
        assert alice.quiet(0.2)


@pytest.mark.requirement("IDN-02", "IDN-03", "SEC-01")
def test_nobody_elsewhere_is_believed(networks: Networks, elsewhere: Agent) -> None:
    """A domain that nobody trusts asserts its own user, a user of the home, and one of the other home: 403, nothing stored.
    Its answer to a message names nobody."""
    one, two = networks.one, networks.two
    for home in (one, two):
        elsewhere.target = home.address, home.instance.sip_port
        with home.agent(home.new_user()) as victim:
            victim.register()
            other = two if home is one else one
            away = home.uri(home.new_user())
            for claimed in (elsewhere.identity, victim.identity, other.uri("boss")):
                asserted = f"P-Asserted-Identity: <{claimed}>"
                for recipient in (victim.identity, away):
                    options = {"challenged": False, "sender": f"<{elsewhere.identity}>"}
                    assert elsewhere.message(recipient, b"believe me", asserted, **options).status == 403
            assert victim.quiet(0.2)
            assert home.instance.stored(away) == []
            call_id = victim.begin_message(elsewhere.identity, b"who are you?")
            elsewhere.reply(elsewhere.receive("MESSAGE"), 200, "OK", f"P-Asserted-Identity: <{other.uri('boss')}>")
            answer = victim.final(call_id)
            assert (answer.status, answer.values("P-Asserted-Identity")) == (200, [])
