"""Groups and rules that refer to lists of contacts (XDM-04): who is on a list takes part, who is taken off it does not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from im_client.errors import SessionRefusedError
from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import User, address, all_in, new_users, over, text_of
from tests.scenarios.conference.groups import ANONYMITY, INITIATE, JOIN, MEMBERS, rules
from tests.scenarios.conference.signalling import begin

NewUser = Callable[..., str]
NOT_IN_GROUP = "Not a participant of this group"


def anchor(instance: Instance, owner: str, name: str = "friends") -> str:
    """The list of a user as clients refer to it: by its XCAP URI."""
    root = f"http://example.com:{instance.deployment.config.http_port}/xcap"
    return f"{root}/resource-lists/users/{address(owner)}/index/~~/resource-lists/list%5b@name=%22{name}%22%5d"


def external(uri: str) -> str:
    """A condition: whoever is on that list."""
    return f'<external-list xmlns="urn:oma:xml:xdm:common-policy"><entry anc="{uri}"/></external-list>'


def put_list(instance: Instance, owner: str, *members: str, more: str = "") -> str:
    """Store the list of a user with the operator's command; what it said."""
    entries = "".join(f'<entry uri="{address(member)}"/>' for member in members)
    path = instance.directory / f"lists-of-{owner}.xml"
    path.write_text(
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f'<list name="friends">{entries}{more}</list></resource-lists>'
    )
    return instance.command("list", "put", owner, str(path))


def put_group(instance: Instance, owner: str, within: str, *, invite: bool = False, ruleset: str = "") -> str:
    """Store a group with the operator's command; its address. `within`: what its list holds."""
    uri = address(f"group-of-{owner}")
    path = instance.directory / f"group-of-{owner}.xml"
    path.write_text(
        '<group xmlns="urn:oma:xml:poc:list-service" xmlns:cr="urn:ietf:params:xml:ns:common-policy">'
        f'<list-service uri="{uri}"><list>{within}</list><invite-members>{str(invite).lower()}</invite-members>'
        f"{ruleset}</list-service></group>"
    )
    instance.command("group", "put", str(path))
    return uri


def list_of(instance: Instance, owner: str) -> str:
    """The list of a user as part of the list of a group."""
    return f'<external anchor="{anchor(instance, owner)}"/>'


async def refused(user: User, uri: str, **options: object) -> tuple[int, str]:
    """With which status and warning text a user is refused at a URI."""
    with pytest.raises(SessionRefusedError) as caught:
        await user.join(uri, **options)
    return caught.value.status, caught.value.warning


@pytest.mark.requirement("XDM-04", "CNF-15", "CNF-17", "CNF-29", "XDM-07", "CNF-26")
async def test_members_by_a_list(instance: Instance, new_user: NewUser) -> None:
    """Who is on the list is invited and may join, others may not; a change of the list changes the running session."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        group = put_group(instance, alice.name, list_of(instance, alice.name), invite=True)
        assert await refused(alice, group) == (403, "Sessions of this group are begun by others"), "there is no list yet"
        said = put_list(instance, alice.name, alice.name, bob.name, carol.name)
        assert ": 3 addresses" in said
        hers = await alice.join(group)
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        assert await refused(dave, group) == (403, NOT_IN_GROUP)
        put_list(instance, alice.name, alice.name, carol.name, dave.name)
        assert "403" in await over(his)
        assert await refused(bob, hers.peer.identity) == (403, NOT_IN_GROUP)
        fourth = await dave.join(group)
        await fourth.send("I am on the list")
        assert [await text_of(hers), await text_of(third)] == ["I am on the list"] * 2
        instance.command("list", "delete", alice.name)
        ends = [await over(session) for session in (hers, third, fourth)]
        assert all("403" in why or "410" in why for why in ends), "all are removed, or the last is left alone"
        assert "403" in ends[0]


@pytest.mark.requirement("XDM-04", "CNF-14", "CNF-15", "CNF-29", "IDN-06")
async def test_rules_that_name_lists(instance: Instance, new_user: NewUser) -> None:
    """A rule for those on a list: its actions are theirs, and theirs alone, as long as they are on it. Lists may refer to
    lists of others, also in a circle."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        ruleset = rules(
            (external(anchor(instance, alice.name)), JOIN + ANONYMITY),
            (MEMBERS, JOIN + INITIATE),
        )
        group = put_group(instance, alice.name, f'<entry uri="{address(alice.name)}"/>', ruleset=ruleset)
        put_list(instance, alice.name, bob.name, more=list_of(instance, bob.name))
        put_list(instance, bob.name, carol.name, more=list_of(instance, alice.name))
        assert (await refused(bob, group))[0] == 403, "the list gives no right to begin"  # CNF-14
        hers = await alice.join(group)
        his, third = await bob.join(group), await carol.join(group, anonymous=True)
        assert await refused(dave, group) == (403, NOT_IN_GROUP)
        assert await refused(alice, group, anonymous=True) == (403, "Anonymity is not allowed in this group")  # IDN-06
        await third.send("by the list of a list")
        assert [await text_of(hers), await text_of(his)] == ["by the list of a list"] * 2
        put_list(instance, bob.name)
        assert "403" in await over(third)
        await his.send("still here")
        assert await text_of(hers) == "still here"


