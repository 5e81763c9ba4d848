"""The sockets of one client: which it opens, what its own address is, which way a request takes."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass

from .errors import ConnectionFailedError
from .transport import (
    Address,
    Flow,
    Receiver,
    StreamHub,
    Target,
    UdpSocket,
    local_host_towards,
    resolve,
)
from .wire import host_text

log = logging.getLogger(__name__)

DATAGRAM_LIMIT = 1300
"""Bytes of a request above which UDP is not used where the path MTU is unknown (RFC 3261 section 18.1.1)."""


@dataclass(slots=True)
class Network:
    """Everything goes to the one `proxy`, but for requests in dialogs whose route leads elsewhere.

    `local` is the address this client is reached at: where its sockets listen, or over TLS, where a
    client has no certificate to listen with, that of the connection it opened.
    """

    proxy: Target
    receiver: Receiver
    streams: StreamHub
    udp: UdpSocket | None
    proxy_address: Address
    local: Address

    @classmethod
    async def open(cls, proxy: Target, local: Address, receiver: Receiver, tls: ssl.SSLContext | None) -> Network:
        """Open the sockets. An empty host in `local` is found by itself, port 0 is any free one.

        Raises ConnectionFailedError, or OSError where the local address cannot be bound.
        """
        address = await resolve(proxy.host, proxy.port, datagram=proxy.transport == "udp")
        if proxy.transport == "tls" and tls is None:
            tls = ssl.create_default_context()
        streams = StreamHub(receiver, "tls" if proxy.transport == "tls" else "tcp", tls)
        bind = (local[0] or local_host_towards(address), local[1])
        network = cls(proxy, receiver, streams, None, address, bind)
        if proxy.transport == "udp":
            network.udp = UdpSocket(receiver)
            network.local = await network.udp.open(bind)
            await network._listen_beside_udp()
        elif proxy.transport == "tcp":
            network.local = await streams.listen(bind)
        else:
            await network.connect()
        return network

    async def _listen_beside_udp(self) -> None:
        # RFC 3261 section 18.2.1: who listens on UDP listens on the same port for TCP. That port
        # may be taken.
        try:
            await self.streams.listen(self.local)
        except OSError as error:
            log.info("no TCP listener beside UDP port %d: %s", self.local[1], error)

    async def connect(self) -> Flow | None:
        """The connection to the proxy; None over UDP. Over TLS a new one changes `local`.

        Raises ConnectionFailedError.
        """
        if self.udp is not None:
            return None
        connection = await self.streams.connection(self.proxy.host, self.proxy_address)
        if self.proxy.transport == "tls":
            self.local = connection.local
        return connection

    async def connect_to(self, address: Address) -> Flow:
        """A stream to another address than the proxy's. Raises ConnectionFailedError."""
        return await self.streams.connection(address[0], address)

    async def hop(self, target: Target | None) -> Address:
        """The address of a next hop; that of the proxy where there is none, or where this client cannot
        speak its transport. Raises ConnectionFailedError.
        """
        usable = ("udp", "tcp") if self.udp is not None else (self.proxy.transport,)
        if target is None or self.proxy.transport == "tls" or target.transport not in usable:
            return self.proxy_address
        return await resolve(target.host, target.port, datagram=target.transport == "udp")

    def datagram_flow(self, hop: Address | None = None) -> Flow | None:
        """The way to `hop` (None: the proxy) by UDP, if that is the transport of this client."""
        return None if self.udp is None else self.udp.flow(hop or self.proxy_address)

    async def flow_for(self, size: int, hop: Address | None = None) -> Flow:
        """The way for a request of `size` bytes to `hop` (None: the proxy), RFC 3261 section 18.1.1.

        Raises ConnectionFailedError.
        """
        hop = hop or self.proxy_address
        datagram = self.datagram_flow(hop)
        if datagram is not None and size <= DATAGRAM_LIMIT:
            return datagram
        try:
            if hop != self.proxy_address:
                return await self.connect_to(hop)
            return await self.connect() or await self.streams.connection(self.proxy.host, hop)
        except ConnectionFailedError as error:
            if datagram is None:
                raise
            log.info("a request of %d bytes goes by UDP: %s", size, error)
            return datagram

    @property
    def sent_by(self) -> tuple[str, int]:
        """Host and port for Via."""
        return host_text(self.local[0]).lower(), self.local[1]

    def is_proxy_connection(self, flow: Flow) -> bool:
        return flow.reliable and flow.remote == self.proxy_address

    def ping(self) -> None:
        """Send a keep-alive on every stream."""
        self.streams.ping()

    def close(self) -> None:
        if self.udp is not None:
            self.udp.close()
        self.streams.close()
