"""`IM_MEDIA_PATH=auto`: the session of a user who keeps its history goes through this server (6.2.3.2, PFS-03, PFS-14)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from im_client.service_settings import ServiceSettings
from tests.scenarios.bed import DOMAIN, Instance, instance_with
from tests.scenarios.sessions.sessions import session_of

HISTORY = ServiceSettings(store_history=True)
NewUser = Callable[..., str]


async def bridged(instance: Instance, caller: str, callee: str) -> bool:
    """Whether the server is the MSRP peer of both, for a session that carries a message."""
    async with session_of(instance, caller, callee) as (outgoing, incoming, _, _):
        await outgoing.send("hello", success_report=True)
        assert (await incoming.receive()).text == "hello"
        port = f":{instance.deployment.config.msrp_port}/"
        found = {port in str(end.line.peer.session.remote[0]) for end in (outgoing, incoming)}
        assert len(found) == 1
        return found.pop()


async def keep_history(instance: Instance, user: str) -> None:
    """The user's client publishes that its history is kept."""
    async with instance.client(user, settings=HISTORY) as client:
        await client.register()


@pytest.mark.requirement("PFS-03", "PFS-14")
async def test_the_history_setting_of_either_side_chooses(instance: Instance, new_user: NewUser) -> None:
    keeper, other, third = new_user(), new_user(), new_user()
    assert not await bridged(instance, keeper, other)
    await keep_history(instance, keeper)
    assert await bridged(instance, keeper, other)
    assert await bridged(instance, other, keeper)
    assert not await bridged(instance, other, third)


@pytest.mark.requirement("PFS-03")
async def test_the_operators_never_is_the_last_word(tmp_path: Path) -> None:
    with instance_with(tmp_path, {"IM_MEDIA_PATH": "never", "IM_SETTINGS_HISTORY": "yes"}) as instance:
        for name in ("one", "two"):
            instance.in_store(lambda store, name=name: store.users.add(f"sip:{name}@{DOMAIN}", f"{name}-secret"))
        assert not await bridged(instance, "one", "two")
