"""A one-to-one session becomes a conference: INVITE to the factory with Replaces (7.1.1.6, RFC 3891)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from im_client.im_session import ImSession
from im_client.replaces import Replaces
from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.conference.conference import User, address, all_in, new_users, over, text_of, users
from tests.scenarios.conference.signalling import agents, answer, begin_session, refuse


def replaces(session: ImSession) -> tuple[str, str]:
    """The header that names a session to its other side."""
    return "Replaces", str(Replaces(session.session.leg.dialog.id))


async def one_to_one(alice: User, bob: User) -> tuple[ImSession, ImSession]:
    """A session of two without a focus."""
    hers = await alice.client.invite(address(bob.name))
    his = await bob.joined()
    his.line.peer.conversation = None
    return hers, his


@pytest.mark.requirement("CNF-11")
async def test_two_become_three(instance: Instance, new_user: Callable[..., str]) -> None:
    """The old session ends on both sides once the new one stands; nothing that was sent is lost; Carol is called too."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        old, his_old = await one_to_one(alice, bob)
        await old.send("before")
        hers = await alice.create([bob.name, carol.name], headers=[replaces(old)])
        his, third = await bob.joined(), await carol.joined()
        await asyncio.gather(over(old), over(his_old))
        assert his_old.why == "replaced"
        assert await text_of(his_old) == "before"
        await all_in(hers, his, third)
        await hers.send("now three")
        assert [await text_of(his), await text_of(third)] == ["now three", "now three"]


@pytest.mark.requirement("CNF-11", "PFS-02")
@pytest.mark.parametrize("callee_extends", [False, True])
async def test_with_the_server_between_them(tmp_path_factory: pytest.TempPathFactory, callee_extends: bool) -> None:
    """The participating function is a B2BUA: each side knows another dialog, and the focus maps one to the other."""
    with instance_with(tmp_path_factory.mktemp("bridged"), {"IM_MEDIA_PATH": "always"}) as instance:
        async with users(instance, ["alice", "bob", "carol"]) as (alice, bob, carol):
            first, second = await one_to_one(alice, bob)
            one, two = (bob, alice) if callee_extends else (alice, bob)
            old, other = (second, first) if callee_extends else (first, second)
            new = await one.create([two.name, carol.name], headers=[replaces(old)])
            theirs, third = await two.joined(), await carol.joined()
            await asyncio.gather(over(old), over(other))
            assert other.why == "replaced"
            await all_in(new, theirs, third)
            await new.send("now three")
            assert [await text_of(theirs), await text_of(third)] == ["now three", "now three"]


@pytest.mark.requirement("CNF-11")
def test_who_has_no_such_dialog_is_called_without(instance: Instance, new_user: Callable[..., str]) -> None:
    """481 of a client that has nothing to replace is not its last word."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])], "Replaces: some@call;to-tag=theirs;from-tag=ours")
        invite = bob.receive("INVITE")
        assert invite.value("Replaces") == "some@call;to-tag=theirs;from-tag=ours"
        refuse(bob, invite, 481)
        again = next(request for request in iter(bob.receive, None) if request.method == "INVITE")
        assert not again.value("Replaces")
        answer(bob, again)
        assert alice.final(call_id).status == 200


@pytest.mark.requirement("CNF-11")
@pytest.mark.parametrize(
    ("value", "status"), [("some@call;to-tag=x", 400), ("some@call;to-tag=im-leg-unknown;from-tag=y", 481)]
)
def test_headers_that_name_nothing(instance: Instance, new_user: Callable[..., str], value: str, status: int) -> None:
    """Without a tag it is no Replaces; a leg of ours that is not there cannot be replaced."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, _):
        assert alice.final(begin_session(alice, [address(names[1])], f"Replaces: {value}")).status == status
