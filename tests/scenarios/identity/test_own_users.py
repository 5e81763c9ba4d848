"""Who a message is from, when the proxy itself authenticates its users: deployment (a)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, header, messages, status
from tests.scenarios.evidence import address, assert_refused, final_response, steps, warning

HERE = Path(__file__).parent
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'

NewUser = Callable[..., str]


def send_as(instance: Instance, user: str, recipient: str, sender: str, line: str = "Subject: x") -> tuple[int, str, str]:
    """Send a MESSAGE with send_as.xml; status, warning and Call-ID."""
    keys = {"from": sender, "header": line}
    trace = instance.sipp(HERE / "send_as.xml", user=user, service=recipient, keys=keys).wait()
    response = final_response(trace)
    return status(response), warning(response), header(messages(trace)[0], "Call-ID")[0]


@pytest.mark.requirement("IDN-01", "IDN-02")
@pytest.mark.parametrize("line", ["Subject: x", "P-Asserted-Identity: <sip:carol@other.example>"])
def test_nobody_we_know(instance: Instance, new_user: NewUser, line: str) -> None:
    """A stranger, even one that asserts an identity: 403, and the log says that there was none."""
    recipient = new_user()
    code, text, call_id = send_as(instance, "carol", recipient, "<sip:carol@other.example>", line)
    assert (code, text) == (403, "No authenticated originator")
    assert_refused(instance, call_id, 403, "IDN-01", "unidentified", address(recipient), traced=False)
    assert instance.stored(recipient) == []


@pytest.mark.requirement("IDN-02")
@pytest.mark.parametrize(
    ("sender", "line"),
    [
        ("<sip:{other}@example.com>", "Subject: x"),
        ("<sip:{user}@example.com>", "P-Preferred-Identity: <sip:{other}@example.com>"),
        ("<sip:{user}@example.com>", "P-Preferred-Identity: <sip:{user}@other.example>"),
        (ANONYMOUS, "P-Preferred-Identity: <sip:{other}@example.com>"),
    ],
)
def test_somebody_else(instance: Instance, new_user: NewUser, sender: str, line: str) -> None:
    """The right password for one user, and another in From or P-Preferred-Identity: 403, logged, nothing stored."""
    user, other, recipient = new_user(), new_user(), new_user()
    names = {"user": user, "other": other}
    code, _, call_id = send_as(instance, user, recipient, sender.format(**names), line.format(**names))
    assert code == 403
    assert re.search(rf"refused 403 IDN-02 MESSAGE Call-ID={re.escape(call_id)}", instance.kamailio_log())
    assert instance.stored(recipient) == []


@pytest.mark.requirement("IDN-02", "COR-07")
def test_wrong_password(instance: Instance, new_user: NewUser) -> None:
    """Challenged again, never let through."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user, password="wrong") as origin:
        assert origin.message(recipient).status == 407
        assert origin.register().status == 401
    assert instance.stored(recipient) == []


@pytest.mark.requirement("IDN-02", "HDR-07")
@pytest.mark.parametrize(
    "lines",
    [
        ["P-Asserted-Identity: <sip:mallory@example.com>"],
        ["P-Asserted-Identity: <sip:mallory@example.com>", "P-Asserted-Identity: <tel:+1>, <sip:m@other.example>"],
        ["P-Preferred-Identity: <sip:{user}@example.com>"],
    ],
)
def test_identity_is_that_of_the_credentials(instance: Instance, new_user: NewUser, lines: list[str]) -> None:
    """An asserted identity from outside does not arrive; the one we assert does, once."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, b"Hello", *(line.format(user=user) for line in lines))
        request = agent.accept()
        assert origin.final(call_id).status == 200
    assert request.values("P-Asserted-Identity") == [f"<{address(user)}>"]
    assert request.values("P-Preferred-Identity") == []
    assert b"mallory" not in request.raw


@pytest.mark.requirement("IDN-02", "IDN-04", "HDR-07")
def test_privacy_of_the_sender(instance: Instance, new_user: NewUser) -> None:
    """Privacy: id with an anonymous From: neither the device, nor log, trace or listing learns the address."""
    user, recipient, absent = new_user(), new_user(), new_user()
    lines = ("Privacy: id", f"P-Preferred-Identity: <{address(user)}>")
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        delivered = origin.begin_message(recipient, b"Hello", *lines, sender=ANONYMOUS)
        request = agent.accept()
        assert origin.final(delivered).status == 200
        assert origin.message(absent, b"Hello", *lines, sender=ANONYMOUS, call_id="hidden-" + absent).status == 202
        busy = origin.begin_message(recipient, b"Hello", *lines, sender=ANONYMOUS)
        agent.reply(agent.receive("MESSAGE"), 486, "Busy Here")
        assert origin.final(busy).status == 486
    assert request.value("From").startswith(ANONYMOUS)
    assert request.values("Privacy") == ["id"]
    assert request.values("P-Asserted-Identity") == request.values("P-Preferred-Identity") == []
    assert user.encode() not in request.raw.replace(request.value("Via").encode(), b"")
    for call_id, last in ((delivered, "delivered"), ("hidden-" + absent, "deferred"), (busy, "failed")):
        assert {step["originator"] for step in steps(instance, call_id, last)} == {"anonymous"}
    (entry,) = instance.stored(absent)
    assert entry["originator"] == "anonymous"
    known = address(user)
    assert known not in instance.command("deferred", "list", absent)
    assert known not in instance.kamailio_log()
    assert known not in instance.worker_log()


@pytest.mark.requirement("IDN-04", "HDR-07")
def test_privacy_of_the_recipient(instance: Instance, new_user: NewUser) -> None:
    """A device that answers with Privacy: id is not named to the sender."""
    user, recipient = new_user(), new_user()
    with Agent(instance.sip_port, user) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient)
        asserted = f"P-Preferred-Identity: <{address(recipient)}>"
        agent.reply(agent.receive("MESSAGE"), 200, "OK", "Privacy: id", asserted)
        response = origin.final(call_id)
    assert response.status == 200
    assert response.values("P-Asserted-Identity") == response.values("P-Preferred-Identity") == []
