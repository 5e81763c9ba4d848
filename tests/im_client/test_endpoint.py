"""The endpoint against what the network sends: other methods, broken messages, connections, and long life."""

from __future__ import annotations

import asyncio

import pytest

from im_client.framing import Framer
from im_client.wire import parse


@pytest.mark.parametrize(
    ("method", "headers", "status", "name", "value"),
    [
        ("OPTIONS", (), 200, "Allow", "ACK, BYE, CANCEL, INVITE, MESSAGE, NOTIFY, OPTIONS, PRACK, UPDATE"),
        ("INFO", (), 405, "Allow", "ACK, BYE, CANCEL, INVITE, MESSAGE, NOTIFY, OPTIONS, PRACK, UPDATE"),
        ("MESSAGE", ("Require: a, b",), 420, "Unsupported", "a, b"),
        ("CANCEL", (), 481, "Server", "IM-client/OMA1.0 simple-im/0.1.0"),
        (
            "MESSAGE",
            ("CSeq: 1 INVITE",),
            400,
            "Warning",
            '399 im-client "From, To, Call-ID or a fitting CSeq is missing"',
        ),
    ],
)
async def test_answers_by_rule(stage, method: str, headers, status: int, name: str, value: str) -> None:
    await stage.speak()
    stage.peer.send(stage.peer.request(method, *headers))
    answer = await stage.peer.expect(status)
    assert answer.header(name) == value


@pytest.mark.requirement("CLI-05")
@pytest.mark.parametrize(("uri", "status"), [("sip:bob@127.0.0.1", 404), ("sip:127.0.0.1", 200), ("sip:alice@h", 200)])
async def test_what_is_for_somebody_else_is_not_taken(stage, uri: str, status: int) -> None:
    """RFC 3261 section 8.2.2.1: the address may have been another user's before."""
    await stage.speak()
    stage.peer.send(stage.peer.request("MESSAGE").replace(b"sip:alice@127.0.0.1 SIP", f"{uri} SIP".encode()))
    await stage.peer.expect(status)
    if status == 404:
        with pytest.raises(TimeoutError):
            await stage.client.next_message(seconds=0)


async def test_ack_is_never_answered(udp_stage) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(udp_stage.peer.request("ACK"))
    await udp_stage.peer.settle()
    assert udp_stage.peer.inbox.empty()


async def test_the_same_request_by_another_way_is_482(udp_stage) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(udp_stage.peer.request(branch="z9hG4bK1"))
    await udp_stage.peer.expect(200)
    udp_stage.peer.send(udp_stage.peer.request(branch="z9hG4bK2"))
    await udp_stage.peer.expect(482)
    await udp_stage.client.next_message()
    with pytest.raises(TimeoutError):
        await udp_stage.client.next_message(seconds=0)


async def test_a_peer_of_rfc_2543_has_its_retransmissions_recognised(udp_stage) -> None:
    await udp_stage.speak()
    for _ in range(2):
        udp_stage.peer.send(udp_stage.peer.request(branch="1"))
    first, second = [await udp_stage.peer.expect(200) for _ in range(2)]
    assert first.raw == second.raw
    udp_stage.peer.send(udp_stage.peer.request("MESSAGE", "CSeq: 8 MESSAGE", branch="1"))
    assert (await udp_stage.peer.expect(200)).raw != first.raw


def cut(raw: bytes) -> bytes:
    return raw[:-1]


def odd_uri(raw: bytes) -> bytes:
    return raw.replace(b"sip:alice@127.0.0.1 SIP", b"im:alice@127.0.0.1 SIP")


@pytest.mark.parametrize(("mangle", "status"), [(cut, 400), (odd_uri, 416)])
async def test_broken_requests_that_can_be_answered_are(udp_stage, mangle, status: int) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(mangle(udp_stage.peer.request()))
    await udp_stage.peer.expect(status)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff" * 500,
        b"MESSAGE sip:a@h SIP/2.0\r\n\r\n",
        b"M sip:a@h SIP/2.0\r\nVia: nonsense\r\nFrom: x\r\nTo: y\r\nCall-ID: z\r\nCSeq: 1 M\r\n\r\n",
        b"M sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h:99999\r\nTo: <\r\nCall-ID: z\r\nCSeq: 1 M\r\n\r\n",
        b"M sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h:99999\r\nFrom: <a>\r\nTo: <b>\r\nCSeq: 1 M\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=1\r\nCSeq: 9 X\r\n\r\n",
    ],
)
async def test_garbage_does_no_harm(udp_stage, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await udp_stage.speak()
    udp_stage.peer.send(data)
    await udp_stage.peer.settle()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK1", "SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK1"),
        (
            "SIP/2.0/UDP host.example:9;rport;branch=z9hG4bK1",
            "SIP/2.0/UDP host.example:9;rport={port};branch=z9hG4bK1;received=127.0.0.1",
        ),
        (
            "SIP/2.0/UDP host.example:{port};maddr=host.example;branch=z9hG4bK1",
            "SIP/2.0/UDP host.example:{port};maddr=host.example;branch=z9hG4bK1;received=127.0.0.1",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:{port};maddr=127.0.0.1;branch=z9hG4bK1",
            "SIP/2.0/UDP 10.0.0.1:{port};maddr=127.0.0.1;branch=z9hG4bK1;received=127.0.0.1",
        ),
        (
            "SIP/2.0/UDP host.example:{port};branch=z9hG4bK1",
            "SIP/2.0/UDP host.example:{port};branch=z9hG4bK1;received=127.0.0.1",
        ),
    ],
)
async def test_where_a_response_goes(udp_stage, via: str, expected: str) -> None:
    await udp_stage.speak()
    port = udp_stage.peer.port
    udp_stage.peer.send(udp_stage.peer.request("MESSAGE", "Via: " + via.format(port=port)))
    assert (await udp_stage.peer.expect(200)).header("Via") == expected.format(port=port)


