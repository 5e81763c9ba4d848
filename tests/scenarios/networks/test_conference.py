"""Conferences with participants of both home networks: the focus is in one, and serves both alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from im_client.conference import fetch
from im_client.errors import SessionRefusedError, SubscriptionError
from im_client.im_session import ImSession
from im_client.refer import refer as referral
from im_client.referring import Referring
from tests.scenarios.conference.conference import all_in, message_of, over
from tests.scenarios.conference.watching import Watch
from tests.scenarios.networks.guests import Guest, guests, new_group
from tests.scenarios.networks.networks import Home, Networks, networks_with


@pytest.fixture(scope="module", params=["auto", "always"])
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """Both networks, with the participating functions beside the media and in it."""
    with networks_with(tmp_path_factory.mktemp(request.param), {"IM_MEDIA_PATH": request.param}) as running:
        yield running


@pytest.fixture
def homes(request: pytest.FixtureRequest, networks: Networks) -> tuple[Home, Home]:
    """The home of the focus, and the other one."""
    first = getattr(request, "param", "the first") == "the first"
    return (networks.one, networks.two) if first else (networks.two, networks.one)


async def heard(sender: ImSession, text: str, author: Guest, *others: ImSession) -> None:
    """What `author` sends, all others get, with its address."""
    await sender.send(text)
    for session in others:
        message = await message_of(session)
        assert message.text == text
        assert message.envelope is not None and message.envelope.sender is not None
        assert message.envelope.sender.uri == author.uri


@pytest.mark.requirement("CNF-03", "CNF-07", "CNF-08", "CNF-27", "CNF-29", "MED-08", "HDR-03", "HDR-06")
@pytest.mark.parametrize("homes", ["the first", "the second"], indirect=True)
async def test_ad_hoc(homes: tuple[Home, Home]) -> None:
    """Everybody hears everybody, by the address that his home asserts; who is left alone last is released."""
    here, there = homes
    async with guests(here, here, there) as (alice, bob, carol):
        hers = await alice.start((bob, carol))
        his, third = await bob.joined(), await carol.joined()
        assert third.peer.focus  # by the identity itself, or by that of the function in the media path (PFS-11)
        assert here.address in hers.peer.identity
        assert third.peer.uri == alice.uri
        await all_in(hers, his, third)
        await heard(hers, "hello all", alice, his, third)
        await heard(third, "hello from the other side", carol, hers, his)
        await heard(his, "x" * 50_000, bob, hers, third)
        assert (await third.refresh()).ok
        await his.close()
        await heard(hers, "he is gone", alice, third)
        await third.close()
        assert "410" in await over(hers)


@pytest.mark.requirement("CNF-29", "CNF-26")
async def test_the_initiator_leaves(homes: tuple[Home, Home]) -> None:
    """The other network's participant hears why it is over."""
    async with guests(homes[0], homes[1]) as (alice, bob):
        hers = await alice.start((bob,))
        his = await bob.joined()
        await hers.close()
        assert "SIP;cause=" in await over(his)


@pytest.mark.requirement("CNF-20", "CNF-15", "CNF-19")
async def test_rejoin(homes: tuple[Home, Home]) -> None:
    """By the session identity, from the other network; who was not invited is refused, and an identity that is over 404."""
    here, there = homes
    async with guests(here, there, there, there) as (alice, bob, carol, dave):
        hers = await alice.start((bob, carol))
        his, third = await bob.joined(), await carol.joined()
        identity = his.peer.identity
        await his.close()
        again = await bob.join(identity)
        await heard(again, "back", bob, hers, third)
        with pytest.raises(SessionRefusedError) as refused:
            await dave.join(identity)
        assert refused.value.status == 403
        await hers.close()
        await asyncio.gather(over(again), over(third))
        with pytest.raises(SessionRefusedError) as refused:
            await bob.join(identity)
        assert refused.value.status == 404


@pytest.mark.requirement("CNF-14", "CNF-15", "CNF-17", "CNF-18")
async def test_group(homes: tuple[Home, Home]) -> None:
    """A member from the other network begins the session of the group; the members of both are invited."""
    here, there = homes
    async with guests(there, here, there, there) as (alice, bob, carol, stranger):
        group = new_group(here, (alice, bob, carol))
        with pytest.raises(SessionRefusedError) as refused:
            await stranger.join(group)
        assert refused.value.status == 403
        hers = await alice.join(group)
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        await heard(hers, "members", alice, his, third)
        await heard(third, "we all", carol, hers, his)
        await third.close()
        third = await carol.join(group)
        await heard(third, "again", carol, hers, his)
        await asyncio.gather(*(one.close() for one in (his, third)))
        assert "410" in await over(hers)


INVITE_DYNAMICALLY = "<allow-invite-users-dynamically>true</allow-invite-users-dynamically>"


async def told(referring: Referring) -> list[int]:
    """The statuses that the notifications of a referral bring, to the final one."""
    found = []
    while not found or found[-1] < 200:
        found.append((await referring.next()).status)
    return found


