"""A bridged session between two scripted peers: a leg manager with a fake port, and a real MSRP endpoint."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kemi.messages import SipRequest, TransactionId
from msrp_worker import sdp
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.participating.media import BridgedMedia
from msrp_worker.participating.session import ParticipatingSession
from msrp_worker.participating.terms import End
from msrp_worker.sdp import Origin, SessionDescription
from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import AckReceived, CancelReceived, Reply, RequestReceived, ResponseReceived, SendRequest
from msrp_worker.sip.shell import LegManager
from tests.msrp_worker.sip.fakes import FakePort, FakeStore, settle
from tests.msrp_worker.sip.sip_text import Lines, on_the_wire, reply_on_the_wire, request, text

FIRST: TransactionId = (1, 1)
OURS = "<sip:im-leg-1@192.0.2.9:5060>;+g.oma.sip-im"


def described(name: str, *lines: str, version: int = 1, more: str = "", port: int = 2855) -> bytes:
    """A description of the peer `name`: its path has that name; `lines` go into the MSRP line."""
    extra = "".join(f"a={line}\r\n" for line in lines)
    return (
        f"v=0\r\no={name} 7 {version} IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n"
        f"m=message {port} TCP/MSRP *\r\n{extra}a=accept-types:message/cpim text/plain\r\na=setup:actpass\r\n"
        f"a=path:msrp://198.51.100.7:2855/{name};tcp\r\n{more}"
    ).encode()


def answered(name: str, *lines: str, version: int = 1, more: str = "", port: int = 2855) -> bytes:
    """The same as an answer of the passive side."""
    return described(name, *lines, version=version, more=more, port=port).replace(b"setup:actpass", b"setup:active")


FILE = (
    "m=message 2855 TCP/MSRP *\r\na=sendonly\r\na=accept-types:*\r\na=setup:actpass\r\n"
    'a=path:msrp://198.51.100.7:2855/file;tcp\r\na=file-selector:name:"cat.jpg" type:image/jpeg size:100\r\n'
    "a=file-transfer-id:abc123\r\n"
)
AUDIO = "m=audio 49170 RTP/AVP 0\r\n"


class Peer:
    """One of the two outer ends: builds what it sends, reads what it gets."""

    def __init__(self, bridge: Bridge, end: End, tag: str) -> None:
        self.bridge = bridge
        self.end = end
        self.tag = tag
        self.cseq = 1
        self.numbers = itertools.count(100 if end is End.CALLER else 200)

    @property
    def leg(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.bridge.session._ids[self.end]

    async def send(
        self, method: str, body: bytes = b"", lines: Lines = (), contact: str = "<sip:peer@198.51.100.7>"
    ) -> TransactionId:
        """A request within the dialog; its transaction."""
        call_id, tag = self.leg
        self.cseq += 1
        transaction = (next(self.numbers), 0)
        data = request(
            method,
            self.cseq,
            call_id=call_id,
            from_tag=self.tag,
            to_tag=tag,
            lines=lines,
            body=body,
            contact=contact,
        )
        self.bridge.manager.handle(RequestReceived(transaction, data))
        await settle()
        return transaction

    async def ack(self, body: bytes = b"", cseq: int = 0) -> None:
        """The ACK to the last 2xx."""
        call_id, tag = self.leg
        data = request("ACK", cseq or self.cseq, call_id=call_id, from_tag=self.tag, to_tag=tag, body=body)
        self.bridge.manager.handle(AckReceived(data))
        await settle()

    async def cancel(self, transaction: TransactionId) -> None:
        """An INVITE is taken back; tm has answered it 487."""
        self.bridge.manager.handle(CancelReceived(transaction))
        await settle()

    def asked(self) -> SendRequest:
        """The last request of ours to this peer."""
        return next(one for one in reversed(self.bridge.port.requests()) if self.mine(one))

    def mine(self, command: SendRequest) -> bool:
        """Whether a request of ours goes to this peer."""
        return read(on_the_wire(command)).call_id == self.leg[0]

    async def respond(
        self,
        status: int,
        body: bytes = b"",
        lines: Lines = (),
        *,
        sent: SendRequest | None = None,
        contact: str = "<sip:peer@198.51.100.7>",
    ) -> None:
        """A response to our last request."""
        asked = sent or self.asked()
        reply = Reply((0, 0), status, "Whatever", self.tag, (*lines, ("Contact", contact)), body)
        data = reply_on_the_wire(reply, read(on_the_wire(asked)))
        message = read(data)
        self.bridge.manager.handle(ResponseReceived(message.call_id, message.cseq, message.method, data))
        await settle()


class Bridge:
    """The server between the two."""

    def __init__(self, endpoint: MsrpEndpoint) -> None:
        self.port = FakePort()
        self.store = FakeStore()
        self.endpoint = endpoint
        self.waiting: list[tuple[TransactionId, Message]] = []
        self.ended: list[ParticipatingSession] = []
        ids = itertools.count(1)
        self.now = 1000.0
        self.manager = LegManager(
            self.port,
            self.store,
            "example.com",
            lambda transaction, message: self.waiting.append((transaction, message)),
            clock=lambda: self.now,
            chance=lambda: 0.0,
            new_id=lambda: f"im-leg-{next(ids)}",
        )
        self.started: list[object] = []
        self.media = BridgedMedia(
            endpoint,
            "192.0.2.9",
            lambda: Origin("-", "5", 5, "192.0.2.9"),
            self._start,
            on_lost=lambda reason: self.session.lost(reason),
        )
        self.session = ParticipatingSession(
            self.manager, self.media, "sip:im-leg-1@192.0.2.9:5060", "1", "sip:bob@example.com", self.ended.append
        )
        self.caller = Peer(self, End.CALLER, "a")
        self.callee = Peer(self, End.CALLEE, "b")

    def _start(self, work: object) -> None:
        work.close()  # type: ignore[attr-defined]
        self.started.append(work)

    async def invite(self, body: bytes, lines: Lines = (("Supported", "timer"),), **parts: str) -> None:
        """The caller's INVITE; `side` and more for `SipRequest` where a separate core sends it."""
        contact = parts.pop("contact", "<sip:alice@198.51.100.7>;+g.oma.sip-im")
        fixed = [
            ("Via", "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1"),
            ("From", '"Alice" <sip:alice@example.com>;tag=a'),
            ("To", "<sip:bob@example.com>"),
            ("Call-ID", "call-1"),
            ("CSeq", "1 INVITE"),
            ("Contact", contact),
            ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE"),
        ]
        own = {name for name, _ in lines}
        fixed = [one for one in fixed if one[0] not in own]
        data = text("INVITE sip:bob@example.com SIP/2.0", [*fixed, *lines], body)
        self.manager.handle(RequestReceived(FIRST, data))
        transaction, message = self.waiting.pop()
        who = {"originator": "sip:alice@example.com", "recipient": "sip:bob@example.com", **parts}
        asked = SipRequest("call-1", "INVITE", **who)  # type: ignore[arg-type]
        self.session.begin(transaction, message, asked)
        await settle()

    async def stand(self, body: bytes = b"", answer: bytes = b"", lines: Lines = (), contact: str = "") -> None:
        """A session that stands; the callee allows UPDATE."""
        await self.invite(body or described("alice"))
        allow = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")
        where = {"contact": contact} if contact else {}
        await self.callee.respond(200, answer or answered("bob"), (allow, *lines), **where)
        await self.caller.ack(cseq=1)

    def replied(self, transaction: TransactionId) -> Reply:
        """The last reply to a transaction."""
        return next(one for one in reversed(self.port.replies()) if one.transaction == transaction)

    def statuses(self, transaction: TransactionId) -> list[int]:
        """All replies to a transaction."""
        return [one.status for one in self.port.replies() if one.transaction == transaction]


def path(body: bytes, index: int = 0) -> str:
    """a=path of an m= line."""
    return sdp.parse(body).media[index].attribute("path") or ""


def version(body: bytes) -> int:
    """The version in o=."""
    return sdp.parse(body).origin.version


def parsed(body: bytes) -> SessionDescription:
    """The description."""
    return sdp.parse(body)


@asynccontextmanager
async def bridge(*, peer_seconds: float = 40.0) -> AsyncIterator[Bridge]:
    """A bridge on an endpoint that listens on a free port of the loopback address."""
    config = EndpointConfig(listen="127.0.0.1", port=0, tls_port=None, peer_seconds=peer_seconds, tick_seconds=0.01)
    endpoint = MsrpEndpoint(config)
    await endpoint.start()
    made = Bridge(endpoint)
    try:
        yield made
    finally:
        await made.manager.close()
        await endpoint.stop()
        await asyncio.sleep(0)
