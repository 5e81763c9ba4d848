"""Transitive trust: From of trusted peers that assert nobody, where the operator has configured it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, steps

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.2"}
OPTIONS = {"defines": ["IM_TRUST_FROM"]}
CAROL = "sip:carol@other.example"


@pytest.mark.requirement("IDN-03")
def test_from_counts_for_peers_alone(instance: Instance, new_user: Callable[..., str]) -> None:
    """From is the originator where a trusted peer asserts nobody, and only there; a stranger's From is nothing."""
    recipient = new_user()
    host = "other.example"
    with (
        Agent(instance.sip_port, "carol", address="127.0.0.2", host=host) as peer,
        Agent(instance.sip_port, "carol", address="127.0.0.3", host=host) as stranger,
        Agent(instance.sip_port, recipient) as agent,
    ):
        agent.register()
        for lines, originator in (
            ((), CAROL),
            (("P-Asserted-Identity: <sip:dave@other.example>",), "sip:dave@other.example"),
        ):
            call_id = peer.begin_message(recipient, b"Hello", *lines, challenged=False)
            request = agent.accept()
            assert peer.final(call_id).status == 200
            assert request.values("P-Asserted-Identity") == [f"<{originator}>"]
            assert {step["originator"] for step in steps(instance, call_id, "delivered")} == {originator}
        response = stranger.message(recipient, challenged=False)
        assert response.status == 403
        assert agent.quiet(0.2)
    call_id = response.value("Call-ID")
    assert_refused(instance, call_id, 403, "IDN-01", "unidentified", address(recipient), traced=False)
