"""TLS for msrps (RFC 4975 section 14, RFC 8122): contexts, and the server side of a connection.

As a client the standard library does: it checks the server's name and chain, or nothing at all where the SDP
brought a fingerprint to check instead. As a server it does not: RFC 8122 section 6.2 wants the client's
certificate requested and accepted whoever signed it, as only its fingerprint counts, and the `ssl` module
knows no such mode. So accepted connections go through `TlsProtocol`, on OpenSSL by way of pyOpenSSL.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

from OpenSSL import SSL, crypto

from .fingerprint import fingerprint
from .logs import limited_logger

log = limited_logger(__name__)

RECORD_BYTES = 65_536
"""Bytes taken out of OpenSSL at once: four records."""


def client_context(own: tuple[Path | None, Path | None], authorities: Path | None, *, trust_any: bool) -> ssl.SSLContext:
    """For connections we open. `trust_any`: the caller compares the fingerprint (RFC 4975 section 14.4)."""
    stamps = tuple(path.stat().st_mtime_ns if path is not None else 0 for path in own)
    return _client_context(own, stamps, authorities, trust_any)


@lru_cache(maxsize=8)
def _client_context(
    own: tuple[Path | None, Path | None],
    stamps: tuple[int, ...],
    authorities: Path | None,
    trust_any: bool,
) -> ssl.SSLContext:
    """Made once for each state of the files."""
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust_any:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = own
    if certificate is not None and key is not None:
        context.load_cert_chain(certificate, key)
    return context


class Gate(Protocol):
    """Who counts connections; the endpoint."""

    def admit(self, connection: TlsProtocol) -> str | None:
        """Count it; returns why it may not be, if so."""

    def forget(self, connection: TlsProtocol) -> None:
        """It is gone, or counted as something else from now on."""


class ServerTls:
    """Certificate and key of the listener."""

    def __init__(self, certificate: Path, key: Path, handshake_seconds: float) -> None:
        """Raises ValueError where the files cannot be used."""
        self._certificate = certificate
        self._key = key
        self.handshake_seconds = handshake_seconds
        self.fingerprint = ""
        """Of the certificate as it was last loaded, for a=fingerprint."""
        self._context = self._load()

    def reload(self) -> None:
        """Read the files again; raises ValueError and keeps the old certificate where they do not fit."""
        self._context = self._load()

    def protocol(self, inner: asyncio.Protocol, gate: Gate) -> TlsProtocol:
        """The protocol of an accepted connection, around the one that speaks MSRP."""
        return TlsProtocol(inner, gate, self._context, self.handshake_seconds)

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 kB less for each idle connection
        # Any certificate will do here: who it has to belong to is known once a request names a session.
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        try:
            context.use_certificate_chain_file(str(self._certificate))
            context.use_privatekey_file(str(self._key))
            context.check_privatekey()
            own = crypto.load_certificate(crypto.FILETYPE_PEM, self._certificate.read_bytes())
        except (SSL.Error, crypto.Error, OSError) as error:
            raise ValueError(f"certificate {self._certificate} and key {self._key}: {error}") from error
        self.fingerprint = fingerprint(crypto.dump_certificate(crypto.FILETYPE_ASN1, own))
        return context


class TlsProtocol(asyncio.Protocol):
    """The server side of TLS on one accepted connection. `inner` gets a transport as if there were none.

    Until the handshake is through, the connection is counted by itself, then as `inner`.
    """

    __slots__ = (
        "_established",
        "_gate",
        "_handshake_seconds",
        "_inner",
        "_timer",
        "_tls",
        "_transport",
        "address",
        "key",
        "timed",
    )

    def __init__(self, inner: asyncio.Protocol, gate: Gate, context: SSL.Context, handshake_seconds: float) -> None:
        self._inner = inner
        self._gate = gate
        self.address = ""
        self.key: tuple[str, int, bool] | None = None
        self.timed = False
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._handshake_seconds = handshake_seconds
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._established = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        refused = self._gate.admit(self)  # SEC-02
        if refused is not None:
            log.warning("SEC-02 msrp: connection from %s refused: %s", self.address, refused)
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._handshake_seconds, self._fail, "TLS handshake took too long")

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            self._tls.bio_write(data)
            if not self._established:
                self._handshake(transport)
            if self._established:
                self._read(transport)
        except SSL.Error as error:
            self._flush()
            self._fail(f"TLS: {error}")

    def _handshake(self, transport: asyncio.Transport) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        self._flush()
        self._established = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gate.forget(self)
        certificate = self._tls.get_peer_certificate()
        der = None if certificate is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        self._inner.connection_made(TlsTransport(transport, self, der))

    def _read(self, transport: asyncio.Transport) -> None:
        pieces = []
        ended = False
        while True:
            try:
                pieces.append(self._tls.recv(RECORD_BYTES))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                ended = True
                break
        self._flush()  # what TLS itself has to say, such as key updates
        if pieces:
            self._inner.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended:
            transport.close()

    def encrypt(self, data: bytes) -> None:
        """Write application data."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.send(view) :]
        except SSL.Error as error:
            self._fail(f"TLS: {error}")
            return
        self._flush()

    def end(self) -> None:
        """Tell the peer that no more comes (close_notify)."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            return  # not established, or broken: there is nobody to tell
        self._flush()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        while True:
            try:
                data = self._tls.bio_read(RECORD_BYTES)
            except SSL.WantReadError:
                return
            transport.write(data)

    def _fail(self, reason: str) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        log.info("msrp: %s: %s", transport.get_extra_info("peername"), reason)
        transport.close()

    def tick(self, now: float) -> bool:
        """For the endpoint: the handshake has a timer of its own."""
        return False

    def close(self, reason: str, *, abort: bool = False) -> None:
        """For the endpoint: end a handshake."""
        self._fail(reason)

    def pause_writing(self) -> None:
        if self._established:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._established:
            self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        if self._established:
            self._inner.connection_lost(exc)
        else:
            self._gate.forget(self)


class TlsTransport(asyncio.Transport):
    """What the inner protocol writes to: the outer transport, with encryption in between."""

    __slots__ = ("_certificate", "_outer", "_tls")

    def __init__(self, outer: asyncio.Transport, tls: TlsProtocol, certificate: bytes | None) -> None:
        super().__init__()
        self._outer = outer
        self._tls = tls
        self._certificate = certificate

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As usual; `peer_certificate` is the client's, DER."""
        if name == "peer_certificate":
            return self._certificate
        if name == "sslcontext":
            return self._tls
        return self._outer.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tls.encrypt(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._tls.encrypt(b"".join(list_of_data))

    def close(self) -> None:
        if not self._outer.is_closing():
            self._tls.end()
        self._outer.close()

    def abort(self) -> None:
        self._outer.abort()

    def is_closing(self) -> bool:
        return self._outer.is_closing()

    def pause_reading(self) -> None:
        self._outer.pause_reading()

    def resume_reading(self) -> None:
        self._outer.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._outer.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._outer.set_write_buffer_limits(high, low)
