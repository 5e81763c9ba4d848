"""Deferred messages are pushed when their recipient is there again: in order, whole, once (COR-09, DEF-03 to DEF-06)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from im_client.client import ImClient
from im_client.deferred import DeferredMessage, decode
from msrp_worker import cpim, imdn
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import EVERY_BYTE, Store
from tests.scenarios.delivery.device import Device
from tests.scenarios.traffic import FEATURE_TAG, Peer, Sip, address, im_message

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "100000",
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
}


async def pushed(client: ImClient, count: int, seconds: float = 15.0) -> list[DeferredMessage]:
    """The next messages pushed to a client."""
    async with asyncio.timeout(seconds):
        return [await client.messaging.pushed.get() for _ in range(count)]


def call_ids(device: Device) -> list[str]:
    """Original Call-IDs of what a device has acknowledged, in order."""
    return [decode("message/sip", body)[0].call_id for body in device.bodies]


@pytest.mark.requirement("COR-09", "DEF-03", "DEF-04", "DEF-05", "DEF-02")
async def test_registration_brings_what_waited(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    recipient = new_user()
    sent = await store(recipient, 5)
    async with instance.client(recipient) as client:
        await client.register()
        found = await pushed(client, 5)
        assert [message.call_id for message in found] == sent
        assert [message.body for message in found] == [b"%d " % number + EVERY_BYTE for number in range(5)]
        assert {message.headers["P-Asserted-Identity"] for message in found} == {f"<{address('alice')}>"}
        assert all(message.stored is not None for message in found)
        await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")
        kinds = [step["kind"] for step in instance.trace(sent[0])]
        assert kinds == ["received", "deferred", "delivered"]
        assert client.messaging.pushed.empty()


@pytest.mark.requirement("DEF-03")
async def test_the_invite_of_a_push(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """What 10.3.2.3 wants in it; the BYE comes after the last acknowledgement."""
    recipient = new_user()
    await store(recipient, 3)
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
        (call,) = device.offers
        assert len(device.bodies) == 3

        def header(name: str) -> str:
            return call.header(name) or ""

        contact = header("Contact")
        assert "+g.oma.sip-im" in contact and ";automata" in contact
        accept_contact = header("Accept-Contact")
        assert all(word in accept_contact for word in ("+g.oma.sip-im", "require", "explicit"))
        assert re.fullmatch(r"[0-9]+;refresher=uac", header("Session-Expires"))
        assert header("User-Agent").startswith("IM-serv/OMA1.0")
        assert call.message.headers.getlist("User-Agent") == [header("User-Agent")]
        assert {"INVITE", "ACK", "CANCEL", "BYE"} <= set(re.split(r",\s*", header("Allow")))
        assert header("P-Asserted-Identity") == "<sip:deferred@example.com>"
        assert header("Referred-By") == f"<{address('alice')}>"
        assert header("IM-Function") == header("IM-Key") == ""
        assert b"a=sendonly\r\n" in call.offer.data
        assert re.search(rb"^o=- [0-9]+ [0-9]+ IN IP4 127\.0\.0\.1\r$", call.offer.data, re.MULTILINE)


@pytest.mark.requirement("DEF-04", "IDN-04")
async def test_a_private_sender_stays_private(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    recipient = new_user()
    anonymous = Sip(
        "MESSAGE",
        address(recipient),
        "sip:anonymous@anonymous.invalid",
        (FEATURE_TAG, f"P-Asserted-Identity: <{address('alice')}>", "Privacy: id", "Content-Type: text/plain"),
        b"guess who",
    )
    assert (await peer.ask(anonymous)).status == 202
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
        assert len(device.bodies) == 1 and b"guess who" in device.bodies[0]
        assert b"alice" not in device.bodies[0].lower()
        assert b"alice" not in bytes(device.offers[0].message).lower()


@pytest.mark.requirement("DEF-05")
@pytest.mark.parametrize("limit", [0, 1, 7])
async def test_an_interruption_leaves_the_rest(
    instance: Instance, new_user: Callable[..., str], store: Store, limit: int
) -> None:
    """The device acknowledges some and is gone; what it did not acknowledge comes at the next registration."""
    recipient = new_user()
    sent = await store(recipient, 12)
    async with Device(instance, recipient, limit=limit) as device:
        await device.register()
        await device.until(lambda: device.seen > limit)
        device.cut()
        await async_until(lambda: len(instance.stored(recipient)) == 12 - limit, "what was acknowledged is deleted")
        assert [entry["call_id"] for entry in instance.stored(recipient)] == sent[limit:]
        await device.until(lambda: device.ended)
        device.limit = 100
        await device.register()
        await device.until(lambda: len(device.bodies) >= 12)
        assert call_ids(device) == sent
        await async_until(lambda: not instance.stored(recipient), "nothing is left")


@pytest.mark.requirement("DEF-13")
async def test_two_devices_at_once_get_each_message_once(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    recipient = new_user()
    sent = await store(recipient, 40)
    async with Device(instance, recipient) as one, Device(instance, recipient) as other:
        await asyncio.gather(one.register(), other.register(), one.register(), other.register())
        await async_until(lambda: not instance.stored(recipient), "all are delivered")
        found = call_ids(one) + call_ids(other)
        assert sorted(found) == sorted(sent)


@pytest.mark.requirement("DEF-13", "DEF-05")
async def test_a_device_that_registers_in_the_middle_gets_none_twice(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """The first device stops in the middle; the second has registered meanwhile. The rest comes when the first is cut."""
    recipient = new_user()
    sent = await store(recipient, 10)
    async with Device(instance, recipient, limit=4) as first:
        await first.register()
        await first.until(lambda: first.seen > 4)
        async with Device(instance, recipient) as second:
            await second.register()
            first.limit = 100
            first.cut()
            await async_until(lambda: not instance.stored(recipient), "all are delivered")
            # the push after the interruption rings on both devices: either may take it
            found = call_ids(first) + call_ids(second)
            assert sorted(found) == sorted(sent)


@pytest.mark.requirement("DEF-12")
async def test_becoming_willing_brings_what_waited(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    recipient = new_user(willing="no")
    async with instance.client(recipient) as client:
        await client.register()
        sent = await store(recipient, 3)
        assert len(instance.stored(recipient)) == 3
        assert client.messaging.pushed.empty()
        await asyncio.to_thread(instance.command, "user", "set", recipient, "willing=yes")
        assert [message.call_id for message in await pushed(client, 3)] == sent


@pytest.mark.requirement("DEF-10")
async def test_an_expired_message_is_not_pushed(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    recipient = new_user()
    await store(recipient, 1, "Expires: 1")
    kept = await store(recipient, 1)
    await async_until(lambda: len(instance.stored(recipient)) == 1, "one has expired")
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
        assert call_ids(device) == kept


@pytest.mark.requirement("DEF-04")
async def test_a_client_that_takes_envelopes_only_gets_them_for_each_sender(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """The form of RCS-era clients: message/cpim, Referred-By names the sender, one session for each of them."""
    recipient = new_user()
    for sender in ("alice", "bob", "alice"):
        await store(recipient, 2, sender=sender)
    async with Device(instance, recipient, accept_types=("message/cpim",)) as device:
        await device.register()
        await device.until(lambda: device.ended == 2)
        assert [call.referred_by for call in device.offers] == [address("alice"), address("bob")]
        assert [len(session) for session in device.taken] == [4, 2]
        for call, session in zip(device.offers, device.taken, strict=True):
            for content_type, body in session:
                envelope, content = cpim.parse(body)
                assert content_type == "message/cpim"
                assert envelope.sender == cpim.Address(call.referred_by)
                assert content in (b"0 " + EVERY_BYTE, b"1 " + EVERY_BYTE)
        await async_until(lambda: not instance.stored(recipient), "nothing is left")


@pytest.mark.requirement("PAG-21")
async def test_the_sender_is_told_of_the_delivery(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """positive-delivery in the envelope: one notification after the push, none before, none for who asked for none."""
    sender, recipient = new_user(), new_user()
    envelopes = [
        cpim.compose(
            sender=cpim.Address(address(sender)),
            recipients=[cpim.Address(address(recipient))],
            content_type="text/plain",
            date_time="2026-11-21T10:00:00Z",
            message_id=name,
            disposition_notification=asked,
        )
        for name, asked in (("asked1", "positive-delivery, display"), ("silent1", "negative-delivery"))
    ]
    async with instance.client(sender) as author:
        await author.register()
        for envelope in envelopes:
            request = im_message(sender, recipient, envelope.head + b"hello")
            headers = tuple(line for line in request.headers if not line.startswith("Content-Type"))
            kind = Sip("MESSAGE", request.uri, request.sender, (*headers, "Content-Type: message/cpim"), request.body)
            assert (await peer.ask(kind)).status == 202
        async with instance.client(recipient) as client:
            await client.register()
            await pushed(client, 2)
            report = await author.next_message()
            envelope, payload = cpim.parse(report.body)
            told = imdn.parse(payload)
            assert (told.message_id, told.kind, told.status) == ("asked1", imdn.Kind.DELIVERY, imdn.Status.DELIVERED)
            assert envelope.sender == cpim.Address(address(recipient))
            with pytest.raises(TimeoutError):
                await author.next_message(0.5)
