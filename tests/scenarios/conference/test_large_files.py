"""Several files at once to several users and to groups: every file to everybody who takes it (9.3.1, 9.3.2, LRG-02)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from im_client.deferred import decode
from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation, ReceivedFile
from msrp_worker.controlling.terms import MOST_FILES
from tests.scenarios.agent import Message
from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.conference.conference import User, address, new_users
from tests.scenarios.conference.groups import new_group
from tests.scenarios.conference.signalling import agents, answer, begin_session, sdp
from tests.scenarios.delivery.device import Device

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes", "IM_USER_RATE": "0", "IM_LARGE_MAX_SIZE": "5000000"}
SIZES = (200_000, 1, 70_000)
LINE = "m=message 9999 TCP/MSRP *\r\na=sendonly\r\na=accept-types:image/png\r\na=path:msrp://127.0.0.1:9999/{0};tcp\r\n"
SELECTOR = 'a=file-selector:name:"{0}.png" type:image/png size:{1}\r\na=x-number:{0}\r\n'


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """With and without the participating functions in the path of the media."""
    with instance_with(tmp_path_factory.mktemp("files"), {**SETTINGS, "IM_MEDIA_PATH": request.param}) as running:
        yield running


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for number, (path, size) in enumerate(zip(found, SIZES, strict=True)):
        path.write_bytes(bytes((index + number) % 251 for index in range(size)))
    return found


class Inbox:
    """Takes all files that a user is sent into a directory."""

    def __init__(self, user: User, directory: Path) -> None:
        self.directory = directory / user.name
        self.directory.mkdir()
        self.taken: asyncio.Queue[list[ReceivedFile]] = asyncio.Queue()
        self.invitation: ImInvitation | None = None
        user.client.on_invite = self._take

    async def _take(self, invitation: ImInvitation) -> None:
        self.invitation = invitation
        self.taken.put_nowait(await invitation.accept_files(self.directory))

    async def files(self) -> list[tuple[str | None, bytes]]:
        """Name and content of what came next."""
        async with asyncio.timeout(20):
            return [(one.selector.name, one.path.read_bytes()) for one in await self.taken.get()]


def contents(paths: Sequence[Path]) -> list[tuple[str | None, bytes]]:
    return [(path.name, path.read_bytes()) for path in paths]


@pytest.mark.requirement("LRG-02", "LRG-04", "LRG-05", "LRG-07")
async def test_every_file_to_everybody_on_a_list(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    """Who is here takes each as a file with its name; for who is away each waits as a message of its own."""
    absent = new_user()
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        inboxes = [Inbox(user, tmp_path) for user in (bob, carol)]
        done = await alice.client.send_files(
            [address(name) for name in (bob.name, carol.name, absent)], paths, success_report=True
        )
        assert (done.sent, done.refused) == (tuple(paths), ())
        for inbox in inboxes:
            assert await inbox.files() == contents(paths)
        assert [entry["size"] for entry in instance.stored(absent)] == list(SIZES)
    async with Device(instance, absent) as device:
        await device.register()
        await device.until(lambda: device.ended)
        kinds = [kind for kind, _ in device.taken[0]]
        found = [decode(kind, body)[0] for kind, body in zip(kinds, device.bodies, strict=True)]
        assert [one.body for one in found] == [path.read_bytes() for path in paths]
        await async_until(lambda: not instance.stored(absent), "nothing is stored any more")


@pytest.mark.requirement("LRG-02", "LRG-05")
async def test_every_file_to_a_group(
    instance: Instance, new_user: Callable[..., str], paths: list[Path], tmp_path: Path
) -> None:
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        group = new_group(instance, [alice.name, bob.name, carol.name], invite=False)
        inboxes = [Inbox(user, tmp_path) for user in (bob, carol)]
        done = await alice.client.send_files(group, paths)
        assert (done.sent, done.refused) == (tuple(paths), ())
        for inbox in inboxes:
            assert await inbox.files() == contents(paths)
            assert inbox.invitation is not None and inbox.invitation.sender == group


@pytest.mark.requirement("LRG-02", "LRG-06")
async def test_one_of_them_is_too_large(instance: Instance, new_user: Callable[..., str], paths: list[Path]) -> None:
    """The whole is refused with the reason, before anybody is called."""
    paths[1].write_bytes(bytes(5_000_001))
    async with new_users(instance, new_user, 2) as (alice, bob):
        with pytest.raises(SessionRefusedError) as caught:
            await alice.client.send_files([address(bob.name)], paths)
        assert (caught.value.status, caught.value.warning) == (403, "Large message exceeds 5000000 bytes")
        assert bob.invitations.empty()


def offer_of(count: int) -> bytes:
    """An offer of so many files."""
    head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return (head + "".join((LINE + SELECTOR).format(number, number + 1) for number in range(count))).encode()


def sections(description: bytes) -> list[list[str]]:
    """The lines of each media section."""
    return [section.split("\r\n") for section in description.decode().split("\r\nm=")[1:]]


def taking(invite: Message, *wanted: int) -> bytes:
    """An answer that takes these lines and refuses the others."""
    head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    lines = [
        (LINE.format(f"taker{number}").replace("sendonly", "recvonly") + "a=setup:active\r\n")
        if number in wanted
        else "m=message 0 TCP/MSRP *\r\n"
        for number in range(len(sections(invite.body)))
    ]
    return (head + "".join(lines)).encode()


@pytest.mark.requirement("LRG-02", "LRG-05", "CNF-04")
def test_each_line_for_itself(instance: Instance, new_user: Callable[..., str]) -> None:
    """The offers of the focus have a line for each of the sender's, with what it says; what nobody takes is refused."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_session(alice, [address(bob.user), address(carol.user)], offer=offer_of(3))
        for one, wanted in ((bob, (0,)), (carol, (0, 2))):
            invite = one.receive("INVITE")
            found = sections(invite.body)
            for at, lines in enumerate(found):
                assert f'a=file-selector:name:"{at}.png" type:image/png size:{at + 1}' in lines
            if instance.deployment.config.media_path != "always":
                assert [f"a=x-number:{at}" in lines for at, lines in enumerate(found)] == [True] * 3
            paths = {line for lines in found for line in lines if line.startswith("a=path:")}
            assert len(paths) == 3, "each has an MSRP session of its own"
            answer(one, invite, body=taking(invite, *wanted))
            one.receive("ACK")
        accepted = alice.final(call_id)
        assert accepted.status == 200
        ports = [lines[0].split()[1] for lines in sections(accepted.body)]
        assert [port == "0" for port in ports] == [False, True, False]


@pytest.mark.requirement("LRG-02", "SEC-03", "CNF-04")
def test_too_many_files_at_once(instance: Instance, new_user: Callable[..., str]) -> None:
    """Refused with what to do about it, and nobody is called."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        call_id = begin_session(alice, [address(bob.user)], offer=offer_of(MOST_FILES + 1))
        refused = alice.final(call_id)
        assert refused.status == 488
        assert f"at most {MOST_FILES} go to several users: send the rest by itself" in refused.value("Warning")
        assert bob.quiet(0.2)
        call_id = begin_session(alice, [address(bob.user)], offer=offer_of(1) + sdp().partition(b"t=0 0\r\n")[2])
        invite = bob.receive("INVITE")
        assert len(sections(invite.body)) == 1, "a line of conversation is none of the message"
        answer(bob, invite, body=taking(invite, 0))
        bob.receive("ACK")
        accepted = alice.final(call_id)
        assert [lines[0].split()[1] == "0" for lines in sections(accepted.body)] == [False, True]
