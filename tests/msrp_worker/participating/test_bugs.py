"""A bug costs the session that met it: the caller hears 500, and nothing of it is left (SEC-05)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kemi.messages import SipRequest
from msrp_worker.config import Config
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.participating.function import ParticipatingFunction
from msrp_worker.sip.port import RequestReceived
from msrp_worker.sip.shell import LegManager
from tests.msrp_worker.participating.bridge import described
from tests.msrp_worker.sip.fakes import FakePort, FakeStore, settle
from tests.msrp_worker.sip.sip_text import request

ASKED = SipRequest(
    "call", "INVITE", originator="sip:alice@example.com", recipient="sip:bob@example.com", source="127.0.0.1:5"
)


class Broken:
    """An endpoint with a bug in it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.requirement("SEC-05", "SEC-02")
@pytest.mark.parametrize("where", ["endpoint", "invitation"])
async def test_the_caller_hears_of_it(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a leg of the caller, and after."""
    port = FakePort()
    legs = LegManager(port, FakeStore(), "node", lambda transaction, message: made._take(transaction, message, ASKED))
    endpoint: Any = Broken() if where == "endpoint" else MsrpEndpoint(EndpointConfig(port=0))
    if where == "invitation":
        await endpoint.start()
        monkeypatch.setattr(LegManager, "call", Broken().__getattr__)
    functions: Any = SimpleNamespace(register=lambda name, take: None, legs=legs)

    async def defer(*_: Any) -> None:
        raise AssertionError

    made = ParticipatingFunction(functions, endpoint, Config(), defer)
    legs.handle(
        RequestReceived((1, 1), request("INVITE", 1, call_id="call", from_tag="a", to_tag="", body=described("alice")))
    )
    while port.replies() == [] or len(legs):
        await settle()
    assert [reply.status for reply in port.replies() if reply.status >= 200] == [500]
    assert (len(made), made._ringing, len(legs)) == (0, {}, 0)
    if where == "invitation":
        await endpoint.stop()
