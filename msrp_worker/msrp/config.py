"""Configuration of an MSRP endpoint: every limit with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .codec import DEFAULT_LIMITS, CodecLimits
from .destinations import ANYWHERE, Destinations
from .uri import DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """What an endpoint listens on and what it allows."""

    listen: str = "127.0.0.1"
    """Address of the listeners; empty: all."""
    port: int | None = DEFAULT_PORT
    """TCP port for msrp; None: no such listener; 0: any free one."""
    tls_port: int | None = None
    """TCP port for msrps; needs `tls_certificate` and `tls_key`. Port 2856 is what operators expect."""
    tls_certificate: Path | None = None
    """PEM file with the certificate and its chain."""
    tls_key: Path | None = None
    """PEM file with the private key."""
    tls_authorities: Path | None = None
    """PEM file with the authorities that sign the certificates of peers we connect to; None: those of the
    system. A peer that offered a fingerprint is checked by that instead."""
    public_host: str | None = None
    """Host to put in our URIs, where it is not the address of this machine (NAT, a name). None: the
    address the kernel would use towards the peer."""
    public_port: int | None = None
    """Port to put in our msrp URIs, where it is not the one listened on."""
    public_tls_port: int | None = None
    """The same for msrps."""

    max_connections: int = 20_000
    """Connections at the same time, in and out. Each costs about 4 kB of memory and one file descriptor."""
    max_connections_per_address: int = 1_000
    """Of these from one address. Many users may share one address behind a NAT or a relay (SEC-02)."""
    bind_seconds: float = 30.0
    """Time for an accepted connection until a request has bound a session to it (RFC 4976 section 6.1)."""
    peer_seconds: float = 40.0
    """Time for a peer to connect to a session once offer and answer are exchanged; then the session ends, and its owner
    is told by `closed`. A 2xx may be retransmitted for 64*T1, 32 seconds (RFC 3261 section 13.3.1.4), and then the peer
    has to connect. 0: for ever."""
    linger_seconds: float = 2.0
    """Time for which a connection without sessions stays open, in case the next session uses it."""
    connect_seconds: float = 15.0
    """Time for DNS, TCP and TLS of an outgoing connection."""
    handshake_seconds: float = 10.0
    """Time for the TLS handshake of an accepted connection."""
    stall_seconds: float = 60.0
    """Time for which a peer may take nothing of what is written to it before the connection is cut. Its
    sessions end, and the senders of what was queued are told."""
    keepalive_seconds: int = 120
    """Silence after which TCP probes the peer: keeps NAT bindings alive, and finds out that a phone has gone
    without a word. 0: never."""
    write_high_bytes: int = 131_072
    """Bytes waiting in a socket's buffer at which messages stop being written into it."""
    write_low_bytes: int = 32_768
    """Bytes at which they go on."""
    write_limit_bytes: int = 1_048_576
    """Bytes at which we stop reading from a peer that sends requests but does not take the responses."""
    destinations: Destinations = ANYWHERE
    """Where a peer's path may make us connect to (SEC-05)."""
    reuse_connections: bool = True
    """Sessions to the same next hop share one connection (RFC 4975 section 5.4). Sessions with
    fingerprints never share."""
    websocket_is_secure: bool = True
    """Whether WebSocket connections count as protected by TLS, because the operator's HTTP front end
    terminates it (RFC 7977 section 5.1 demands it). False: only those that arrive with TLS here."""
    websocket_max_frame: int = 4_194_304
    """Bytes of one WebSocket message, that is of one chunk from a browser."""
    tick_seconds: float = 1.0
    """How often time-outs are looked at. All of them are in the order of seconds."""
    codec: CodecLimits = DEFAULT_LIMITS
