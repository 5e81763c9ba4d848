"""Hop and switch over real connections: a reader that stops, and what it costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from msrp_worker import cpim
from msrp_worker.cpim import Address
from msrp_worker.msrp import (
    EndpointConfig,
    MessageStream,
    MsrpEndpoint,
    Session,
    SessionHandler,
    SessionOptions,
    outcome,
    parse_path,
    send_from,
)
from msrp_worker.msrp.hop import Hop, leg_options
from msrp_worker.msrp.room import Participant, RoomObserver, RoomPolicy, seat_options
from msrp_worker.msrp.switch import Switch

SIZE = 30_000_000
"""Bytes of the long message: more than all socket buffers on the way take."""
ROOM = "sip:room@example.com"


class StalledReader:
    """A peer that binds its session and then reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def bind(cls, leg: Session, own: str) -> StalledReader:
        port = leg.local.port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4_096)
        head = f"MSRP bind01 SEND\r\nTo-Path: {leg.local_text}\r\nFrom-Path: {own}\r\n"
        writer.write(f"{head}Message-ID: mbind01\r\n-------bind01$\r\n".encode())
        await reader.readuntil(b"-------bind01$\r\n")
        return cls(reader, writer)

    async def read_until(self, end: bytes) -> int:
        """Read until these bytes, answer nothing; returns how many came."""
        size, tail = 0, b""
        while end not in tail:
            data = await self._reader.read(1_048_576)
            assert data
            size += len(data)
            tail = (tail + data)[-len(data) - len(end) :]
        return size

    def close(self) -> None:
        self._writer.transport.abort()


@pytest.fixture
async def endpoints() -> AsyncIterator[tuple[MsrpEndpoint, MsrpEndpoint]]:
    """Clients and server."""
    made = MsrpEndpoint(EndpointConfig(port=0)), MsrpEndpoint(EndpointConfig(port=0))
    for endpoint in made:
        await endpoint.start()
    async with asyncio.timeout(30):
        yield made
    for endpoint in made:
        await endpoint.stop()


async def joined(clients: MsrpEndpoint, server: MsrpEndpoint, options: SessionOptions) -> tuple[Session, Session]:
    """A client's session and the server's leg for it, connected."""
    session = clients.new_session(MessageStream(), SessionOptions(chunk_size=0))
    leg = server.new_session(SessionHandler(), options)
    leg.set_remote(parse_path(session.local_text))
    session.set_remote(parse_path(leg.local_text))
    await clients.connect(session)
    return session, leg


async def pieces(size: int, head: bytes = b"") -> AsyncIterator[bytes]:
    if head:
        yield head
    for _ in range(size // 65_536):
        yield bytes(65_536)
    if size % 65_536:
        yield bytes(size % 65_536)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.requirement("MED-08", "LRG-06")
async def test_reader_that_stops_slows_its_sender_through_the_hop(
    endpoints: tuple[MsrpEndpoint, MsrpEndpoint],
) -> None:
    clients, server = endpoints
    alice, alice_leg = await joined(clients, server, leg_options(0))
    bob_leg = server.new_session(SessionHandler(), leg_options(0))
    bob_leg.set_remote(parse_path("msrp://127.0.0.1:9/bob;tcp"))
    Hop().join(alice_leg, bob_leg)
    bob = await StalledReader.bind(bob_leg, "msrp://127.0.0.1:9/bob;tcp")
    sending = asyncio.create_task(send_from(alice, pieces(SIZE), "a/b", total=SIZE, message_id="long"))
    await until(lambda: alice_leg.on_hold and alice.congested)
    assert not sending.done()
    assert bob_leg.queued <= 4 * bob_leg.options.congested_bytes
    reading = asyncio.create_task(bob.read_until(f"/{SIZE}".encode()))
    await reading
    assert await bob.read_until(b"$\r\n") + reading.result() > SIZE * 0.9
    message = await sending
    assert await outcome(message) == 200
    bob.close()


class Cuts(RoomObserver):
    """Who was cut."""

    def __init__(self) -> None:
        self.cut: list[str] = []

    def left(self, participant: Participant, reason: str, *, cut: bool) -> None:
        if cut:
            self.cut.append(participant.address.uri)


@pytest.mark.requirement("MED-08", "LRG-06")
async def test_reader_that_stops_is_cut_and_the_room_goes_on(
    endpoints: tuple[MsrpEndpoint, MsrpEndpoint],
) -> None:
    clients, server = endpoints
    observer = Cuts()
    switch = Switch((ROOM,), RoomPolicy(stall_seconds=5), observer)
    alice, alice_leg = await joined(clients, server, seat_options(0))
    carol, carol_leg = await joined(clients, server, seat_options(0))
    bob_leg = server.new_session(SessionHandler(), seat_options(0))
    bob_leg.set_remote(parse_path("msrp://127.0.0.1:9/bob;tcp"))
    for leg, name in ((alice_leg, "alice"), (bob_leg, "bob"), (carol_leg, "carol")):
        switch.join(Participant(leg, Address(f"sip:{name}@example.com")))
    bob = await StalledReader.bind(bob_leg, "msrp://127.0.0.1:9/bob;tcp")
    head = cpim.compose(Address("sip:alice@example.com"), [Address(ROOM)], "a/b").head
    total = len(head) + SIZE
    sending = asyncio.create_task(send_from(alice, pieces(SIZE, head), "message/cpim", total=total))
    await until(lambda: alice_leg.on_hold and bob_leg.congested)
    stream = carol.handler
    assert isinstance(stream, MessageStream)
    received = await anext(aiter(stream))
    reading = asyncio.create_task(received.read(total))
    switch.tick(100.0)
    switch.tick(106.0)
    assert observer.cut == ["sip:bob@example.com"]
    assert len(await reading) == total
    assert await outcome(await sending) == 200
    assert [who.address.uri for who in switch.participants] == [
        "sip:alice@example.com",
        "sip:carol@example.com",
    ]
    bob.close()
