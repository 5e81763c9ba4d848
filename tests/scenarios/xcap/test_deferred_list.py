"""What waits is listed as a document and deleted without being fetched (DEF-09)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from im_client import message_summary
from im_client.errors import XcapError
from im_client.message_summary import Counts
from tests.scenarios.bed import Instance
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.traffic import address

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.9", "IM_USER_RATE": "0", "IM_SOURCE_RATE": "100000"}


@pytest.mark.requirement("DEF-09", "XDM-01", "XDM-06", "CLI-06")
async def test_some_are_deleted_unread(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """The client lists, deletes one by its identifier, then the rest; the others' stay, and the trace tells."""
    recipient, other = new_user(), new_user()
    sent = await store(recipient, 3, "Subject: tea & <biscuits>?")
    await store(other, 1)
    async with instance.client(recipient) as client:
        entries = await client.documents.deferred_entries()
        stored = instance.stored(recipient)
        assert [entry.message_id for entry in entries] == [entry["message_id"] for entry in stored]
        assert {entry.subject for entry in entries} == {"tea & <biscuits>?"}
        assert {entry.sender for entry in entries} == {address("alice")}
        assert [entry.size for entry in entries] == [entry["size"] for entry in stored]
        await client.delete_deferred([entries[1].message_id])
        left = await client.documents.deferred_entries()
        assert left == [entries[0], entries[2]]
        with pytest.raises(XcapError) as refused:
            await client.delete_deferred([entries[1].message_id])
        assert refused.value.status == 404
        await client.delete_deferred(everything=True)
        assert await client.documents.deferred_entries() == []
    assert instance.stored(recipient) == []
    assert len(instance.stored(other)) == 1
    steps = instance.trace(sent[1])
    assert [(step["kind"], step["requirement"]) for step in steps][-1] == ("deleted", "DEF-09")
    assert [step["kind"] for step in steps] == ["received", "deferred", "deleted"]


@pytest.mark.requirement("DEF-09", "DEF-08")
async def test_a_subscriber_is_told(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    recipient = new_user()
    await store(recipient, 2)
    async with instance.client(recipient) as client:
        subscriber = await client.messaging.watch_deferred(600)

        async def told() -> message_summary.Summary:
            return message_summary.parse((await subscriber.next()).body.data)

        first = await told()
        assert first.count() == Counts(2, 0, 0, 0)
        await client.delete_deferred([first.messages[0].message_id])
        second = await told()
        assert second.count() == Counts(1, 0, 0, 0)
        assert [one.message_id for one in second.messages] == [first.messages[1].message_id]
        await client.delete_deferred(everything=True)
        assert (await told()).count() == Counts(0, 0, 0, 0)
