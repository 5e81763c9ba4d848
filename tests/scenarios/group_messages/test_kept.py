"""What a sender has its 202 for survives the worker: every copy is sent, none is lost."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import DOMAIN, Instance, instance_with, wait_until
from tests.scenarios.evidence import address
from tests.scenarios.group_messages.messages import FACTORY, outcomes, uri_list, with_list

NAMES = [f"user{number}" for number in range(30)]


@pytest.mark.requirement("PAG-11", "SEC-06")
def test_the_worker_dies_after_the_202(tmp_path: Path) -> None:
    """Thirty recipients, all away; the worker is killed as soon as the 202 is there. Each has the message once."""
    for running in instance_with(tmp_path, {"IM_ADHOC_MAX_PARTICIPANTS": "30", "IM_DEMO": "0"}):
        _kill_after_the_202(running)


def _kill_after_the_202(instance: Instance) -> None:
    for name in ("sender", *NAMES):
        instance.in_store(lambda store, name=name: store.users.add(f"sip:{name}@{DOMAIN}", f"{name}-secret"))
    with ExitStack() as stack:
        client = stack.enter_context(Agent(instance.sip_port, "sender"))
        content = with_list(uri_list(*(f"sip:{name}@{DOMAIN}" for name in NAMES)))
