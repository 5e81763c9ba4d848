"""The shell around a `Link`: one TCP or TLS connection (asyncio, also uvloop).

Nothing here knows MSRP. Bytes that come are given to the link; what the link has to say is written once
per turn of the event loop, however many reads and messages it came from.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from typing import TYPE_CHECKING, cast

from .link import Link
from .logs import limited_logger

if TYPE_CHECKING:
    from .endpoint import MsrpEndpoint

log = limited_logger(__name__)

GATHER_BYTES = 2_048
"""Output of at least this size goes to the transport in pieces, to be gathered by the kernel; less is
joined."""


FULL_READ_BYTES = 65_536
"""What a read of at least this size brought is written at once, to whatever connection it goes: more reads may follow
before anything else gets its turn, and meanwhile its receiver would wait."""
ANSWERED_READS = 3
"""Full reads of one connection that come one after the other and are answered in one write, which costs a twentieth less
for each. A sender that waits for answers has more than they bring under way, or there is no next full read."""
KEEPALIVE_INTERVAL_SECONDS = 15
"""Between two TCP keepalive probes that are not answered."""
KEEPALIVE_PROBES = 4
"""Unanswered probes after which the peer is gone."""
CLOSE_SECONDS = 10.0
"""Time for the peer to take what was written before the connection was closed."""


class Connection(asyncio.Protocol):
    """One connection, accepted or opened by us."""

    __slots__ = (
        "_full_reads",
        "_held",
        "_reading",
        "_stalled_bytes",
        "address",
        "endpoint",
        "heard",
        "key",
        "link",
        "since",
        "stalled_since",
        "timed",
        "transport",
        "untaken_since",
    )

    def __init__(self, endpoint: MsrpEndpoint, *, key: tuple[str, int, bool] | None = None) -> None:
        """`key`: host, port and TLS of the next hop, for a connection opened by us."""
        self.endpoint = endpoint
        self.key = key
        self.link: Link | None = None
        self.transport: asyncio.Transport | None = None
        self.address = ""
        """The peer's, without port."""
        self.since = 0.0
        """Since when there has been no session, in the loop's time."""
        self.stalled_since: float | None = None
        """Since when the peer has taken nothing, while the buffer is full."""
        self._stalled_bytes = 0
        self.heard = 0.0
        """When the peer last sent anything."""
        self.untaken_since: float | None = None
        """Since when the kernel holds bytes that the peer has not taken."""
        self._full_reads = 0
        """Since something was written."""
        self._held = False
        self._reading = True
        self.timed = False
        """True while the endpoint's clock looks at this connection."""

    # --- what asyncio calls -------------------------------------------------------------------------------

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, base)  # that of uvloop is one by its methods only
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        refused = self.endpoint.admit(self)
        if refused is not None:
            log.warning("SEC-02 msrp: connection from %s refused: %s", self.address, refused)
            transport.abort()
            return
        self.endpoint.registry.counters.accepted += self.key is None
        config = self.endpoint.config
        transport.set_write_buffer_limits(config.write_high_bytes, config.write_low_bytes)
        tcp = transport.get_extra_info("socket")
        if tcp is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if config.keepalive_seconds:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, config.keepalive_seconds)
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        self.since = self.heard = self.endpoint.now()
        own = transport.get_extra_info("sockname")
        self.link = Link(
            self.endpoint.registry,
            self.endpoint.idents,
            self,
            peer_address=self.address,
            local_port=own[1] if isinstance(own, tuple) else None,
            secure=transport.get_extra_info("sslcontext") is not None,
            certificate=_peer_certificate(transport),
            limits=config.codec,
        )
        self.endpoint.watch(self)

    def data_received(self, data: bytes) -> None:
        link = self.link
        if link is not None:
            self.heard = now = self.endpoint.now()
            link.receive(data, now)
            if len(data) >= FULL_READ_BYTES:
                self._full_reads += 1
                self.endpoint.flush(self if self._full_reads < ANSWERED_READS else None)
            if link.output.waiting_bytes >= self.endpoint.config.write_high_bytes:
                self.flush(now)  # uvloop may deliver many full reads before anything else gets its turn

    def eof_received(self) -> bool | None:
        return None  # the transport closes itself: MSRP has no half-closed connections

    def pause_writing(self) -> None:
        assert self.link is not None
        assert self.transport is not None
        self.link.output.writable = False
        self.stalled_since = self.endpoint.now()
        self._stalled_bytes = self.transport.get_write_buffer_size()
        self.endpoint.watch(self)

    def resume_writing(self) -> None:
        assert self.link is not None
        self.link.output.writable = True
        self.stalled_since = None
        self._update_reading()
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.endpoint.forget(self)
        if self.link is not None:
            self.link.lost(self.link.refused_because or (f"connection lost: {exc}" if exc else "closed by peer"))
            self.link = None
        self.transport = None

    # --- what the link calls ------------------------------------------------------------------------------

    def wake(self) -> None:
        """See `output.Shell`."""
        self.endpoint.mark(self)

    def hold(self, on: bool) -> None:
        """See `output.Shell`."""
        self._held = on
        self._update_reading()

    # --- what the endpoint calls --------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Write what the link has to say, until the transport has enough."""
        self._full_reads = 0
        link, transport = self.link, self.transport
        if link is None or transport is None:
            return
        while pieces := link.take(now):
            if len(pieces) > 1 and link.output.has_more and not transport.get_write_buffer_size():
                pieces += link.take(now)  # each write wakes a receiver that keeps up, which costs more than what is in it
            if len(pieces) == 1:
                transport.write(pieces[0])
            elif sum(map(len, pieces)) >= GATHER_BYTES * len(pieces):
                transport.writelines(pieces)
            else:
                transport.write(b"".join(pieces))
            if not link.output.writable:
                self._update_reading()
                break
            if not link.output.has_more:
                break
        if link.refused_because is not None:
            self.close(link.refused_because)
        elif not self.timed and (not link.sessions or link.needs_tick):
            if not link.sessions:
                self.since = now
            self.endpoint.watch(self)

    def tick(self, now: float) -> bool:
        """Look at the clock; False when there is nothing left to wait for."""
        link, transport = self.link, self.transport
        if link is None or transport is None:
            return False
        config = self.endpoint.config
        if transport.is_closing():
            if now - self.since >= CLOSE_SECONDS:
                transport.abort()  # the peer does not take the rest
            return True
        link.tick(now)
        if self.stalled_since is not None:
            waiting = transport.get_write_buffer_size()
            if waiting < self._stalled_bytes:
                self.stalled_since = now
            self._stalled_bytes = waiting
            if now - self.stalled_since >= config.stall_seconds:
                self.endpoint.registry.counters.stalled += 1
                self.close(f"peer took nothing for {config.stall_seconds:.0f} s", abort=True)
                return False
        waiting = _not_taken(transport)
        if not waiting:
            self.untaken_since = None
        elif self.untaken_since is None:
            self.untaken_since = now
        elif now - max(self.heard, self.untaken_since) >= config.stall_seconds:
            # All fits into the kernel's buffer, and there it stays: the peer neither reads nor says anything.
            self.endpoint.registry.counters.stalled += 1
            self.close(f"peer took nothing for {config.stall_seconds:.0f} s", abort=True)
            return False
        if link.sessions:
            self.since = now
            return link.needs_tick or self.stalled_since is not None or link.never_bound or waiting > 0
        if link.never_bound and self.key is None:
            if now - self.since >= config.bind_seconds:
                self.endpoint.registry.counters.never_bound += 1  # SEC-02
                self.close(f"no session within {config.bind_seconds:.0f} s")
        elif now - self.since >= config.linger_seconds:
            self.close("no session left")
        return True

    def close(self, reason: str, *, abort: bool = False) -> None:
        """Close the connection: what is written still goes out, unless `abort`."""
        link, transport = self.link, self.transport
        if link is None or transport is None or transport.is_closing():
            return
        level = logging.DEBUG if reason in ("no session left", "endpoint stopped") else logging.WARNING
        log.log(level, "msrp: connection with %s closed: %s", self.address, reason)
        link.refused_because = reason
        self.since = self.endpoint.now()
        self.endpoint.watch(self)
        if abort:
            transport.abort()
        else:
            transport.close()

    def _update_reading(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        # Reading goes on while the buffer is merely full: two peers that both wait to write would wait
        # forever.
        flooded = transport.get_write_buffer_size() > self.endpoint.config.write_limit_bytes
        reading = not self._held and not flooded
        if reading != self._reading:
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()


def _peer_certificate(transport: asyncio.Transport) -> bytes | None:
    """The peer's certificate, DER, from whichever TLS the transport uses."""
    der = transport.get_extra_info("peer_certificate")
    if isinstance(der, bytes):
        return der
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)


def _not_taken(transport: asyncio.Transport) -> int:
    """Bytes in the kernel's buffer that the peer's has not taken (SIOCOUTQ); 0 where nobody can say."""
    tcp = transport.get_extra_info("socket")
    if tcp is None:
        return 0
    size = bytearray(4)
    try:
        fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, size)
    except (OSError, ValueError):
        return 0
    return int.from_bytes(size, sys.byteorder)
