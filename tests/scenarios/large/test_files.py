"""Files, several in one session, between two clients and for one who is away; the invitation taken back (LRG-03, LRG-05).

Each once beside the media (record-route), once with the server in their path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from im_client.config import Contact
from im_client.deferred import decode
from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.service_settings import ServiceSettings
from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.delivery.device import Device
from tests.scenarios.evidence import address

LARGE = (Contact(extra=("+g.oma.sip-im.large-message",)),)
SIZES = (200_000, 1, 3_000, 70_000)


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instance]:
    settings = {"IM_MEDIA_PATH": request.param, "IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
    with instance_with(tmp_path_factory.mktemp("instance"), settings) as running:
        yield running


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for number, (path, size) in enumerate(zip(found, SIZES, strict=True)):
        path.write_bytes(bytes((index + number) % 251 for index in range(size)))
    return found


@pytest.mark.requirement("LRG-05", "LRG-01", "PFS-02", "PFS-03")
async def test_several_files_in_one_session(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    recipient = new_user()
    received: asyncio.Queue[list[ReceivedFile]] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        received.put_nowait(await invitation.accept_files(inbox))

    async with instance.client(new_user()) as one, instance.client(recipient) as two:
        two.on_invite = take
        await two.register()
        done = await one.send_files(address(recipient), paths, success_report=True)
        assert (done.sent, done.refused) == (tuple(paths), ())
        async with asyncio.timeout(10):
            found = await received.get()
    assert [one.selector.name for one in found] == [path.name for path in paths]
    assert [one.path.read_bytes() for one in found] == [path.read_bytes() for path in paths]


@pytest.mark.requirement("LRG-04", "LRG-05", "PFS-16")
async def test_several_files_for_somebody_away(instance: Instance, new_user: Callable[..., str], paths: list[Path]) -> None:
    """Each is a message of its own in the store, with its name."""
    recipient = new_user()
    async with instance.client(new_user()) as client:
        await client.send_files(address(recipient), paths, success_report=True)
        assert [entry["size"] for entry in instance.stored(recipient)] == list(SIZES)
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
    found = [decode(kind, body)[0] for kind, body in device.taken[0]]
    assert [one.body for one in found] == [path.read_bytes() for path in paths]
    assert [path.name in one.headers["Content-Disposition"] for one, path in zip(found, paths, strict=True)] == [True] * 4


@pytest.mark.requirement("LRG-03", "PFS-08")
async def test_taking_the_invitation_back_ends_it_on_every_device(
    instance: Instance, new_user: Callable[..., str], paths: list[Path]
) -> None:
    """Two devices ring; the sender gives up: both are told, and nothing is deferred either."""
    recipient = new_user()
    ringing: asyncio.Queue[ImInvitation] = asyncio.Queue()

    async def ring(invitation: ImInvitation) -> None:
        await invitation.ring()
        ringing.put_nowait(invitation)
        await asyncio.Event().wait()

    async with (
        instance.client(new_user()) as one,
        instance.client(recipient) as two,
        instance.client(recipient) as three,
    ):
        for device in (two, three):
            device.on_invite = ring
            await device.register()
        sending = asyncio.create_task(one.send_files(address(recipient), paths))
        async with asyncio.timeout(10):
            invitations = [await ringing.get(), await ringing.get()]
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(10):
            for invitation in invitations:
                await invitation.call.cancelled.wait()
        assert not instance.stored(recipient)


@pytest.mark.requirement("LRG-08", "COR-10")
async def test_devices_that_say_they_take_large_messages_get_them(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    """Of three devices the one with the tag alone hears of a file; a session rings on all of them."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    recipient = new_user()
    heard: list[str] = []
    taken: asyncio.Queue[Path] = asyncio.Queue()

    def take(name: str) -> Callable[[ImInvitation], object]:
        async def decide(invitation: ImInvitation) -> None:
            heard.append(name)
            if invitation.file is None:
                await asyncio.Event().wait()
            taken.put_nowait((await invitation.accept_file(inbox)).path)

        return decide

    async with (
        instance.client(new_user()) as one,
        instance.client(recipient) as plain,
        instance.client(recipient, contacts=LARGE) as able,
        instance.client(recipient) as other,
    ):
        for name, device in (("plain", plain), ("able", able), ("other", other)):
            device.on_invite = take(name)  # type: ignore[assignment]
            await device.register()
        await one.send_file(address(recipient), paths[0])
        async with asyncio.timeout(10):
            assert (await taken.get()).read_bytes() == paths[0].read_bytes()
        assert heard == ["able"]
        calling = asyncio.create_task(one.invite(address(recipient)))
        async with asyncio.timeout(10):
            while len(heard) < 4:
                await asyncio.sleep(0.02)
        assert sorted(heard) == ["able", "able", "other", "plain"]
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


@pytest.mark.requirement("LRG-08", "PFS-16")
async def test_the_others_get_them_when_somebody_else_has_the_address(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    """404 comes from who has the address of the device with the tag now, which is no decision of its user."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    recipient = new_user()
    taken: asyncio.Queue[Path] = asyncio.Queue()

    async def stranger(invitation: ImInvitation) -> None:
        invitation.reject(404)

    async def take(invitation: ImInvitation) -> None:
        taken.put_nowait((await invitation.accept_file(inbox)).path)

    async with (
        instance.client(new_user()) as one,
        instance.client(recipient, contacts=LARGE) as able,
        instance.client(recipient) as plain,
    ):
        able.on_invite, plain.on_invite = stranger, take
        await able.register()
        await plain.register()
        await one.send_file(address(recipient), paths[0])
        async with asyncio.timeout(10):
            assert (await taken.get()).read_bytes() == paths[0].read_bytes()
        assert not instance.stored(recipient)


@pytest.mark.requirement("LRG-08", "PFS-16")
async def test_the_others_get_them_when_those_are_not_there(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    """The device with the tag says 480: the one without it is asked; and with none of them there, the store."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    recipient = new_user()
    taken: asyncio.Queue[Path] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        taken.put_nowait((await invitation.accept_file(inbox)).path)

    async with instance.client(new_user()) as one, instance.client(recipient, contacts=LARGE) as able:
        await able.register()  # nobody decides there: 480
        async with instance.client(recipient) as plain:
            plain.on_invite = take
            await plain.register()
            await one.send_file(address(recipient), paths[0])
            async with asyncio.timeout(10):
                assert (await taken.get()).read_bytes() == paths[0].read_bytes()
            assert not instance.stored(recipient)
            plain.on_invite = None
            await plain.publish_settings(ServiceSettings(offline_delivery=False))  # else it is pushed at once
            await one.send_file(address(recipient), paths[1])
        assert [entry["size"] for entry in instance.stored(recipient)] == [SIZES[1]]
