"""The endpoint: listeners, connections, sessions and one clock for all of them.

See the package's docstring for how it is used.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from .config import EndpointConfig
from .connection import Connection
from .handler import SessionHandler
from .local_address import LocalAddresses
from .logs import limited_logger
from .options import DEFAULT_OPTIONS, SessionOptions
from .registry import Registry
from .session import Session
from .state import State
from .tls import ServerTls, client_context
from .transaction import idents
from .uri import MsrpUri

log = limited_logger(__name__)

SESSION_ID_BYTES = 16
"""Random bytes in a session-id: 128 bits, so that nobody guesses one (MED-10, RFC 4975 section 14.1)."""


SOMEWHERE = "198.51.100.1"
"""An address that only a default route leads to (RFC 5737), for when the peer's is not known."""
CLOSE_SECONDS = 1.0
"""Time for connections to end by themselves when the endpoint stops."""


class EndpointShell(Protocol):
    """A connection of any transport, as the endpoint sees it."""

    address: str
    key: tuple[str, int, bool] | None
    timed: bool

    def tick(self, now: float) -> bool:
        """Look at the clock; False when there is nothing left to wait for."""

    def close(self, reason: str, *, abort: bool = False) -> None:
        """Close the connection."""


class MsrpEndpoint:
    """Owns listeners and connections, and makes sessions."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self.registry = Registry()
        self.idents = idents(os.urandom)
        self.local_addresses = LocalAddresses()
        self.port: int | None = None
        """TCP port of the msrp listener, once started."""
        self.tls_port: int | None = None
        """TCP port of the msrps listener, once started."""
        self.tls: ServerTls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = lambda: 0.0
        """The loop's time."""
        self._servers: list[asyncio.Server] = []
        self._connections: set[EndpointShell] = set()
        self._per_address: Counter[str] = Counter()
        self._outgoing: dict[tuple[str, int, bool], Connection] = {}
        self._marked: list[Connection] = []
        self._watched: set[EndpointShell] = set()
        self._clock: asyncio.TimerHandle | None = None
        self._stopping = False
        self._gone: asyncio.Event | None = None
        """Set when the last connection is gone, while stopping."""

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the listeners; raises OSError where a port is taken, ValueError where TLS is set up
        wrongly."""
        self._loop = loop = asyncio.get_running_loop()
        self.now = loop.time
        config = self.config
        if config.tls_certificate is not None and config.tls_key is not None:
            self.tls = ServerTls(config.tls_certificate, config.tls_key, config.handshake_seconds)
        host = config.listen or None
        if config.port is not None:
            server = await loop.create_server(lambda: Connection(self), host, config.port, backlog=1024)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]
        if config.tls_port is not None:
            if self.tls is None:
                raise ValueError("tls_port needs tls_certificate and tls_key")  # SEC-04
            tls = self.tls
            server = await loop.create_server(
                lambda: tls.protocol(Connection(self), self), host, config.tls_port, backlog=1024
            )
            self._servers.append(server)
            self.tls_port = server.sockets[0].getsockname()[1]
        await self.local_addresses.start()
        self._clock = loop.call_later(config.tick_seconds, self._tick)
        log.info("msrp: listening on %s, msrp %s, msrps %s", config.listen or "*", self.port, self.tls_port)

    async def stop(self) -> None:
        """Close listeners, sessions and connections; returns when they are gone."""
        self._stopping = True
        if self._clock is not None:
            self._clock.cancel()
        for server in self._servers:
            server.close()
        for session in self.registry:
            session.close("endpoint stopped")
        self.flush()
        for connection in list(self._connections):
            connection.close("endpoint stopped")
        for server in self._servers:
            await server.wait_closed()
        if self._connections:
            self._gone = asyncio.Event()
            try:
                await asyncio.wait_for(self._gone.wait(), CLOSE_SECONDS)
            except TimeoutError:
                log.info("msrp: %d connections cut", len(self._connections))
        for connection in list(self._connections):
            connection.close("endpoint stopped", abort=True)
        self.local_addresses.close()

    def reload_certificate(self) -> None:
        """Read certificate and key again, for connections accepted from now on; raises ValueError,
        keeping the old ones, where they do not fit."""  # SEC-04
        if self.tls is not None:
            self.tls.reload()

    @property
    def fingerprint(self) -> str | None:
        """Of our certificate, for a=fingerprint (RFC 8122); None without one."""  # MED-04
        return None if self.tls is None else self.tls.fingerprint

    # --- sessions -----------------------------------------------------------------------------------------

    async def local_host(self, peer: str | None = None) -> str:
        """The host for our URIs: the configured one, the one address listened on, or with several the one the
        kernel would use towards `peer`.

        `peer` is an address or name, usually of the peer's c= line or of the first hop of its path.
        """
        fixed = self._fixed_host()
        if fixed is not None:
            return fixed
        found = await self.local_addresses.towards(peer) if peer is not None else None
        return found or await self.local_addresses.towards(SOMEWHERE) or "127.0.0.1"

    def _fixed_host(self) -> str | None:
        if self.config.public_host is not None:
            return self.config.public_host
        return None if self.config.listen in ("", "0.0.0.0", "::") else self.config.listen  # noqa: S104

    def new_session(
        self,
        handler: SessionHandler,
        options: SessionOptions = DEFAULT_OPTIONS,
        *,
        host: str | None = None,
        secure: bool = False,
        transport: str = "tcp",
    ) -> Session:
        """A session that waits to be bound, with a URI nobody can guess (MED-10).

        `session.local_text` is for our a=path. `host` comes from `local_host`, which has to be asked
        where all addresses are listened on. `secure` makes it msrps. `transport` is `ws` only for the
        peer of a browser that insists. Give it the peer's path with `session.set_remote`, and close it if
        the offer comes to nothing.
        """
        config = self.config
        port = (config.public_tls_port or self.tls_port) if secure else (config.public_port or self.port)
        uri = MsrpUri(
            "msrps" if secure else "msrp",
            host or self._fixed_host() or "127.0.0.1",
            port if port is not None else 9,  # active only: the discard port (RFC 6135 section 4.2.2)
            secrets.token_urlsafe(SESSION_ID_BYTES),
            transport,
        )
        session = Session(uri, handler, self.idents, options)
        self.registry.add(session)
        return session

    async def connect(self, session: Session, address: tuple[str, int] | None = None, *, greet: bool = True) -> None:
        """Be the active side: connect to the first hop of the peer's path and send the first SEND.

        `greet` False leaves the first SEND to the caller, who has to talk to a relay before (`relay`).
        `address` overrides where to connect: with CEMA, the c= and m= lines (RFC 6714 section 4.3, MED-05).
        Raises OSError (ssl.SSLError and TimeoutError are such) when there is no connection; the session
        is then closed.
        """  # MED-05, MED-06
        if not session.remote:
            raise ValueError("set_remote comes first")
        hop = session.remote[0]
        try:
            if hop.transport != "tcp":
                raise ConnectionError(f"cannot connect by {hop.transport}")  # RFC 7977: it has to come to us
            if address is None and hop.port is None:
                raise ConnectionError("the first hop has no port")  # RFC 4975 8.2: MUST be there
            host, port = address or (hop.host, hop.port or 0)
            connection = await asyncio.wait_for(
                self._connection_to(host, port, hop, session.fingerprints), self.config.connect_seconds
            )
            link = connection.link
            if session.state is not State.WAITING:
                raise ConnectionAbortedError("session was closed or bound while connecting")
            if link is None or link.refused_because is not None:
                raise ConnectionResetError("connection was lost at once")
            if not link.certificate_matches(session.fingerprints):  # MED-04
                connection.close("certificate does not match the offered fingerprint")
                raise ssl.SSLError("certificate does not match the offered fingerprint")
        except (OSError, TimeoutError) as error:
            session.close(f"no connection to {hop}: {error or type(error).__name__}")
            raise
        session.bind(link, greet=greet)

    async def _connection_to(self, host: str, port: int, hop: MsrpUri, fingerprints: tuple[str, ...]) -> Connection:
        key = (host.lower(), port, hop.secure)
        shared = self.config.reuse_connections and not fingerprints
        if shared:
            known = self._outgoing.get(key)
            if known is not None and known.link is not None and known.link.refused_because is None:
                return known
        assert self._loop is not None, "start comes first"
        self._check_destination((host, port))
        context = None
        if hop.secure:
            own = (self.config.tls_certificate, self.config.tls_key)
            context = client_context(own, self.config.tls_authorities, trust_any=bool(fingerprints))
        _, connection = await self._loop.create_connection(
            lambda: Connection(self, key=key),
            host,
            port,
            ssl=context,
            # The name to be in the certificate is that of the URI, wherever the connection goes.
            server_hostname=hop.host if context is not None else None,
        )
        if connection.transport is not None:  # names have been resolved now; nothing of the peer's was sent yet
            own = connection.transport.get_extra_info("sockname")[0]
            try:
                self._check_destination((connection.address, port), own)
            except ConnectionRefusedError as error:
                connection.close(str(error), abort=True)
                raise
        if shared:
            self._outgoing.setdefault(key, connection)
        return connection

    def _check_destination(self, peer: tuple[str, int], own: str | None = None) -> None:
        refused = self.config.destinations.refusal(peer, own)
        if refused is not None:
            log.warning("SEC-05 msrp: connection refused to a peer: %s", refused)
            raise ConnectionRefusedError(refused)

    # --- connections: what they call ----------------------------------------------------------------------

    def admit(self, connection: EndpointShell) -> str | None:
        """Count a new connection; returns why it may not be, if so."""  # SEC-02
        self._connections.add(connection)
        self._per_address[connection.address] += 1
        if self._stopping:
            return "endpoint stopped"
        counters = self.registry.counters
        if len(self._connections) > self.config.max_connections:
            counters.over_limit += 1
            return f"more than {self.config.max_connections} connections"
        limit = self.config.max_connections_per_address
        if connection.key is None and self._per_address[connection.address] > limit:
            counters.over_limit += 1
            return f"more than {limit} connections from this address"
        return None

    def forget(self, connection: EndpointShell) -> None:
        """The connection is gone."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._per_address[connection.address] -= 1
            if not self._per_address[connection.address]:
                del self._per_address[connection.address]
        if connection.key is not None and self._outgoing.get(connection.key) is connection:
            del self._outgoing[connection.key]
        self._watched.discard(connection)
        if self._gone is not None and not self._connections:
            self._gone.set()

    def mark(self, connection: Connection) -> None:
        """The connection has something to write: once everything that can be read now has been."""
        if not self._marked and self._loop is not None:
            self._loop.call_soon(self.flush)
        self._marked.append(connection)

    def watch(self, connection: EndpointShell) -> None:
        """Have the clock look at the connection until it says that is enough."""
        connection.timed = True
        self._watched.add(connection)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def flush(self, but: Connection | None = None) -> None:
        """Write what the marked connections have to say; `but` for one that has its turn later."""
        marked, self._marked = self._marked, []
        now = self.now()
        for connection in marked:
            if connection is but:
                self._marked.append(connection)  # the call that `mark` has asked the loop for is still to come
                continue
            try:
                connection.flush(now)
            except Exception:  # of some handler: the other connections have to be written to all the same
                log.exception("msrp: writing to %s", connection.address)

    def _tick(self) -> None:
        now = self.now()
        for connection in list(self._watched):
            try:
                wanted = connection.tick(now)
            except Exception:
                log.exception("msrp: time-outs of %s", connection.address)
                wanted = True
            if not wanted:
                connection.timed = False
                self._watched.discard(connection)
        self._end_overdue(now)
        if self._loop is not None and not self._stopping:
            self._clock = self._loop.call_later(self.config.tick_seconds, self._tick)

    def _end_overdue(self, now: float) -> None:
        """End the sessions whose peer has not connected in time."""  # MED-03, SEC-02
        seconds = self.config.peer_seconds
        if not seconds:
            return
        for session in self.registry.overdue(now, seconds):
            self.registry.counters.never_came += 1
            log.info("SEC-02 msrp: nobody connected to %s within %g s", session.local_text, seconds)
            try:
                session.close(f"peer did not connect within {seconds:g} s")
            except Exception:  # of its handler: the others have to end all the same
                log.exception("msrp: closing %r", session)
