"""Large messages for users who are away are kept by the store as an automaton, and pushed (LRG-04, PFS-16, DEF-04).

Each once beside the media (record-route), once with the server in their path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from im_client.body import sdp_of
from im_client.deferred import decode
from im_client.im_invitation import ImInvitation
from im_client.invitation import Invite
from im_client.multipart import split
from im_client.service_settings import ServiceSettings
from msrp_worker import cpim
from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.sdp_msrp import Direction
from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.delivery.device import Device
from tests.scenarios.evidence import address, kinds
from tests.scenarios.large.conftest import Files
from tests.scenarios.large.sender import IMAGE, invite_large, msrp_of, send

CONTENT = bytes(index % 251 for index in range(300_000))


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instance]:
    settings = {"IM_MEDIA_PATH": request.param, "IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
    with instance_with(tmp_path_factory.mktemp("instance"), settings) as running:
        yield running


async def pushed_content(instance: Instance, recipient: str) -> list[bytes]:
    """What comes when the recipient registers."""
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
        await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")
        return [one.body for kind, body in device.taken[0] for one in decode(kind, body)]


@pytest.mark.requirement("LRG-04", "PFS-16", "DEF-04", "DEF-05", "LRG-01")
@pytest.mark.parametrize("size", [1, 2_048, 300_000])
async def test_kept_and_pushed(instance: Instance, new_user: Callable[..., str], files: Files, size: int) -> None:
    sender, recipient = new_user(), new_user()
    content = CONTENT[:size]
    async with instance.client(sender) as client:
        sent = await client.send_large(address(recipient), content, content_type=IMAGE, success_report=True)
        assert sent.size == size
        (entry,) = instance.stored(recipient)  # durable when the report came
        assert (entry["size"], entry["content_type"]) == (size, IMAGE)
        assert [path.read_bytes() for path in files()] == [content]
        assert kinds(instance, entry["call_id"], "deferred") == ["received", "deferred"]
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
    (found,) = decode(device.taken[0][0][0], device.bodies[0])
    assert (found.body, found.content_type, found.sender) == (content, IMAGE, address(sender))
    assert found.call_id == entry["call_id"]
    assert found.stored is not None
    await async_until(lambda: not instance.stored(recipient) and not files(), "nothing is left")


@pytest.mark.requirement("DEF-04", "LRG-04", "LRG-07")
async def test_the_encapsulation(instance: Instance, new_user: Callable[..., str]) -> None:
    """INVITE, 200, SEND and BYE, each with its relevant headers and the time of reception (Appendix J, example 2)."""
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as client:
        session = await invite_large(client, address(recipient), 5, subject="holiday")
        headers = [("Content-Disposition", "attachment; filename=sea.png")]
        assert await send(session, b"image", headers=headers, message_id="original1") == 200
        assert b"Subject: over" not in show(instance, recipient)
        await session.session.close([("Subject", "over")])
        await async_until(lambda: b"Subject: over" in show(instance, recipient), "the BYE that came is stored")
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
    kind, body = device.taken[0][0]
    parts = split(kind, body)
    assert [part.media_type for part in parts] == ["message/sip", "message/sip", "message/msrp", "message/sip"]
    invite, ok, message, bye = (part.body.decode() for part in parts)
    assert invite.startswith(f"INVITE {address(recipient)} SIP/2.0\r\n") and ok.startswith("SIP/2.0 200 OK\r\n")
    assert bye.startswith("BYE sip:im-leg-")
    for part in (invite, ok, bye):
        assert len(re.findall(r"^Date: .* GMT\r$", part, re.MULTILINE)) == 1
        assert f"From: <{address(sender)}>;tag=" in part and f"<{address(recipient)}>" in part
        assert re.search(r"^Call-ID: \S+\r$", part, re.MULTILINE)
        assert "Authorization" not in part and "Via" not in part
    assert f"P-Asserted-Identity: <{address(sender)}>\r\n" in invite and "Subject: holiday\r\n" in invite
    assert "a=sendonly" in invite and "a=recvonly" in ok
    lines = message.split("\r\n")
    assert re.fullmatch(r"MSRP \S+ SEND", lines[0]) and "Message-ID: original1" in lines
    assert "Content-Disposition: attachment; filename=sea.png" in lines
    assert any(line.startswith("Date: ") for line in lines)
    assert lines[lines.index("") + 1] == "image"


def show(instance: Instance, user: str) -> bytes:
    """The first stored message as the operator's command shows it."""
    return instance.stored_bytes(user, instance.stored(user)[0]["message_id"])


