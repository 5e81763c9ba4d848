"""What the sender is told: the answer of the recipient's device, end to end, or that the message is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import FEATURE_TAG, Agent
from tests.scenarios.bed import Instance, free_port, header
from tests.scenarios.evidence import address, kinds, steps
from tests.scenarios.pager.conftest import Sent

HERE = Path(__file__).parent
SETTINGS = {"IM_DELIVERY_TIMEOUT": "1000"}


@pytest.mark.requirement("PAG-05", "HDR-07")
@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, "OK"), (415, "Unsupported Media Type"), (486, "Busy Here"), (600, "Busy Everywhere"), (603, "Decline")],
)
def test_answer_of_the_device_reaches_the_sender(
    instance: Instance,
    new_user: Callable[..., str],
    send: Callable[..., Sent],
    device: Callable[[str], int],
    status: int,
    reason: str,
) -> None:
    """Status, reason and headers as the device wrote them, but for the identity, which is ours to assert."""
    sender, recipient = new_user(), new_user()
    answering = instance.sipp(HERE / "answer.xml", port=device(recipient), keys={"status": str(status)})
    sent = send(sender, recipient)
    answering.wait()
    assert sent.response.startswith(f"SIP/2.0 {status} {reason}")
    assert sent.warning == "from the device itself"
    assert header(sent.response, "P-Asserted-Identity") == [f"<{address(recipient)}>"]
    last = "delivered" if status == 200 else "failed"
    found = steps(instance, sent.call_id, last)
    assert [(step["kind"], step["status"]) for step in found] == [("received", None), (last, status)]
    assert [(step["originator"], step["recipient"]) for step in found] == [(address(sender), address(recipient))] * 2
    assert instance.stored(recipient) == []


@pytest.mark.requirement("PAG-08", "COR-07")
def test_unwilling_or_plain_device_is_not_bothered(
    instance: Instance, new_user: Callable[..., str], send: Callable[..., Sent]
) -> None:
    """Unwilling with an IM-capable device, and registered with a device that is not: 202 and kept, nothing sent."""
    sender, unwilling, plain = new_user(), new_user(willing="no"), new_user()
    with Agent(instance.sip_port, unwilling) as first, Agent(instance.sip_port, plain) as second:
        assert first.register().status == 200
        assert second.register(f"<{second.contact}>").status == 200
        for recipient in (unwilling, plain):
            sent = send(sender, recipient)
            assert sent.response.startswith("SIP/2.0 202 Accepted")
            assert header(sent.response, "Server") == ["IM-serv/OMA1.0 simple-im/0.1.0"]
            assert [entry["call_id"] for entry in instance.stored(recipient)] == [sent.call_id]
            assert kinds(instance, sent.call_id, "deferred") == ["received", "deferred"]
        assert first.quiet()
        assert second.quiet()


@pytest.mark.requirement("PAG-08", "DEF-01")
def test_device_that_is_gone(instance: Instance, new_user: Callable[..., str], send: Callable[..., Sent]) -> None:
    """A binding nobody answers at, and one that says it is unreachable: 202, and the message is kept whole."""
    sender, silent, refusing = new_user(), new_user(), new_user()
    with Agent(instance.sip_port, silent) as agent:
        agent.register(f"<sip:{silent}@127.0.0.1:{free_port()}>;{FEATURE_TAG}")
        sent = send(sender, silent, body="for later")
    assert sent.status == 202
    (entry,) = instance.stored(silent)
    assert instance.stored_bytes(silent, entry["message_id"]).partition(b"\r\n\r\n")[2] == b"for later\r\n"
    found = steps(instance, sent.call_id, "deferred")
    assert [(step["kind"], step["status"]) for step in found] == [("received", None), ("failed", 408), ("deferred", 202)]

    with Agent(instance.sip_port, refusing) as agent, Agent(instance.sip_port, sender) as origin:
        agent.register()
        calls = []
        for _ in range(2):  # the second one without a question to the worker before the delivery
            calls.append(origin.begin_message(refusing))
            agent.reply(agent.receive("MESSAGE"), 480, "Temporarily Unavailable")
            assert origin.final(calls[-1]).status == 202
    assert [entry["call_id"] for entry in instance.stored(refusing)] == calls
    for call_id in calls:
        found = steps(instance, call_id, "deferred")
        assert [step["kind"] for step in found] == ["received", "failed", "deferred"]
        assert {step["originator"] for step in found} == {address(sender)}


@pytest.mark.requirement("COR-04", "COR-02")
def test_recipient_who_does_not_exist(instance: Instance, new_user: Callable[..., str], send: Callable[..., Sent]) -> None:
    """404 for a name that is nobody's: nothing is stored for it."""
    sent = send(new_user(), "nobody-of-that-name")
    assert (sent.status, sent.warning) == (404, "No such user")


@pytest.mark.requirement("PAG-05", "PAG-09", "HDR-01", "HDR-02", "HDR-07", "IDN-02", "COR-01", "COR-02")
def test_request_at_the_device(instance: Instance, new_user: Callable[..., str]) -> None:
    """The device gets itself as Request-URI, the tag in Contact and the identity asserted; all else as it was sent."""
    sender, recipient = new_user(), new_user()
    own = ["User-Agent: IM-client/OMA1.0 test/1", "Subject: \u00fc", "X-Own:  kept \t as it is", "Allow: MESSAGE"]
    removed = ["Contact: <sip:a@b.example>", f"P-Preferred-Identity: <{address(sender)}>"]
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, b"Hello", *own, *removed)
        request = agent.receive("MESSAGE")
        agent.reply(request, 200, "OK", "Server: device/1")
        response = origin.final(call_id)
    assert (response.status, response.values("Server")) == (200, ["device/1"])
    assert request.uri == agent.contact  # PAG-09
    assert request.values("Contact") == ["<sip:example.com>;+g.oma.sip-im"]  # HDR-02
    assert request.values("Accept-Contact") == ["*;+g.oma.sip-im;require;explicit"]
    assert request.values("P-Asserted-Identity") == [f"<{address(sender)}>"]  # HDR-07
    assert request.values("P-Preferred-Identity") == []
    assert request.values("Proxy-Authorization") == []
    assert request.value("Max-Forwards") == "69"
    assert set(own) <= set(request.header_lines())
    assert request.value("To") == f"<{address(recipient)}>"
    assert request.body == b"Hello"
