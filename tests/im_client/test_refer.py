"""REFER by a participant (RFC 3515, 4488, 5368; clause 7.1.1.7): what it says, and what is told about it."""

from __future__ import annotations

import pytest
from sipmessage import Request

from im_client.body import SDP, Body
from im_client.errors import SubscriptionError
from im_client.invitation import Invite
from im_client.recipients import parse_list
from im_client.refer import Progress, progress, refer
from im_client.referring import Referring, invite_users
from im_client.session import Session
from im_client.wire import parse_uri
from tests.im_client.conftest import Incoming, Stage

CAROL, DAVE = "sip:carol@example.com", "sip:dave@example.com"


@pytest.mark.requirement("CLI-02")
def test_one_user() -> None:
    found = refer([CAROL], content_id="x")
    assert dict(found.fields) == {"Refer-To": f"<{CAROL}>", "Refer-Sub": "true"}
    assert not found.body
    removing = refer([CAROL], content_id="x", method="BYE", quiet=True)
    assert dict(removing.fields)["Refer-To"] == f"<{CAROL};method=BYE>"
    assert dict(removing.fields)["Refer-Sub"] == "false"


@pytest.mark.requirement("CLI-02")
def test_several_users() -> None:
    found = refer([CAROL, DAVE], content_id="list@x")
    fields = dict(found.fields)
    assert fields["Refer-To"] == "<cid:list@x>"
    assert (fields["Content-ID"], fields["Require"], fields["Refer-Sub"]) == ("<list@x>", "multiple-refer", "false")
    assert [entry.uri for entry in parse_list(found.body.data)] == [CAROL, DAVE]
    assert found.quiet


def test_nobody() -> None:
    with pytest.raises(ValueError, match="nobody"):
        refer([], content_id="x")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("message/sipfrag", b"SIP/2.0 200 OK", Progress(200, "OK")),
        ("message/sipfrag;version=2.0", b"SIP/2.0 100 Trying\r\nTo: x\r\n", Progress(100, "Trying")),
        ("message/sipfrag", b"SIP/2.0 603", Progress(603, "")),
        ("message/sipfrag", b"hello", None),
        ("text/plain", b"SIP/2.0 200 OK", None),
    ],
)
def test_progress(kind: str, body: bytes, expected: Progress | None) -> None:
    notify = Request("NOTIFY", parse_uri(CAROL), body)
    notify.headers.add("Content-Type", kind)
    assert progress(notify) == expected


# --- on the wire


def notify(stage: Stage, refer_: Incoming, number: int, state: str, fragment: str, to: str = "") -> bytes:
    peer = stage.peer
    body = fragment.encode()
    return (
        "NOTIFY sip:alice@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/{peer.transport.upper()} 127.0.0.1:{peer.port};branch=z9hG4bKr{number}\r\n"
        f"From: {(refer_.header('To') or '').partition(';tag')[0]};tag=peer\r\n"
        f"To: {to or refer_.header('From')}\r\n"
        f"Call-ID: {refer_.header('Call-ID')}\r\nCSeq: {number} NOTIFY\r\nEvent: refer\r\n"
        f"Contact: <sip:focus@127.0.0.1:{peer.port};transport={peer.transport}>\r\n"
        f"Subscription-State: {state}\r\nContent-Type: message/sipfrag\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def in_session(stage: Stage) -> Session:
    call = stage.client.calls.outgoing(Invite(to="sip:room@example.com", body=Body(SDP, b"offer")))
    running = stage.start(call.run())
    invite = await stage.peer.expect("INVITE")
    contact = f"Contact: <sip:focus@127.0.0.1:{stage.peer.port};transport={stage.peer.transport}>;isfocus"
    invite.reply(200, "OK", contact, "Allow: INVITE, BYE, REFER", body=b"answer")
    await stage.peer.expect("ACK")
    session: Session = (await running)[0]
    return session


@pytest.mark.requirement("CLI-02")
async def test_add_one_in_the_session(stage: Stage) -> None:
    session = await in_session(stage)
    referring = Referring(stage.client.calls.layer)
    task = stage.start(referring.within(session, invite_users([CAROL])))
    request = await stage.peer.expect("REFER")
    assert str(request.message.uri).startswith("sip:focus@127.0.0.1")
    assert request.header("Refer-To") == f"<{CAROL}>"
    request.send(request.response(202, "Accepted").replace(b";tag=peer;tag=peer", b";tag=peer"))
    assert (await task).status == 202
    stage.peer.send(notify(stage, request, 1, "active;expires=60", "SIP/2.0 100 Trying"))
    await stage.peer.expect(200)
    stage.peer.send(notify(stage, request, 2, "terminated;reason=noresource", "SIP/2.0 200 OK"))
    await stage.peer.expect(200)
    assert await referring.next() == Progress(100, "Trying")
    assert await referring.outcome() == Progress(200, "OK")
    assert session.alive


@pytest.mark.requirement("CLI-02")
async def test_add_several_outside(stage: Stage) -> None:
    referring = Referring(stage.client.calls.layer)
    task = stage.start(referring.outside("sip:room@example.com", invite_users([CAROL, DAVE])))
    request = await stage.peer.expect("REFER")
    assert request.header("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
    assert request.header("Content-Type") == "application/resource-lists+xml"
    request.reply(202, "Accepted", "Refer-Sub: false")
    await task
    assert await referring.outcome() is None


async def test_notifications_of_a_referral_outside(stage: Stage) -> None:
    referring = Referring(stage.client.calls.layer)
    task = stage.start(referring.outside("sip:room@example.com", invite_users([CAROL])))
    request = await stage.peer.expect("REFER")
    request.reply(202, "Accepted")
    await task
    stage.peer.send(notify(stage, request, 1, "terminated;reason=noresource", "SIP/2.0 603 Decline"))
    await stage.peer.expect(200)
    assert await referring.outcome() == Progress(603, "Decline")
    stage.peer.send(notify(stage, request, 2, "active", "SIP/2.0 200 OK"))
    await stage.peer.expect(481)
    assert not len(stage.client.calls.layer)


async def test_refusal(udp_stage: Stage) -> None:
    referring = Referring(udp_stage.client.calls.layer)
    task = udp_stage.start(referring.outside("sip:room@example.com", invite_users([CAROL])))
    (await udp_stage.peer.expect("REFER")).reply(403, "Forbidden")
    with pytest.raises(SubscriptionError, match="403"):
        await task
