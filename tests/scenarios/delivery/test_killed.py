"""The worker dies at any step of a push: nothing is lost, nothing that was deleted comes again (DEF-05, DEF-13, SEC-06).

What may come once more: a message that the device has acknowledged and whose deletion was not durable at that moment. It
comes with the same bytes and the same MSRP Message-ID.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from im_client.deferred import decode
from msrp_worker.deferred.delivery import WINDOW_MESSAGES
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.delivery.device import Device

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "100000",
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
}
COUNT = 100


async def kill(instance: Instance) -> None:
    """kill -9."""
    instance.deployment.worker.send(signal.SIGKILL)
    await async_until(lambda: not instance.deployment.worker.running(), "the worker is dead")


@pytest.mark.requirement("DEF-05", "DEF-13", "SEC-06")
@pytest.mark.parametrize(
    ("step", "limit"),
    [
        ("the INVITE is there, without an answer", 0),
        ("messages are there, none acknowledged", 0),
        ("one is acknowledged", 1),
        ("half of them are", COUNT // 2),
        ("all but one are", COUNT - 1),
        ("the last acknowledgement has just left", COUNT),
    ],
)
async def test_killed_at_a_step_of_a_push(
    instance: Instance, new_user: Callable[..., str], store: Store, step: str, limit: int
) -> None:
    recipient = new_user()
    sent = await store(recipient, COUNT)
    async with Device(instance, recipient, limit=limit, answers="INVITE" not in step) as device:
        await device.register()
        if "INVITE" in step:
            await device.until(lambda: device.offers)
        elif limit < COUNT:
            await device.until(lambda: device.seen > limit)
        else:
            await device.until(lambda: device.seen == COUNT)
        before = list(device.bodies)
        await kill(instance)
        device.limit, device.answers = 1000, True
        await asyncio.to_thread(instance.deployment.start_worker)
        await async_until(lambda: not instance.stored(recipient), "the rest has come without a new registration")
        found = [decode("message/sip", body)[0].call_id for body in device.bodies]
        first, second = found[: len(before)], found[len(before) :]
        assert first == sent[: len(before)]
        twice = set(first) & set(second)
        assert len(twice) <= WINDOW_MESSAGES
        assert second == sent[len(before) - len(twice) :], "in order, whole, each once"
        bodies = dict(zip(device.message_ids, device.bodies, strict=True))
        assert len(bodies) == COUNT, "what came twice has the same Message-ID"
        assert set(bodies.values()) == set(device.bodies), "and the same bytes"


@pytest.mark.requirement("SEC-06", "DEF-05")
async def test_a_stopped_worker_ends_its_pushes(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """An orderly stop: the device gets a BYE, and the rest when the worker is back."""
    recipient = new_user()
    sent = await store(recipient, 10)
    async with Device(instance, recipient, limit=3) as device:
        await device.register()
        await device.until(lambda: device.seen > 3)
        await async_until(lambda: len(instance.stored(recipient)) == 7, "three are deleted")
        await asyncio.to_thread(instance.deployment.worker.stop)
        await device.until(lambda: device.ended == 1)
        device.limit = 100
        await asyncio.to_thread(instance.deployment.start_worker)
        await async_until(lambda: not instance.stored(recipient), "the rest has come")
        assert [decode("message/sip", body)[0].call_id for body in device.bodies] == sent
        await device.until(lambda: device.ended == 2)
