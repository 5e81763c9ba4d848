"""What waits for a device that takes group advertisements is pushed to no other (E.1.9, 10.3.2.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from im_client.config import Contact
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.delivery.device import Device
from tests.scenarios.traffic import Peer, Sip, address

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "100000",
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
}
TAKES = (Contact(group_advertisements=True),)


async def advertise(peer: Peer, recipient: str) -> str:
    """An advertisement for somebody who is away; its Call-ID."""
    request = Sip(
        "MESSAGE",
        address(recipient),
        address("alice"),
        (
            "Accept-Contact: *;+g.oma.sip-im;+g.poc.groupad;require;explicit",
            f"P-Asserted-Identity: <{address('alice')}>",
            "Content-Type: application/vnd.IM.group-advertisement+xml",
        ),
        b"<come/>",
    )
    assert (await peer.ask(request)).status == 202
    return request.call_id


@pytest.mark.requirement("ADV-03", "DEF-03", "COR-09")
async def test_the_device_that_takes_it(instance: Instance, new_user: Callable[..., str], store: Store, peer: Peer) -> None:
    """The other device gets the rest; what it cannot get waits, in nobody's way, for one that can."""
    recipient = new_user()
    first = await advertise(peer, recipient)
    sent = await store(recipient, 2)
    async with Device(instance, recipient) as plain, Device(instance, recipient) as taking:
        await plain.register()
        await plain.until(lambda: plain.ended)
        assert len(plain.bodies) == 2
        await async_until(lambda: [one["call_id"] for one in instance.stored(recipient)] == [first], "two are gone")
        await taking.client.register(contacts=TAKES)
        await taking.until(lambda: taking.ended)
        (body,) = taking.bodies
        assert body.endswith(b"<come/>")
        (call,) = taking.offers
        assert call.header("Accept-Contact") == "*;+g.oma.sip-im;+g.poc.groupad;require;explicit"
        await async_until(lambda: not instance.stored(recipient), "nothing is left")
        assert len(plain.offers) == 1
    assert [step["kind"] for step in instance.trace(first)] == ["received", "deferred", "delivered"]
    assert [step["kind"] for step in instance.trace(sent[0])] == ["received", "deferred", "delivered"]


@pytest.mark.requirement("ADV-03", "DEF-03")
async def test_both_kinds_for_one_device(
    instance: Instance, new_user: Callable[..., str], store: Store, peer: Peer
) -> None:
    """One after the other, each in its session, whatever the order in which they came."""
    recipient = new_user()
    await advertise(peer, recipient)
    await store(recipient, 1)
    await advertise(peer, recipient)
    async with Device(instance, recipient) as taking:
        await taking.client.register(contacts=TAKES)
        await taking.until(lambda: taking.ended == 2)
        assert [len(session) for session in taking.taken] == [1, 2]
        await async_until(lambda: not instance.stored(recipient), "nothing is left")


@pytest.mark.requirement("ADV-03", "DEF-07")
async def test_who_asks_for_what_waits_gets_all_of_it(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """A retrieval, whatever the device: its user asks for it."""
    recipient = new_user()
    call_id = await advertise(peer, recipient)
    async with instance.client(recipient) as client:
        (message,) = await client.deferred_get()
        assert (message.call_id, message.body) == (call_id, b"<come/>")
