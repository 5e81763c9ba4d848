"""A user sends too much through a core: the same limit as beside it (SEC-02)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.separate_core.conftest import CORE_ADDRESS, Core

SETTINGS = {"IM_TRUSTED_PEERS": CORE_ADDRESS, "IM_USER_RATE": "3"}


@pytest.mark.requirement("SEC-02", "COR-05")
def test_a_user_who_sends_too_much(instance: Instance, core: Core, new_user: Callable[..., str]) -> None:
    """On the originating side, for its own user; who sends to ours from elsewhere is counted by nobody but his server."""
    sender, other, recipient = new_user(), new_user(), new_user()

    def send(port: int, who: str) -> int:
        call_id = core.to(port, "MESSAGE", address(recipient), asserted=address(who), body=b"Hello")
        return core.outcome(call_id)

    assert [send(core.originating, sender) for _ in range(5)] == [200, 200, 200, 503, 503]
    assert send(core.originating, other) == 200
    assert [send(core.terminating, sender) for _ in range(2)] == [202, 202]
    assert "IM refused 503 SEC-02 MESSAGE" in instance.kamailio_log()
