"""What the store does not take: undeclared size, too large, no room, a type not allowed (LRG-04, LRG-06, DEF-11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation
from msrp_worker.deferred.depositing import MOST_OF_SENDER
from msrp_worker.msrp import outcome
from msrp_worker.sdp_msrp import Direction
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.evidence import address
from tests.scenarios.large.conftest import Files
from tests.scenarios.large.sender import IMAGE, begin, invite_large, msrp_of, send
from tests.scenarios.traffic import FEATURE_TAG, Peer, Sip

LIMIT = 200_000
QUOTA = 300_000
SETTINGS = {
    "IM_LARGE_MAX_SIZE": str(LIMIT),
    "IM_DEFERRED_MAX_BYTES": str(QUOTA),
    "IM_USER_RATE": "0",
    "IM_TRUSTED_PEERS": "127.0.0.9",
}


@pytest.mark.requirement("LRG-04", "LRG-06", "PFS-16", "DEF-11")
@pytest.mark.parametrize(
    ("declared", "direction", "status"),
    [
        (None, Direction.SENDONLY, 403),
        (10, Direction.SENDRECV, 403),
        (None, Direction.SENDRECV, 480),
        (None, Direction.RECVONLY, 480),
        (LIMIT, Direction.SENDONLY, 200),
        (LIMIT + 1, Direction.SENDONLY, 403),
    ],
)
async def test_what_the_invite_says(
    instance: Instance, new_user: Callable[..., str], declared: int | None, direction: Direction, status: int
) -> None:
    recipient = new_user()
    async with instance.client(new_user()) as client:
        if status == 200:
            session = await invite_large(client, address(recipient), declared, direction=direction)
            await session.close()
        else:
            with pytest.raises(SessionRefusedError) as refused:
                await invite_large(client, address(recipient), declared, direction=direction)
            assert refused.value.status == status
        assert not instance.stored(recipient)


LINE = "m=message 2855 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.9:2855/x;tcp\r\n"


@pytest.mark.requirement("PFS-01", "LRG-04", "PFS-16")
@pytest.mark.parametrize(
    ("media", "status"),
    [
        (LINE + "m=audio 5004 RTP/AVP 0\r\na=sendonly\r\n", 480),
        ("m=audio 5004 RTP/AVP 0\r\na=sendonly\r\na=filesize:5\r\n" + LINE, 480),
        (LINE + "a=SendOnly\r\n", 403),
    ],
)
async def test_what_is_said_of_other_media_does_not_count(
    instance: Instance, new_user: Callable[..., str], media: str, status: int
) -> None:
    """An IM session beside a call is none for the store; 9.2.2 writes SendOnly, which is a large message without a size."""
    offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\n" + media
    headers = (FEATURE_TAG, f"P-Asserted-Identity: <{address('alice')}>", "Contact: <sip:alice@127.0.0.9>")
    headers = (*headers, "Content-Type: application/sdp")
    async with await Peer.open(instance.sip_port, "127.0.0.9") as peer:
        asked = Sip("INVITE", address(new_user()), address("alice"), headers, offer.encode())
        assert (await peer.ask(asked, 10.0)).status == status


@pytest.mark.requirement("LRG-04", "LRG-06")
async def test_a_users_own_limit_and_types(instance: Instance, new_user: Callable[..., str]) -> None:
    recipient = new_user(large_max_size="100", content_types="text/*")
    async with instance.client(new_user()) as client:
        for size, kind in ((101, "text/plain"), (100, IMAGE)):
            with pytest.raises(SessionRefusedError) as refused:
                await invite_large(client, address(recipient), size, content_type=kind)
            assert refused.value.status == 403
        session = await invite_large(client, address(recipient), 100, content_type="text/plain")
        assert await send(session, b"x", "image/png") == 415
        assert await send(session, b"x", "text/plain") == 200
        await session.close()
    assert [entry["content_type"] for entry in instance.stored(recipient)] == ["text/plain"]


@pytest.mark.requirement("LRG-06")
@pytest.mark.parametrize("announced", [None, 20_001])
async def test_more_than_declared_is_cut(
    instance: Instance, new_user: Callable[..., str], files: Files, announced: int | None
) -> None:
    """413 as soon as it is known, in the middle of the message, and nothing is left of it."""
    recipient = new_user()
    before = len(files())
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), 20_000)
        message = begin(session, announced, b"x" * 20_000)
        if announced is None:
            message.write(b"x" * 60_000)
        async with asyncio.timeout(10):
            assert await outcome(message) == 413
        assert await send(session, b"y" * 20_000) == 200
        await session.close()
    assert [entry["size"] for entry in instance.stored(recipient)] == [20_000]
    await async_until(lambda: len(files()) == before + 1, "nothing is left of what was cut")


@pytest.mark.requirement("LRG-06", "DEF-11")
async def test_the_lines_size_is_for_all_its_messages(instance: Instance, new_user: Callable[..., str]) -> None:
    recipient = new_user()
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), 100)
        assert await send(session, b"x" * 60) == 200
        assert await send(session, b"x" * 41) == 413
        assert await send(session, b"x" * 40) == 200
        await session.close()
    assert [entry["size"] for entry in instance.stored(recipient)] == [60, 40]


@pytest.mark.requirement("DEF-11", "LRG-04")
async def test_a_full_store_refuses_as_it_does_a_pager_message(instance: Instance, new_user: Callable[..., str]) -> None:
    """480, also for those that are under way: what is promised to one is not promised to another."""
    recipient = new_user()
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), LIMIT)
        with pytest.raises(SessionRefusedError, match="full") as refused:
            await invite_large(client, address(recipient), QUOTA - LIMIT + 1)
        assert refused.value.status == 480
        await session.close()
        content = b"x" * LIMIT
        await client.send_large(address(recipient), content, content_type=IMAGE)
        with pytest.raises(SessionRefusedError) as refused:
            await client.send_large(address(recipient), content, content_type=IMAGE)
        assert refused.value.status == 480
        instance.command("deferred", "delete", recipient, instance.stored(recipient)[0]["message_id"])
        await client.send_large(address(recipient), content, content_type=IMAGE)
    assert len(instance.stored(recipient)) == 1


@pytest.mark.requirement("DEF-11", "LRG-06")
async def test_the_store_fills_while_it_comes(instance: Instance, new_user: Callable[..., str], files: Files) -> None:
    """Pager messages took the room meanwhile: 413 to the last chunk, nothing kept."""
    recipient = new_user()
    async with instance.client(new_user(), transport="tcp") as client:
        session = await invite_large(client, address(recipient), LIMIT)
        message = begin(session, LIMIT, b"x" * 100_000)
        for _ in range(4):
            assert (await client.send(address(recipient), "y" * 30_000)).status == 202
        message.write(b"x" * 100_000)
        message.finish()
        async with asyncio.timeout(10):
            assert await outcome(message) == 413
        await session.close()
    assert len(instance.stored(recipient)) == 4
    await async_until(lambda: not msrp_of(session).queued and leftovers(instance, files) == [], "nothing is left")


def leftovers(instance: Instance, files: Files) -> list[str]:
    """Files that belong to no message of any user."""
    paths = [f"content/{path.name}" for path in files()]
    return instance.in_store(lambda store: store.deferred.without_row(paths))


@pytest.mark.requirement("LRG-04", "LRG-06")
@pytest.mark.parametrize("how", ["connection", "bye", "abort"])
async def test_the_sender_stops_in_the_middle(
    instance: Instance, new_user: Callable[..., str], files: Files, how: str
) -> None:
    recipient = new_user()
    before = len(files())
    async with instance.client(new_user()) as client:
        session = await invite_large(client, address(recipient), LIMIT)
        message = begin(session, LIMIT, b"x" * 100_000)
        await async_until(lambda: len(files()) == before + 1, "it has begun")
        if how == "connection":
            msrp_of(session).close("cut")
            async with asyncio.timeout(10):
                await session.ended
        elif how == "bye":
            await session.session.close()
        else:
            message.abort()
        await async_until(lambda: len(files()) == before, "nothing is left of it")
        await session.close()
    assert not instance.stored(recipient)


@pytest.mark.requirement("LRG-06", "PAG-03")
async def test_the_declared_size_and_type_between_two_who_are_there(
    instance: Instance, new_user: Callable[..., str]
) -> None:
    """403 before any device hears of it, for the limits of the sender as for those of the recipient."""
    free, small, words = new_user(), new_user(large_max_size="100"), new_user(content_types="text/*")
    heard: list[str] = []

    async def note(invitation: ImInvitation) -> None:
        heard.append(invitation.sender)
        invitation.reject(603)

    async with instance.client(free) as one, instance.client(small) as two, instance.client(words) as three:
        for client in (one, two, three):
            client.on_invite = note
            await client.register()
        for client, to, size, status in (
            (one, small, 101, 403),
            (two, free, 101, 403),
            (one, words, 10, 403),
            (three, free, 10, 403),
            (one, free, LIMIT + 1, 403),
            (one, small, 100, 603),
        ):
            with pytest.raises(SessionRefusedError) as refused:
                await invite_large(client, address(to), size)
            assert refused.value.status == status
    assert heard == [address(free)]


@pytest.mark.requirement("SEC-02", "LRG-04")
async def test_one_sender_does_not_take_all_places(instance: Instance, new_user: Callable[..., str]) -> None:
    """Beyond so many at once 503 with Retry-After; others are served, and places become free again."""
    recipient = new_user()
    async with instance.client(new_user()) as greedy, instance.client(new_user()) as other:
        sessions = [await invite_large(greedy, address(recipient), 10) for _ in range(MOST_OF_SENDER)]
        with pytest.raises(SessionRefusedError) as refused:
            await invite_large(greedy, address(recipient), 10)
        assert refused.value.status == 503
        await other.send_large(address(recipient), b"x", content_type=IMAGE)
        for session in sessions:
            await session.close()
        await greedy.send_large(address(recipient), b"y", content_type=IMAGE)
    assert [entry["size"] for entry in instance.stored(recipient)] == [1, 1]