@pytest.mark.requirement("XDM-04", "CNF-15")
async def test_a_list_elsewhere_admits_nobody(instance: Instance, new_user: NewUser) -> None:
    """What cannot be looked up here admits nobody, and the log says so once."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        elsewhere = (
            "http://xcap.elsewhere.example/resource-lists/users/sip:x@elsewhere.example/index/~~/resource-lists/list"
        )
        within = f'<external anchor="{elsewhere}"/><entry uri="{address(alice.name)}"/>'
        group = put_group(instance, alice.name, within, ruleset=rules((MEMBERS, JOIN + INITIATE)))
        await alice.join(group)
        assert await refused(bob, group) == (403, NOT_IN_GROUP)
        put_list(instance, alice.name)  # something changes: the group is looked at again
        assert await refused(bob, group) == (403, NOT_IN_GROUP)
        told = [line for line in instance.worker_log().splitlines() if elsewhere in line and "XDM-04" in line]
        assert len(told) == 1
        assert "it is not on this server" in told[0]


@pytest.mark.requirement("XDM-04", "PAG-12", "PAG-14")
def test_a_message_to_the_members_by_a_list(instance: Instance, new_user: NewUser) -> None:
    """Each of them gets it, whoever is not on the list may not send one, and a change holds for the next message."""
    alice, bob, carol, dave = (new_user() for _ in range(4))
    group = put_group(instance, alice, list_of(instance, alice))
    put_list(instance, alice, alice, bob, carol)
    with ExitStack() as stack:
        hers, his, third, fourth = (
            stack.enter_context(Agent(instance.sip_port, user)) for user in (alice, bob, carol, dave)
        )
        for agent in (hers, his, third, fourth):
            agent.register()
        assert hers.message(group, b"to all on the list").status == 202
        assert [agent.accept().body for agent in (his, third)] == [b"to all on the list"] * 2
        stranger = fourth.message(group, b"let me in")
        assert stranger.status == 403
        assert "Not allowed to send to this group" in stranger.value("Warning")
        put_list(instance, alice, alice, dave)
        assert his.message(group, b"me too").status == 403
        assert hers.message(group, b"welcome dave").status == 202
        assert fourth.accept().body == b"welcome dave"
        assert his.quiet(0.1) and third.quiet(0.1)


@pytest.mark.requirement("XDM-04", "XDM-03", "PAG-07", "PFS-13")
def test_rules_of_a_user_that_name_a_list(instance: Instance, new_user: NewUser) -> None:
    """A user rejects who is on a list, and whom the list names changes with the next request."""
    alice, bob, carol = (new_user() for _ in range(3))
    path = instance.directory / "rules.xml"
    path.write_text(
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules"><rule id="foes">'
        f"<conditions>{external(anchor(instance, alice))}</conditions><actions>"
        "<im:allow-pager-mode-message>reject</im:allow-pager-mode-message><im:allow-session>reject</im:allow-session>"
        "</actions></rule></ruleset>"
    )
    assert "has no document index" in instance.command("rules", "put", alice, str(path))
    with ExitStack() as stack:
        hers, his, third = (stack.enter_context(Agent(instance.sip_port, user)) for user in (alice, bob, carol))
        hers.register()

        for foes, rejected, accepted in (((bob,), his, third), ((carol,), third, his)):
            put_list(instance, alice, *foes)
            refused = rejected.message(alice, b"no")
            assert (refused.status, "Not accepted by the recipient" in refused.value("Warning")) == (403, True)  # PAG-07
            assert rejected.final(begin(rejected, address(alice))).status == 403  # PFS-13
            call_id = accepted.begin_message(alice, b"yes")
            assert hers.accept().body == b"yes", "the first that rings"
            assert accepted.outcome(call_id) < 300
            call_id = begin(accepted, address(alice))
            hers.reply(hers.receive("INVITE"), 480, "Temporarily Unavailable")
            assert accepted.final(call_id).status == 480
