"""Bindings that lead back to the proxy: one request does not become many (SEC-02, RFC 5393)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance

FORKS = 60
"""Devices that one request may fork to in parallel, wherever it goes round (RFC 5393 section 5.3.3)."""


def sent_requests(instance: Instance) -> int:
    """Requests that Kamailio has forwarded in transactions, from its own statistics."""
    return int(instance.deployment.rpc("tm.stats")["total"])


@pytest.mark.requirement("SEC-02")
@pytest.mark.parametrize("contacts", [1, 3, 12])
def test_a_user_registered_at_the_proxy_itself(instance: Instance, new_user: Callable[..., str], contacts: int) -> None:
    """Each turn would multiply the request by the number of contacts, 70 times over."""
    user = new_user()
    with Agent(instance.sip_port, user) as device, Agent(instance.sip_port, "x", host="elsewhere.example") as stranger:
        here = f"sip:{user}@127.0.0.1:{instance.sip_port}"
        assert device.register(*(f"<{here};turn={number}>" for number in range(contacts))).status == 200
        before = sent_requests(instance)
        answer = stranger.ask("MESSAGE", f"sip:{user}@example.com", "Content-Type: text/plain", body=b"x", challenged=False)
    assert 400 <= answer.status < 500
    turns = 70 if contacts == 1 else 4
    assert sent_requests(instance) - before <= FORKS * turns


@pytest.mark.requirement("SEC-02")
def test_more_devices_than_a_request_forks_to(instance: Instance, new_user: Callable[..., str]) -> None:
    """A thirteenth contact is refused: it would be reached by nothing, and be an error in the log each time."""
    user = new_user()
    with Agent(instance.sip_port, user) as device:
        many = [f"<sip:{user}@127.0.0.1:9;number={number}>" for number in range(13)]
        assert device.register(*many[:12]).status == 200
        assert device.register(many[12]).status == 503


@pytest.mark.requirement("SEC-02")
def test_the_breadth_is_shared_among_devices(instance: Instance, new_user: Callable[..., str]) -> None:
    """A forked request tells each branch what is left of 60; one that may fork no further gets 440."""
    user = new_user()
    uri = f"sip:{user}@example.com"
    with (
        Agent(instance.sip_port, user) as first,
        Agent(instance.sip_port, user) as second,
        Agent(instance.sip_port, "x", host="elsewhere.example") as stranger,
    ):
        for device in (first, second):
            device.register()
        call_id = stranger.begin("MESSAGE", uri, "Content-Type: text/plain", body=b"x", challenged=False)
        shares = [device.receive("MESSAGE") for device in (first, second)]
        assert [request.values("Max-Breadth") for request in shares] == [["30"], ["30"]]
        first.reply(shares[0], 200, "OK")
        assert stranger.final(call_id).status == 200
        answer = stranger.ask("MESSAGE", uri, "Content-Type: text/plain", "Max-Breadth: 1", body=b"x", challenged=False)
        assert answer.status == 440
