"""A separate core tells of a registration, and what waits is pushed through it (COR-06, COR-09)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT
from tests.scenarios.bed import Instance, free_port
from tests.scenarios.separate_core.conftest import CORE_ADDRESS, Core
from tests.scenarios.traffic import address

CORE_PORT = free_port()
SETTINGS = {
    "IM_TRUSTED_PEERS": CORE_ADDRESS,
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
    "IM_CORE_URI": f"sip:{CORE_ADDRESS}:{CORE_PORT}",
}


@pytest.mark.requirement("COR-09", "COR-06", "DEF-03")
def test_a_third_party_register_brings_a_push_to_the_core(instance: Instance, new_user: Callable[..., str]) -> None:
    sender, recipient = new_user(), new_user()
    with Core(instance, CORE_PORT) as core:
        assert core.fate(sender, recipient) == 202
        assert core.tell(recipient, expires=0) == 200
        assert core.quiet()
        assert core.tell(recipient) == 200
        invite = core.receive("INVITE")
        assert invite.uri == address(recipient)
        assert invite.value("P-Asserted-Identity") == "<sip:deferred@example.com>"
        assert "a=sendonly" in invite.raw.decode()
        core.reply(invite, 480, "Temporarily Unavailable")
        assert core.quiet()
        assert len(instance.stored(recipient)) == 1


OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
    "m=message 9 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.2:9/abc;tcp\r\na=setup:active\r\n"
)
FILE = 'a=sendonly\r\na=file-selector:name:"a.png" type:image/png size:5\r\n'


@pytest.mark.requirement("LRG-04", "PFS-16", "COR-05")
@pytest.mark.parametrize(("offer", "status"), [(OFFER + FILE, 200), (OFFER + "a=sendonly\r\n", 403), (OFFER, 480)])
@pytest.mark.parametrize("there", [False, True])
def test_a_large_message_from_the_core_for_somebody_away(
    instance: Instance, new_user: Callable[..., str], offer: str, status: int, there: bool
) -> None:
    """Not registered, or the core finds nobody: the store answers an INVITE of the terminating side as an automaton."""
    sender, recipient = new_user(), new_user()
    with Core(instance, CORE_PORT) as core:
        if there:
            assert core.tell(recipient) == 200
        core.target = ("127.0.0.1", core.terminating)
        lines = (
            f"Route: <sip:127.0.0.1:{core.terminating};lr>, <sip:odi@{core.address}:{core.port};lr>",
            f"P-Asserted-Identity: <{address(sender)}>",
            ACCEPT_CONTACT,
            f"Contact: <{core.contact}>",
            "Content-Type: application/sdp",
        )
        call_id = core.begin("INVITE", address(recipient), *lines, body=offer.encode(), challenged=False)
        if there:
            core.reply(core.receive("INVITE"), 480, "Temporarily Unavailable")
        answer = core.final(call_id)
        assert answer.status == status
        if status == 200:
            assert "a=recvonly" in answer.raw.decode() and ";automata" in answer.value("Contact")
            core.send(core.within(answer, "ACK"), ("127.0.0.1", instance.sip_port))
