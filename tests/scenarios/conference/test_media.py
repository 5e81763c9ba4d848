"""The MSRP switch through the focus: who may say what to whom, how much, under which name (7.2, RFC 7701)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from im_client.body import Body
from im_client.im_session import ImSession
from im_client.media import MediaLine, MediaPlan
from im_client.msrp_peer import MessageFailedError, MsrpPeer
from msrp_worker.cpim import Address
from msrp_worker.offer_answer import LocalPolicy
from msrp_worker.sdp_msrp import Direction
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.conference.conference import User, address, all_in, new_users, over, text_of
from tests.scenarios.conference.signalling import agents, answer, sdp
from tests.scenarios.conference.wire import Wire, path

ENOUGH = 400
"""Messages of 8 kB that fill the window and the queue of a session whose client does not answer."""
SETTINGS = {"IM_CONTENT_TYPES": "text/*", "IM_LARGE_MAX_SIZE": "100000"}


async def three(alice: User, bob: User, carol: User) -> tuple[ImSession, ImSession, ImSession]:
    """All of them in one ad-hoc session."""
    found = await alice.create([bob.name, carol.name]), await bob.joined(), await carol.joined()
    await all_in(*found)
    return found


async def failed(session: ImSession, *args: object, **options: object) -> int:
    """The code with which a message is refused."""
    with pytest.raises(MessageFailedError) as caught:
        await session.send(*args, **options)  # type: ignore[arg-type]
    return caught.value.status


@pytest.mark.requirement("MED-07", "MED-12")
async def test_envelopes_are_checked(instance: Instance, new_user: Callable[..., str]) -> None:
    """message/cpim alone; From is the participant, To the room or one participant; content and size by policy."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        peer = hers.line.peer
        room, own = peer.conversation, peer.identity
        peer.conversation = None
        assert await failed(hers, "bare") == 415
        peer.conversation = room
        peer.identity = Address(address(bob.name))
        assert await failed(hers, "as another") == 403
        peer.identity = own
        assert await failed(hers, "to nobody", to=Address("sip:nobody@example.com")) == 404
        assert await failed(hers, b"\x89PNG", "image/png") == 415
        assert await failed(hers, "x" * 100_001) == 413
        await hers.send("to the identity's other form", to=Address(room.uri.replace(room.uri.split("@")[1], "example.com")))
        assert "other form" in await text_of(his)
        assert "other form" in await text_of(third)


class RoomLine(MediaLine):
    """A line that says what it can do in a chat room (RFC 7701 section 8)."""

    def _policy(self, peer: MsrpPeer) -> LocalPolicy:
        return replace(super()._policy(peer), chatroom=("nickname", "private-messages"))


def room_line(user: User) -> RoomLine:
    """Such a line of a user's client."""
    messaging = user.client.messaging
    return RoomLine(messaging.endpoints.named, messaging.identity, MediaPlan())


