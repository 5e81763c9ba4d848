"""What waits is listed as a document and deleted without being fetched (DEF-09)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import pytest

from im_client import message_summary
from im_client.errors import XcapError
from im_client.message_summary import Counts
from im_client.service_settings import ServiceSettings
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.delivery.device import Device
from tests.scenarios.large.conftest import Files
from tests.scenarios.traffic import Peer, address, im_message
from tests.scenarios.xcap.conftest import ask, list_of

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


@pytest.mark.requirement("DEF-09", "CLI-06")
async def test_the_command(instance: Instance, new_user: Callable[..., str], store: Store) -> None:
    """`im_client deferred delete`, at the default XCAP root."""
    recipient = new_user()
    await store(recipient, 3)
    first, second, _ = [entry["message_id"] for entry in instance.stored(recipient)]

    async def run(*arguments: str) -> tuple[int | None, str]:
        account = ("--identity", address(recipient), "--proxy", f"127.0.0.1:{instance.sip_port}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "im_client", "deferred", "delete", *account, *arguments),
            env={**os.environ, "IM_PASSWORD": f"{recipient}-secret"},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    assert await run(first, "77@example.com") == (1, f"deleted {first}\n77@example.com: 404 Not Found\n")
    assert instance.stored(recipient)[0]["message_id"] == second
    assert await run() == (1, "")  # neither names nor --all
    assert await run("--all") == (0, "deleted all messages\n")
    assert instance.stored(recipient) == []


@pytest.mark.requirement("DEF-09", "IDN-04")
async def test_who_was_anonymous_stays_so(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    recipient = new_user()
    hidden = im_message("alice", recipient, b"guess who", "Privacy: id")
    assert (await peer.ask(hidden)).status == 202
    answer = await asyncio.to_thread(ask, instance, "GET", list_of(recipient), recipient)
    assert answer.status == 200 and b"<from>sip:anonymous@anonymous.invalid</from>" in answer.body
    assert b"alice" not in answer.body
    assert (await asyncio.to_thread(ask, instance, "DELETE", list_of(recipient), recipient)).status == 200
    assert instance.trace(hidden.call_id)[-1]["originator"] == "anonymous"
    assert "originator=sip:alice" not in "".join(line for line in instance.worker_log().splitlines() if "im.xcap" in line)


@pytest.mark.requirement("DEF-09", "LRG-04")
async def test_a_large_message_goes_with_its_content(
    instance: Instance, new_user: Callable[..., str], files: Files
) -> None:
    sender, recipient = new_user(), new_user()
    content = bytes(100_000)
    async with instance.client(sender) as client:
        await client.send_large(address(recipient), content, content_type="image/png", success_report=True)
    assert [path.stat().st_size for path in files()] == [len(content)]
    async with instance.client(recipient) as client:
        (entry,) = await client.documents.deferred_entries()
        assert (entry.size, entry.sender) == (len(content), address(sender))
        await client.delete_deferred([entry.message_id])
        assert files() == []
        assert (await client.deferred_list()).count("multimedia-message") == Counts(0, 0)


@pytest.mark.requirement("DEF-09", "DEF-13", "DEF-05")
async def test_what_is_on_its_way_is_not_pulled_from_under_it(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """409 while a device takes a push; it gets everything, and nothing is left."""
    recipient = new_user()
    await store(recipient, 2)
    first, second = [entry["message_id"] for entry in instance.stored(recipient)]
    async with Device(instance, recipient, limit=0) as device, instance.client(recipient) as client:
        await device.register()
        await device.client.publish_settings(ServiceSettings(offline_delivery=True))
        await device.until(lambda: device.seen)
        for ids in ([first], [second], []):
            with pytest.raises(XcapError) as refused:
                await client.delete_deferred(ids, everything=not ids)
            assert (refused.value.status, refused.value.condition) == (409, "constraint-failure")
            assert "being delivered" in refused.value.phrase
        device.limit = 10
        device.acknowledge()
        await async_until(lambda: not instance.stored(recipient), "both are delivered")
        with pytest.raises(XcapError) as refused:
            await client.delete_deferred([second])
        assert refused.value.status == 404
    log = instance.worker_log()
    assert (
        f"XDM-01 refused 409 DELETE org.openmobilealliance.deferred-list from 127.0.0.1 originator={address(recipient)}"
        in log
    )
