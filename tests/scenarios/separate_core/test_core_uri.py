"""A core that sends no Route back: requests that leave the IM server go to IM_CORE_URI."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance, free_port
from tests.scenarios.evidence import address
from tests.scenarios.separate_core.conftest import CORE_ADDRESS

CORE_PORT = free_port()
SETTINGS = {"IM_TRUSTED_PEERS": f"192.0.2.7,{CORE_ADDRESS}/32", "IM_CORE_URI": f"sip:{CORE_ADDRESS}:{CORE_PORT}"}


@pytest.mark.requirement("COR-05", "PAG-05")
def test_request_without_a_route_back(instance: Instance, new_user: Callable[..., str]) -> None:
    """Through either side, for a user of the domain and for one of another."""
    sender, recipient = new_user(), new_user()
    config = instance.deployment.config
    with Agent(config.terminating_port, "scscf", address=CORE_ADDRESS, port=CORE_PORT) as core:
        told = ("Expires: 600", f"Contact: <{core.contact}>")
        response = core.ask("REGISTER", "sip:im.example.com", *told, to=f"<{address(recipient)}>", challenged=False)
        assert response.status == 200
        asserted = f"P-Asserted-Identity: <{address(sender)}>"
        for port, uri in (
            (config.terminating_port, address(recipient)),
            (config.originating_port, address(recipient)),
            (config.originating_port, "sip:carol@other.example"),
        ):
            core.target = ("127.0.0.1", port)
            call_id = core.begin("MESSAGE", uri, ACCEPT_CONTACT, asserted, body=b"x", challenged=False)
            request = core.accept()
            assert request.uri == uri
            assert core.final(call_id).status == 200
