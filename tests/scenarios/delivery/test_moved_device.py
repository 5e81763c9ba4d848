"""A device that comes back at another address while a message is on its way to the old one (COR-09, PAG-08)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.device import Device
from tests.scenarios.traffic import Peer, im_message

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
    "IM_DELIVERY_TIMEOUT": "1500",
}


class Gone(Peer):
    """A device that hears what is sent to it no more."""

    def _answer(self, request: bytes, addr: tuple[str, int]) -> None:
        del request, addr


@pytest.mark.requirement("COR-09", "PAG-08", "DEF-03")
async def test_a_message_tried_in_vain_at_the_old_address_comes_to_the_new_one(
    instance: Instance, new_user: Callable[..., str], peer: Peer
) -> None:
    """It is stored after the registration that would have pushed it, and does not wait for the next one."""
    recipient = new_user()
    async with await Gone.open(instance.sip_port) as old, Device(instance, recipient) as device:
        assert (await old.register(recipient)).status == 200
        sending = asyncio.create_task(peer.ask(im_message("alice", recipient, b"where are you?")))
        await async_until(lambda: bool(old.received), "the message goes to the old address")
        await device.register()
        assert (await sending).status == 202
        await device.until(lambda: len(device.bodies) == 1)
        assert b"where are you?" in device.bodies[0]
        await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")