@pytest.mark.requirement("LRG-04", "HDR-01", "HDR-04")
async def test_the_answer_is_that_of_an_automaton(instance: Instance, new_user: Callable[..., str]) -> None:
    """10.3.2.2: Server, automata, Date, a recvonly answer, the identity of the store."""
    async with instance.client(new_user()) as client:
        file = FileDescription(FileSelector(type=IMAGE, size=5))
        plan = replace(client.messaging.plan(Direction.SENDONLY), file=file)
        line = client.messaging.line(plan)
        session, response = await client.calls.outgoing(Invite(to=address(new_user()), body=line.offer())).run()
        headers = response.message.headers
        (server,) = headers.getlist("Server")
        assert server.startswith("IM-serv/OMA1.0")
        assert ";automata" in headers.get("Contact") and "+g.oma.sip-im" in headers.get("Contact")
        assert headers.get("Date").endswith(" GMT")
        assert headers.get("P-Asserted-Identity") == "<sip:deferred@example.com>"
        description = sdp_of(response.message)
        assert description is not None and b"a=recvonly\r\n" in description.data
        assert f":{instance.deployment.config.msrp_port}/".encode() in description.data
        await session.close()


@pytest.mark.requirement("PFS-16", "DEF-12", "LRG-04")
async def test_somebody_unwilling_gets_it_later(instance: Instance, new_user: Callable[..., str]) -> None:
    recipient = new_user(willing="no")
    async with instance.client(new_user()) as client, Device(instance, recipient) as device:
        await device.register()
        await client.send_large(address(recipient), CONTENT, content_type=IMAGE, success_report=True)
        assert not device.offers
        assert len(instance.stored(recipient)) == 1
        instance.command("user", "set", recipient, "willing=yes")
        await device.until(lambda: device.ended)
        assert decode(*device.taken[0][0])[0].body == CONTENT


@pytest.mark.requirement("PFS-16", "LRG-04", "DEF-06", "DEF-07")
@pytest.mark.parametrize("there", [True, False])
async def test_a_device_that_does_not_take_it(instance: Instance, new_user: Callable[..., str], there: bool) -> None:
    """Registered, but the device says 480, or nothing: the sender sees only that the message is kept."""
    recipient = new_user()
    async with instance.client(new_user()) as client, instance.client(recipient) as device:
        await device.register()
        await device.publish_settings(ServiceSettings(offline_delivery=False))
        if not there:
            await device.close(deregister=False)
        await client.send_large(address(recipient), CONTENT, content_type=IMAGE, success_report=True)
        assert [entry["size"] for entry in instance.stored(recipient)] == [len(CONTENT)]
    async with instance.client(recipient) as device:
        assert [one.body for one in await device.deferred_get()] == [CONTENT]
        await async_until(lambda: not instance.stored(recipient), "nothing is stored any more")


@pytest.mark.requirement("PFS-16", "PFS-04")
async def test_a_refusal_of_the_recipient_is_not_deferred(instance: Instance, new_user: Callable[..., str]) -> None:
    recipient = new_user()

    async def busy(invitation: ImInvitation) -> None:
        invitation.reject(603)

    async with instance.client(new_user()) as client, instance.client(recipient) as other:
        other.on_invite = busy
        await other.register()
        with pytest.raises(Exception, match="603"):
            await client.send_large(address(recipient), CONTENT, content_type=IMAGE)
        assert not instance.stored(recipient)


@pytest.mark.requirement("IDN-04", "DEF-04", "LRG-04")
async def test_a_private_sender_stays_private(instance: Instance, new_user: Callable[..., str]) -> None:
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as client:
        session = await invite_large(client, address(recipient), 5, anonymous=True)
        path = msrp_of(session).local_text.encode()
        assert await send(session, b"image") == 200
        await session.close()
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
        assert b"image" in device.bodies[0]
        assert sender.encode() not in device.bodies[0] and path not in device.bodies[0]
        assert sender.encode() not in bytes(device.offers[0].message)


@pytest.mark.requirement("LRG-04", "DEF-04")
async def test_clients_that_take_envelopes_get_the_content_alone(instance: Instance, new_user: Callable[..., str]) -> None:
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as client:
        await client.send_large(address(recipient), CONTENT, content_type=IMAGE)
    async with Device(instance, recipient, accept_types=("message/cpim", IMAGE)) as device:
        await device.register()
        await device.until(lambda: device.ended)
    (kind, body) = device.taken[0][0]
    envelope, content = cpim.parse(body)
    assert (kind, envelope.content_type, content) == ("message/cpim", IMAGE, CONTENT)
    assert envelope.sender is not None and envelope.sender.uri == address(sender)


@pytest.mark.requirement("LRG-04", "DEF-02")
async def test_large_and_small_ones_come_in_their_order(instance: Instance, new_user: Callable[..., str]) -> None:
    recipient = new_user()
    async with instance.client(new_user()) as client:
        assert (await client.send(address(recipient), "one")).status == 202
        await client.send_large(address(recipient), CONTENT, content_type=IMAGE)
        assert (await client.send(address(recipient), "two")).status == 202
        await client.send_large(address(recipient), CONTENT[:1000], content_type=IMAGE)
    assert await pushed_content(instance, recipient) == [b"one", CONTENT, b"two", CONTENT[:1000]]
