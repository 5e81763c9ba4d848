"""What waits is told, and fetched when the user wants it (DEF-06, DEF-07, DEF-08)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client import message_summary
from im_client.deferred import decode
from im_client.errors import SessionRefusedError, SubscriptionError
from im_client.invitation import Invite
from im_client.message_summary import Counts
from im_client.multipart import Part
from im_client.recipients import RESOURCE_LISTS, Recipient, build_list
from im_client.service_settings import ServiceSettings
from im_client.subscriber import MESSAGE_SUMMARY, Subscriber
from msrp_worker.sdp_msrp import Direction
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import EVERY_BYTE, Store
from tests.scenarios.traffic import address

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.9", "IM_USER_RATE": "0", "IM_SOURCE_RATE": "100000"}


@pytest.mark.requirement("DEF-06", "DEF-08")
async def test_without_the_setting_nothing_is_pushed_and_the_summary_tells(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    recipient = new_user()
    await store(recipient, 1, "Subject: carpool tomorrow?")
    await store(recipient, 1, "Priority: urgent")
    async with instance.client(recipient) as client:
        await client.register()
        summary = await client.deferred_list()
        assert summary.count() == Counts(2, 0, 1, 0)
        first, second = summary.messages
        assert [one.message_id for one in summary.messages] == [e["message_id"] for e in instance.stored(recipient)]
        assert first.header("Subject") == "carpool tomorrow?"
        assert first.header("P-Asserted-Identity") == f"<{address('alice')}>"
        assert (first.header("Priority"), second.header("Priority")) == ("normal", "urgent")
        assert address(recipient) in first.header("To")
        assert first.header("Date").endswith(" GMT")
        assert client.messaging.pushed.empty()
        await client.publish_settings(ServiceSettings(offline_delivery=True))
        async with asyncio.timeout(10):
            for _ in range(2):
                await client.messaging.pushed.get()


@pytest.mark.requirement("DEF-07", "DEF-05")
async def test_all_are_fetched(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    recipient = new_user()
    sent = await store(recipient, 4)
    async with instance.client(recipient) as client:
        found = await client.deferred_get()
        assert [message.call_id for message in found] == sent
        assert found[3].body == b"3 " + EVERY_BYTE
        await async_until(lambda: not instance.stored(recipient), "nothing is left")
        assert await client.deferred_get() == []


@pytest.mark.requirement("DEF-07", "HDR-01", "HDR-04")
async def test_the_answer_to_a_retrieval(instance: Instance, new_user: Callable[..., str]) -> None:
    """The 200 of 10.3.1: Server, Allow, automata, a sendonly answer."""
    async with instance.client(new_user()) as client:
        line = client.messaging.line(client.messaging.plan(Direction.RECVONLY))
        session, response = await client.calls.outgoing(Invite(to="sip:deferred@example.com", body=line.offer())).run()
        headers = response.message.headers
        (server,) = headers.getlist("Server")
        assert server.startswith("IM-serv/OMA1.0")
        assert ";automata" in headers.get("Contact") and "INVITE" in headers.get("Allow")
        assert b"a=sendonly\r\n" in response.message.body
        await session.close()


@pytest.mark.requirement("DEF-07")
async def test_chosen_ones_are_fetched(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """By a URI-list, and by the escaped form of Appendix K."""
    recipient = new_user()
    sent = await store(recipient, 5)
    ids = [entry["message_id"] for entry in instance.stored(recipient)]
    async with instance.client(recipient) as client:
        found = await client.deferred_get([ids[3], ids[1]])
        assert [message.call_id for message in found] == [sent[1], sent[3]]
        found = await client.deferred_get([ids[0]], escaped=True)
        assert [message.call_id for message in found] == [sent[0]]
        await async_until(lambda: len(instance.stored(recipient)) == 2, "the others stay")
        assert [entry["call_id"] for entry in instance.stored(recipient)] == [sent[2], sent[4]]


@pytest.mark.requirement("DEF-07")
async def test_a_list_may_be_required(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """Require: recipient-list-invite (RFC 5366 section 4) is understood: no 420, and the messages of the list alone."""
    recipient = new_user()
    await store(recipient, 3)
    ids = [entry["message_id"] for entry in instance.stored(recipient)]
    async with instance.client(recipient) as client:
        document = build_list([Recipient(f"sip:{ids[1]}", None)])
        session = await client.invite(
            "sip:deferred@example.com",
            line=client.messaging.line(client.messaging.plan(Direction.RECVONLY)),
            extra=[Part(RESOURCE_LISTS, document, (("Content-Disposition", "recipient-list"),))],
            headers=[("Require", "recipient-list-invite")],
        )
        assert decode("message/sip", (await session.receive()).body)[0].body == b"1 " + EVERY_BYTE
        async with asyncio.timeout(10):
            await session.ended

    def left() -> list[str]:
        return [entry["message_id"] for entry in instance.stored(recipient)]

    await async_until(lambda: left() == [ids[0], ids[2]], "the others stay")


@pytest.mark.requirement("DEF-07")
async def test_what_is_refused(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    owner, other = new_user(), new_user()
    await store(owner, 1)
    (entry,) = instance.stored(owner)
    async with instance.client(other) as client:
        for ids, escaped, status in (
            ([entry["message_id"]], False, 403),
            ([entry["message_id"]], True, 403),
            (["1@example.com"], False, 404),
            (["1@example.com"], True, 404),
            (["nonsense@elsewhere.example"], True, 404),
        ):
            with pytest.raises(SessionRefusedError) as refused:
                await client.deferred_get(ids, escaped=escaped)
            assert refused.value.status == status, (ids, escaped)
        with pytest.raises(SessionRefusedError) as refused:
            await client.invite("sip:deferred@example.com")
        assert refused.value.status == 403
        line = client.messaging.line(client.messaging.plan(Direction.SENDONLY))
        with pytest.raises(SessionRefusedError) as refused:
            await client.messaging.invite("sip:deferred@example.com", line=line)
        assert refused.value.status == 403
    assert len(instance.stored(owner)) == 1


@pytest.mark.requirement("DEF-08", "DEF-06")
async def test_a_subscription_lives(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """Initial NOTIFY, a message comes, messages are fetched, refresh, unsubscribe."""
    recipient = new_user()
    async with instance.client(recipient) as client:
        subscriber = await client.messaging.watch_deferred(600)

        async def told() -> message_summary.Summary:
            return message_summary.parse((await subscriber.next()).body.data)

        assert (await told()).count() == Counts(0, 0, 0, 0)
        await store(recipient, 1)
        assert (await told()).count() == Counts(1, 0, 0, 0)
        await client.deferred_get()
        assert (await told()).count() == Counts(0, 0, 0, 0)
        await subscriber._subscribe_again(600)
        assert (await subscriber.next()).state.startswith("active")
        await subscriber.end()
        last = await subscriber.next()
        assert last.state.startswith("terminated")
        await store(recipient, 1)
        with pytest.raises(EOFError):
            await subscriber.next()


@pytest.mark.requirement("DEF-08", "DEF-09", "DEF-10")
async def test_a_notify_tells_of_what_went_by_other_hands(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """The operator deletes one, another expires: each brings one NOTIFY, and nothing else does."""
    recipient = new_user()
    await store(recipient, 2)
    async with instance.client(recipient) as client:
        subscriber = await client.messaging.watch_deferred(600)

        async def told() -> int:
            return message_summary.parse((await subscriber.next(15)).body.data).count().new

        assert await told() == 2
        instance.command("deferred", "delete", recipient, instance.stored(recipient)[0]["message_id"])
        assert await told() == 1
        await store(recipient, 1, "Expires: 4")
        assert await told() == 2
        assert await told() == 1
        with pytest.raises(TimeoutError):
            await subscriber.next(2.5)
        await subscriber.end()


@pytest.mark.requirement("DEF-08")
async def test_subscriptions_that_are_refused(instance: Instance, new_user: Callable[..., str]) -> None:
    user, other = new_user(), new_user()
    async with instance.client(user) as client:
        for target, package, expires, status in (
            (address(other), MESSAGE_SUMMARY, 600, 403),
            ("sip:deferred@example.com", ("presence", "application/pidf+xml"), 600, 489),
            (address(user), ("message-summary", "text/plain"), 600, 406),
            (address(user), MESSAGE_SUMMARY, 10, 423),
        ):
            subscriber = Subscriber(client.calls.layer, target, package, expires=expires)
            with pytest.raises(SubscriptionError) as refused:
                await subscriber.start()
            assert refused.value.status == status, (target, package)
