"""A server and any number of clients on links wired in memory, for hop and switch."""

from __future__ import annotations

from collections.abc import Iterator

from msrp_worker.msrp.handler import SessionHandler
from msrp_worker.msrp.link import Link
from msrp_worker.msrp.options import DEFAULT_OPTIONS, SessionOptions
from msrp_worker.msrp.registry import Registry
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import parse_uri
from tests.msrp_worker.msrp.harness import Recorder, Shell, counting


class Wire:
    """One connection: a client's link and the server's. Bytes wait while the reader is paused or stopped."""

    def __init__(self, shell: Shell, client: Link, server: Link) -> None:
        self._shell = shell
        self.client = client
        self.server = server
        self.client_reads = True
        self.up = b""
        """Everything the client has sent."""
        self.down = b""
        """Everything the client has read."""
        self._unread = b""

    @property
    def held(self) -> bool:
        """The server does not read from the client."""
        return self._shell.held

    def move(self, now: float) -> bool:
        """One write of each side, as far as the other reads."""
        moved = False
        if not self.held:
            up = b"".join(self.client.take(now))
            self.up += up
            if up:
                self.server.receive(up, now)
                moved = True
        self.server.output.writable = self.client_reads
        self._unread += b"".join(self.server.take(now))
        if self._unread and self.client_reads:
            down, self._unread = self._unread, b""
            self.down += down
            self.client.receive(down, now)
            moved = True
        return moved


class Client:
    """A participant: its session and recorder, and the server's session and wire for it."""

    def __init__(
        self,
        net: Net,
        name: str,
        server_options: SessionOptions,
        client_options: SessionOptions,
        **replies: int,
    ) -> None:
        self.name = name
        self.recorder = Recorder(**replies)
        own = parse_uri(f"msrp://{name}.example.com:7000/{name}-own;tcp")
        there = parse_uri(f"msrp://server.example.com:2855/{name}-leg;tcp")
        registry = Registry()
        self.session = Session(own, self.recorder, net.idents, client_options)
        registry.add(self.session)
        self.session.set_remote((there,))
        self.leg = Session(there, SessionHandler(), net.idents, server_options)
        net.registry.add(self.leg)
        self.leg.set_remote((own,))
        self.shell = Shell()
        self.wire = Wire(self.shell, Link(registry, net.idents, Shell()), Link(net.registry, net.idents, self.shell))
        self.session.bind(self.wire.client)
        self.leg.bind(self.wire.server)


class Net:
    """The server's registry and all clients."""

    def __init__(self) -> None:
        self.idents: Iterator[str] = counting("t")
        self.registry = Registry()
        self.clients: list[Client] = []
        self.now = 0.0

    def client(
        self,
        name: str,
        server: SessionOptions = DEFAULT_OPTIONS,
        client: SessionOptions = DEFAULT_OPTIONS,
        **replies: int,
    ) -> Client:
        """Add a client; its session and the server's leg are bound to each other."""
        made = Client(self, name, server, client, **replies)
        self.clients.append(made)
        return made

    def settle(self, steps: int = 100_000) -> None:
        """Move bytes until nobody has anything to say, or `steps` rounds."""
        for _ in range(steps):
            moved = [client.wire.move(self.now) for client in self.clients]  # all of them, each round
            if not any(moved):
                return

    def lose(self, client: Client) -> None:
        """The connection of a client breaks."""
        client.wire.server.lost("connection lost")
        self.clients.remove(client)
