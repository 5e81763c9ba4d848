"""Pager mode on the wire (clauses 8.1 and 8.2, RFC 3428)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from im_client.client import Answer, ImClient
from im_client.errors import ConnectionFailedError, MessageTooLargeError, NoAnswerError
from im_client.pager import Outgoing, SessionType

BOB = "sip:bob@example.com"
ANY_BYTES = bytes(range(256)) + b"\r\n\r\n\0\xff"
PROXY_CHALLENGE = 'Proxy-Authenticate: Digest realm="example.com", nonce="{}", qop="auth", algorithm=SHA-256'


async def deliver(stage, **options):
    """Send, have it accepted, give the request."""
    task = stage.start(stage.client.send(options.pop("to", BOB), options.pop("body", "hi"), **options))
    request = await stage.peer.expect("MESSAGE")
    request.reply(200, "OK")
    assert (await task).ok
    return request


# --- sending


@pytest.mark.requirement("CLI-05", "HDR-01")
async def test_message_of_clause_8_1_1(stage) -> None:
    request = await deliver(stage)
    assert str(request.message.uri) == BOB
    assert request.header("To") == f"<{BOB}>"
    assert request.header("From").startswith("<sip:alice@example.com>;tag=")
    assert request.header("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
    assert request.header("User-Agent").startswith("IM-client/OMA1.0 ")
    assert request.header("P-Preferred-Identity") == "<sip:alice@example.com>"
    assert request.header("Content-Type") == "text/plain;charset=UTF-8"
    assert request.header("Contact") is None  # RFC 3428 section 4
    assert request.header("Privacy") is None
    assert request.header("Date") is None
    assert request.message.body == b"hi"


@pytest.mark.requirement("CLI-05")
async def test_any_bytes_of_any_type_arrive_as_they_are(stage) -> None:
    request = await deliver(stage, body=ANY_BYTES, content_type="application/octet-stream")
    assert request.message.body == ANY_BYTES
    assert request.raw.endswith(b"\r\nContent-Length: 262\r\n\r\n" + ANY_BYTES)


@pytest.mark.requirement("IDN-04", "CLI-05")
async def test_anonymous(udp_stage) -> None:
    request = await deliver(udp_stage, anonymous=True)
    assert request.header("From").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
    assert request.header("Privacy") == "id"
    assert request.header("P-Preferred-Identity") == "<sip:alice@example.com>"
    request = await deliver(udp_stage, anonymous=True, nickname='The "Cat"')
    assert request.header("From").startswith('"The \\"Cat\\"" <sip:anonymous@anonymous.invalid>;tag=')
    assert b"alice" not in request.raw.replace(b"P-Preferred-Identity: <sip:alice@example.com>", b"")


@pytest.mark.requirement("PAG-16")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SessionType.ADHOC, "adhoc"),
        (SessionType.PREARRANGED, "prearranged"),
        (SessionType.CHAT, "chat"),
        (SessionType.ONE_TO_ONE, "1-1"),
    ],
)
async def test_session_parameter(udp_stage, kind: SessionType, value: str) -> None:
    request = await deliver(udp_stage, to="sip:friends@example.com", session_type=kind)
    assert str(request.message.uri) == f"sip:friends@example.com;session={value}"
    assert request.header("To") == "<sip:friends@example.com>"


async def test_expires_comes_with_date(udp_stage) -> None:
    before = datetime.now(tz=UTC).replace(microsecond=0)
    request = await deliver(udp_stage, expires=60)
    assert request.header("Expires") == "60"
    assert request.message.date >= before
    assert request.header("Date").endswith(" GMT")


async def test_headers_are_added_replaced_and_left_out(udp_stage) -> None:
    changes = (("Accept-Contact", ""), ("Subject", "x"), ("User-Agent", "other"), ("Subject", "y"))
    request = await deliver(udp_stage, headers=changes)
    assert request.header("Accept-Contact") is None
    assert request.header("User-Agent") == "other"
    assert request.message.headers.getlist("Subject") == ["x", "y"]


async def test_a_trusted_client_asserts_its_identity(make_stage) -> None:
    request = await deliver(await make_stage("udp", trusted=True, display_name="Al"))
    assert request.header("P-Asserted-Identity") == "<sip:alice@example.com>"
    assert request.header("P-Preferred-Identity") is None
    assert request.header("From").startswith('"Al" <sip:alice@example.com>;tag=')


@pytest.mark.requirement("CLI-05")
async def test_the_proxy_challenges_once_for_many_messages(stage) -> None:
    task = stage.start(stage.client.send(BOB, "1"))
    first = await stage.peer.expect("MESSAGE")
    first.reply(407, "Proxy Authentication Required", PROXY_CHALLENGE.format("n1"))
    second = await stage.peer.expect("MESSAGE")
    assert "algorithm=SHA-256" in second.header("Proxy-Authorization")
    assert second.header("Call-ID") == first.header("Call-ID")
    assert second.header("CSeq") == "2 MESSAGE"
    second.reply(202, "Accepted")
    assert (await task).status == 202
    third = await deliver(stage, to="sip:carol@example.com")
    assert "nc=00000002" in third.header("Proxy-Authorization")
    task = stage.start(stage.client.send(BOB, "2"))
    stale = await stage.peer.expect("MESSAGE")
    stale.reply(407, "Proxy Authentication Required", PROXY_CHALLENGE.format("n2") + ", stale=true")
    fresh = await stage.peer.expect("MESSAGE")
    assert 'nonce="n2"' in fresh.header("Proxy-Authorization")
    fresh.reply(200, "OK")
    assert (await task).ok


@pytest.mark.requirement("CLI-05")
async def test_up_to_1300_bytes_go_over_udp_and_more_do_not(udp_stage) -> None:
    some = await deliver(udp_stage, body=b"x" * 100)
    largest = b"x" * (1300 - len(some.raw) + 100)
    request = await deliver(udp_stage, body=largest)
    assert len(request.raw) == 1300
    with pytest.raises(MessageTooLargeError, match=r"1301 bytes.*large message mode"):
        await udp_stage.client.send(BOB, largest + b"x")
    request = await deliver(udp_stage, body=largest + b"x", any_size=True)
    assert len(request.raw) == 1301
    assert udp_stage.client.endpoint.live_transactions <= 3


@pytest.mark.requirement("CLI-05")
async def test_more_than_1300_bytes_go_over_tcp(tcp_stage) -> None:
    request = await deliver(tcp_stage, body=b"x" * 100_000)
    assert len(request.message.body) == 100_000


async def test_one_message_at_a_time_to_one_uri(udp_stage) -> None:
    first = udp_stage.start(udp_stage.client.send(BOB, "1"))
    second = udp_stage.start(udp_stage.client.send(BOB, "2"))
    third = udp_stage.start(udp_stage.client.send("sip:carol@example.com", "3"))
    requests = [await udp_stage.peer.expect("MESSAGE") for _ in range(2)]
    assert [request.message.body for request in requests] == [b"1", b"3"]
    for request in requests:
        request.reply(200)
    await asyncio.gather(first, third)
    last = await udp_stage.peer.expect("MESSAGE")
    assert last.message.body == b"2"
    last.reply(200)
    await second
    assert not udp_stage.client._pending


async def test_the_first_use_opens_the_sockets_once(make_stage) -> None:
    stage = await make_stage("tcp")
    client = ImClient(stage.client.config)
    tasks = [stage.start(client.send(f"sip:{name}@example.com", "x")) for name in ("bob", "carol")]
    for _ in tasks:
        (await stage.peer.expect("MESSAGE")).reply(200)
    assert all(response.ok for response in await asyncio.gather(*tasks))
    await client.close()


async def test_a_failed_message_does_not_hold_up_the_next(udp_stage) -> None:
    first = udp_stage.start(udp_stage.client.send(BOB, "1"))
    await udp_stage.peer.expect("MESSAGE")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    request = await deliver(udp_stage, body="2")
    assert request.message.body == b"2"


async def test_a_lost_request_is_sent_again_and_a_lost_response_costs_nothing(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.send(BOB, "1"))
    lost = await udp_stage.peer.expect("MESSAGE")
    again = await udp_stage.peer.expect("MESSAGE")
    assert again.raw == lost.raw
    again.reply(200, "OK")
    again.reply(200, "OK again")
    assert (await task).reason == "OK"


async def test_provisional_responses_do_not_end_it(stage) -> None:
    task = stage.start(stage.client.send(BOB, "1"))
    request = await stage.peer.expect("MESSAGE")
    request.reply(100, "Trying")
    request.reply(486, "Busy Here", 'Warning: 399 h "at \\"lunch\\", maybe"')
    response = await task
    assert (response.status, response.reason, response.warning) == (486, "Busy Here", 'at "lunch", maybe')


@pytest.mark.parametrize(
    "mangle",
    [
        lambda data: data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKx"),
        lambda data: data.replace(b" MESSAGE", b" REGISTER"),
        lambda data: data.replace(b"\r\nFrom", b"\r\nVia: SIP/2.0/UDP other;branch=z9hG4bK1\r\nFrom"),
        lambda data: data.replace(b"/UDP 127.0.0.1:", b"/UDP 127.0.0.2:"),
        lambda data: data.replace(b"Content-Length: 0", b"Content-Length: 9"),
        lambda data: data.replace(b"SIP/2.0 200", b"SIP/2.0 2x0"),
        lambda data: b"garbage \xff\x00\r\n\r\n",
        lambda data: b"\r\n\r\n",
        lambda data: b"\x00" * 30_000,
    ],
)
async def test_a_response_that_is_not_ours_is_discarded(udp_stage, mangle) -> None:
    task = udp_stage.start(udp_stage.client.send(BOB, "1"))
    request = await udp_stage.peer.expect("MESSAGE")
    udp_stage.peer.send(mangle(request.response(200, "Wrong")))
    request.reply(200, "Right")
    assert (await task).reason == "Right"


async def test_redirection(stage) -> None:
    task = stage.start(stage.client.send(BOB, "1"))
    first = await stage.peer.expect("MESSAGE")
    contacts = "<sip:low@h>;q=0.1, <mailto:x@h>, <sip:high@h;method=INVITE?Subject=x>;q=0.9, <sip:bob@example.com>"
    first.reply(302, "Moved", f"Contact: {contacts}")
    second = await stage.peer.expect("MESSAGE")
    assert str(second.message.uri) == "sip:high@h"
    assert (second.header("Call-ID"), second.header("To")) == (first.header("Call-ID"), first.header("To"))
    second.reply(404, "Not Found")
    third = await stage.peer.expect("MESSAGE")
    assert str(third.message.uri) == "sip:low@h"
    third.reply(302, "Loop", "Contact: <sip:high@h>")
    response = await task
    assert response.reason == "Loop"


async def test_no_answer_and_no_connection(tcp_stage) -> None:
    task = tcp_stage.start(tcp_stage.client.send(BOB, "1"))
    await tcp_stage.peer.expect("MESSAGE")
    tcp_stage.peer.writers[-1].close()
    with pytest.raises(ConnectionFailedError, match="connection closed"):
        await task
    assert (await deliver(tcp_stage)).message.body == b"hi"
    task = tcp_stage.start(tcp_stage.client.send(BOB, "1"))
    await tcp_stage.peer.expect("MESSAGE")
    with pytest.raises(NoAnswerError):
        await task


async def test_closing_ends_what_is_under_way(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.send(BOB, "1"))
    await udp_stage.peer.expect("MESSAGE")
    await udp_stage.client.close()
    with pytest.raises(ConnectionFailedError, match="closed"):
        await task
    with pytest.raises(ConnectionFailedError, match="closed"):
        await udp_stage.client.send(BOB, "2")


@pytest.mark.parametrize("to", ["bob", "im:bob@example.com", ""])
async def test_no_address(udp_stage, to: str) -> None:
    with pytest.raises(ValueError, match="not a SIP URI"):
        await udp_stage.client.send_message(Outgoing(to=to, body=b""))


# --- receiving


@pytest.mark.requirement("CLI-05", "HDR-01")
async def test_a_received_message_is_kept_as_it_came_and_answered(stage) -> None:
    await stage.speak()
    raw = stage.peer.request(
        "MESSAGE",
        'From: "B\udcf6b" <sip:bob@example.com>;tag=b1',
        "P-Asserted-Identity: <sip:bob@home.example>, <tel:+1>",
        "Content-Type: Application/X;p=1",
        body=ANY_BYTES,
    )
    stage.peer.send(raw)
    answer = await stage.peer.expect(200)
    assert answer.message.body == b""
    assert answer.header("Contact") is None  # RFC 3428 section 7
    assert answer.header("User-Agent").startswith("IM-client/OMA1.0 ")
    assert answer.header("Server").startswith("IM-client/OMA1.0 ")
    assert answer.header("P-Preferred-Identity") == "<sip:alice@example.com>"
    assert b'\r\nFrom: "B\xf6b" <sip:bob@example.com>;tag=b1\r\n' in answer.raw
    assert answer.header("To").startswith("<sip:alice@example.com>;tag=")
    message = await stage.client.next_message()
    assert message.raw == raw
    assert message.body == ANY_BYTES
    assert message.content_type == "application/x"
    assert message.header("content-type") == "Application/X;p=1"
    assert message.sender == "sip:bob@home.example"
    assert (message.from_uri, message.to_uri) == ("sip:bob@example.com", "sip:alice@example.com")
    assert message.call_id == "call-1"
    assert message.headers["CSeq"] == ["7 MESSAGE"]
    assert not message.expired


async def test_retransmissions_are_answered_from_the_transaction(udp_stage) -> None:
    await udp_stage.speak()
    seen = []
    udp_stage.client.on_message = lambda message: seen.append(message)
    raw = udp_stage.peer.request()
    for _ in range(3):
        udp_stage.peer.send(raw)
    answers = {(await udp_stage.peer.expect(200)).raw for _ in range(3)}
    assert len(answers) == 1
    assert len(seen) == 1


@pytest.mark.requirement("CLI-05")
@pytest.mark.parametrize(
    ("verdict", "status", "reason"),
    [
        (486, 486, "Busy Here"),
        (603, 603, "Decline"),
        (Answer(480, "Away", (("Retry-After", "9"),)), 480, "Away"),
    ],
)
async def test_the_handler_chooses_another_answer(udp_stage, verdict, status: int, reason: str) -> None:
    await udp_stage.speak()
    udp_stage.client.on_message = lambda message: verdict
    udp_stage.peer.send(udp_stage.peer.request())
    answer = await udp_stage.peer.expect(status)
    assert answer.message.phrase == reason
    assert answer.header("Retry-After") == ("9" if status == 480 else None)
    with pytest.raises(TimeoutError):
        await udp_stage.client.next_message(seconds=0)


async def test_the_handler_may_take_its_time(udp_stage) -> None:
    await udp_stage.speak()
    allowed = asyncio.Event()

    async def handler(message):
        await allowed.wait()

    udp_stage.client.on_message = handler
    udp_stage.peer.send(udp_stage.peer.request())
    udp_stage.peer.send(udp_stage.peer.request())  # a retransmission meanwhile is absorbed
    await udp_stage.peer.settle()
    allowed.set()
    await udp_stage.peer.expect(200)
    assert udp_stage.peer.inbox.empty()


async def test_a_handler_that_fails_is_a_500(udp_stage, caplog: pytest.LogCaptureFixture) -> None:
    await udp_stage.speak()
    udp_stage.client.on_message = lambda message: 1 // 0
    udp_stage.peer.send(udp_stage.peer.request())
    await udp_stage.peer.expect(500)
    assert "call-1" in caplog.text


async def test_an_answer_that_cannot_be_sent_is_a_500(udp_stage) -> None:
    await udp_stage.speak()
    udp_stage.client.on_message = lambda message: Answer(480, headers=(("X", "a\r\nb"),))
    udp_stage.peer.send(udp_stage.peer.request())
    await udp_stage.peer.expect(500)


async def test_a_full_inbox_refuses(make_stage) -> None:
    stage = await make_stage("udp", inbox_limit=1)
    await stage.speak()
    for branch, status in (("z9hG4bK1", 200), ("z9hG4bK2", 486)):
        stage.peer.send(stage.peer.request("MESSAGE", f"Call-ID: {branch}", branch=branch))
        await stage.peer.expect(status)
    await stage.client.next_message()
    stage.peer.send(stage.peer.request("MESSAGE", "Call-ID: 3", branch="z9hG4bK3"))
    await stage.peer.expect(200)


async def test_messages_are_iterated_in_order_until_the_client_closes(stage) -> None:
    await stage.speak()
    for number in range(3):
        branch = f"z9hG4bK{number}"
        stage.peer.send(stage.peer.request("MESSAGE", f"Call-ID: {number}", body=b"%d" % number, branch=branch))
        await stage.peer.expect(200)
    await stage.client.close()
    assert [message.text async for message in stage.client.messages()] == ["0", "1", "2"]
    with pytest.raises(EOFError):
        await stage.client.next_message()


@pytest.mark.parametrize(
    ("headers", "expired"),
    [
        (("Date: Thu, 21 Feb 2002 13:02:03 GMT", "Expires: 60"), True),
        (("Expires: 60",), False),
        (("Date: Thu, 21 Feb 2002 13:02:03 GMT",), False),
        (("Date: nonsense", "Expires: 60"), False),
        (("Date: Thu, 21 Feb 2002 13:02:03 GMT", "Expires: x"), False),
        (("Date: Thu, 21 Feb 2002 13:02:03 GMT", "Expires: ²"), False),
        (("Date: Fri, 31 Dec 9999 23:59:59 GMT", "Expires: 60"), False),
    ],
)
async def test_an_expired_message_is_marked(udp_stage, headers: tuple[str, ...], expired: bool) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(udp_stage.peer.request("MESSAGE", *headers))
    await udp_stage.peer.expect(200)
    assert (await udp_stage.client.next_message()).expired == expired
