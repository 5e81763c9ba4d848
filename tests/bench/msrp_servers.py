"""The servers of `bench_msrp`, each a process of its own: `python -m tests.bench.msrp_servers ROLE COUNT
[TARGET]`.

Prints one line of JSON when ready: its port, and the URIs of the sessions that wait. Ends with its standard
input.

    forwarder   accepts TCP and passes every byte to TARGET and back: the limit of any hop in user space
    hop         COUNT pairs of sessions, joined; the even URIs are the senders' side
    switch      one room, COUNT participants u0, u1, …
    endpoint    COUNT sessions that keep nothing: for memory
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

from msrp_worker import garbage
from msrp_worker.cpim import Address
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint, Session, SessionHandler, SessionOptions, parse_path
from msrp_worker.msrp.hop import OLDER_CLIENT_CHUNK, Hop, leg_options
from msrp_worker.msrp.room import Participant, seat_options
from msrp_worker.msrp.switch import Switch

ROOM = "sip:room@example.com"
LEG = leg_options(8_192)
SEAT = seat_options(OLDER_CLIENT_CHUNK)


class Forwarder(asyncio.Protocol):
    """One side of a forwarded connection."""

    def __init__(self, target: tuple[str, int] | None) -> None:
        self.target = target
        self.across: Forwarder | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting: list[bytes] = []
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.target is not None:
            self.task = asyncio.get_running_loop().create_task(self.connect(self.target))

    async def connect(self, target: tuple[str, int]) -> None:
        other = Forwarder(None)
        other.across = self
        await asyncio.get_running_loop().create_connection(lambda: other, *target)
        self.across = other
        assert other.transport is not None
        for data in self.waiting:
            other.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.across is None or self.across.transport is None:
            self.waiting.append(data)
        else:
            self.across.transport.write(data)

    def pause_writing(self) -> None:
        if self.across is not None and self.across.transport is not None:
            self.across.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.across is not None and self.across.transport is not None:
            self.across.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.across is not None and self.across.transport is not None:
            self.across.transport.close()


def peer_uri(name: str) -> str:
    """The URI of the driver's end of a session."""
    return f"msrp://127.0.0.1:9/{name};tcp"


def waiting_session(endpoint: MsrpEndpoint, name: str, options: SessionOptions) -> Session:
    session = endpoint.new_session(SessionHandler(), options, host="127.0.0.1")
    session.set_remote(parse_path(peer_uri(name)))
    return session


async def serve(role: str, count: int, target: str) -> None:
    if role == "forwarder":
        host, _, port = target.partition(":")
        where = (host, int(port))
        server = await asyncio.get_running_loop().create_server(lambda: Forwarder(where), "127.0.0.1", 0)
        ready: dict[str, object] = {"port": server.sockets[0].getsockname()[1]}
    else:
        config = EndpointConfig(listen="127.0.0.1", port=0, max_connections_per_address=40_000)
        endpoint = MsrpEndpoint(config)
        await endpoint.start()
        sessions: list[Session] = []
        if role == "hop":
            for n in range(count):
                one, other = (waiting_session(endpoint, f"{side}{n}", LEG) for side in "ab")
                Hop().join(one, other)
                sessions += (one, other)
        elif role == "switch":
            switch = Switch((ROOM,))
            for n in range(count):
                session = waiting_session(endpoint, f"u{n}", SEAT)
                switch.join(Participant(session, Address(f"sip:u{n}@example.com"), private_messages=True))
                sessions.append(session)
        else:
            sessions = [waiting_session(endpoint, f"u{n}", SessionOptions()) for n in range(count)]
        ready = {"port": endpoint.port, "uris": [session.local_text for session in sessions]}
    garbage.settle()
    print(json.dumps(ready), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
