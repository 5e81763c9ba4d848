"""A SIP request as the procedures see it: values only, no Kamailio."""

from __future__ import annotations

from dataclasses import dataclass

from kemi.large_message import LargeMessage

LONGEST_READ = 4096
"""Characters of Accept-Contact that are read, before it is known who sends them (SEC-05). Clients send 100."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the procedures need of a request. Texts are decoded leniently for decisions and never sent on."""

    method: str
    request_uri: str
    """As received, parameters included."""
    call_id: str
    originator: str
    """Authenticated Originator's IM Address (5.2), canonical; empty when there is none."""
    recipient: str
    """Canonical address of the Request-URI."""
    accept_contact: str
    """All Accept-Contact values joined by commas."""
    privacy: str
    content_type: str
    content_length: int
    message_length: int
    """Bytes of the whole request."""
    reliable_transport: bool
    from_trusted_peer: bool
    received: float
    """Seconds since 1970 when Kamailio received it."""
    date: str = ""
    expires: str = ""
    event: str = ""
    """Event of a SUBSCRIBE."""
    contact: str = ""
    """Contact of an INVITE."""
    from_tag: str = ""
    """Tag of From of an INVITE."""
    serves_recipient: bool = False
    """The Request-URI is of a served user with the IM service (COR-02, COR-04), to be handled in this pass."""
    available: bool = False
    """Deployment (a): the recipient has a binding here that may get the request."""
    unmatched: bool = False
    """Deployment (a): it has IM-capable bindings, but none that takes what Accept-Contact asks for (ADV-03)."""
    separate_core: bool = False
    """Deployment (b): availability is known from third-party registration (COR-05)."""
    large_message: LargeMessage | None = None
    """What an INVITE offers when it is that of a large message or file (9.1.1.2, PFS-01)."""
    websocket: bool = False
    """An INVITE whose offer is that of an MSRP client on WebSocket, which needs a server as its peer (MED-11)."""
    own: bool = False
    """It started in the worker and came back over the control listener."""
    from_server: bool = False
    """An INVITE of the worker itself, which hears its failure and decides."""
