"""Sockets: one UDP socket or a set of TCP/TLS connections, handing whole SIP messages to a receiver.

Nothing here knows about transactions. A `Flow` is a way to one peer; it stays valid as a key after it has
closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import Protocol, cast

from .errors import ConnectionFailedError, MalformedMessageError
from .framing import Framer
from .wire import host_text

log = logging.getLogger(__name__)

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}  # RFC 3261 section 18.1.1
CONNECT_SECONDS = 10.0
"""How long a TCP connection and TLS handshake may take before the proxy counts as unreachable."""
DATAGRAM_BYTES = 65535
"""Largest UDP datagram (RFC 3261 section 18.1.1)."""

PING = b"\r\n\r\n"  # RFC 5626 section 4.4.1
PONG = b"\r\n"

# Linux: errors of unconnected UDP sockets (ICMP port unreachable) are reported with the address they belong
# to.
_IP_RECVERR, _IPV6_RECVERR, _MSG_ERRQUEUE = 11, 25, 0x2000

Address = tuple[str, int]
"""IP address and port."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: host name or IP address, port, and "udp", "tcp" or "tls"."""

    host: str
    port: int
    transport: str = "udp"

    @classmethod
    def parse(cls, text: str) -> Target:
        """`host[:port][;transport=udp|tcp|tls]`, IPv6 in brackets. Raises ValueError."""
        address, _, rest = text.strip().partition(";")
        name, _, transport = rest.partition("=")
        transport = transport.lower() if rest else "udp"
        if (rest and name != "transport") or transport not in DEFAULT_PORTS:
            raise ValueError(f"not a proxy: {text!r} (expected host:port;transport=udp, tcp or tls)")
        host, port = _host_port(address)
        if not host or (port and not port.isdecimal()) or int(port or 0) > 65535:
            raise ValueError(f"not a proxy: {text!r} (expected host:port;transport=udp, tcp or tls)")
        return cls(host, int(port) if port else DEFAULT_PORTS[transport], transport)

    def __str__(self) -> str:
        return f"{host_text(self.host)}:{self.port};transport={self.transport}"


def _host_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


class Flow(Protocol):
    """A way to one peer."""

    @property
    def transport(self) -> str: ...
    @property
    def reliable(self) -> bool: ...
    @property
    def remote(self) -> Address: ...
    @property
    def closed(self) -> bool: ...
    def send(self, data: bytes) -> None:
        """Raises ConnectionFailedError where the flow is closed or the system refuses."""


class Receiver(Protocol):
    """What the sockets tell."""

    def on_message(self, data: bytes, flow: Flow) -> None:
        """One datagram, or one message cut from a stream."""

    def on_failure(self, flow: Flow, error: str) -> None:
        """The flow has closed, or its peer is unreachable."""


