"""The whole focus on a fake port: legs, sessions, a real MSRP endpoint, a clock that the test moves."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kemi.messages import SipRequest, TransactionId
from msrp_worker.config import Config
from msrp_worker.controlling.function import ControllingFunction
from msrp_worker.controlling.session import FocusSession
from msrp_worker.group import Group
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import AckReceived, CancelReceived, Reply, RequestReceived, ResponseReceived, SendRequest
from msrp_worker.sip.shell import LegManager
from tests.msrp_worker.sip.fakes import FakePort, FakeStore, settle
from tests.msrp_worker.sip.sip_text import Lines, on_the_wire, reply_on_the_wire, text

DOMAIN = "example.com"
FACTORY = f"sip:conference-factory@{DOMAIN}"


def uri(name: str) -> str:
    """The address of a user."""
    return f"sip:{name}@{DOMAIN}"


def sdp(setup: str = "", types: str = "message/cpim", wrapped: str = "*", version: int = 1, extra: str = "") -> bytes:
    """A description with one MSRP line."""
    return (
        f"v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9999 TCP/MSRP *\r\n"
        f"a=accept-types:{types}\r\na=accept-wrapped-types:{wrapped}\r\na=path:msrp://127.0.0.1:9999/abcdefgh;tcp\r\n"
        + (f"a=setup:{setup}\r\n" if setup else "")
        + extra
    ).encode()


ANSWER = sdp("active")


def with_list(names: tuple[str, ...], description: bytes) -> tuple[str, bytes]:
    """Content-Type and body of an INVITE with a list."""
    entries = "".join(f'<entry uri="{name if ":" in name else uri(name)}"/>' for name in names)
    document = f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{entries}</list></resource-lists>'
    body = (
        b"--b\r\nContent-Type: application/sdp\r\n\r\n" + description + b"\r\n--b\r\n"
        b"Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n"
        + document.encode()
        + b"\r\n--b--\r\n"
    )
    return "multipart/mixed;boundary=b", body


@dataclass
class Facts:
    """What the store knows of a user."""

    im_allowed: bool = True


class Users:
    """Everybody whose name has no capital is a user."""

    async def facts(self, address: str) -> Facts | None:
        return Facts() if address == address.lower() and address.endswith(DOMAIN) else None


class Groups:
    """Groups in memory."""

    def __init__(self) -> None:
        self.known: dict[str, Group] = {}

    async def get(self, address: str) -> Group | None:
        return self.known.get(address)


class FakeFunctions:
    """`functions.Functions` without a link."""

    def __init__(self, bench: FocusBench, max_legs: int) -> None:
        self.handler: Any = None
        self.asked: dict[TransactionId, SipRequest] = {}
        ids = itertools.count(1)
        self.legs = LegManager(
            bench.port,
            FakeStore(),
            "n1",
            self._outside,
            clock=lambda: bench.now,
            wall=lambda: bench.now,
            chance=lambda: 0.0,
            new_id=lambda: f"im-leg-{next(ids)}",
            max_legs=max_legs,
        )

    def register(self, function: str, handler: Any) -> None:
        self.handler = handler

    def _outside(self, transaction: TransactionId, request: Message) -> None:
        self.handler(transaction, request, self.asked.pop(transaction))


class FocusBench:
    """One focus. `invite` as a client, `respond` as who is invited."""

    def __init__(self, endpoint: MsrpEndpoint, config: Config, max_legs: int) -> None:
        self.now = 1000.0
        self.port = FakePort()
        self.groups = Groups()
        self.functions = FakeFunctions(self, max_legs)
        store: Any = type("Store", (), {"users": Users(), "groups": self.groups})()
        self.function = ControllingFunction(self.functions, endpoint, store, config)  # type: ignore[arg-type]
        self._numbers = itertools.count(1)
        self.requests: dict[TransactionId, Message] = {}

    async def invite(
        self,
        sender: str,
        to: str = FACTORY,
        names: tuple[str, ...] = (),
        *,
        lines: Lines = (),
        body: bytes | None = None,
        anonymous: bool = False,
    ) -> TransactionId:
        """An INVITE from outside any dialog, with everything that it brings about at once."""
        number = next(self._numbers)
        transaction = (number, 0)
        kind, data = "application/sdp", sdp() if body is None else body
        if names:
            kind, data = with_list(names, data)
        fixed = [
            ("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1"),
            ("From", f"<{uri(sender)}>;tag=t{number}"),
            ("To", f"<{to}>"),
            ("Call-ID", f"call{number}"),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<sip:{sender}@198.51.100.1>;+g.oma.sip-im"),
            ("Supported", "timer"),
            ("Content-Type", kind),
        ]
        raw = text(f"INVITE {to} SIP/2.0", [*fixed, *lines], data)
        self.requests[transaction] = read(raw)
        recipient = re.sub(r"@127\.0\.0\.1:\d+", f"@{DOMAIN}", to)
        self.functions.asked[transaction] = SipRequest(
            f"call{number}",
            "INVITE",
            1,
            f"t{number}",
            originator=uri(sender),
            source="127.0.0.1:5060;udp",
            function="controlling",
            recipient=recipient,
            anonymous=anonymous,
        )
        self.functions.legs.handle(RequestReceived(transaction, raw))
        await self.settle()
        return transaction

    def replies(self, transaction: TransactionId) -> list[Reply]:
        """What was answered."""
        return [one for one in self.port.replies() if one.transaction == transaction]

    def statuses(self, transaction: TransactionId) -> list[int]:
        """Status codes of what was answered."""
        return [one.status for one in self.replies(transaction)]

    def sent(self, name: str, method: str = "INVITE") -> SendRequest:
        """The last request to a user."""
        return next(
            one
            for one in reversed(self.port.requests())
            if one.method == method and (uri(name) in one.request_uri or f"sip:{name}@" in one.request_uri)
        )

    def methods(self, name: str) -> list[str]:
        """Methods of all requests to a user."""
        return [one.method for one in self.port.requests() if f"sip:{name}@" in one.request_uri]

    async def respond(self, sent: SendRequest, status: int, body: bytes = b"", lines: Lines = (), tag: str = "b") -> None:
        """A response of who is invited."""
        asked = read(on_the_wire(sent))
        name = sent.request_uri.partition(":")[2].partition("@")[0]
        contact = (("Contact", f"<sip:{name}@203.0.113.5>"),)
        data = reply_on_the_wire(Reply((0, 0), status, "Why", tag, (*contact, *lines), body), asked)
        self.functions.legs.handle(ResponseReceived(asked.call_id, asked.cseq, asked.method, data))
        await self.settle()

    async def accept(self, name: str, body: bytes = ANSWER, lines: Lines = ()) -> None:
        """200 of who is invited."""
        await self.respond(self.sent(name), 200, body, lines)

    async def ack(self, transaction: TransactionId, body: bytes = b"") -> None:
        """The ACK to our 200."""
        await self._inside(transaction, "ACK", 1, body)

    async def bye(self, transaction: TransactionId) -> None:
        """The BYE of who came in."""
        await self._inside(transaction, "BYE", 2)

    async def cancel(self, transaction: TransactionId) -> None:
        """The CANCEL of who waits."""
        self.functions.legs.handle(CancelReceived(transaction))
        await self.settle()

    async def _inside(self, transaction: TransactionId, method: str, cseq: int, body: bytes = b"") -> None:
        asked = self.requests[transaction]
        tag = self.replies(transaction)[-1].to_tag
        lines = [
            ("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK2"),
            ("From", asked.first("from")),
            ("To", f"{asked.first('to')};tag={tag}"),
            ("Call-ID", asked.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        raw = text(f"{method} sip:x SIP/2.0", lines, body)
        other = (transaction[0], cseq)
        self.functions.legs.handle(AckReceived(raw) if method == "ACK" else RequestReceived(other, raw))
        await self.settle()

    async def tick(self, seconds: float) -> None:
        """Let time pass, for legs and sessions."""
        self.now += seconds
        self.functions.legs.timers.tick()
        for session in list(self.function._sessions.values()):
            session.beat(self.now)
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen that happens now."""
        for _ in range(4):
            await settle()

    @property
    def session(self) -> FocusSession:
        """The one session."""
        (found,) = self.function._sessions.values()
        return found


@asynccontextmanager
async def focus(max_legs: int = 1000, **settings: Any) -> AsyncIterator[FocusBench]:
    """A focus with its endpoint."""
    endpoint = MsrpEndpoint(EndpointConfig(port=0))
    await endpoint.start()
    try:
        bench = FocusBench(endpoint, Config(**settings), max_legs)
        yield bench
        await bench.function.close()
    finally:
        await endpoint.stop()
