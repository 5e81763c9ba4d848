"""Availability as the core tells it: third-party REGISTER."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, free_port, messages, status, wait_until
from tests.scenarios.evidence import address, final_response
from tests.scenarios.separate_core.conftest import CORE_ADDRESS, Core

HERE = Path(__file__).parent
SETTINGS = {"IM_TRUSTED_PEERS": CORE_ADDRESS}
OWN_REGISTER = (
    "REGISTER sip:example.com SIP/2.0\r\nFrom: <{user}>;tag=1\r\nTo: <{user}>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:1@192.0.2.1>{tag}\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
)

NewUser = Callable[..., str]


@pytest.mark.requirement("COR-06", "COR-05", "PAG-08")
def test_register_and_deregister(instance: Instance, core: Core, new_user: NewUser) -> None:
    """Available from the REGISTER on, no longer after Expires 0; both answered with the same Expires."""
    sender, recipient = new_user(), new_user()
    assert core.fate(sender, recipient) == 202
    assert core.tell(recipient) == 200
    assert core.fate(sender, recipient) == 200
    assert core.tell(recipient, expires=0) == 200
    assert core.fate(sender, recipient) == 202
    assert len(instance.stored(recipient)) == 2


@pytest.mark.requirement("COR-06", "COR-08")
def test_registration_runs_out(core: Core, new_user: NewUser) -> None:
    """Available for as long as was said, and not longer."""
    sender, recipient = new_user(), new_user()
    began = time.monotonic()
    assert core.tell(recipient, expires=2) == 200
    assert core.fate(sender, recipient) == 200
    wait_until(lambda: core.fate(sender, recipient) == 202, "the registration has run out", seconds=5)
    assert 1 <= time.monotonic() - began < 4


@pytest.mark.requirement("COR-06", "COR-07", "COR-08")
def test_register_of_the_client_inside(core: Core, new_user: NewUser) -> None:
    """Where the core shows the client's own REGISTER, its feature tag decides; without it availability ends."""
    sender, recipient = new_user(), new_user()
    for tag, expected in ((";+g.oma.sip-im", 200), ("", 202), (";+g.oma.sip-im.large-message", 200)):
        body = OWN_REGISTER.format(user=address(recipient), tag=tag).encode()
        assert core.tell(recipient, "Content-Type: message/sip", body=body) == 200
        assert core.fate(sender, recipient) == expected, tag


@pytest.mark.requirement("COR-06")
def test_failures(instance: Instance, core: Core, new_user: NewUser) -> None:
    """Without Expires 400, a user who is not ours 404, both logged; neither changes anything."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient, expires=None) == 400
    assert core.tell("nobody-of-that-name") == 404
    log = instance.kamailio_log()
    assert "IM refused 400 COR-06 REGISTER" in log
    assert "IM refused 404 COR-06 REGISTER" in log
    assert core.fate(sender, recipient) == 202


@pytest.mark.requirement("COR-06", "SEC-01")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "INVITE", "OPTIONS", "BYE"])
def test_untrusted_source(instance: Instance, core: Core, new_user: NewUser, method: str) -> None:
    """Whatever comes to these ports from another address is refused 403 and logged with that address."""
    sender, recipient = new_user(), new_user()
    config = instance.deployment.config
    for port in (config.originating_port, config.terminating_port):
        with Agent(port, sender, address="127.0.0.3") as stranger:
            lines = (f"P-Asserted-Identity: <{address(sender)}>", "Expires: 600", "Contact: <sip:a@127.0.0.3>")
            response = stranger.ask(method, address(recipient), *lines, challenged=False)
        assert response.status == 403
        call_id = response.value("Call-ID")
        assert f"IM refused 403 SEC-01 {method} Call-ID={call_id} from 127.0.0.3" in instance.kamailio_log()
    assert core.fate(sender, recipient) == 202


@pytest.mark.requirement("COR-06", "COR-05", "PAG-05")
def test_with_sipp(instance: Instance, new_user: NewUser) -> None:
    """The files an operator runs by hand: register, a message through the terminating side and back, away again."""
    sender, recipient, back = new_user(), new_user(), free_port()
    terminating = f"127.0.0.1:{instance.deployment.config.terminating_port}"
    keys = {"header": "Subject: x", "accept": "*;+g.oma.sip-im;require;explicit", "back": str(back)}

    def register(expires: int) -> int:
        trace = instance.sipp(
            HERE / "third_party_register.xml",
            service=recipient,
            address=CORE_ADDRESS,
            target=terminating,
            keys={"expires": str(expires)},
        ).wait()
        return status(final_response(trace))

    def send() -> int:
        trace = instance.sipp(
            HERE / "from_core.xml", user=sender, service=recipient, address=CORE_ADDRESS, target=terminating, keys=keys
        ).wait()
        return status(final_response(trace))

    assert register(600) == 200
    core = instance.sipp(HERE / "core.xml", address=CORE_ADDRESS, port=back, target=terminating)
    assert send() == 200
    assert len(messages(core.wait())) == 2
    assert register(0) == 200
    assert send() == 202
