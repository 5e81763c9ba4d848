"""When what a connection has to say is written while it is read without a pause."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.msrp import Session, SessionHandler, parse_path
from msrp_worker.msrp.connection import ANSWERED_READS, FULL_READ_BYTES, Connection
from msrp_worker.msrp.frames import encode_request
from msrp_worker.msrp.hop import Hop, leg_options
from msrp_worker.msrp.output import TAKE_BYTES
from tests.msrp_worker.msrp.conftest import MakeEndpoint, until
from tests.msrp_worker.msrp.harness import responses, sends

CHUNK = 8_192
PEER = "msrp://127.0.0.1:9/{};tcp"


class Written(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.writes = 0
        self.waiting = 0
        """Bytes that the peer has not taken."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


async def hop_between(make_endpoint: MakeEndpoint) -> tuple[Session, list[Connection], list[Written]]:
    """The sender's leg, the two connections, and what is written to each."""
    endpoint = await make_endpoint()
    legs, connections, transports = [], [], []
    for name in "ab":
        leg = endpoint.new_session(SessionHandler(), leg_options(CHUNK))
        peer = PEER.format(name)
        leg.set_remote(parse_path(peer))
        connection, transport = Connection(endpoint), Written()
        connection.connection_made(transport)
        connection.data_received(
            encode_request("SEND", f"bind{name}", leg.local_text, peer, [("Message-ID", f"bind{name}")])
        )
        legs.append(leg)
        connections.append(connection)
        transports.append(transport)
    Hop().join(*legs)
    await until(lambda: all(transport.data for transport in transports))
    for transport in transports:
        transport.data = b""
    return legs[0], connections, transports


def read(leg: Session, number: int, chunks: int) -> bytes:
    """One read of so many chunks; `number` reads of as many came before."""
    first = number * chunks
    return b"".join(
        encode_request(
            "SEND",
            f"tid{n}",
            leg.local_text,
            PEER.format("a"),
            [("Message-ID", "long0001"), ("Byte-Range", f"{n * CHUNK + 1}-{(n + 1) * CHUNK}/*")],
            "a/b",
            bytes(CHUNK),
            "+",
        )
        for n in range(first, first + chunks)
    )


@pytest.mark.requirement("MED-08")
async def test_content_goes_on_with_each_full_read_and_answers_with_some(make_endpoint: MakeEndpoint) -> None:
    leg, (sender, receiver), (answers, content) = await hop_between(make_endpoint)
    chunks = FULL_READ_BYTES // CHUNK + 1
    for number in range(2 * ANSWERED_READS):
        sender.data_received(read(leg, number, chunks))
        # One chunk is kept back until more comes: it might be the last.
        assert len(sends(content.data)) == (number + 1) * chunks - 1
        assert len(responses(answers.data)) == (number + 1) // ANSWERED_READS * ANSWERED_READS * chunks
    for connection in (sender, receiver):
        connection.connection_lost(None)


@pytest.mark.requirement("MED-08")
@pytest.mark.parametrize("chunks", [1, FULL_READ_BYTES // CHUNK + 1])
async def test_the_last_read_is_answered_before_anything_else_is_done(make_endpoint: MakeEndpoint, chunks: int) -> None:
    leg, (sender, receiver), (answers, _) = await hop_between(make_endpoint)
    sender.data_received(read(leg, 0, chunks))
    assert answers.data == b""
    await asyncio.sleep(0)
    assert len(responses(answers.data)) == chunks
    for connection in (sender, receiver):
        connection.connection_lost(None)


@pytest.mark.requirement("MED-08")
@pytest.mark.parametrize(("waiting", "writes"), [(0, 1), (1, 2)])
async def test_a_receiver_that_keeps_up_gets_a_full_read_in_one_write(
    make_endpoint: MakeEndpoint, waiting: int, writes: int
) -> None:
    """And one that does not is never given more than before: what waits and what is written are bounded together."""
    leg, (sender, receiver), (_, content) = await hop_between(make_endpoint)
    content.writes, content.waiting = 0, waiting
    sender.data_received(read(leg, 0, 2 * TAKE_BYTES // CHUNK - 2))
    assert content.writes == writes
    assert TAKE_BYTES < len(content.data) < 2 * TAKE_BYTES
    for connection in (sender, receiver):
        connection.connection_lost(None)
