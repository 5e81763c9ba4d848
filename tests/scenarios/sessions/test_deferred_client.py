"""Deferred messages as the reference client sees them: listed, fetched by name and as a whole, pushed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client.service_settings import ServiceSettings
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.evidence import address


@pytest.mark.scenario
@pytest.mark.requirement("CLI-06", "CLI-01", "DEF-03", "DEF-07", "DEF-08")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_list_get_and_push(instance: Instance, new_user: Callable[..., str], transport: str) -> None:
    sender, recipient = new_user(), new_user()
    async with instance.client(sender, transport=transport) as first:
        for number in range(4):
            assert (await first.send(address(recipient), f"message {number}")).status == 202
        async with instance.client(recipient, transport=transport) as second:
            summary = await second.deferred_list()
            assert summary.waiting
            assert summary.count().new == 4
            idents = [one.message_id for one in summary.messages]
            assert [one.text for one in await second.deferred_get([idents[2]])] == ["message 2"]
            assert [one.text for one in await second.deferred_get([idents[0]], escaped=True)] == ["message 0"]
            found = await second.deferred_get()
            assert [one.text for one in found] == ["message 1", "message 3"]
            assert {one.sender for one in found} == {address(sender)}
            # a message leaves the store when its last chunk is acknowledged, which may be a moment after the BYE
            await async_until(lambda: instance.stored(recipient) == [], "an empty store")
            assert not (await second.deferred_list()).waiting

        settings = ServiceSettings(offline_delivery=True)
        async with instance.client(recipient, transport=transport, settings=settings) as second:
            await second.register()  # publishes the settings, as clause 5.3.2 says
        assert (await first.send(address(recipient), "pushed")).status == 202
        async with instance.client(recipient, transport=transport) as second:
            await second.register()
            async with asyncio.timeout(15):
                assert (await second.messaging.pushed.get()).text == "pushed"
