"""Two real endpoints on loopback, over TCP and TLS: set-up, limits, back-pressure."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from pathlib import Path

import pytest

from msrp_worker.msrp import (
    EndpointConfig,
    IncomingMessage,
    MessageStream,
    MsrpEndpoint,
    Session,
    SessionOptions,
    State,
    outcome,
    parse_path,
    reported,
    send_from,
)
from msrp_worker.msrp.connection import Connection
from msrp_worker.msrp.frames import encode_request
from msrp_worker.msrp.local_address import LocalAddresses
from tests.msrp_worker.msrp.conftest import Certificate, MakeEndpoint, make_certificate, until
from tests.msrp_worker.msrp.harness import Recorder


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


Certificates = tuple[Certificate, Certificate]


async def joined(
    active: MsrpEndpoint,
    passive: MsrpEndpoint,
    *,
    secure: bool = False,
    options: SessionOptions | None = None,
    fingerprints: tuple[str, str] = ("", ""),
    host: str = "127.0.0.1",
) -> tuple[Session, MessageStream, Session, MessageStream]:
    """A session between two endpoints; `fingerprints` are those of the active and the passive side."""
    ours, theirs = MessageStream(), MessageStream()
    options = options or SessionOptions()
    one = active.new_session(ours, options, secure=secure, host=host)
    other = passive.new_session(theirs, options, secure=secure, host=host)
    one.set_remote(parse_path(other.local_text), (fingerprints[1],) if fingerprints[1] else ())
    other.set_remote(parse_path(one.local_text), (fingerprints[0],) if fingerprints[0] else ())
    await active.connect(one)
    await theirs.wait_bound()
    return one, ours, other, theirs


async def first(stream: MessageStream) -> bytes:
    async for message in stream:
        return await message.read()
    raise AssertionError(stream.ended)


@pytest.mark.requirement("MED-01", "MED-05")
async def test_messages_both_ways_over_tcp(make_endpoint: MakeEndpoint) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    one, ours, other, theirs = await joined(a, b)
    assert one.state is other.state is State.BOUND
    message = one.send(b"hello", "text/plain", success_report=True)
    assert await first(theirs) == b"hello"
    assert (await outcome(message), await reported(message)) == (200, 200)
    reply = other.send(b"x" * 100_000, "text/plain")
    assert await first(ours) == b"x" * 100_000
    assert await outcome(reply) == 200
    tcp = next(iter(a._connections)).transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # fault: Nagle
    one.close()
    other.close()


@pytest.mark.requirement("MED-04", "SEC-04")
async def test_messages_over_tls_with_a_trusted_certificate(
    make_endpoint: MakeEndpoint, certificates: Certificates
) -> None:
    alice, bob = certificates
    a = await make_endpoint(
        tls_port=0, tls_certificate=alice.certificate, tls_key=alice.key, tls_authorities=bob.certificate
    )
    b = await make_endpoint(tls_port=0, tls_certificate=bob.certificate, tls_key=bob.key)
    one, ours, other, theirs = await joined(a, b, secure=True, host="localhost")
    message = one.send(b"x" * 300_000, "text/plain")
    assert await first(theirs) == b"x" * 300_000
    assert await outcome(message) == 200
    reply = other.send(b"y" * 300_000, "text/plain")
    assert await first(ours) == b"y" * 300_000
    assert await outcome(reply) == 200


@pytest.mark.requirement("MED-04", "SEC-04")
async def test_untrusted_or_misnamed_server_is_not_connected_to(
    make_endpoint: MakeEndpoint, certificates: Certificates
) -> None:
    alice, bob = certificates
    a = await make_endpoint(tls_authorities=alice.certificate)
    b = await make_endpoint(tls_port=0, tls_certificate=bob.certificate, tls_key=bob.key)
    with pytest.raises(ssl.SSLError):
        await joined(a, b, secure=True, host="localhost")  # signed by nobody we know
    c = await make_endpoint(tls_authorities=bob.certificate)
    with pytest.raises(ssl.SSLError):
        await joined(c, b, secure=True, host="127.0.0.1")  # not a name in the certificate
    assert len(a.registry) == len(c.registry) == 0


@pytest.mark.requirement("MED-04")
@pytest.mark.parametrize("wrong", [None, "active", "passive"])
async def test_self_signed_certificates_by_fingerprint(
    make_endpoint: MakeEndpoint, certificates: Certificates, wrong: str | None
) -> None:
    alice, bob = certificates
    a = await make_endpoint(tls_port=0, tls_certificate=alice.certificate, tls_key=alice.key)
    b = await make_endpoint(tls_port=0, tls_certificate=bob.certificate, tls_key=bob.key)
    offered = (
        bob.fingerprint if wrong == "active" else alice.fingerprint,
        alice.fingerprint if wrong == "passive" else bob.fingerprint,
    )
    if wrong == "passive":
        with pytest.raises(ssl.SSLError):
            await joined(a, b, secure=True, fingerprints=offered)
        return
    if wrong == "active":
        ours, theirs = MessageStream(), MessageStream()
        one, other = a.new_session(ours, secure=True), b.new_session(theirs, secure=True)
        one.set_remote(parse_path(other.local_text), (offered[1],))
        other.set_remote(parse_path(one.local_text), (offered[0],))
        await a.connect(one)
        await until(lambda: ours.ended)
        assert other.state is State.WAITING  # the impostor has not taken it
        return
    one, _, _, theirs = await joined(a, b, secure=True, fingerprints=offered)
    assert await outcome(one.send(b"hello", "text/plain")) == 200
    assert await first(theirs) == b"hello"


@pytest.mark.requirement("SEC-04")
async def test_certificate_is_reloaded_without_restart(make_endpoint: MakeEndpoint, tmp_path: Path) -> None:
    folder = tmp_path
    old = make_certificate(folder, "server")
    b = await make_endpoint(tls_port=0, tls_certificate=old.certificate, tls_key=old.key)
    a = await make_endpoint()
    await joined(a, b, secure=True, fingerprints=("", old.fingerprint))
    new = make_certificate(folder, "server")
    b.reload_certificate()
    await joined(a, b, secure=True, fingerprints=("", new.fingerprint))
    old.key.write_text("not a key")
    with pytest.raises(ValueError, match="certificate"):
        b.reload_certificate()
    await joined(a, b, secure=True, fingerprints=("", new.fingerprint))


@pytest.mark.requirement("SEC-02", "SEC-04")
async def test_tls_handshake_that_never_ends_is_cut(make_endpoint: MakeEndpoint, certificates: Certificates) -> None:
    bob = certificates[1]
    b = await make_endpoint(tls_port=0, tls_certificate=bob.certificate, tls_key=bob.key, handshake_seconds=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", b.tls_port)
    assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", b.tls_port)
    writer.write(b"MSRP tid1 SEND\r\nthis is not TLS\r\n")
    await reader.read()  # an alert, then the end
    writer.close()


@pytest.mark.requirement("SEC-02", "SEC-04")
async def test_connections_in_their_handshake_count(
    make_endpoint: MakeEndpoint, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    bob = certificates[1]
    b = await make_endpoint(tls_port=0, tls_certificate=bob.certificate, tls_key=bob.key, max_connections_per_address=2)
    streams = [await asyncio.open_connection("127.0.0.1", b.tls_port) for _ in range(2)]
    await until(lambda: b.connections == 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", b.tls_port)
    with pytest.raises(ConnectionError):
        assert await reader.read() == b""
        raise ConnectionResetError
    assert "more than 2 connections" in caplog.text
    for _, other in streams:
        other.close()
    writer.close()
    await until(lambda: b.connections == 0)
    a = await make_endpoint(tls_authorities=bob.certificate)
    await joined(a, b, secure=True, host="localhost")
    assert b.connections == 1
    assert sum(b._per_address.values()) == 1


@pytest.mark.requirement("MED-05")
async def test_connection_goes_where_cema_says(make_endpoint: MakeEndpoint) -> None:
    """RFC 6714: to the address of the c= and m= lines, while the path stays that of the peer."""
    a, b = await make_endpoint(), await make_endpoint(public_host="bob.invalid", public_port=9)
    theirs = MessageStream()
    one, other = a.new_session(MessageStream()), b.new_session(theirs)
    assert other.local_text.startswith("msrp://bob.invalid:9/")
    one.set_remote(parse_path(other.local_text))
    other.set_remote(parse_path(one.local_text))
    assert b.port is not None
    await a.connect(one, ("127.0.0.1", b.port))
    one.send(b"hello", "text/plain")
    assert await first(theirs) == b"hello"


@pytest.mark.requirement("MED-06")
async def test_connection_goes_to_the_first_hop(make_endpoint: MakeEndpoint) -> None:
    a = await make_endpoint()
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.readuntil(b"$\r\n"))
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = f"msrp://127.0.0.1:{port}/relay;tcp msrp://nowhere.invalid:1/peer;tcp"
    session = a.new_session(MessageStream())
    session.set_remote(parse_path(path))
    await a.connect(session)
    assert f"To-Path: {path}\r\nFrom-Path: {session.local_text}\r\n".encode() in await received
    server.close()


@pytest.mark.requirement("MED-05")
async def test_no_connection_closes_the_session(make_endpoint: MakeEndpoint) -> None:
    a = await make_endpoint(connect_seconds=0.2)
    stream = MessageStream()
    session = a.new_session(stream)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        session.set_remote(parse_path(f"msrp://127.0.0.1:{closed.getsockname()[1]}/x;tcp"))
        message = session.send(b"early", "text/plain")
        with pytest.raises(OSError, match="onnect"):
            await a.connect(session)
    assert (session.state, message.status) == (State.CLOSED, 408)
    assert stream.ended is not None


@pytest.mark.requirement("MED-05", "MED-11")
@pytest.mark.parametrize("path", ["msrps://browser.invalid:2855/x;ws", "msrp://relay.invalid/x;tcp"])
async def test_hops_that_cannot_be_connected_to(make_endpoint: MakeEndpoint, path: str) -> None:
    a = await make_endpoint()
    session = a.new_session(Recorder())
    session.set_remote(parse_path(path))
    with pytest.raises(ConnectionError):
        await a.connect(session)
    assert session.state is State.CLOSED


@pytest.mark.requirement("MED-01")
async def test_all_that_one_read_brings_about_is_one_write(make_endpoint: MakeEndpoint) -> None:
    """Fault: Nagle, and header, body and end-line in several writes."""
    b = await make_endpoint()

    class Echo(Recorder):
        def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
            session.send(body, message.content_type)
            return super().message(session, message, body)

    session = b.new_session(Echo())
    peer = "msrp://127.0.0.1:9/x;tcp"
    session.set_remote(parse_path(peer))
    connection = Connection(b)
    transport = FakeTransport()
    connection.connection_made(transport)
    frames = [
        encode_request("SEND", f"tid{n}", session.local_text, peer, [("Message-ID", "12345")], "a/b", b"x")
        for n in range(20)
    ]
    connection.data_received(b"".join(frames))
    await asyncio.sleep(0.01)
    assert len(transport.writes) == 1
    assert transport.writes[0].count(b" 200 OK\r\n") == transport.writes[0].count(b" SEND\r\n") == 20
    connection.connection_lost(None)


@pytest.mark.requirement("MED-01")
async def test_sessions_to_the_same_hop_share_a_connection(make_endpoint: MakeEndpoint) -> None:
    a, b = await make_endpoint(linger_seconds=0.0), await make_endpoint()
    pairs = [await joined(a, b) for _ in range(5)]
    assert (a.connections, b.connections) == (1, 1)
    for number, (one, _, _, theirs) in enumerate(pairs):
        one.send(f"to {number}".encode(), "text/plain")
        assert await first(theirs) == f"to {number}".encode()
    for one, _, other, _ in pairs:
        one.close()
        other.close()
    await until(lambda: not a.connections and not b.connections)
    c = await make_endpoint(reuse_connections=False)
    for _ in range(3):
        await joined(c, b)
    assert c.connections == 3


@pytest.mark.requirement("SEC-02")
async def test_limits_on_connections(make_endpoint: MakeEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    b = await make_endpoint(max_connections_per_address=2, bind_seconds=0.0)
    streams = [await asyncio.open_connection("127.0.0.1", b.port) for _ in range(3)]
    with pytest.raises(ConnectionError):
        assert await streams[2][0].read() == b""
        raise ConnectionResetError
    assert "more than 2 connections from this address" in caplog.text
    for reader, writer in streams[:2]:
        assert await reader.read() == b""  # no session within bind_seconds
        writer.close()
    assert "no session within 0 s" in caplog.text
    await until(lambda: not b.connections)
    assert not b._per_address


@pytest.mark.requirement("SEC-02", "SEC-05")
@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not a start line"),
        (b"MSRP tid1 SEND\r\nTo-Path: " + b"a" * 20_000, "header"),
    ],
)
async def test_garbage_closes_its_connection_only(
    make_endpoint: MakeEndpoint, caplog: pytest.LogCaptureFixture, garbage: bytes, reason: str
) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    one, _, _, theirs = await joined(a, b)
    reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
    writer.write(garbage)
    assert await reader.read() == b""
    writer.close()
    assert reason in caplog.text
    one.send(b"still here", "text/plain")
    assert await first(theirs) == b"still here"


@pytest.mark.requirement("MED-08")
async def test_slow_reader_slows_its_sender_and_costs_no_memory(make_endpoint: MakeEndpoint) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    options = SessionOptions(chunk_size=0, congested_bytes=100_000)
    one, _, other, theirs = await joined(a, b, options=options)
    written = 0

    async def source():  # type: ignore[no-untyped-def]
        nonlocal written
        for _ in range(1_000):
            written += 50_000
            yield bytes(50_000)

    sending = asyncio.create_task(send_from(one, source(), "a/b", total=50_000_000))
    message = await anext(aiter(theirs))
    last = -1
    while last != written:  # nobody reads: it comes to rest
        last = written
        await asyncio.sleep(0.05)
    assert other.on_hold
    assert written < 20_000_000  # what the kernel's socket buffers take, and little of ours
    assert one.queued <= 200_000
    size = 0
    async for piece in message:
        size += len(piece)
    assert size == 50_000_000
    assert await outcome(await sending) == 200


@pytest.mark.requirement("MED-08", "MED-02")
async def test_peer_that_takes_nothing_is_cut_and_the_sender_told(
    make_endpoint: MakeEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault: receiver gone; never silence."""
    a = await make_endpoint(stall_seconds=0.0)
    server = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    recorder = Recorder()
    session = a.new_session(recorder, SessionOptions(chunk_size=0, queue_bytes=100_000_000))
    session.set_remote(parse_path(f"msrp://127.0.0.1:{port}/x;tcp"))
    await a.connect(session)
    message = session.send(bytes(50_000_000), "a/b")
    assert await outcome(message) == 408
    assert "took nothing" in caplog.text
    assert recorder.names()[-1] == "closed"
    server.close()