@pytest.mark.requirement("MED-07")
async def test_private_messages(instance: Instance, new_user: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One participant gets it and nobody else; a client that does not say it takes them gets none: 428."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        monkeypatch.setattr(bob.client.messaging, "line", lambda *_, **__: room_line(bob))
        hers, his, third = await three(alice, bob, carol)
        await hers.send("psst", to=Address(address(bob.name)))
        assert await text_of(his) == "psst"
        assert await failed(his, "psst", to=Address(address(alice.name))) == 428
        await hers.send("all of you")
        assert [await text_of(his), await text_of(third)] == ["all of you", "all of you"]


@pytest.mark.requirement("MED-07")
async def test_nicknames(instance: Instance, new_user: Callable[..., str]) -> None:
    """A nickname is given to one; another who wants it is told so; who leaves gives it free."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        assert await hers.line.peer.nickname("Bunny") == 200
        assert await his.line.peer.nickname("bunny") == 425
        assert await hers.line.peer.nickname("Hare") == 200
        assert await third.line.peer.nickname("bunny") == 200


@pytest.mark.requirement("MED-09")
async def test_composing(instance: Instance, new_user: Callable[..., str]) -> None:
    """isComposing passes whatever content the operator allows, and is no message."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        hers.typing()
        for session in (his, third):
            async with asyncio.timeout(10):
                await session.composing_changed.wait()
            assert session.composing == [address(alice.name)]


@pytest.mark.requirement("MED-08")
async def test_order_and_long_messages(instance: Instance, new_user: Callable[..., str]) -> None:
    """Messages of one sender keep their order, long ones among them."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        sent = [f"{number} " + "x" * (50_000 if number % 5 == 0 else 10) for number in range(20)]
        await asyncio.gather(*(hers.send(text) for text in sent))
        for session in (his, third):
            assert sorted([await text_of(session) for _ in sent]) == sorted(sent)


@pytest.mark.requirement("CNF-21")
async def test_hold_and_resume(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who is on hold gets nothing; the others go on; then messages come again, in the same MSRP session."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        assert (await his.modify(Direction.INACTIVE)).ok
        await hers.send("while away")
        assert await text_of(third) == "while away"
        assert (await his.modify(Direction.SENDRECV)).ok
        await hers.send("again")
        assert await text_of(his) == "again"


@pytest.mark.requirement("CNF-21")
async def test_terms_that_cannot_be(instance: Instance, new_user: Callable[..., str]) -> None:
    """488 to a re-INVITE without MSRP; the session is as it was."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        hers = await alice.create([bob.name])
        his = await bob.joined()
        await all_in(hers, his)
        offer = hers.line.change(Direction.SENDRECV).data.replace(b"accept-types:*", b"accept-types:image/png")
        bad = Body("application/sdp", offer)
        response = await hers.session.modify(bad, method="INVITE")
        hers.line.unanswered()
        assert response.status == 488
        await hers.send("as before")
        assert await text_of(his) == "as before"


@pytest.mark.requirement("MED-07", "CNF-34")
async def test_the_connection_of_one_breaks(instance: Instance, new_user: Callable[..., str]) -> None:
    """A client whose MSRP connection is cut leaves; the others go on."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        his.line.close()
        await over(his)
        await hers.send("without him")
        assert await text_of(third) == "without him"


@pytest.mark.requirement("CNF-08", "CNF-26")
async def test_who_leaves_is_told_by_bye_only(instance: Instance, new_user: Callable[..., str]) -> None:
    """Nothing is left when all have gone: no leg, no MSRP session."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers, his, third = await three(alice, bob, carol)
        await hers.close()
        await asyncio.gather(over(his), over(third))
    await async_until(
        lambda: not instance.in_store(lambda store: store.legs.of_node(instance.deployment.config.domain)),
        "no leg stored",
        45.0,  # a BYE to a client that was closed meanwhile is given up after 32
    )


@pytest.mark.requirement("MED-08", "CNF-26")
async def test_who_does_not_read_is_removed(instance: Instance, new_user: Callable[..., str]) -> None:
    """One participant neither reads nor answers: the other gets everything meanwhile, and that one a BYE."""
    third = new_user()
    async with new_users(instance, new_user, 2) as (alice, bob):
        with agents(instance, [third]) as (carol,):
            setting_up = asyncio.create_task(alice.create([bob.name, third]))
            invite = await asyncio.to_thread(carol.receive, "INVITE")
            answer(carol, invite, body=sdp(setup="active", path=path("c")))
            hers, his = await setting_up, await bob.joined()
            wire = Wire(invite.body, path("c"))
            assert b"200" in await asyncio.to_thread(wire.send, b"")
            await all_in(hers, his)
            for _ in range(ENOUGH):
                await hers.send("x" * 8_000)
            await hers.send("the last one")
            assert [await text_of(his) for _ in range(ENOUGH + 1)][-1] == "the last one"
            while (request := await asyncio.to_thread(carol.receive)).method != "BYE":
                pass
            assert "503" in request.value("Reason")
