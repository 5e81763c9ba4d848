"""Large messages to several and to groups: one sends, all who accepted receive, the store answers for who is away
(9.3.1, 9.3.2, LRG-02, LRG-03)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from im_client.deferred import decode
from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation
from im_client.msrp_peer import MessageFailedError
from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, async_until, instance_with
from tests.scenarios.conference.conference import User, address, new_users, text_of
from tests.scenarios.conference.groups import new_group
from tests.scenarios.conference.referring import refer_within
from tests.scenarios.conference.signalling import (
    agents,
    answer,
    attributes,
    begin_session,
    ring,
    sdp,
)
from tests.scenarios.delivery.device import Device
from tests.scenarios.large.sender import IMAGE

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes", "IM_USER_RATE": "0"}
CONTENT = bytes(index % 251 for index in range(3_000_000))
SELECTOR = "file-selector:type:image/png size:5"
TRANSFER = "file-transfer-id:abcdefghij"


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """With and without the participating functions in the path of the media."""
    with instance_with(tmp_path_factory.mktemp("large"), {**SETTINGS, "IM_MEDIA_PATH": request.param}) as running:
        yield running


class Receiver:
    """Takes every large message of a user into a directory."""

    def __init__(self, user: User, directory: Path) -> None:
        self.user = user
        self.directory = directory / user.name
        self.directory.mkdir()
        self.taken: asyncio.Queue[bytes | BaseException] = asyncio.Queue()
        self.invitation: ImInvitation | None = None
        user.client.on_invite = self._take

    async def _take(self, invitation: ImInvitation) -> None:
        self.invitation = invitation
        try:
            found = await invitation.accept_file(self.directory)
            self.taken.put_nowait(found.path.read_bytes())
        except Exception as error:
            self.taken.put_nowait(error)

    async def content(self) -> bytes | BaseException:
        """What came next."""
        async with asyncio.timeout(20):
            return await self.taken.get()


def receivers(found: Sequence[User], directory: Path) -> list[Receiver]:
    """One for each."""
    return [Receiver(user, directory) for user in found]


@pytest.mark.requirement("LRG-02", "LRG-04", "LRG-07")
@pytest.mark.parametrize("size", [1, 5_000, 3_000_000])
async def test_one_is_here_and_one_is_away(
    instance: Instance, new_user: Callable[..., str], tmp_path: Path, size: int
) -> None:
    """The sender's success report comes when both have it; the one who was away gets it at registration."""
    absent = new_user()
    content = CONTENT[:size]
    async with new_users(instance, new_user, 2) as (alice, bob):
        (here,) = receivers([bob], tmp_path)
        sent = await alice.client.send_large(
            [address(bob.name), address(absent)], content, content_type=IMAGE, success_report=True, subject="sea"
        )
        assert sent.size == size
        assert await here.content() == content
        assert here.invitation is not None and here.invitation.subject == "sea"
        assert here.invitation.sender == address(alice.name)
        (entry,) = instance.stored(absent)
        assert (entry["size"], entry["content_type"]) == (size, IMAGE)
    async with Device(instance, absent) as device:
        await device.register()
        await device.until(lambda: device.ended)
        (found,) = decode(device.taken[0][0][0], device.bodies[0])
        assert (found.body, found.sender) == (content, address(alice.name))
        await async_until(lambda: not instance.stored(absent), "nothing is stored any more")


@pytest.mark.requirement("LRG-02", "LRG-05", "LRG-07")
async def test_a_file_to_a_group(instance: Instance, new_user: Callable[..., str], tmp_path: Path) -> None:
    """To all its members, whatever goes on in its session; name and disposition go along."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        group = new_group(instance, [alice.name, bob.name, carol.name], invite=False)
        chat, other = await alice.join(group), await carol.join(group)
        there = receivers([bob, carol], tmp_path)
        path = tmp_path / "sea.png"
        path.write_bytes(CONTENT[:70_000])
        await alice.client.send_file(group, path, content_type=IMAGE)
        for one in there:
            assert await one.content() == CONTENT[:70_000]
            assert (one.directory / "sea.png").exists()
            assert one.invitation is not None and one.invitation.sender == group
        await chat.send("did you get it")
        assert await text_of(other) == "did you get it"


@pytest.mark.requirement("LRG-02")
async def test_nobody_takes_it(instance: Instance, new_user: Callable[..., str]) -> None:
    """The lowest failure, as for other sessions."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        bob.accepts, carol.accepts = 486, 603
        with pytest.raises(SessionRefusedError) as caught:
            await alice.client.send_large([address(bob.name), address(carol.name)], b"abc")
        assert caught.value.status == 486


