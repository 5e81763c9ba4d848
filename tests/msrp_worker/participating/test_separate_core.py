"""The two legs of a bridged session behind a separate core: what of the network's own headers passes (PFS-03)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from msrp_worker.sip.port import Reply, SendRequest
from tests.msrp_worker.participating.bridge import FIRST, Bridge, answered, bridge, described
from tests.msrp_worker.sip.sip_text import header


@pytest.fixture
async def made() -> AsyncIterator[Bridge]:
    async with bridge() as one:
        yield one


CORE = {
    "side": "originating",
    "core_route": "<sip:odi-7@192.0.2.10;lr;mark=a>, <sip:next@192.0.2.11;lr>",
    "core_socket": "192.0.2.9:5070",
}
NETWORK = (
    ("P-Asserted-Identity", "<sip:alice@example.com>"),
    ("P-Asserted-Identity", "<tel:+15550100>"),
    ("P-Charging-Vector", "icid-value=abc;orig-ioi=home"),
    ("P-Charging-Function-Addresses", "ccf=192.0.2.20"),
    ("P-Served-User", "<sip:alice@example.com>;sescase=orig"),
    ("History-Info", "<sip:bob@example.com>;index=1"),
    ("Privacy", "id"),
)


def lines_of(one: SendRequest | Reply, name: str) -> list[str]:
    """All values of a header of ours."""
    return [value for known, value in one.headers if known.lower() == name.lower()]


@pytest.mark.requirement("PFS-03", "PFS-11", "COR-05", "HDR-07")
async def test_the_invite_goes_back_to_a_separate_core(made: Bridge) -> None:
    """By the core's Route as it came, with what is between elements of a core, whoever asks for privacy."""
    wishes = (("Accept-Contact", "*;+g.oma.sip-im;require, *;audio"), ("Max-Forwards", "42"), ("X-Own", "1"))
    await made.invite(described("alice"), (*NETWORK, *wishes), **CORE)
    (invite,) = made.port.requests()
    assert lines_of(invite, "Route") == ["<sip:odi-7@192.0.2.10;lr;mark=a>", "<sip:next@192.0.2.11;lr>"]
    assert invite.request_uri == "sip:bob@example.com"
    for name in dict(NETWORK):
        assert lines_of(invite, name) == [value for known, value in NETWORK if known == name], name
    assert lines_of(invite, "Accept-Contact") == ["*;+g.oma.sip-im;explicit", "*;audio"]
    assert (header(invite, "IM-Core"), header(invite, "IM-Max-Forwards")) == ("192.0.2.9:5070", "42")
    assert header(invite, "X-Own") == ""


@pytest.mark.requirement("PFS-03", "PFS-04", "PFS-12", "COR-05")
@pytest.mark.parametrize("status", [180, 200, 486])
async def test_a_separate_core_gets_the_responses_whole(made: Bridge, status: int) -> None:
    """Its own edge keeps the identity back where privacy is asked for."""
    await made.invite(described("alice"), **CORE)
    told = (("P-Asserted-Identity", "<sip:bob@example.com>"), ("P-Charging-Vector", "icid-value=def"), ("Privacy", "id"))
    await made.callee.respond(status, answered("bob") if status == 200 else b"", told)
    reply = made.replied(FIRST)
    assert reply.status == status
    assert lines_of(reply, "P-Asserted-Identity") == ["<sip:bob@example.com>"]
    assert lines_of(reply, "P-Charging-Vector") == ["icid-value=def"]


@pytest.mark.requirement("PFS-03", "PFS-09", "COR-05")
async def test_charging_within_the_dialogs_of_a_separate_core(made: Bridge) -> None:
    await made.invite(described("alice"), NETWORK, **CORE)
    await made.callee.respond(200, answered("bob"))
    await made.caller.ack(cseq=1)
    await made.caller.send("BYE")
    bye = made.port.requests()[-1]
    assert bye.method == "BYE"
    assert lines_of(bye, "P-Charging-Vector") == ["icid-value=abc;orig-ioi=home"]
    assert lines_of(bye, "P-Asserted-Identity") == []


@pytest.mark.requirement("PFS-03", "COR-05")
async def test_without_a_route_back(made: Bridge) -> None:
    """Kamailio sends it where IM_CORE_URI says; and a core that asserts nobody gets the one we know."""
    await made.invite(described("alice"), side="terminating", core_socket="[2001:db8::9]:5072")
    (invite,) = made.port.requests()
    assert lines_of(invite, "Route") == []
    assert lines_of(invite, "P-Asserted-Identity") == ["<sip:alice@example.com>"]
    assert (header(invite, "IM-Core"), header(invite, "IM-Max-Forwards")) == ("[2001:db8::9]:5072", "70")
