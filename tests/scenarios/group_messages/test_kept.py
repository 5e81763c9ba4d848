"""What a sender has its 202 for survives the worker: every copy is sent, none is lost, none is stored twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import DOMAIN, Instance, instance_with, wait_until
from tests.scenarios.group_messages.messages import put_group

NAMES = [f"user{number}" for number in range(60)]
GROUP = f"sip:everybody@{DOMAIN}"


@pytest.mark.requirement("PAG-12", "SEC-06")
def test_the_worker_dies_after_the_202(tmp_path: Path) -> None:
    """Sixty members, all away; the worker is killed as soon as the 202 is there, many times. Each has each message once."""
    with instance_with(tmp_path, {"IM_DEMO": "0"}) as instance:
        for name in ("sender", *NAMES):
            instance.in_store(lambda store, name=name: store.users.add(f"sip:{name}@{DOMAIN}", f"{name}-secret"))
        put_group(instance, GROUP, ("sender", *NAMES))
        for number in range(4):
            _killed_after_the_202(instance, number)
        wait_until(lambda: not _unsent(instance), "all copies are sent", 60)
        stored = instance.in_store(lambda store: store.database.read("SELECT recipient, message FROM deferred"))
    found = sorted((recipient, bytes(message)[-9:]) for recipient, message in stored)
    assert found == sorted((f"sip:{name}@{DOMAIN}", b"Message %d" % number) for name in NAMES for number in range(4))


def _unsent(instance: Instance) -> list[object]:
    return list(instance.in_store(lambda store: store.database.read("SELECT identity FROM explosion")))


def _killed_after_the_202(instance: Instance, number: int) -> None:
    with Agent(instance.sip_port, "sender") as origin:
        wait_until(lambda: origin.message(GROUP, b"Message %d" % number).status == 202, "the message is accepted")
    worker = instance.deployment.worker
    worker.send(signal.SIGKILL)
    wait_until(lambda: not worker.running(), "the worker is dead")
    instance.deployment.start_worker()
