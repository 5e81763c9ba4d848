"""What OpenSIPS 3.6.8 sent as a relay, byte by byte, and what our endpoint makes of it (docs/interoperability.md)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from msrp_worker.msrp import (
    EndpointConfig,
    MessageStream,
    MsrpEndpoint,
    Session,
    format_path,
    outcome,
    parse_path,
    parse_uri,
    reported,
)
from msrp_worker.msrp.relay import RelayAccount, RelayError, RelayPath, log_in

SECONDS = 10.0

CHALLENGE = (
    b"MSRP %(ident)s 401 Unauthorized\r\nTo-Path: %(client)s\r\nFrom-Path: %(relay)s\r\n"
    b'WWW-Authenticate: Digest realm="relay.example.com", nonce="GbGhwT4uGWjro+q5kX/fg+DtByZfmbUs6Jq/axnj4KEA", '
    b'qop="auth", opaque="aVtXDvVMYYMU9fdM3NlltLptHIE3u2cnwlDU8BdmTWkA"\r\n-------%(ident)s$\r\n'
)
# The quotation marks of Authentication-Info are where OpenSIPS puts them.
GRANTED = (
    b"MSRP %(ident)s 200 OK\r\nTo-Path: %(client)s\r\nFrom-Path: %(relay)s\r\n"
    b"Use-Path: msrp://127.0.0.1:%(port)d/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp\r\nExpires: 300\r\n"
    b'Authentication-Info: qop=auth, cnonce="6802a361995b3d92", nc=00000001", rspauth="8fe1cc4dec3a5cf2a84a5db9df92fca2\r\n'
    b"-------%(ident)s$\r\n"
)
DENIED = b"MSRP %(ident)s 403 Unauthorized\r\nTo-Path: %(client)s\r\nFrom-Path: %(relay)s\r\n-------%(ident)s$\r\n"
FORWARDED = (
    b"MSRP b4.51.d3a8.ed1859c5e SEND\r\nTo-Path: %(client)s\r\n"
    b"From-Path: msrp://127.0.0.1:%(port)d/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp"
    b" msrp://127.0.0.1:%(port)d/3O4+0ZNFLq9xyE73OBiwzSlXssjNReA7po8hpjGO124A;tcp"
    b" msrp://127.0.0.1:34447/pRaI3lW4nusdLJQ3HkYxxg;tcp\r\n"
    b"Message-ID: 35939e8154eb1a2d\r\nByte-Range: 1-5/5\r\nSuccess-Report: yes\r\n"
    b"Content-Type: application/octet-stream\r\n\r\nxxxxx\r\n-------b4.51.d3a8.ed1859c5e$\r\n"
)
ACCEPTED = b"MSRP %(ident)s 200 OK\r\nTo-Path: %(client)s\r\nFrom-Path: %(use)s\r\n-------%(ident)s$\r\n"
REFUSED_BEHIND = (
    b"MSRP bf.1.1af6.dac99646ed REPORT\r\nTo-Path: %(client)s\r\n"
    b"From-Path: msrp://127.0.0.1:%(port)d/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp"
    b" msrp://127.0.0.1:%(port)d/wbfw8+Di65vDYaInbzvc44UxELK4UMCE1N5gw+YsDO8A;tcp\r\n"
    b"Message-ID: %(message)s\r\nByte-Range: 1-5/5\r\nStatus: 000 413\r\n-------bf.1.1af6.dac99646ed$\r\n"
)


class Relay:
    """Plays those bytes back on real connections."""

    def __init__(self, *script: bytes) -> None:
        self.script = list(script)
        self.port = 0
        self.peers: list[int] = []
        """Ports that the connections came from."""
        self.ours: asyncio.Queue[bytes] = asyncio.Queue()
        """Frames of the client, whole."""
        self.writer: asyncio.StreamWriter
        self.client = b""
        self._server: asyncio.Server

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.close()
        self.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.peers.append(writer.get_extra_info("peername")[1])
        while line := await reader.readline():
            ident = line.split()[1]
            frame = line + await reader.readuntil(b"-------" + ident + b"$\r\n")
            found = re.search(rb"From-Path: (\S+)", frame)
            assert found is not None
            self.client = found[1]
            if frame.startswith(b"MSRP " + ident + b" AUTH"):
                self.send(self.script.pop(0), ident)
            else:
                self.ours.put_nowait(frame)

    def send(self, template: bytes, ident: bytes = b"", **fields: bytes) -> None:
        relay = b"msrp://127.0.0.1:%d;tcp" % self.port
        use = b"msrp://127.0.0.1:%d/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp" % self.port
        values: dict[str, bytes | int] = {
            "ident": ident,
            "client": self.client,
            "relay": relay,
            "use": use,
            "port": self.port,
            **fields,
        }
        self.writer.write(template % {name.encode(): value for name, value in values.items()})


class Side:
    """A client that logs in."""

    def __init__(self) -> None:
        self.endpoint = MsrpEndpoint(EndpointConfig(port=0))
        self.stream = MessageStream()
        self.session: Session

    async def log_in(self, relay: Relay) -> RelayPath:
        self.session = self.endpoint.new_session(self.stream)
        account = RelayAccount(parse_uri(f"msrp://127.0.0.1:{relay.port};tcp"), "alice", "relay-secret")
        return await log_in(self.endpoint, self.session, [account], expires=300)


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    made = Side()
    await made.endpoint.start()
    async with asyncio.timeout(SECONDS):
        yield made
    await made.endpoint.stop()


@pytest.mark.requirement("MED-06")
async def test_log_in(side: Side) -> None:
    """The URI given out has slashes, and ours names the connection by which the relay finds us."""
    relay = Relay(CHALLENGE, GRANTED)
    await relay.start()
    path = await side.log_in(relay)
    assert format_path(path.use_path) == (f"msrp://127.0.0.1:{relay.port}/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp")
    assert path.expires == 300
    assert [path.own.port] == relay.peers
    assert relay.client.decode() == side.session.local_text == str(path.own)
    relay.stop()


@pytest.mark.requirement("MED-06")
async def test_wrong_password(side: Side) -> None:
    relay = Relay(CHALLENGE, DENIED)
    await relay.start()
    with pytest.raises(RelayError) as caught:
        await side.log_in(relay)
    assert caught.value.code == 403
    relay.stop()


@pytest.mark.requirement("MED-06", "MED-02")
async def test_messages_and_what_becomes_of_them(side: Side) -> None:
    """What the relay forwards is taken and reported along the whole path; a refusal behind it is told by a REPORT."""
    relay = Relay(CHALLENGE, GRANTED)
    await relay.start()
    path = await side.log_in(relay)
    peer = f"msrp://127.0.0.1:{relay.port}/3O4+0ZNFLq9xyE73OBiwzSlXssjNReA7po8hpjGO124A;tcp msrp://127.0.0.1:34447/p;tcp"
    side.session.set_remote(path.towards(parse_path(peer)))

    relay.send(FORWARDED)
    received = await anext(aiter(side.stream))
    assert await received.read() == b"xxxxx"
    frames = [await relay.ours.get(), await relay.ours.get()]
    assert frames[0].startswith(b"MSRP b4.51.d3a8.ed1859c5e 200 OK\r\n")
    use = f"msrp://127.0.0.1:{relay.port}/iD4glNAjGHRv+rXP7JYYp+OR3CI/3erww3LnJaoOw/YA;tcp"
    back = f"{use} {peer.split()[0]} msrp://127.0.0.1:34447/pRaI3lW4nusdLJQ3HkYxxg;tcp"
    assert f"REPORT\r\nTo-Path: {back}\r\n".encode() in frames[1]

    message = side.session.send(b"hello", "text/plain", success_report=True)
    sent = await relay.ours.get()
    relay.send(ACCEPTED, sent.split()[1])
    assert await outcome(message) == 200
    relay.send(REFUSED_BEHIND, message=message.message_id.encode())
    assert await reported(message) == 413
    relay.stop()
