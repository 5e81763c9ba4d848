"""A stranger writes no lines of his own into the log, and sends nothing to the operator's terminal (SEC-05)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance, wait_until

CALL_IDS = ("red\x1b[31m", "bell\x07", "fold\r\n 0(1) NOTICE: forged", "fold\n\t0(1) NOTICE: forged", "tab\tforged\t200")


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("call_id", CALL_IDS)
def test_control_characters_in_a_call_id(instance: Instance, new_user: Callable[..., str], call_id: str) -> None:
    """400 for every sender, and what is logged about it is printable and in its own line."""
    recipient = new_user()
    start = len(instance.kamailio_log())
    with Agent(instance.sip_port, "x", host="elsewhere.example") as stranger:
        line = "Content-Type: text/plain"
        stranger.send(stranger.build("MESSAGE", f"sip:{recipient}@example.com", ACCEPT_CONTACT, line, call_id=call_id))
        assert stranger.final().status == 400
    wait_until(lambda: "SEC-05" in instance.kamailio_log()[start:], "the line of the refusal")
    logged = instance.kamailio_log()[start:]
    assert not re.search(r"[^\n -~]", logged), logged
    assert not re.search(r"^\s*0\(1\) NOTICE", logged, re.MULTILINE), logged


@pytest.mark.requirement("SEC-05")
def test_a_call_id_of_any_length(instance: Instance, new_user: Callable[..., str]) -> None:
    """It would lie in shared memory with every trace that waits, and with every leg: more than 255 characters get 400."""
    recipient = new_user()
    with Agent(instance.sip_port, "x", host="elsewhere.example") as stranger:
        for length, status in ((255, 403), (256, 400), (50_000, 400)):
            line = "Content-Type: text/plain"
            uri = f"sip:{recipient}@example.com"
            stranger.send(stranger.build("MESSAGE", uri, ACCEPT_CONTACT, line, call_id="c" * length))
            assert stranger.final().status == status
        leg = "sip:im-leg-0@example.com"
        stranger.send(stranger.build("INVITE", leg, to=f"<{leg}>;tag=made-up", call_id="c" * 50_000))
        assert stranger.final().status == 400
