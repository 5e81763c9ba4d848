"""The client's MSRP session, against itself, a hop and a switch, over real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from im_client.msrp_peer import FileMismatchError, MessageFailedError, MsrpPeer, describe_file
from msrp_worker.cpim import Address
from msrp_worker.is_composing import Composing, State
from msrp_worker.msrp import (
    EndpointConfig,
    MessageAborted,
    MsrpEndpoint,
    SessionHandler,
    SessionOptions,
    parse_path,
)
from msrp_worker.msrp.hop import OLDER_CLIENT_CHUNK, Hop, leg_options
from msrp_worker.msrp.room import Participant, seat_options
from msrp_worker.msrp.switch import Switch

ROOM = Address("sip:room@example.com")
LEG = leg_options()
SEAT = seat_options(OLDER_CLIENT_CHUNK)


def address(name: str) -> Address:
    return Address(f"sip:{name}@example.com", name.title())


@pytest.fixture
async def endpoints() -> AsyncIterator[tuple[MsrpEndpoint, MsrpEndpoint]]:
    """One for clients, one for the server."""
    made = (MsrpEndpoint(EndpointConfig(port=0)), MsrpEndpoint(EndpointConfig(port=0)))
    for endpoint in made:
        await endpoint.start()
    async with asyncio.timeout(20):
        yield made
    for endpoint in made:
        await endpoint.stop()


Endpoints = tuple[MsrpEndpoint, MsrpEndpoint]
Join = Callable[[Endpoints], Awaitable[tuple[MsrpPeer, MsrpPeer]]]


async def pair(endpoints: Endpoints, options: SessionOptions | None = None) -> tuple[MsrpPeer, MsrpPeer]:
    """Two peers without anything between them."""
    alice = MsrpPeer(endpoints[0], identity=address("alice"))
    bob = MsrpPeer(endpoints[1], identity=address("bob"), options=options)
    await asyncio.gather(bob.start(alice.path, active=False), alice.start(bob.path, active=True))
    return alice, bob


async def through_hop(endpoints: Endpoints) -> tuple[MsrpPeer, MsrpPeer]:
    """Two peers with a hop between them."""
    clients, server = endpoints
    alice, bob = (MsrpPeer(clients, identity=address(name)) for name in ("alice", "bob"))
    legs = [server.new_session(SessionHandler(), LEG) for _ in range(2)]
    Hop().join(*legs)
    for peer, leg in zip((alice, bob), legs, strict=True):
        leg.set_remote(parse_path(peer.path))
        await peer.start(leg.local_text, active=True)
    return alice, bob


async def room(endpoints: Endpoints, *names: str) -> list[MsrpPeer]:
    """Peers in one conference."""
    clients, server = endpoints
    switch = Switch((ROOM.uri,))
    peers = []
    for name in names:
        peer = MsrpPeer(clients, identity=address(name), conversation=ROOM)
        seat = server.new_session(SessionHandler(), SEAT)
        switch.join(Participant(seat, address(name), private_messages=True))
        seat.set_remote(parse_path(peer.path))
        await peer.start(seat.local_text, active=True)
        peers.append(peer)
    return peers


@pytest.mark.requirement("MED-01", "MED-02")
@pytest.mark.parametrize("join", [pair, through_hop])
async def test_chat(endpoints: Endpoints, join: Join) -> None:
    alice, bob = await join(endpoints)
    sent = await alice.send("grüße", success_report=True)
    message = await bob.receive()
    assert (message.text, message.content_type, message.message_id) == (
        "grüße",
        "text/plain; charset=utf-8",
        sent.message_id,
    )
    await bob.send(b"\x00" * 100_000, "image/png")
    assert (await alice.receive()).body == b"\x00" * 100_000


@pytest.mark.requirement("LRG-05", "LRG-07")
@pytest.mark.parametrize("join", [pair, through_hop])
async def test_file_with_its_hash(endpoints: Endpoints, tmp_path: Path, join: Join) -> None:
    alice, bob = await join(endpoints)
    source = tmp_path / "cat picture.bin"
    source.write_bytes(bytes(range(256)) * 4_000)
    description = describe_file(source, "application/octet-stream")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for expected in ("cat picture.bin", "cat picture-2.bin"):
        _, (place, came) = await asyncio.gather(alice.send_file(source, description), bob.receive_file(inbox, description))
        assert place == inbox / expected
        assert place.read_bytes() == source.read_bytes()
        assert came == description.selector
    assert sorted(path.name for path in inbox.iterdir()) == ["cat picture-2.bin", "cat picture.bin"]


@pytest.mark.requirement("LRG-05")
async def test_part_of_a_file(endpoints: Endpoints, tmp_path: Path) -> None:
    alice, bob = await pair(endpoints)
    source = tmp_path / "a"
    source.write_bytes(bytes(range(200)))
    description = replace(describe_file(source, "a/b"), range=(101, 150))
    (tmp_path / "in").mkdir()
    _, (place, came) = await asyncio.gather(
        alice.send_file(source, description), bob.receive_file(tmp_path / "in", description)
    )
    assert place.read_bytes() == bytes(range(100, 150))
    assert came.size == 50


@pytest.mark.requirement("LRG-05")
async def test_other_file_than_announced(endpoints: Endpoints, tmp_path: Path) -> None:
    alice, bob = await pair(endpoints)
    source = tmp_path / "a"
    source.write_bytes(b"one")
    announced = describe_file(source, "a/b")
    source.write_bytes(b"two")
    (tmp_path / "in").mkdir()
    sending = asyncio.create_task(alice.send_file(source, announced))
    with pytest.raises(FileMismatchError):
        await bob.receive_file(tmp_path / "in", announced)
    await sending
    assert list((tmp_path / "in").iterdir()) == []


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def wait_for_a_file(directory: Path) -> None:
    deadline = time.monotonic() + 10
    while not names(directory):
        assert time.monotonic() < deadline


async def test_transfer_that_breaks_leaves_nothing(endpoints: Endpoints, tmp_path: Path) -> None:
    alice, bob = await pair(endpoints)
    message = alice.session.open("a/b", total=1_000_000)
    message.write(b"x" * 10_000)
    receiving = asyncio.create_task(bob.receive_file(tmp_path))
    await asyncio.to_thread(wait_for_a_file, tmp_path)
    alice.close()
    with pytest.raises(MessageAborted):
        await receiving
    assert names(tmp_path) == []
    with pytest.raises(ConnectionError):
        await bob.receive()


@pytest.mark.requirement("MED-12")
async def test_refusal(endpoints: Endpoints) -> None:
    alice, _ = await pair(endpoints, SessionOptions(max_size=10))
    with pytest.raises(MessageFailedError) as caught:
        await alice.send("far too long for it")
    assert caught.value.status == 413


@pytest.mark.requirement("MED-07", "MED-08", "MED-09")
async def test_conference(endpoints: Endpoints, tmp_path: Path) -> None:
    alice, bob, carol = await room(endpoints, "alice", "bob", "carol")
    await alice.send("hello", subject="greeting")
    for peer in (bob, carol):
        message = await peer.receive()
        assert message.envelope is not None
        assert (message.text, message.envelope.sender) == ("hello", address("alice"))
        assert message.envelope.subject() == "greeting"
        assert message.composing is None
    await alice.composing(Composing(State.ACTIVE, refresh=60))
    assert (await bob.receive()).composing == Composing(State.ACTIVE, refresh=60)
    assert (await carol.receive()).composing is not None
    await bob.send("psst", to=address("carol"))
    assert (await carol.receive()).text == "psst"
    with pytest.raises(MessageFailedError) as caught:
        await bob.send("psst", to=address("nobody"))
    assert caught.value.status == 404
    source = tmp_path / "a.txt"
    source.write_bytes(b"file for all" * 10_000)
    description = describe_file(source, "text/plain")
    _, (place, _) = await asyncio.gather(carol.send_file(source, description), alice.receive_file(tmp_path, description))
    assert place.name == "a-2.txt"
    assert place.read_bytes() == source.read_bytes()


@pytest.mark.requirement("MED-07")
async def test_nicknames(endpoints: Endpoints) -> None:
    alice, bob = await room(endpoints, "alice", "bob")
    assert [
        await alice.nickname('The "Great"'),
        await bob.nickname('the "great"'),
        await alice.nickname(""),
        await bob.nickname('the "great"'),
        await bob.nickname("\u200b"),
    ] == [200, 425, 200, 200, 424]
    bob.close()
    assert await bob.nickname("x") == 408


def test_envelope_needs_a_sender() -> None:
    peer = MsrpPeer(MsrpEndpoint(EndpointConfig(port=0)), conversation=ROOM)
    with pytest.raises(ValueError, match="identity"):
        asyncio.run(peer.send("x"))
