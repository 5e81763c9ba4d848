"""Replies of the worker, however soon they come: each is whole, and nothing of another one is in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance

SETTINGS = {"IM_USER_RATE": "0"}
FACTORY = "sip:conference-factory@example.com"
REFUSALS = 400


@pytest.mark.requirement("SEC-05", "SEC-01")
def test_refusals_at_once(instance: Instance, new_user: Callable[..., str]) -> None:
    """INVITEs that the worker refuses as soon as it hears of them, one after the other (`HOLD_SECONDS`)."""
    with Agent(instance.sip_port, new_user()) as agent:
        for _ in range(REFUSALS):
            response = agent.ask("INVITE", FACTORY, ACCEPT_CONTACT, f"Contact: <{agent.contact}>")
            _, end, rest = response.raw.partition(b"\r\n\r\n")
            assert response.values("Warning") and response.values("Allow"), response.raw
            assert end and not rest and response.value("Content-Length") == "0", response.raw