class UdpSocket(asyncio.DatagramProtocol):
    """One socket for all peers."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._socket: socket.socket | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, local: Address) -> Address:
        """Bind; returns the bound address."""
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            with contextlib.suppress(OSError):
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
                else:
                    bound.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            bound.bind(local)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=bound)
        except BaseException:
            bound.close()
            raise
        self._socket = bound
        name = bound.getsockname()
        return str(name[0]), int(name[1])

    def flow(self, remote: Address) -> UdpFlow:
        return UdpFlow(self, remote)

    def send(self, data: bytes, remote: Address) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionFailedError("the UDP socket is closed")
        if len(data) > DATAGRAM_BYTES - 28:  # less the IP and UDP headers
            raise ConnectionFailedError(f"{len(data)} bytes do not fit into a UDP datagram; use TCP")
        self._transport.sendto(data, remote)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's class does not derive from DatagramTransport in 3.11, hence no isinstance.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receiver.on_message(data, self.flow((addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        # The error queue has to be emptied, or the socket stays readable for ever.
        while self._socket is not None:
            try:
                _, _, _, peer = self._socket.recvmsg(0, 512, _MSG_ERRQUEUE)
            except OSError:
                return
            if peer:
                self._receiver.on_failure(self.flow((peer[0], peer[1])), f"{exc.args[-1] if exc.args else exc}")


@dataclass(frozen=True, slots=True)
class UdpFlow:
    socket: UdpSocket
    remote: Address

    @property
    def transport(self) -> str:
        return "UDP"

    @property
    def reliable(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        return False

    def send(self, data: bytes) -> None:
        self.socket.send(data, self.remote)


class StreamConnection(asyncio.Protocol):
    """One TCP or TLS connection, either direction."""

    def __init__(self, receiver: Receiver, transport_name: str, connections: dict[Address, StreamConnection]) -> None:
        self._receiver = receiver
        self._name = transport_name
        self._connections = connections
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._pings_sent = 0
        self._crlf_seen = False
        self.remote: Address = ("", 0)
        self.local: Address = ("", 0)

    @property
    def transport(self) -> str:
        return self._name.upper()

    @property
    def reliable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionFailedError(f"the connection to {host_text(self.remote[0])}:{self.remote[1]} is closed")
        self._transport.write(data)

    def ping(self) -> None:
        """Send a keep-alive; the pong is only absorbed, since not every server sends one."""
        if not self.closed:
            self._pings_sent += 1
            self.send(PING)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer, name = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.remote, self.local = (peer[0], peer[1]), (name[0], name[1])
        self._connections[self.remote] = self

    def data_received(self, data: bytes) -> None:
        try:
            items = self._framer.feed(data)
        except MalformedMessageError as error:
            log.warning("closing the connection to %s: %s", self.remote, error)
            self.close()
            return
        for item in items:
            if isinstance(item, bytes):
                self._crlf_seen = False
                self._receiver.on_message(item, self)
            else:
                self._on_crlf()

    def _on_crlf(self) -> None:
        if self._pings_sent:
            self._pings_sent -= 1
        elif self._crlf_seen:
            self._crlf_seen = False
            if not self.closed:
                self.send(PONG)
        else:
            self._crlf_seen = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connections.get(self.remote) is self:
            del self._connections[self.remote]
        self._receiver.on_failure(self, f"connection closed: {exc}" if exc else "connection closed by the peer")


class StreamHub:
    """All TCP (or TLS) connections of an endpoint: those it opens, and those its listener accepts."""

    def __init__(self, receiver: Receiver, transport: str, tls: ssl.SSLContext | None) -> None:
        self._receiver = receiver
        self._transport = transport
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connecting = asyncio.Lock()
        self._connections: dict[Address, StreamConnection] = {}

    async def listen(self, local: Address) -> Address:
        """Accept connections (RFC 3261 section 18.1.1: responses and requests may come on new ones)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._new, local[0], local[1])
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def connection(self, host: str, address: Address) -> StreamConnection:
        """The open connection to `address`, or a new one.

        Raises ConnectionFailedError. `host` is the name TLS checks.
        """
        async with self._connecting:
            found = self._connections.get(address)
            if found is not None and not found.closed:
                return found
            loop = asyncio.get_running_loop()
            name = host if self._tls is not None else None
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, made = await loop.create_connection(
                        self._new, address[0], address[1], ssl=self._tls, server_hostname=name
                    )
            except (OSError, TimeoutError) as error:
                peer = f"{host_text(host)}:{address[1]} over {self._transport}"
                raise ConnectionFailedError(f"cannot connect to {peer}: {_reason(error)}") from error
            return made

    def _new(self) -> StreamConnection:
        return StreamConnection(self._receiver, self._transport, self._connections)

    def ping(self) -> None:
        for connection in list(self._connections.values()):
            connection.ping()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{error}; is its certificate signed by an authority that is trusted here?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is it running there?"
    return str(error) or f"no answer within {CONNECT_SECONDS:g} s"


async def resolve(host: str, port: int, *, datagram: bool) -> Address:
    """The first IP address of a name. Raises ConnectionFailedError."""
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    except OSError as error:
        raise ConnectionFailedError(f"cannot resolve {host!r}: {error}; check the proxy's name") from error
    return str(found[0][4][0]), port


def local_host_towards(remote: Address) -> str:
    """The local IP address from which the system reaches `remote`. Raises ConnectionFailedError."""
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(remote)  # a UDP connect sends nothing, it only chooses the route
        except OSError as error:
            raise ConnectionFailedError(f"no route to {remote[0]}: {error}") from error
        return str(probe.getsockname()[0])