@pytest.mark.requirement("CNF-22", "CNF-24", "CNF-25", "CNF-26")
async def test_refer(homes: tuple[Home, Home]) -> None:
    """A participant in the other network has somebody of each network added, within its dialog and by the session identity;
    one who is busy, too. It hears how it went; one is removed."""
    here, there = homes
    async with guests(here, there, there, here, here) as (alice, bob, carol, dave, erin):
        hers = await alice.start((bob,))
        his = await bob.joined()
        assert (await told(await his.add([carol.uri])))[-1] == 200
        third = await carol.joined()
        referring = Referring(bob.client.calls.layer)
        await referring.outside(his.peer.identity, referral([dave.uri], content_id="x@y"))
        assert (await told(referring))[-1] == 200
        fourth = await dave.joined()
        erin.accepts = 486
        assert (await told(await his.add([erin.uri])))[-1] == 486
        await all_in(hers, his, third, fourth)
        await heard(third, "added", carol, hers, his, fourth)
        await hers.add([carol.uri], remove=True)
        assert await over(third)
        await heard(fourth, "one less", dave, hers, his)
        await hers.close()
        await asyncio.gather(over(his), over(fourth))


@pytest.mark.requirement("CNF-22", "CNF-25", "CNF-26", "CNF-31")
async def test_refer_by_the_rules_of_a_group(homes: tuple[Home, Home]) -> None:
    """The group is in the one network; a member of the other one, whom its rules let do that, calls back a member of each
    network who has left, and removes both; who is not let to hears 403."""
    here, there = homes
    async with guests(there, here, there, here) as (alice, bob, carol, dave):
        everybody = (alice, bob, carol, dave)
        group = new_group(here, everybody, f"{INVITE_DYNAMICALLY}<allow-expelling>true</allow-expelling>", by=alice.uri)
        hers = await alice.join(group)
        his = await bob.joined()
        found = []
        for guest in (carol, dave):
            await (await guest.joined()).close()
            assert (await told(await hers.add([guest.uri])))[-1] == 200
            found.append(await guest.joined())
        await all_in(hers, his, *found)
        with pytest.raises(SubscriptionError) as refused:
            await his.add([carol.uri], remove=True)
        assert refused.value.status == 403
        for number, guest in enumerate((carol, dave)):
            assert (await told(await hers.add([guest.uri], remove=True)))[-1] == 200
            assert "Removed" in await over(found[number])
        await heard(hers, "the two of us", alice, his)
        await hers.close()
        await over(his)


@pytest.mark.requirement("CES-01", "CES-02", "CES-03", "CES-04", "CES-06")
async def test_conference_state(homes: tuple[Home, Home]) -> None:
    """Who is there is told across, to participants only, until the end."""
    here, there = homes
    async with guests(here, there, there, there) as (alice, bob, carol, stranger):
        hers = await alice.start((bob, carol))
        his, third = await bob.joined(), await carol.joined()
        identity = hers.peer.identity
        with pytest.raises(SubscriptionError) as refused:
            await fetch(stranger.client.calls, identity)
        assert refused.value.status == 403
        async with Watch(bob, identity) as watch:
            await watch.until(**{one.name: "connected" for one in (alice, bob, carol)})
            assert {user.entity for user in watch.conference.present} == {alice.uri, bob.uri, carol.uri}
            await third.close()
            await watch.until(**{one.name: "connected" for one in (alice, bob)})
        await his.close()
        await over(hers)


@pytest.mark.requirement("IDN-04", "IDN-08", "CES-05")
@pytest.mark.parametrize("hidden_at", ["home of the focus", "other home"])
async def test_anonymous(homes: tuple[Home, Home], hidden_at: str) -> None:
    """No participant learns the address, in either network, neither in SIP, nor in MSRP, nor in the conference state."""
    here, there = homes
    hiding = here if hidden_at == "home of the focus" else there
    async with guests(here, there, hiding) as (alice, bob, carol):
        carol.answer_headers = [("Privacy", "id")]
        hers = await alice.start((bob,))
        his = await bob.joined()
        await his.close()
        await over(hers)
        bob.answer_headers = []
        hers = await alice.start((bob, carol))
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        await third.send("who am I")
        for session in (hers, his):
            message = await message_of(session)
            assert message.envelope is not None and message.envelope.sender is not None
            assert message.envelope.sender.uri.endswith("anonymous.invalid")
            assert carol.name not in str(message.envelope.head)
        async with Watch(bob, hers.peer.identity) as watch:
            assert carol.name.encode() not in watch.documents
            assert len(watch.conference.present) == 3
        await third.close()
        await his.close()
        await over(hers)


@pytest.mark.requirement("IDN-04", "IDN-08", "HDR-06")
async def test_anonymous_initiator(homes: tuple[Home, Home]) -> None:
    """The invitation of the user in the other network has no trace of the one who invites."""
    here, there = homes
    async with guests(here, there) as (alice, bob):
        bob.accepts = 480
        with pytest.raises(SessionRefusedError) as refused:
            await alice.start((bob,), anonymous=True)
        assert refused.value.status == 480
        invitation = await bob.invited()
        assert alice.name.encode() not in bytes(invitation.call.request.message)
        assert "anonymous" in str(invitation.call.request.message.headers.get("From"))
