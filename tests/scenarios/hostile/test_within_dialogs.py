"""A To tag is easily made up: what it does not open (SEC-01)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address

NewUser = Callable[..., str]
TEXT = "Content-Type: text/plain"
CAROL = "<sip:carol@example.com>"


def forged(agent: Agent, instance: Instance, method: str, to: str, *lines: str, sender: str = "") -> bytes:
    """A request with a To tag that nobody gave, on a route through the proxy to where a device listens."""
    route = f"Route: <sip:127.0.0.1:{instance.sip_port};lr>"
    return agent.build(method, to, route, TEXT, *lines, body=b"spam", sender=sender, to="<sip:x@example.com>;tag=made-up")


@pytest.mark.requirement("SEC-01", "IDN-02")
@pytest.mark.parametrize(
    ("sender", "lines", "code"),
    [
        (CAROL, (), 403),
        (CAROL, (ACCEPT_CONTACT,), 481),
        ("", (), 403),
        ("", (ACCEPT_CONTACT,), 481),
        ("<sip:anonymous@anonymous.invalid>", (), 403),
    ],
)
def test_a_message_with_a_tag_reaches_nobody(
    instance: Instance, new_user: NewUser, sender: str, lines: tuple[str, ...], code: int
) -> None:
    """Neither without credentials nor around the IM procedures."""
    with (
        Agent(instance.sip_port, "mallory", host="elsewhere.example") as stranger,
        Agent(instance.sip_port, new_user()) as device,
    ):
        device.register()
        stranger.send(forged(stranger, instance, "MESSAGE", device.contact, *lines, sender=sender))
        assert stranger.final().status == code
        assert device.quiet(0.3)


@pytest.mark.requirement("SEC-01", "PAG-06")
def test_a_tag_does_not_lead_around_the_procedures(instance: Instance, new_user: NewUser) -> None:
    """With credentials, and a recipient that bars messages."""
    user, recipient = new_user(), new_user(pager_barred="yes")
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as device:
        device.register()
        assert origin.message(recipient).status == 480
        for uri in (address(recipient), device.contact):
            to = f"<{address(recipient)}>;tag=made-up"
            route = f"Route: <sip:127.0.0.1:{instance.sip_port};lr>"
            call_id = origin.begin("MESSAGE", uri, route, TEXT, ACCEPT_CONTACT, body=b"spam", to=to)
            assert origin.final(call_id).status == 481
        assert device.quiet(0.3)


@pytest.mark.requirement("IDN-02")
def test_claims_within_a_dialog_end_here(instance: Instance, new_user: NewUser) -> None:
    """What is relayed within a dialog does not carry an identity that nobody has verified."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as device:
        device.register(f"<{device.contact}>")
        call_id = origin.begin("INVITE", address(recipient), f"Contact: <{origin.contact}>")
        device.reply(device.receive("INVITE"), 200, "OK", f"Contact: <{device.contact}>")
        answer = origin.final(call_id)
        origin.send(origin.within(answer, "ACK"))
        device.receive("ACK")
        lines = f"P-Asserted-Identity: {CAROL}\r\nP-Preferred-Identity: {CAROL}\r\nRemote-Party-ID: {CAROL}\r\n"
        origin.send(origin.within(answer, "INFO").replace(b"Content-Length", lines.encode() + b"Content-Length"))
        assert b"carol" not in device.accept("INFO").raw


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize("sender", ["", CAROL, "<sip:anonymous@anonymous.invalid>"])
def test_an_ack_without_a_tag_goes_nowhere(instance: Instance, new_user: NewUser, sender: str) -> None:
    """Nobody can be challenged by an ACK, so an ACK that belongs to nothing is not relayed, nor answered."""
    with Agent(instance.sip_port, "mallory", host="elsewhere.example") as stranger, Agent(instance.sip_port, "x") as device:
        for uri in (device.contact, address("bob")):
            stranger.send(stranger.build("ACK", uri, sender=sender))
        assert device.quiet(0.3)
        with pytest.raises(TimeoutError):
            stranger.final(seconds=0.1)


@pytest.mark.requirement("SEC-01", "SEC-05")
def test_a_leg_that_is_none(instance: Instance) -> None:
    """Requests for dialogs of the worker that never were: the first checks hold for them too."""
    uri = "sip:im-leg-0@example.com"
    with Agent(instance.sip_port, "mallory", host="elsewhere.example") as stranger:
        for method in ("BYE", "INVITE", "NOTIFY"):
            stranger.send(stranger.build(method, uri, to=f"<{uri}>;tag=made-up"))
            assert stranger.final().status >= 400
        request = stranger.build("BYE", uri, to=f"<{uri}>;tag=made-up")
        stranger.send(request.replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))
        assert stranger.final().status == 483
