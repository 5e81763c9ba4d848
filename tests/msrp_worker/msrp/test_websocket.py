"""MSRP over WebSocket (RFC 7977), against aiohttp's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from msrp_worker.msrp import MessageStream, MsrpEndpoint, Session, SessionOptions, State, outcome, parse_path
from msrp_worker.msrp.codec import Parser
from msrp_worker.msrp.frames import Event, Request, Response, encode_request
from msrp_worker.msrp.websocket import websocket_handler
from tests.msrp_worker.msrp.conftest import MakeEndpoint, until
from tests.msrp_worker.msrp.harness import Recorder

BROWSER = "msrps://df7jal23ls0d.invalid:2855/98cjs;ws"


@pytest.fixture
async def endpoint(make_endpoint: MakeEndpoint) -> MsrpEndpoint:
    return await make_endpoint(tick_seconds=0.01)


@pytest.fixture
async def url(endpoint: MsrpEndpoint) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/msrp", websocket_handler(endpoint))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port}/msrp"
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


def waiting_session(endpoint: MsrpEndpoint, stream: MessageStream | Recorder, **options: int) -> Session:
    session = endpoint.new_session(stream, SessionOptions(**options), secure=True)  # type: ignore[arg-type]
    session.set_remote(parse_path(BROWSER))
    return session


def one_frame(data: str | bytes) -> Event:
    """The event of exactly one whole frame."""
    parser = Parser()
    (event,) = parser.feed(data.encode() if isinstance(data, str) else data)
    assert not parser.in_frame
    return event


def send(session: Session, body: bytes | None, ident: str = "tid1") -> bytes:
    kind = None if body is None else "text/plain"
    return encode_request("SEND", ident, session.local_text, BROWSER, [("Message-ID", "12345")], kind, body)


@pytest.mark.requirement("MED-11")
@pytest.mark.parametrize("text", [True, False])
async def test_text_and_binary_messages(
    endpoint: MsrpEndpoint, url: str, http: aiohttp.ClientSession, *, text: bool
) -> None:
    stream = MessageStream()
    session = waiting_session(endpoint, stream)
    async with http.ws_connect(url, protocols=["other", "msrp"], headers={"Origin": "https://a.example"}) as ws:
        assert ws.protocol == "msrp"
        assert ws._response.headers["Access-Control-Allow-Origin"] == "https://a.example"
        frame = send(session, "grüße".encode())
        await (ws.send_str(frame.decode()) if text else ws.send_bytes(frame))
        answer = await ws.receive(timeout=5)
        assert answer.type is (aiohttp.WSMsgType.TEXT if text else aiohttp.WSMsgType.BINARY)
        event = one_frame(answer.data)
        assert isinstance(event, Response)
        assert (event.code, event.to_path) == (200, BROWSER)
        async for message in stream:
            assert await message.read() == "grüße".encode()
            break
        session.send(b"\xff\x00", "application/octet-stream")  # not text, whatever the peer prefers
        answer = await ws.receive(timeout=5)
        assert answer.type is aiohttp.WSMsgType.BINARY
        event = one_frame(answer.data)
        assert isinstance(event, Request)
        assert event.body == b"\xff\x00"
    await until(lambda: stream.ended)


@pytest.mark.requirement("MED-11")
async def test_long_messages_are_cut_into_whole_frames(
    endpoint: MsrpEndpoint, url: str, http: aiohttp.ClientSession
) -> None:
    session = waiting_session(endpoint, MessageStream(), chunk_size=0)
    async with http.ws_connect(url, protocols=["msrp"]) as ws:
        await ws.send_bytes(send(session, None))
        assert isinstance(one_frame((await ws.receive(timeout=5)).data), Response)
        message = session.send(bytes(10_000), "a/b")
        size = 0
        while size < 10_000:
            event = one_frame((await ws.receive(timeout=5)).data)
            assert isinstance(event, Request)
            size += len(event.body or b"")
            await ws.send_bytes(
                f"MSRP {event.transaction_id} 200 OK\r\nTo-Path: {event.from_path}\r\n"
                f"From-Path: {BROWSER}\r\n-------{event.transaction_id}$\r\n".encode()
            )
        assert await outcome(message) == 200


@pytest.mark.requirement("MED-11", "SEC-05")
@pytest.mark.parametrize("cut", [10, -1])
async def test_half_a_frame_in_a_message_closes_the_connection(
    endpoint: MsrpEndpoint, url: str, http: aiohttp.ClientSession, cut: int
) -> None:
    session = waiting_session(endpoint, MessageStream())
    async with http.ws_connect(url, protocols=["msrp"]) as ws:
        await ws.send_bytes(send(session, b"hello")[:cut])
        closing = await ws.receive(timeout=5)
        assert closing.type is aiohttp.WSMsgType.CLOSE
        assert closing.data == aiohttp.WSCloseCode.POLICY_VIOLATION
    await until(lambda: not endpoint.connections)


@pytest.mark.requirement("MED-11")
async def test_subprotocol_is_needed(url: str, http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await http.ws_connect(url, protocols=["sip"])
    assert error.value.status == 400
    async with http.get(url) as plain:
        assert plain.status == 400


@pytest.mark.requirement("MED-11", "SEC-04")
async def test_msrps_session_wants_tls_where_that_is_configured(
    make_endpoint: MakeEndpoint, http: aiohttp.ClientSession
) -> None:
    endpoint = await make_endpoint(websocket_is_secure=False)
    app = web.Application()
    app.router.add_get("/msrp", websocket_handler(endpoint))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    session = waiting_session(endpoint, MessageStream())
    async with http.ws_connect(f"http://127.0.0.1:{port}/msrp", protocols=["msrp"]) as ws:
        await ws.send_bytes(send(session, b"x"))
        event = one_frame((await ws.receive(timeout=5)).data)
        assert isinstance(event, Response)
        assert event.code == 403
    assert session.state is State.WAITING
    await runner.cleanup()


@pytest.mark.requirement("MED-11", "SEC-02")
async def test_connection_without_session_is_closed(
    make_endpoint: MakeEndpoint, endpoint: MsrpEndpoint, url: str, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect(url, protocols=["msrp"]) as ws:
        await until(lambda: endpoint.connections == 1)
        shell = next(iter(endpoint._connections))
        shell._since -= endpoint.config.bind_seconds  # type: ignore[attr-defined]
        assert (await ws.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
    await until(lambda: not endpoint.connections)


@pytest.mark.requirement("MED-11", "MED-08")
async def test_reader_that_stalls_is_cut(make_endpoint: MakeEndpoint, http: aiohttp.ClientSession) -> None:
    endpoint = await make_endpoint(stall_seconds=0.05)
    app = web.Application()
    app.router.add_get("/msrp", websocket_handler(endpoint))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    recorder = Recorder()
    session = waiting_session(endpoint, recorder, queue_bytes=10**9)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(
        b"GET /msrp HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: msrp\r\n\r\n"
    )
    frame = send(session, None)
    writer.write(b"\x82\xfe" + len(frame).to_bytes(2, "big") + b"\0\0\0\0" + frame)
    await until(lambda: session.state is State.BOUND)
    message = session.send(bytes(50_000_000), "a/b", failure_report="no")
    assert await outcome(message) == 408
    assert recorder.names()[-1] == "closed"
    await until(lambda: not endpoint.connections)
    assert reader is not None
    writer.transport.abort()  # type: ignore[attr-defined]
    await runner.cleanup()
