"""What the legs and Kamailio's transaction module say to each other: value types, and the one function of the port.

Kamailio does: retransmission of requests and of final responses, CANCEL answered 200 and its INVITE 487, the ACK to a 2xx
(without a body, which is why an INVITE from here always carries an offer) and to other final responses, Via, Max-Forwards,
Content-Length, and in replies Via, From, To, Call-ID, CSeq and Record-Route (180 to 299) as the request had them.
It does not: order events of one dialog, drop repeated responses, tell that no ACK came, resend provisional responses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from kemi.messages import TransactionId

Header: TypeAlias = tuple[str, str]
"""Name and value of one header field, as they are to stand in the message."""
Headers: TypeAlias = tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request whose transaction is suspended until a final `Reply`: INVITE in or outside a dialog, BYE, UPDATE, PRACK,
    INFO, REFER, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE. `message` is the request's bytes."""

    transaction: TransactionId
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AckReceived:
    """An ACK that belongs to a 2xx; others may be told too and are dropped, as their To tag is not ours."""

    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelReceived:
    """The INVITE of this transaction was cancelled: the CANCEL has its 200 and the INVITE its 487. May overtake its
    INVITE."""

    transaction: TransactionId


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response to a request sent by `SendRequest`, provisional ones included; in any order and repeated."""

    call_id: str
    cseq: int
    method: str
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestTimedOut:
    """No final response came to a request sent by `SendRequest`.

    The tags are those of its From and To: two legs of one worker may share a Call-ID, when a request
    that started here comes back through the core.
    """

    call_id: str
    cseq: int
    method: str
    local_tag: str
    remote_tag: str = ""


PortEvent: TypeAlias = RequestReceived | AckReceived | CancelReceived | ResponseReceived | RequestTimedOut


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a suspended request: any number of provisional replies to an INVITE, one final to each request."""

    transaction: TransactionId
    status: int
    reason: str
    to_tag: str
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Send a request. `headers` holds From, To, Call-ID, CSeq, Contact, Route and all others; `next_hop` is the URI to
    send it to, the Request-URI when empty. Content-Type is among the headers."""

    method: str
    request_uri: str
    next_hop: str
    headers: Headers
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CancelInvite:
    """CANCEL an INVITE that this worker sent and that has had a provisional response (RFC 3261 section 9.1)."""

    call_id: str
    cseq: int


Command: TypeAlias = Reply | SendRequest | CancelInvite


class Port(Protocol):
    """Kamailio as the legs see it."""

    def send(self, command: Command, pin: int) -> bool:
        """Hand one command over, in order for the same `pin`. False, with nothing done, while Kamailio is away."""
        ...
