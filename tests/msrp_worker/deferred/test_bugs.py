"""A bug costs the request that met it, and its sender hears so (SEC-05)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kemi.messages import SipRequest
from msrp_worker.config import Config
from msrp_worker.deferred.depositing import DepositFunction
from msrp_worker.deferred.function import DeferredFunction
from msrp_worker.sip.message import Message, read

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 2855 TCP/MSRP *\r\n"
    b"a=recvonly\r\na=accept-types:*\r\na=path:msrp://192.0.2.1:2855/x;tcp\r\n"
)
INVITE = read(
    b"INVITE sip:deferred@example.com SIP/2.0\r\nFrom: <sip:bob@example.com>;tag=1\r\nTo: <sip:deferred@example.com>\r\n"
    b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n" + SDP
)
ASKED = SipRequest("c", "INVITE", originator="sip:bob@example.com", recipient="sip:bob@example.com")


class Broken:
    """An endpoint or a store with a bug in it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Legs:
    """What was answered."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str]] = []

    def reply(self, transaction: object, request: Message, status: int, reason: str, headers: object = ()) -> None:
        del transaction, request, headers
        self.replies.append((status, reason))


@pytest.mark.requirement("SEC-05", "DEF-07", "LRG-04")
@pytest.mark.parametrize("which", ["retrieval", "deposit"])
async def test_the_sender_hears_of_it(which: str) -> None:
    legs = Legs()
    functions: Any = SimpleNamespace(register=lambda name, take: None, legs=legs)
    store: Any = SimpleNamespace(users=Broken(), trace=SimpleNamespace(add=lambda event: None))
    broken: Any = Broken()
    if which == "retrieval":
        await DeferredFunction(store, functions, broken, Config())._retrieve((1, 1), INVITE, ASKED)
    else:
        await DepositFunction(store, functions, broken, Config(), "node", lambda who: None)._answer((1, 1), INVITE, ASKED)
    assert legs.replies == [(500, "Server Internal Error")]
