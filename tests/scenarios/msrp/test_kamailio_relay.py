"""Interoperability: our endpoints through Kamailio's own MSRP relay (RFC 4976), on real processes."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msrp_worker.msrp import (
    EndpointConfig,
    MessageStream,
    MsrpEndpoint,
    Session,
    SessionOptions,
    outcome,
    parse_uri,
    reported,
)
from msrp_worker.msrp.relay import RelayAccount, RelayError, RelayPath, log_in

pytestmark = pytest.mark.scenario

CONFIG = Path(__file__).with_name("kamailio_relay.cfg")
SECONDS = 10.0
"""Longest wait for the other process."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[int]:
    """A Kamailio that is an MSRP relay; its port."""
    port = free_port()
    program = shutil.which("kamailio") or "/usr/sbin/kamailio"
    arguments = [
        "-DD",
        "-f",
        str(CONFIG),
        "-A",
        f"RELAY_PORT={port}",
        "-m",
        "16",
        "-M",
        "4",
        "-Y",
        str(tmp_path),
    ]
    with (tmp_path / "kamailio.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, (tmp_path / "kamailio.log").read_text()
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class User:
    """An endpoint of its own with one session, logged in to the relay."""

    def __init__(self, name: str, chunk_size: int) -> None:
        self.name = name
        self.endpoint = MsrpEndpoint(EndpointConfig(port=0))
        self.stream = MessageStream()
        self.options = SessionOptions(chunk_size=chunk_size)
        self.session: Session
        self.path: RelayPath

    async def log_in(self, port: int, password: str = "relay-secret") -> None:
        await self.endpoint.start()
        self.session = self.endpoint.new_session(self.stream, self.options)
        account = RelayAccount(parse_uri(f"msrp://127.0.0.1:{port};tcp"), self.name, password)
        self.path = await log_in(self.endpoint, self.session, [account], expires=300)

    def know(self, peer: User) -> None:
        self.session.set_remote(self.path.towards(peer.path.advertised))

    async def receive(self) -> bytes:
        async for message in self.stream:
            return await message.read()
        raise AssertionError(self.stream.ended)


@pytest.fixture
async def users(relay: int) -> AsyncIterator[tuple[User, User]]:
    """Alice and Bob, both reached through the relay."""
    alice, bob = User("alice", 2_048), User("bob", 10_240)
    await alice.log_in(relay)
    await bob.log_in(relay)
    alice.know(bob)
    bob.know(alice)
    yield alice, bob
    await alice.endpoint.stop()
    await bob.endpoint.stop()


@pytest.mark.requirement("MED-06")
async def test_log_in_gives_a_path_through_the_relay(users: tuple[User, User], relay: int) -> None:
    alice, _ = users
    outer, own = alice.path.advertised
    assert (outer.host, outer.port) == ("127.0.0.1", relay)
    assert own == alice.session.local
    assert alice.path.expires is not None


@pytest.mark.requirement("MED-06", "MED-01", "MED-02")
@pytest.mark.parametrize("size", [0, 5, 100_000])
async def test_messages_pass_both_ways_with_their_reports(users: tuple[User, User], size: int) -> None:
    alice, bob = users
    alice.session.greet()
    bob.session.greet()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with asyncio.timeout(SECONDS):
        for sender, receiver in ((alice, bob), (bob, alice)):
            message = sender.session.send(body, "application/octet-stream", success_report=True)
            assert await receiver.receive() == body
            assert await outcome(message) == 200
            assert await reported(message) == 200


@pytest.mark.requirement("MED-06")
async def test_wrong_password(relay: int) -> None:
    mallory = User("mallory", 0)
    with pytest.raises(RelayError) as caught:
        await mallory.log_in(relay, "guessed")
    assert caught.value.code == 401
    await mallory.endpoint.stop()