async def read_one(reader: asyncio.StreamReader):
    """The next message on a connection, and how many CRLFs came before it."""
    framer, items = Framer(), []
    async with asyncio.timeout(5):
        while not any(isinstance(item, bytes) for item in items):
            items += framer.feed(await reader.read(4096))
    index = next(number for number, item in enumerate(items) if isinstance(item, bytes))
    return parse(items[index], datagram=False), index


async def test_requests_come_on_new_connections_too(stage) -> None:
    reader, writer = await asyncio.open_connection(*stage.client.endpoint.local)
    raw = stage.peer.request(body=b"x" * 5000)
    writer.write(raw[:100])
    await writer.drain()
    writer.write(raw[100:])
    assert (await read_one(reader))[0].code == 200
    assert (await stage.client.next_message()).raw == raw
    writer.close()


async def test_a_response_whose_connection_is_gone_goes_on_a_new_one(tcp_stage) -> None:
    arrived, allowed = asyncio.Event(), asyncio.Event()

    async def handler(message):
        arrived.set()
        await allowed.wait()

    tcp_stage.client.on_message = handler
    _, writer = await asyncio.open_connection(*tcp_stage.client.endpoint.local)
    writer.write(tcp_stage.peer.request())
    await arrived.wait()
    writer.transport.abort()
    await tcp_stage.speak()  # the client has seen the end of that connection by now
    assert len(tcp_stage.client.endpoint._network.streams._connections) == 1
    allowed.set()
    answer = await tcp_stage.peer.expect(200)
    assert answer.header("CSeq") == "7 MESSAGE"


async def test_pings_are_answered_and_pongs_are_not(tcp_stage) -> None:
    reader, writer = await asyncio.open_connection(*tcp_stage.client.endpoint.local)
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.write(b"\r\n" + tcp_stage.peer.request())
    assert (await read_one(reader))[0].code == 200
    writer.close()


async def test_keep_alive_on_the_connection_to_the_proxy(make_stage) -> None:
    stage = await make_stage("tcp", keep_alive=0.02)
    reader, writer = await asyncio.open_connection(*stage.client.endpoint.local)
    assert await reader.readexactly(8) == b"\r\n" * 4
    writer.write(b"\r\n\r\n")  # two pongs are not taken for a ping
    writer.write(stage.peer.request())
    response, crlfs = await read_one(reader)
    assert response.code == 200
    assert crlfs % 2 == 0  # pings only
    writer.close()


async def test_an_unreadable_stream_is_closed_and_the_client_goes_on(tcp_stage) -> None:
    reader, writer = await asyncio.open_connection(*tcp_stage.client.endpoint.local)
    writer.write(b"MESSAGE sip:a@h SIP/2.0\r\nNo: length\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    await tcp_stage.speak()


async def test_a_large_request_that_is_no_message_goes_by_tcp(udp_stage) -> None:
    server = await asyncio.start_server(udp_stage.peer.accept, "127.0.0.1", udp_stage.peer.port)
    task = udp_stage.start(udp_stage.client.request("OPTIONS", "sip:h", body=b"x" * 2000))
    request = await udp_stage.peer.expect("OPTIONS")
    assert request.header("Via").startswith("SIP/2.0/TCP ")
    request.reply(200)
    await task
    server.close()
    udp_stage.peer.writers[-1].close()


async def test_a_large_request_goes_by_udp_where_the_proxy_has_no_tcp(udp_stage) -> None:
    task = udp_stage.start(udp_stage.client.request("OPTIONS", "sip:h", body=b"x" * 2000))
    request = await udp_stage.peer.expect("OPTIONS")
    assert request.header("Via").startswith("SIP/2.0/UDP ")
    request.reply(200)
    await task


async def test_a_long_life_leaves_nothing_behind(stage) -> None:
    await stage.speak()
    endpoint = stage.client.endpoint
    for number in range(100):
        branch = f"z9hG4bKlong{number}"
        stage.peer.send(stage.peer.request("MESSAGE", f"Call-ID: {number}", branch=branch))
        await stage.peer.expect(200)
        await stage.client.next_message()
        task = stage.start(stage.client.send(f"sip:{number}@example.com", "x"))
        (await stage.peer.expect("MESSAGE")).reply(200)
        await task
    async with asyncio.timeout(5):
        while endpoint.live_transactions:
            await asyncio.sleep(0.02)
    assert not endpoint._live._merge
    assert not endpoint._tasks
    assert len(endpoint._live._timers) == 1  # the keep-alive
    assert not stage.client._pending
