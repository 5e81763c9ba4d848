"""A separate core tells of a registration, and what waits is pushed through it (COR-06, COR-09)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
