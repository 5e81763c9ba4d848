"""Anonymous participants: what the others learn of them in SIP and in MSRP, and who may be one (IDN-04 to IDN-08)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.conference.conference import address, all_in, message_of, new_users, over
from tests.scenarios.conference.groups import ANONYMITY, INITIATE, JOIN, identity, new_group, rules
from tests.scenarios.conference.signalling import agents, answer, begin, begin_session, refuse

PRIVACY = ("Privacy", "id")


@pytest.mark.requirement("IDN-04", "IDN-08", "HDR-06")
def test_an_anonymous_initiator(instance: Instance, new_user: Callable[..., str]) -> None:
    """The invitation tells nothing of who invites, in no header."""
    names = [new_user() for _ in range(2)]
    with agents(instance, names) as (alice, bob):
        call_id = begin_session(alice, [address(names[1])], "Privacy: id")
        invite = bob.receive("INVITE")
        assert invite.value("Privacy") == "id"
        assert "anonymous.invalid" in invite.value("From")
        assert "anonymous.invalid" in invite.value("Referred-By")
        assert names[0] not in invite.head.replace("im-session", "")
        refuse(bob, invite, 480)
        assert alice.final(call_id).status == 480


@pytest.mark.requirement("IDN-04", "IDN-08")
async def test_anonymous_messages(instance: Instance, new_user: Callable[..., str]) -> None:
    """The others see one URI for the whole session, which is nobody else's; private messages reach its owner."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.answer_headers = [PRIVACY]
        hers = await alice.create([bob.name, carol.name], anonymous=True)
        his, third = await bob.joined(), await carol.joined()
        await all_in(hers, his, third)
        senders = []
        for session, text in ((hers, "one"), (third, "two"), (hers, "three")):
            await session.send(text)
            message = await message_of(his)
            assert message.text == text
            assert message.envelope is not None and message.envelope.sender is not None
            assert alice.name not in str(message.envelope.head) and carol.name not in str(message.envelope.head)
            senders.append(message.envelope.sender.uri)
        assert senders[0] == senders[2] != senders[1]
        assert all(uri.endswith("anonymous.invalid") for uri in senders)


@pytest.mark.requirement("IDN-05")
def test_where_the_operator_allows_none(tmp_path_factory: pytest.TempPathFactory, new_user: Callable[..., str]) -> None:
    """403 to who wants to set up, or come, without a name; the wish of who is invited is ignored."""
    settings = {"IM_ANONYMITY": "refuse"}
    with instance_with(tmp_path_factory.mktemp("strict"), settings) as instance:
        names = ["alice", "bob"]
        with agents(instance, names) as (alice, bob):
            assert alice.final(begin_session(alice, [address("bob")], "Privacy: id")).status == 403
            call_id = begin_session(alice, [address("bob")])
            answer(bob, bob.receive("INVITE"), "Privacy: id")
            assert alice.final(call_id).status == 200


@pytest.mark.requirement("IDN-07")
async def test_an_anonymous_answer_in_a_group_that_forbids_it(instance: Instance, new_user: Callable[..., str]) -> None:
    """By default the wish is ignored: the others see who it is."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, [alice.name, bob.name])
        bob.answer_headers = [PRIVACY]
        hers = await alice.join(group)
        his = await bob.joined()
        await his.send("seen")
        message = await message_of(hers)
        assert message.envelope is not None and message.envelope.sender is not None
        assert message.envelope.sender.uri == address(bob.name)


@pytest.mark.requirement("IDN-07", "CNF-26")
async def test_an_anonymous_answer_is_released(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With IM_ANONYMOUS_ANSWERS=release it gets BYE, and the initiator 403 as nobody else came."""
    with instance_with(tmp_path_factory.mktemp("release"), {"IM_ANONYMOUS_ANSWERS": "release"}) as instance:
        group = new_group(instance, ["alice", "bob"])
        with agents(instance, ["alice", "bob"]) as (alice, bob):
            call_id = begin(alice, group)
            answer(bob, bob.receive("INVITE"), "Privacy: id")
            assert alice.final(call_id).status == 403
            bob.receive("ACK")
            assert "403" in bob.receive("BYE").value("Reason")


@pytest.mark.requirement("IDN-06", "IDN-08")
async def test_anonymous_in_a_group_that_allows_it(instance: Instance, new_user: Callable[..., str]) -> None:
    """A member who may hide does."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        ruleset = rules((identity(alice.name, bob.name), INITIATE + JOIN + ANONYMITY))
        group = new_group(instance, [alice.name, bob.name], ruleset=ruleset)
        bob.answer_headers = [PRIVACY]
        hers = await alice.join(group)
        his = await bob.joined()
        await his.send("hidden")
        message = await message_of(hers)
        assert message.text == "hidden"
        assert message.envelope is not None and message.envelope.sender is not None
        assert bob.name not in message.envelope.sender.uri
        await his.close()
        assert "410" in await over(hers)