@pytest.mark.requirement("LRG-02", "LRG-07")
async def test_one_gives_up_in_the_middle(instance: Instance, new_user: Callable[..., str], tmp_path: Path) -> None:
    """The other one gets it all the same, and the sender hears that not everybody has it."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        (here,) = receivers([bob], tmp_path)

        async def leave(invitation: ImInvitation) -> None:
            session = await invitation.accept(keep_messages=False)
            session.line.peer.session.close("cut")

        carol.client.on_invite = leave
        with pytest.raises(MessageFailedError):
            await alice.client.send_large(
                [address(bob.name), address(carol.name)], CONTENT, content_type=IMAGE, success_report=True
            )
        assert await here.content() == CONTENT


def begin_large(agent: Agent, names: Sequence[str], *attributes: str) -> str:
    """An INVITE with a list for a large message; its Call-ID."""
    offer = sdp("sendonly", types="image/png", wrapped="").replace(b"sendonly", b"a=sendonly")
    offer += "".join(f"a={line}\r\n" for line in attributes).encode()
    return begin_session(agent, [address(name) for name in names], offer=offer)


@pytest.mark.requirement("LRG-02", "LRG-05")
def test_every_line(instance: Instance, new_user: Callable[..., str]) -> None:
    """The attributes of the sender's line are in the offers of the focus and in its 200, which waits for all."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_large(alice, [bob.user, carol.user], SELECTOR, TRANSFER, "x-unknown:1")
        receiving = sdp("a=recvonly", types="image/png", wrapped="", setup="active")
        for one in (bob, carol):
            invite = one.receive("INVITE")
            lines = attributes(invite.body)
            assert {"sendonly", SELECTOR, TRANSFER, "accept-types:image/png"} <= set(lines)
            assert "x-unknown:1" in lines or instance.deployment.config.media_path == "always"
            assert not any(line.startswith("chatroom") for line in lines)
            assert address(alice.user) in invite.value("P-Asserted-Identity")
            if one is bob:
                answer(bob, invite, body=receiving)
                bob.receive("ACK")
                assert alice.poll_final(call_id) is None, "Carol may still take it"
        ring(carol, invite)
        answer(carol, invite, body=receiving)
        accepted = alice.final(call_id)
        assert accepted.status == 200
        lines = attributes(accepted.body)
        assert {"recvonly", SELECTOR, TRANSFER, "accept-types:image/png"} <= set(lines)


@pytest.mark.requirement("LRG-03", "CNF-30")
def test_cancelled(instance: Instance, new_user: Callable[..., str]) -> None:
    """All legs: who rings gets CANCEL, who has accepted BYE."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_large(alice, [bob.user, carol.user], SELECTOR)
        answer(bob, bob.receive("INVITE"), body=sdp("a=recvonly", types="image/png", wrapped="", setup="active"))
        bob.receive("ACK")
        ring(carol, carol.receive("INVITE"))
        invite = next(data for data in reversed(alice.sent) if data.startswith(b"INVITE"))
        alice.send(alice.cancel(invite))
        assert alice.final(call_id).status in (200, 487)
        bob.accept("BYE")
        carol.receive("CANCEL")


@pytest.mark.requirement("LRG-06", "LRG-02")
def test_too_large(instance: Instance, new_user: Callable[..., str]) -> None:
    """Refused by its declared size; nobody is called."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        call_id = begin_large(alice, [bob.user], "file-selector:type:image/png size:99999999999")
        assert alice.final(call_id).status == 403
        assert bob.quiet(0.2)


@pytest.mark.requirement("LRG-02", "CNF-22")
def test_nobody_is_added(instance: Instance, new_user: Callable[..., str]) -> None:
    """A large message is for those whom its sender named: 403 to a REFER in its dialog."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_large(alice, [bob.user], SELECTOR)
        answer(bob, bob.receive("INVITE"), body=sdp("a=recvonly", types="image/png", wrapped="", setup="active"))
        ok = alice.final(call_id)
        assert ok.status == 200
        alice.send(alice.within(ok, "ACK"))
        assert refer_within(alice, ok, f"Refer-To: <{address(carol.user)}>").status == 403
        assert carol.quiet(0.2)
