"""Claims about who somebody is, or wants to be hidden, in every place and spelling that a sender can choose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, steps

NewUser = Callable[..., str]
TEXT = "Content-Type: text/plain"
CLAIMS = (
    "P-Asserted-Identity: <sip:carol@example.com>",
    "p-asserted-identity : <tel:+1>, <sip:carol@example.com>",
    "Remote-Party-ID: <sip:carol@example.com>",
    "P-Preferred-Identity: <sip:{user}@example.com>, <sip:carol@example.com>",
)


@pytest.mark.requirement("IDN-02", "SEC-01")
@pytest.mark.parametrize("tag", ["plain", "IM"])
def test_a_claim_of_an_authenticated_user_ends_here(instance: Instance, new_user: NewUser, tag: str) -> None:
    """One's own password does not let one assert somebody else, whether the IM procedures see the request or not."""
    user, recipient = new_user(), new_user()
    lines = [TEXT, *(line.format(user=user) for line in CLAIMS)] + [ACCEPT_CONTACT] * (tag == "IM")
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin("MESSAGE", address(recipient), *lines, body=b"Hello")
        request = agent.accept()
        assert origin.final(call_id).status == 200
    assert b"carol" not in request.raw
    assert request.values("P-Preferred-Identity") == request.values("Remote-Party-ID") == []


@pytest.mark.requirement("IDN-04", "HDR-07")
@pytest.mark.parametrize(
    "lines",
    [
        ("Privacy: ID",),
        ("Privacy: none", "Privacy: id"),
        ("Privacy: user,id",),
        ("Privacy: user, id",),
        ("Privacy: foo;id",),
        (
            "Privacy: foo",
            "Privacy: header;\r\n\tid",
        ),
        ("Privacy: id;critical",),
    ],
)
def test_id_is_found_wherever_it_stands(instance: Instance, new_user: NewUser, lines: tuple[str, ...]) -> None:
    """Several headers, commas, values nobody knows: whoever asks for `id` gets it, on the wire and in the trace."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, b"Hello", *lines)
        request = agent.accept()
        assert origin.final(call_id).status == 200
    assert request.values("P-Asserted-Identity") == []
    assert {step["originator"] for step in steps(instance, call_id, "delivered")} == {"anonymous"}


@pytest.mark.requirement("HDR-07")
def test_a_value_that_only_looks_like_id(instance: Instance, new_user: NewUser) -> None:
    """`identity` and `void` are not `id`."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, b"Hello", "Privacy: identity;void;user")
        request = agent.accept()
        assert origin.final(call_id).status == 200
    assert request.values("P-Asserted-Identity") == [f"<{address(user)}>"]


@pytest.mark.requirement("IDN-02")
def test_anonymous_in_any_case_is_challenged(instance: Instance, new_user: NewUser) -> None:
    """Host names compare without case (RFC 3261 19.1.4): the credentials are asked for and count."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin:
        sender = "<sip:anonymous@Anonymous.INVALID>"
        assert origin.message(recipient, b"Hello", "Privacy: id", sender=sender).status == 202
