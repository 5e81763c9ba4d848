"""A delivery whose lease somebody else has (DEF-13)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msrp_worker.deferred import delivery
from msrp_worker.deferred.payload import FormPolicy
from msrp_worker.deferred.session import DeliverySession
from tests.msrp_worker.deferred.test_payload import PLAIN


class Leases:
    """So many messages are held; what is released."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.released: list[str] = []

    async def renew(self, owner: str, *, seconds: float) -> int:
        del owner, seconds
        return self.held

    async def release(self, owner: str) -> int:
        self.released.append(owner)
        return 0


@pytest.mark.requirement("DEF-13")
@pytest.mark.parametrize("held", [0, 1])
async def test_a_lost_lease_ends_the_delivery(held: int) -> None:
    """When the worker stood still for longer than the lease another node delivers: nothing more is sent from here."""
    leases = Leases(held)
    tasks: list[asyncio.Task[None]] = []
    over: list[DeliverySession] = []

    def start(work: Coroutine[Any, Any, None]) -> object:
        tasks.append(asyncio.get_running_loop().create_task(work))
        return tasks[-1]

    session = DeliverySession(
        PLAIN.recipient,
        "1",
        "node/1",
        SimpleNamespace(leases=leases),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
        SimpleNamespace(over=over.append),  # type: ignore[arg-type]
        start,
        form_policy=FormPolicy.AUTO,
        state_dir=Path(),
        push=True,
        advertisements=None,
    )
    session.load([PLAIN], more=True)
    session._do(delivery.Renew())
    while not all(task.done() for task in tasks):
        await asyncio.gather(*tasks)
    if held:
        assert not session.state.why and over == []
        session.tell(delivery.Broken("end of the test"))
        await asyncio.gather(*tasks)
    else:
        assert session.state.why == "the lease is lost"
    assert over == [session] and leases.released == ["node/1"]
