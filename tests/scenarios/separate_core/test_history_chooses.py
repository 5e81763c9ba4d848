"""Behind a real core, `IM_MEDIA_PATH=auto`: who keeps history has the session through this server (PFS-03, PFS-14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.separate_core.behind import Behind, behind_with
from tests.scenarios.sessions.sessions import session_of
from tests.scenarios.sessions.test_history_chooses import (
    keep_history,
    test_the_history_setting_of_either_side_chooses,
)

__all__ = ["test_the_history_setting_of_either_side_chooses"]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with behind_with(tmp_path_factory.mktemp("instance"), {}) as running:
        yield running


@pytest.mark.requirement("PFS-03", "PFS-14", "COR-05")
async def test_each_side_keeps_for_its_own_user(instance: Behind, new_user: Callable[..., str]) -> None:
    """Neither side knows the other one's user: where both keep history, each is in the media path for its own."""
    keeper, other = new_user(), new_user()
    await keep_history(instance, keeper)
    await keep_history(instance, other)
    async with session_of(instance, keeper, other) as (outgoing, incoming, _, _):
        assert len(instance.in_store(lambda store: store.database.read("SELECT call_id FROM leg"))) == 4
        for one, across in ((outgoing, incoming), (incoming, outgoing)):
            await one.send("hello", success_report=True)
            assert (await across.receive()).text == "hello"
