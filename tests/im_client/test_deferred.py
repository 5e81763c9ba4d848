"""Deferred messages: their summary (RFC 3842, Appendix K), their encapsulation (Appendix J), push and retrieval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from im_client import message_summary
from im_client.deferred import decode
from im_client.errors import MalformedMessageError
from im_client.im_invitation import ImInvitation
from im_client.message_summary import Counts
from im_client.multipart import split
from im_client.recipients import parse_list
from msrp_worker.sdp_msrp import Direction
from tests.im_client.relay import PATIENCE, Pair, open_pair

SUMMARY = b"""Messages-Waiting: yes\r
Message-Account: sip:charlie@mailserver.example.com\r
Text-Message: 2/0 (1/0)\r
Multimedia-Message: 1/3\r
\r
To: <charlie@example.com>\r
From: <alice@example.org>\r
Subject: carpool tomorrow?\r
Message-ID: 32098d@alicepc.example.org\r
\r
To: <charlie@example.com>\r
From: <Joe@example.com>\r
Subject: HELP! at home ill,\r
 present for me please\r
Priority: urgent\r
Message-ID: d0982dkjs@Joemobile.example.net\r
"""


@pytest.mark.requirement("CLI-06")
@pytest.mark.parametrize("data", [SUMMARY, SUMMARY.replace(b"\r\n", b"\n"), SUMMARY.replace(b"\r\n\r\n", b"\r\n")])
def test_summary(data: bytes) -> None:
    found = message_summary.parse(data)
    assert (found.waiting, found.account) == (True, "sip:charlie@mailserver.example.com")
    assert found.count() == Counts(2, 0, 1, 0)
    assert found.count("Multimedia-Message") == Counts(1, 3)
    assert found.count("fax-message") == Counts(0, 0)
    assert [one.message_id for one in found.messages] == ["32098d@alicepc.example.org", "d0982dkjs@Joemobile.example.net"]
    assert found.messages[1].header("subject") == "HELP! at home ill, present for me please"
    assert found.messages[0].sender == "<alice@example.org>"


def test_smallest_summary() -> None:
    found = message_summary.parse(b"messages-waiting: NO")
    assert (found.waiting, found.counts, found.messages) == (False, (), ())


@pytest.mark.parametrize("data", [b"", b"\r\n", b"Text-Message: 1/0", b"Messages-Waiting: perhaps", b"Messages-Waiting"])
def test_malformed_summaries(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        message_summary.parse(data)


MESSAGE = b"""MESSAGE sip:user2@imserver.com SIP/2.0\r
Via: SIP/2.0/TCP user1pc.imserver.com;branch=z9hG4bK776sgdkse\r
Max-Forwards: 70\r
From: sip:user1@imserver.com;tag=49583\r
To: sip:user2@imserver.com\r
Call-ID: asd88asd77a@1.2.3.4\r
Date: Thu, 21 Feb 2002 13:02:03 GMT\r
CSeq: 1 MESSAGE\r
Content-Type: text/plain\r
Content-Length: 18\r
\r
Watson, come here."""

SESSION = b"""--boundary42\r
Content-Type: message/sip\r
\r
INVITE sip: user2@imserver.com SIP/2.0\r
To: <sip:user2@imserver.com>\r
From: <sip:user1@imserver.com>;tag=786\r
Call-ID: 3413an89KU\r
Date: Thu, 21 Feb 2005 13:02:03 GMT\r
Content-Type: application/sdp\r
\r
c=IN IP4 user1.imserver.com\r
--boundary42\r
Content-Type: message/sip\r
\r
SIP/2.0 200 OK\r
To: <sip:user2@imserver.com>;tag=087js\r
Call-ID: 3413an89KU\r
\r
\r
--boundary42\r
Content-Type: message/msrp\r
\r
MSRP dkei38sd SEND\r
To-Path: msrp://imserver.com:7777/iau39;tcp\r
From-Path: msrp://user1.imserver.com:8888/9di4ea;tcp\r
Message-ID: 456\r
Date: Thu, 21 Feb 2005 13:02:03 GMT\r
Content-Type: text/plain\r
\r
Hi, Alice!  I'm Bob!\r
-------dkei38sd$\r
--boundary42\r
Content-Type: message/sip\r
\r
BYE sip:user2@imserver.com SIP/2.0\r
Date: Thu, 21 Feb 2005 13:02:03 GMT\r
\r
--boundary42--\r
"""


@pytest.mark.requirement("CLI-06", "DEF-04")
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("message/sip", MESSAGE),
        ("Message/SIP; version=2.0", MESSAGE),
        ("message/sipfrag", MESSAGE),
        ("message/sipfrag", MESSAGE.partition(b"\r\n")[2]),  # without start line
        ("multipart/mixed;boundary=x", b"--x\r\nContent-Type: message/sip\r\n\r\n" + MESSAGE + b"\r\n--x--\r\n"),
    ],
)
def test_a_stored_message(kind: str, data: bytes) -> None:
    (found,) = decode(kind, data)
    assert (found.sender, found.recipient) == ("sip:user1@imserver.com", "sip:user2@imserver.com")
    assert (found.content_type, found.text, found.call_id) == ("text/plain", "Watson, come here.", "asd88asd77a@1.2.3.4")
    assert found.stored == datetime(2002, 2, 21, 13, 2, 3, tzinfo=UTC)


@pytest.mark.requirement("CLI-06", "DEF-04")
def test_a_stored_message_of_a_session() -> None:
    (found,) = decode('multipart/mixed; boundary="boundary42"', SESSION)
    assert (found.sender, found.recipient) == ("sip:user1@imserver.com", "sip:user2@imserver.com")
    assert (found.content_type, found.text) == ("text/plain", "Hi, Alice!  I'm Bob!")
    assert (found.call_id, found.message_id) == ("3413an89KU", "456")
    assert found.stored == datetime(2005, 2, 21, 13, 2, 3, tzinfo=UTC)


def test_what_is_no_encapsulation() -> None:
    assert decode("text/plain", b"hi") == []
    for kind, data in (("message/sip", b"hi"), ("message/msrp", b"MSRP a REPORT\r\n\r\n"), ("multipart/mixed", b"")):
        with pytest.raises(MalformedMessageError):
            decode(kind, data)


# --- push and retrieval, with Bob as the Deferred Messaging Function


@pytest.fixture
async def pair(transport: str) -> AsyncIterator[Pair]:
    async with open_pair(transport, deferred_function_uri="sip:bob@example.com") as found:
        found.alice.messaging.calls.on_call = found.alice.messaging._on_call
        found.bob.messaging.calls.on_call = found.bob.messaging._on_call
        yield found


@pytest.mark.requirement("CLI-06", "DEF-03")
async def test_push(pair: Pair) -> None:
    messaging = pair.bob.messaging
    session = await messaging.invite("sip:alice@example.com", line=messaging.line(messaging.plan(Direction.SENDONLY)))
    await session.send(MESSAGE, "message/sip")
    await session.send(SESSION, "multipart/mixed;boundary=boundary42")
    await session.close()
    async with asyncio.timeout(PATIENCE):
        found = [await pair.alice.messaging.pushed.get() for _ in range(2)]
    assert [one.text for one in found] == ["Watson, come here.", "Hi, Alice!  I'm Bob!"]


@pytest.mark.requirement("CLI-06", "DEF-07")
@pytest.mark.parametrize(
    ("idents", "knows_lists"),
    [
        ((), False),
        (("1@store.example.com", "sip:2@store.example.com"), True),
        (("1@store.example.com", "2@store.example.com"), False),
    ],
)
async def test_retrieval(pair: Pair, idents: tuple[str, ...], knows_lists: bool) -> None:
    asked: list[Any] = []

    async def serve(invitation: ImInvitation) -> None:
        asked.append(invitation.call)
        session = await invitation.accept()
        await session.send(MESSAGE, "message/sip")
        await session.close()

    pair.bob.on_invite = serve
    settings = pair.bob.endpoint.settings
    known = {"recipient-list-invite"} if knows_lists else set()
    pair.bob.endpoint.settings = replace(settings, supported=settings.supported | known)
    (found,) = await pair.alice.deferred_get(idents, seconds=PATIENCE)
    assert found.text == "Watson, come here."
    assert b"a=recvonly" in asked[0].offer.data
    kind = asked[0].header("Content-Type")
    if not idents:
        assert kind == "application/sdp"
        return
    listing = split(kind, asked[0].message.body)[1]
    assert listing.disposition == "recipient-list"
    assert [entry.uri for entry in parse_list(listing.body)] == ["sip:1@store.example.com", "sip:2@store.example.com"]
    assert asked[0].header("Require") == ("recipient-list-invite" if knows_lists else None)


@pytest.mark.requirement("CLI-06")
async def test_retrieval_by_the_escaped_identifier(pair: Pair) -> None:
    pair.bob.on_invite = None
    with pytest.raises(Exception, match="404"):  # Bob's client is not that user
        await pair.alice.deferred_get(["d0982dkjs@Joemobile.example.net"], escaped=True)
    assert str(pair.relay.log[0].message.uri) == "sip:d0982dkjs%40Joemobile.example.net@example.com"
