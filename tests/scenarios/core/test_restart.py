"""Bindings outlive Kamailio, with what is known of them; and they end when their time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import FEATURE_TAG, Agent
from tests.scenarios.bed import Instance, instance_with, wait_until
from tests.scenarios.core.test_devices import reached
from tools.deployment import ROOT


@pytest.mark.requirement("COR-07", "COR-10")
def test_bindings_after_a_restart(instance: Instance, new_user: Callable[..., str]) -> None:
    """Kamailio is stopped and started: the capable device still gets its messages, the plain one still none."""
    sender, recipient = new_user(), new_user()
    port = instance.sip_port
    with Agent(port, sender) as origin, Agent(port, recipient) as first, Agent(port, recipient) as second:
        assert first.register(f"<{first.contact}>;{FEATURE_TAG}", f"<{second.contact}>").status == 200
        instance.deployment.kamailio.stop()
        instance.deployment.start_kamailio()
        instance.deployment.wait_ready()
        assert reached(origin, recipient, [first, second]) == [True, False]
        first.forget_challenges()
        origin.forget_challenges()
        assert first.register(f"<{first.contact}>", f"<{second.contact}>;{FEATURE_TAG}").status == 200
        assert reached(origin, recipient, [first, second]) == [False, True]


@pytest.mark.requirement("COR-08")
def test_binding_runs_out(tmp_path: Path) -> None:
    """A registrar that grants two seconds: available for those, then stored."""
    text = (ROOT / "kamailio.cfg").read_text()
    config = tmp_path / "kamailio.cfg"
    text = text.replace('include_file "kemi/im.cfg"', f'include_file "{ROOT}/kemi/im.cfg"')
    config.write_text(text.replace("# ---- Routing ----", 'modparam("registrar", "min_expires", 1)\n'))
    with instance_with(tmp_path, {}, kamailio_config=config) as instance:
        for user in ("sender", "recipient"):
            instance.command("user", "add", user, "--password", f"{user}-secret")
        port = instance.sip_port
        with Agent(port, "sender") as origin, Agent(port, "recipient") as agent:
            assert agent.register(expires=2).status == 200
            began = time.monotonic()
            assert reached(origin, "recipient", [agent]) == [True]
            wait_until(lambda: reached(origin, "recipient", [agent]) == [False], "the binding has run out", seconds=6)
            assert 1 < time.monotonic() - began < 5
        assert len(instance.stored("recipient")) == 1