@pytest.mark.requirement("SEC-05", "SEC-02")
async def test_peer_that_sends_but_never_reads_is_held_back(make_endpoint: MakeEndpoint) -> None:
    """Its responses must not pile up here without bound."""
    b = await make_endpoint(write_limit_bytes=100_000)
    session = b.new_session(Recorder())
    reader, writer = await asyncio.open_connection("127.0.0.1", b.port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    frame = encode_request("SEND", "tid1", session.local_text, session.local_text, [("Message-ID", "12345")])
    writer.write(frame * 200_000)
    await until(lambda: session.link)
    (connection,) = b._connections
    assert isinstance(connection, Connection)
    transport = connection.transport
    assert transport is not None
    await until(lambda: transport.get_write_buffer_size() > 100_000 or not connection._reading)
    last = -1
    while last != transport.get_write_buffer_size():
        last = transport.get_write_buffer_size()
        await asyncio.sleep(0.05)
    assert not connection._reading
    assert last < 2_000_000  # the limit, and the answers to what one read brings
    assert reader is not None
    writer.transport.abort()  # type: ignore[attr-defined]
    await until(lambda: not b.connections)


@pytest.mark.requirement("MED-02")
async def test_connection_reset_ends_sessions_on_both_sides(make_endpoint: MakeEndpoint) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    one, ours, other, theirs = await joined(a, b)
    tcp = next(iter(a._connections)).transport.get_extra_info("socket")  # type: ignore[attr-defined]
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    next(iter(a._connections)).close("test", abort=True)
    await until(lambda: ours.ended and theirs.ended)
    assert one.state is other.state is State.CLOSED
    assert len(a.registry) == len(b.registry) == 0


@pytest.mark.requirement("MED-10")
async def test_uris_are_unguessable_and_distinct(make_endpoint: MakeEndpoint) -> None:
    b = await make_endpoint()
    sessions = [b.new_session(Recorder()) for _ in range(100)]
    idents = {session.local.session_id for session in sessions}
    assert len(idents) == 100
    assert all(len(ident or "") >= 22 for ident in idents)  # 128 bits in base 64
    for session in sessions:
        session.close()
    assert len(b.registry) == 0


@pytest.mark.requirement("SEC-04")
async def test_tls_port_without_certificate_is_an_error() -> None:
    endpoint = MsrpEndpoint(EndpointConfig(port=None, tls_port=0))
    with pytest.raises(ValueError, match="tls_certificate"):
        await endpoint.start()


@pytest.mark.requirement("MED-05")
async def test_local_address_is_the_one_the_kernel_uses(make_endpoint: MakeEndpoint) -> None:
    a = await make_endpoint(listen="")
    assert await a.local_host("127.0.0.9") == "127.0.0.1"
    assert await a.local_host("localhost") in ("127.0.0.1", "::1")
    assert a.local_addresses._known == {"127.0.0.9": "127.0.0.1"}
    a.local_addresses._changed()
    assert not a.local_addresses._known
    assert await a.local_host("no-such-name.invalid") == await a.local_host()
    only = await make_endpoint(listen="127.0.0.2")
    assert await only.local_host("192.0.2.1") == "127.0.0.2"  # it can be reached nowhere else
    b = await make_endpoint(public_host="msrp.example.com")
    assert await b.local_host("127.0.0.9") == "msrp.example.com"


async def test_local_addresses_can_be_closed_at_any_time() -> None:
    addresses = LocalAddresses()
    addresses.close()
    await addresses.start()
    addresses.close()
    addresses.close()
