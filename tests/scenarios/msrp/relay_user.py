"""A user that is reached through an MSRP relay."""

from __future__ import annotations

from msrp_worker.msrp import (
    EndpointConfig,
    MessageStream,
    MsrpEndpoint,
    MsrpUri,
    Session,
    SessionOptions,
    parse_uri,
)
from msrp_worker.msrp.relay import RelayAccount, RelayPath, log_in
from tests.scenarios.media.parties import description


class User:
    """An endpoint of its own with one session, logged in to the relay."""

    def __init__(self, name: str, chunk_size: int) -> None:
        self.name = name
        self.endpoint = MsrpEndpoint(EndpointConfig(port=0))
        self.stream = MessageStream()
        self.options = SessionOptions(chunk_size=chunk_size)
        self.session: Session
        self.path: RelayPath

    async def start(self) -> None:
        """Without a relay."""
        await self.endpoint.start()
        self.session = self.endpoint.new_session(self.stream, self.options)

    def describe(self, setup: str) -> bytes:
        """The description of a user without a relay."""
        assert self.session.local.port is not None
        return description(self.session.local_text, self.session.local.port, setup=setup)

    async def log_in(self, port: int, password: str = "relay-secret") -> None:
        """Behind the relay at this port. Raises RelayError."""
        await self.start()
        account = RelayAccount(parse_uri(f"msrp://127.0.0.1:{port};tcp"), self.name, password)
        self.path = await log_in(self.endpoint, self.session, [account], expires=300)

    def know(self, peer: tuple[MsrpUri, ...]) -> None:
        """Take the path of the other side."""
        self.session.set_remote(self.path.towards(peer))

    async def receive(self) -> bytes:
        async for message in self.stream:
            return await message.read()
        raise AssertionError(self.stream.ended)
