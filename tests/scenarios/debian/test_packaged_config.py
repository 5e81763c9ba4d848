"""Debian's packaged kamailio.cfg with three lines added: instant messages and ordinary calls."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, free_port, header, messages, status
from tests.scenarios.debian.conftest import packaged
from tests.scenarios.evidence import address, assert_refused, kinds

SCENARIOS = Path(__file__).parent.parent
PAGER, CORE = SCENARIOS / "pager", SCENARIOS / "core"

NewUser = Callable[..., str]


@pytest.mark.requirement("COR-05")
def test_only_three_lines_were_added(instance: Instance) -> None:
    """What runs is the packaged file, nothing removed or changed, and three lines more."""
    ours = (instance.directory / "kamailio.cfg").read_text().splitlines()
    changes = [line for line in difflib.ndiff(packaged().splitlines(), ours) if line[0] in "+-?" and line[1:].strip()]
    assert [line.split("/")[0].split()[1].rstrip(";") for line in changes] == [
        "include_file",
        "route(IM_ENTRY)",
        "route(IM)",
    ]


@pytest.mark.requirement("COR-05", "COR-01", "COR-02", "COR-07", "PAG-05", "PAG-09", "IDN-02")
def test_messages_both_ways(instance: Instance, new_user: NewUser) -> None:
    """Registered with the tag and a password, each sends to the other."""
    users = [new_user(), new_user()]
    ports = [free_port(), free_port()]
    for user, port in zip(users, ports, strict=True):
        instance.sipp(PAGER / "register.xml", user=user, port=port, keys={"expires": "600"}).wait()
    for sender, recipient, port in ((users[0], users[1], ports[1]), (users[1], users[0], ports[0])):
        receiving = instance.sipp(PAGER / "receive.xml", port=port)
        sent = instance.sipp(PAGER / "send.xml", user=sender, service=recipient).wait()
        assert status(messages(sent)[-1]) == 200
        (received, _) = messages(receiving.wait())
        assert header(received, "P-Asserted-Identity") == [f"<{address(sender)}>"]
        call_id = header(messages(sent)[0], "Call-ID")[0]
        assert kinds(instance, call_id, "delivered") == ["received", "delivered"]


@pytest.mark.requirement("COR-05", "PAG-08", "DEF-01", "COR-07", "COR-10")
def test_away(instance: Instance, new_user: NewUser) -> None:
    """No device, or a telephone only: 202 and kept. The wrong password registers nothing."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, recipient) as phone, Agent(instance.sip_port, recipient, password="wrong") as thief:
        for _ in range(2):
            trace = instance.sipp(PAGER / "send.xml", user=sender, service=recipient).wait()
            assert status(messages(trace)[-1]) == 202
            assert phone.register(f"<{phone.contact}>").status == 200
        assert thief.register().status == 401
        assert phone.quiet(0.2)
    entries = instance.stored(recipient)
    assert len(entries) == 2
    for entry in entries:
        assert instance.stored_bytes(recipient, entry["message_id"]).endswith(b"\r\n\r\nHello from SIPp\r\n")


@pytest.mark.requirement("COR-05", "PAG-10")
async def test_large_message_over_tcp(instance: Instance, new_user: NewUser) -> None:
    """More than Kamailio's default buffer takes arrives, the same bytes."""
    sender, recipient = new_user(), new_user()
    body = secrets.token_bytes(30_000)
    async with (
        instance.client(sender, transport="tcp") as origin,
        instance.client(recipient, transport="tcp") as device,
    ):
        await device.register()
        response = await origin.send(address(recipient), body, content_type="application/octet-stream")
        assert (response.status, (await device.next_message()).body) == (200, body)


@pytest.mark.requirement("COR-05", "PAG-02", "COR-04")
def test_policy(instance: Instance, new_user: NewUser) -> None:
    """Operator policy holds here too, from the next message on."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin:
        assert origin.message(recipient).status == 202
        instance.command("user", "set", sender, "im_allowed=no")
        response = origin.message(recipient)
    assert response.status == 403
    assert_refused(instance, response.value("Call-ID"), 403, "PAG-02", address(sender), address(recipient))


@pytest.mark.requirement("COR-03", "COR-05")
def test_ordinary_traffic(instance: Instance, new_user: NewUser) -> None:
    """Registered without the tag or a password, called, and sent a MESSAGE without the tag: as before the three lines."""
    caller, callee, port = new_user(), new_user(), free_port()
    with Agent(instance.sip_port, callee) as agent, Agent(instance.sip_port, caller) as origin:
        assert agent.register(f"<sip:{callee}@127.0.0.1:{port}>").status == 200
        assert len(agent.sent) == 1  # no challenge
        phone = instance.sipp(CORE / "take_call.xml", port=port)
        trace = instance.sipp(CORE / "call.xml", user=caller, service=callee).wait()
        phone.wait()
        assert 407 not in {status(message) for message in messages(trace)}
        assert agent.register(f"<{agent.contact}>").status == 200
        call_id = origin.begin("MESSAGE", address(caller), body=b"x", challenged=False)
        assert origin.final(call_id).status == 404  # nobody there: nothing is kept without the tag
        assert instance.stored(caller) == []
