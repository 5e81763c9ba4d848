"""What a message may be: any bytes, up to 1300 over UDP, more over a connection; status messages; session types."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import pytest

from im_client.composing import CONTENT_TYPE, Status, build
from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, kinds

DATAGRAM_LIMIT = 1300
BINARY = b"\x00\xff\xfe\r\n\x00" + bytes(range(256)) + b"\r\n\r\n\x00"

NewUser = Callable[..., str]


@pytest.mark.requirement("PAG-05", "DEF-01", "SEC-05")
def test_binary_body(instance: Instance, new_user: NewUser) -> None:
    """NUL, bytes that are no UTF-8 and line ends: the same bytes at the device and in the store."""
    sender, recipient, absent = new_user(), new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, BINARY, content_type="application/octet-stream")
        request = agent.accept()
        assert origin.final(call_id).status == 200
        assert request.body == BINARY
        assert origin.message(absent, BINARY, content_type="application/octet-stream").status == 202
    (entry,) = instance.stored(absent)
    assert instance.stored_bytes(absent, entry["message_id"]).partition(b"\r\n\r\n")[2] == BINARY


@pytest.mark.requirement("DEF-01")
def test_stored_header_is_as_sent(instance: Instance, new_user: NewUser) -> None:
    """Every header of the accepted request, in order, folded lines and odd bytes too; one hop less, no credentials."""
    sender, absent = new_user(), new_user()
    lines = [
        ACCEPT_CONTACT,
        "Subject: folded\r\n  over two lines",
        "X-Bytes: \udce9t\udce9",  # Latin-1 on the wire
        "s: compact",
        "Content-Type: text/plain",
    ]
    with Agent(instance.sip_port, sender) as origin:
        assert origin.ask("MESSAGE", address(absent), *lines, body=b"x").status == 202
        last = origin.sent[-1]
    (entry,) = instance.stored(absent)
    stored = instance.stored_bytes(absent, entry["message_id"])
    passed_on = last.replace(b"Max-Forwards: 70", b"Max-Forwards: 69")
    expected = [line for line in passed_on.split(b"\r\n") if not line.startswith(b"Proxy-Authorization")]
    assert stored.split(b"\r\n") == expected


@pytest.mark.requirement("PAG-10", "CLI-05")
def test_size_over_udp(instance: Instance, new_user: NewUser) -> None:
    """1300 bytes of request pass, 1301 are refused with a text that says what to do."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient)
        agent.accept()
        origin.final(call_id)
        around = len(origin.sent[-1]) - len(b"Hello") + 2  # Content-Length takes two digits more below
        for size, code in ((DATAGRAM_LIMIT, 200), (DATAGRAM_LIMIT + 1, 513)):
            body = b"x" * (size - around)
            call_id = origin.begin_message(recipient, body)
            assert len(origin.sent[-1]) == size
            if code == 200:
                assert agent.accept().body == body
            response = origin.final(call_id)
            assert response.status == code
        assert response.value("Warning") == (
            '399 example.com "MESSAGE above 1300 bytes needs TCP, TLS or large message mode"'
        )
        assert_refused(instance, call_id, 513, "PAG-10", address(sender), address(recipient))
        assert agent.quiet(0.2)
    assert instance.stored(recipient) == []


@pytest.mark.requirement("PAG-10", "PAG-05")
async def test_size_over_tcp(instance: Instance, new_user: NewUser) -> None:
    """30,000 bytes that are no text, to a device on TCP and to nobody: the same bytes arrive and are stored."""
    sender, recipient, absent = new_user(), new_user(), new_user()
    body = secrets.token_bytes(30_000)
    async with (
        instance.client(sender, transport="tcp") as origin,
        instance.client(recipient, transport="tcp") as device,
    ):
        await device.register()
        response = await origin.send(f"sip:{recipient}@example.com", body, content_type="application/octet-stream")
        message = await device.next_message()
        assert (response.status, message.body) == (200, body)
        response = await origin.send(f"sip:{absent}@example.com", body, content_type="application/octet-stream")
        assert response.status == 202
    (entry,) = await asyncio.to_thread(instance.stored, absent)
    stored = await asyncio.to_thread(instance.stored_bytes, absent, entry["message_id"])
    assert stored.partition(b"\r\n\r\n")[2] == body


@pytest.mark.requirement("PAG-20")
async def test_composing(instance: Instance, new_user: NewUser) -> None:
    """A status message reaches a device that is there; for nobody it is neither kept nor accepted."""
    sender, recipient, absent, unwilling = new_user(), new_user(), new_user(), new_user(willing="no")
    async with instance.client(sender) as origin, instance.client(recipient) as device:
        await device.register()
        response = await origin.send_composing(f"sip:{recipient}@example.com", refresh=90)
        message = await device.next_message()
        assert response is not None
        assert response.status == 200
        assert message.content_type == CONTENT_TYPE
        assert message.body == build(Status(active=True, refresh=90, media="text/plain"))
        refused = []
        for nobody in (absent, unwilling):
            response = await origin.send_composing(f"sip:{nobody}@example.com")
            assert response is not None
            assert (response.status, response.warning) == (480, "isComposing is not stored")
            refused.append((response.header("Call-ID") or "", nobody))
    for call_id, nobody in refused:
        assert_refused(instance, call_id, 480, "PAG-20", address(sender), address(nobody))
        assert instance.stored(nobody) == []


@pytest.mark.requirement("PAG-16")
def test_session_type_is_stripped(instance: Instance, new_user: NewUser) -> None:
    """`session=` and `sessiontype=` in the Request-URI are understood and do not reach the device; the rest does."""
    sender, recipient, absent = new_user(), new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register(f"<{agent.contact};own=1>;+g.oma.sip-im")
        calls = []
        for parameter in ("session=1-1", "sessiontype=1-1", "Session=Adhoc", "user=phone;session=chat"):
            call_id = origin.begin_message(f"sip:{recipient}@example.com;{parameter}")
            request = agent.accept()
            assert origin.final(call_id).status == 200
            assert request.uri == f"{agent.contact};own=1"
            calls.append(call_id)
        assert origin.message(f"sip:{absent}@example.com;session=1-1").status == 202
    assert len(instance.stored(absent)) == 1
    for call_id in calls:
        assert kinds(instance, call_id, "delivered") == ["received", "delivered"]
