"""Configuration of a client: one dataclass, default, unit and meaning at each field."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from sipmessage import URI

from .service_settings import ServiceSettings
from .timers import DEFAULT_TIMERS, BaseTimers
from .transport import Target
from .wire import host_text, parse_uri

FEATURE_TAG = "+g.oma.sip-im"
"""Clause 5.3.1: marks an IM-capable contact."""

SIP_PORT, SIPS_PORT, XCAP_PORT = 5060, 5061, 8080
"""Where a server listens whose ports are not moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One binding of the registration, at the address of this client.

    `user` is the user part of its URI, so that several bindings of one client differ; empty takes that of the
    identity. `instance_id` is a URN for +sip.instance (RFC 5626 section 4.1). `group_advertisements`: the device
    takes them (E.1.9); part of the IM registration. `extra` are further parameters, such as
    `+g.oma.sip-im.large-message`.
    """

    user: str = ""
    instance_id: str = ""
    feature_tag: bool = True
    group_advertisements: bool = False
    q: str = ""
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Raises ValueError for an identity that is no SIP URI with a user part, and for options that exclude each other."""

    identity: str  # the IM Address, like sip:alice@example.com
    proxy: Target  # where every request goes
    password: str = ""
    username: str = ""  # for digest authentication; empty: the user part of the identity
    display_name: str = ""
    registrar: str = ""  # Request-URI of REGISTER; empty: the domain of the identity
    conference_factory_uri: str = ""  # empty: sip:conference-factory@ the domain of the identity

    contacts: tuple[Contact, ...] = (Contact(),)  # what is registered; several stand for several devices
    expires: int = 3600  # seconds asked for a registration
    trusted: bool = False  # inside the trust domain: P-Asserted-Identity in place of P-Preferred-Identity

    local_host: str = ""  # IP address to bind; empty: the one that reaches the proxy
    local_port: int = 0  # 0: any free port
    keep_alive: float = 110.0  # seconds between CRLF pings on TCP and TLS; 0: none
    timers: BaseTimers = DEFAULT_TIMERS
    tls_ca: Path | None = None  # PEM file of the authorities to trust; None: those of the system
    tls_verify: bool = True  # False accepts any certificate: for tests only

    session_expires: int = 1800  # seconds between refreshes of a session asked for (RFC 4028); 0: no timer
    min_se: int = 90  # seconds; a session interval below it is refused with 422 (RFC 4028 section 9)
    ring_seconds: float = 180.0  # an invitation without final answer is cancelled then

    deferred_function_uri: str = ""  # DEFERRED-MSG-FUNC-URI; empty: sip:deferred@ the domain of the identity
    deferred_directory: Path | None = None  # for the content of large messages that are pushed; None: 16 MiB, in memory
    xcap: str = ""  # XCAP root URI of the user's documents; empty: that of a server whose ports are moved as the proxy's is
    msrp_port: int = 0  # TCP port for MSRP, at the address of SIP; 0: any free one
    msrp_websocket: str = ""  # URL of MSRP over WebSocket, like wss://im.example.com/msrp: as a browser; empty: TCP
    msrps: bool = False  # offer MSRP over TLS, with a fingerprint of our certificate, and take it where it is offered
    msrps_port: int = 0  # TCP port for msrps; 0: any free one
    msrps_certificate: Path | None = None  # PEM file; None: a self-signed one, made in memory at each start
    msrps_key: Path | None = None  # PEM file of its private key
    msrp_chunk_size: int = 2048  # bytes of content per chunk sent; older IM clients take no more
    max_message_size: int = 16_777_216  # bytes of a message in a session kept in memory; files may be larger
    media_seconds: float = 30.0  # for the MSRP connection of a session to come up

    settings: ServiceSettings | None = None  # published at each initial registration; None: nothing is

    inbox_limit: int = 10_000  # messages waiting to be read; when it is full new ones are refused with 486

    def __post_init__(self) -> None:
        uri = parse_uri(self.identity)
        if not uri.user or uri.scheme == "tel":
            raise ValueError(f"not an IM address: {self.identity!r} (expected like sip:alice@example.com)")
        if (self.msrps_certificate is None) is not (self.msrps_key is None):
            raise ValueError("msrps_certificate and msrps_key go together")
        if self.msrps_certificate is not None and not self.msrps:
            raise ValueError("msrps_certificate is of no use without msrps")
        if self.msrps and self.msrp_websocket:
            raise ValueError("msrps and msrp_websocket exclude each other")

    @property
    def identity_uri(self) -> URI:
        return parse_uri(self.identity)

    @property
    def user(self) -> str:
        return self.identity_uri.user or ""

    @property
    def domain(self) -> str:
        return self.identity_uri.host

    @property
    def registrar_uri(self) -> URI:
        return parse_uri(self.registrar or f"sip:{self.domain}")

    @property
    def factory_uri(self) -> URI:
        """Where messages to several recipients go (clause 8.1.1-5)."""
        return parse_uri(self.conference_factory_uri or f"sip:conference-factory@{self.domain}")

    @property
    def deferred_uri(self) -> URI:
        """The Deferred Messaging Function (clause 10.1.1)."""
        return parse_uri(self.deferred_function_uri or f"sip:deferred@{self.domain}")

    @property
    def xcap_root(self) -> str:
        """Where the user's documents are (RFC 4825 section 6.1)."""
        if self.xcap:
            return self.xcap
        base = SIPS_PORT if self.proxy.transport == "tls" else SIP_PORT
        return f"http://{host_text(self.proxy.host)}:{XCAP_PORT + self.proxy.port - base}/xcap"

    def tls_context(self) -> ssl.SSLContext | None:
        """For a TLS proxy; None for the others. Raises OSError or ssl.SSLError for an unusable `tls_ca`."""
        return self._context() if self.proxy.transport == "tls" else None

    def https_context(self) -> ssl.SSLContext | None:
        """For documents over HTTPS; None where they come without. Errors as of `tls_context`."""
        return self._context() if self.xcap_root.lower().startswith("https:") else None

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.tls_ca)
        if not self.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
