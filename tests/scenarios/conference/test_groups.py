"""Sessions of predefined and public groups: begun, joined, rejoined, released (7.2.1.3 to 7.2.1.5, 7.2.2.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client.errors import SessionRefusedError
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import User, all_in, message_of, new_users, over, text_of
from tests.scenarios.conference.groups import ANONYMITY, INITIATE, JOIN, delete, identity, new_group, put, rules


async def refused(user: User, uri: str, **options: object) -> int:
    """The status with which a user is refused at a URI."""
    with pytest.raises(SessionRefusedError) as caught:
        await user.join(uri, **options)
    return caught.value.status


def names(*users: User) -> list[str]:
    return [user.name for user in users]


@pytest.mark.requirement("CNF-17", "CNF-18", "HDR-05", "HDR-06", "CNF-20")
async def test_first_begins_others_are_invited_or_join(instance: Instance, new_user: Callable[..., str]) -> None:
    """The first to join begins the session, the members are invited; who was away joins by the group; who left rejoins."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.accepts = 480
        group = new_group(instance, names(alice, bob, carol))
        hers = await alice.join(group)
        his = await bob.joined()
        assert (await bob.invited()).sender == group  # HDR-06
        third = await carol.join(group)
        assert third.peer.identity == hers.peer.identity == his.peer.identity
        assert third.peer.uri == group  # HDR-05
        await all_in(hers, his)
        await third.send("here I am")
        assert [await text_of(hers), await text_of(his)] == ["here I am", "here I am"]
        await third.close()
        again = await carol.join(hers.peer.identity)  # CNF-20
        await hers.send("welcome back")
        assert await text_of(again) == "welcome back"


@pytest.mark.requirement("CNF-14", "CNF-15", "IDN-06", "CNF-12")
async def test_what_the_rules_of_a_group_allow(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who may begin, who may join, who may hide."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        ruleset = rules((identity(alice.name), INITIATE + JOIN + ANONYMITY), (identity(bob.name), JOIN))
        group = new_group(instance, names(alice, bob), invite=False, ruleset=ruleset)
        assert await refused(bob, group) == 403  # CNF-14: he may not begin
        assert await refused(carol, group) == 403
        hers = await alice.join(group, anonymous=True)
        assert await refused(carol, group) == 403  # CNF-15
        assert await refused(carol, hers.peer.identity) == 403  # CNF-15
        assert await refused(bob, group, anonymous=True) == 403  # IDN-06
        his = await bob.join(group)
        await hers.send("guess who")
        message = await message_of(his)
        assert message.envelope is not None and message.envelope.sender is not None
        assert alice.name not in message.envelope.sender.uri  # IDN-04


@pytest.mark.requirement("CNF-15", "CNF-17")
async def test_a_member_who_may_not_join_is_not_called(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who is in the list and not let in by the rules takes no place of the others, and does not come in by answering."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        ruleset = rules((identity(alice.name, carol.name), INITIATE + JOIN))
        group = new_group(instance, names(alice, bob, carol), most=2, ruleset=ruleset)
        hers = await alice.join(group)
        his = await carol.joined()
        await all_in(hers, his)
        assert bob.invitations.empty()
        assert await refused(bob, group) == 403


@pytest.mark.requirement("CNF-16", "IDN-06")
async def test_a_full_group_says_so_first(instance: Instance, new_user: Callable[..., str]) -> None:
    """486 comes before the question of anonymity (7.2.1.4-4, -5; 7.2.1.5-3, -4)."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, names(alice, bob), most=1)
        hers = await alice.join(group)
        assert await refused(bob, group, anonymous=True) == 486
        assert await refused(bob, hers.peer.identity, anonymous=True) == 486


@pytest.mark.requirement("CNF-16", "CNF-17")
async def test_no_more_than_the_group_allows(instance: Instance, new_user: Callable[..., str]) -> None:
    """As many members are invited as fit; who comes when it is full gets 486."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        group = new_group(instance, names(alice, bob, carol, dave), most=3)
        await alice.join(group)
        await bob.joined()
        await carol.joined()
        assert dave.invitations.empty()
        assert await refused(dave, group) == 486


@pytest.mark.requirement("CNF-19")
async def test_a_public_group(instance: Instance, new_user: Callable[..., str]) -> None:
    """Everybody may come, nobody is invited, and one alone may stay."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, invite=False, ruleset=rules(("", JOIN + INITIATE)))
        hers = await alice.join(group)
        his = await bob.join(group)
        await his.send("anybody here?")
        assert await text_of(hers) == "anybody here?"
        await his.close()
        again = await bob.join(group)
        assert again.peer.identity == hers.peer.identity  # it went on with one


@pytest.mark.requirement("CNF-17")
async def test_two_begin_at_once(instance: Instance, new_user: Callable[..., str]) -> None:
    """Two members join in the same moment: one session."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        group = new_group(instance, names(alice, bob, carol))
        for user in (alice, bob):
            user.accepts = False
        both = await asyncio.gather(alice.join(group), bob.join(group))
        third = await carol.joined()
        assert len({session.peer.identity for session in (*both, third)}) == 1
        await all_in(both[0], third)
        await both[0].send("one session")
        assert [await text_of(both[1]), await text_of(third)] == ["one session", "one session"]


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_the_group_changes(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who may not take part any more is removed; a deleted group has no session."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        group = new_group(instance, names(alice, bob, carol))
        hers = await alice.join(group)
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        put(instance, group, names(alice, carol))
        assert "403" in await over(his)
        await hers.send("still here?")
        assert await text_of(third) == "still here?"
        delete(instance, group)
        assert ["404" in await over(session) for session in (hers, third)] == [True, True]
        assert await refused(alice, group) == 404


@pytest.mark.requirement("CNF-32")
async def test_the_name_in_the_group(instance: Instance, new_user: Callable[..., str]) -> None:
    """The nickname that the group has for who invites stands in the asserted identity."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, {alice.name: "Queen of Hearts", bob.name: ""})
        await alice.join(group)
        invitation = await bob.invited()
        assert invitation.call.header("P-Asserted-Identity") == f'"Queen of Hearts" <{group}>'
