"""REFER with method=BYE: who leaves, who is removed, and what the others see of it (7.2.1.8, 7.2.1.9, RFC 4579 5.11)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from im_client.refer import refer as referral
from im_client.referring import Referring
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import address, new_users, over, text_of
from tests.scenarios.conference.groups import INITIATE, JOIN, identity, new_group, rules
from tests.scenarios.conference.referring import contact_uri, progress, refer, refer_within, stand, status_line, told
from tests.scenarios.conference.signalling import agents, answer, begin, begin_session, ring
from tests.scenarios.conference.watching import RawWatch, Watch

STATE = "<allow-conference-state>true</allow-conference-state>"
EXPEL = "<allow-expelling>true</allow-expelling>"
QUIET = "Refer-Sub: false"


@pytest.mark.requirement("CNF-25", "CNF-26", "CNF-34")
async def test_a_participant_is_removed(instance: Instance, new_user: Callable[..., str]) -> None:
    """BYE with a Reason, its MSRP connection closed, told to the subscribers; the others talk on. He may not come back."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        async with Watch(bob, hers.peer.identity) as watch:
            await watch.until(**{one.name: "connected" for one in (alice, bob, carol)})
            referring = await hers.add([address(carol.name)], remove=True)
            outcome = await referring.outcome()
            assert outcome is not None and outcome.status == 200
            assert "Removed" in await over(third)
            await watch.until(**{one.name: "connected" for one in (alice, bob)})
            assert watch.status(carol.name) == "disconnected"
        await hers.send("without her")
        assert await text_of(his) == "without her"
        with pytest.raises(Exception, match="403"):
            await carol.join(hers.peer.identity)


@pytest.mark.requirement("CNF-25", "CNF-27")
async def test_leaving_by_the_identity(instance: Instance, new_user: Callable[..., str]) -> None:
    """Refer-To is the IM Session Identity: the sender itself goes, and may come back (7.2.1.8-2a)."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        uri = hers.peer.identity
        referring = Referring(bob.client.calls.layer)
        response = await referring.outside(uri, referral([uri], content_id="x@y", method="BYE"))
        assert response.status == 202
        outcome = await referring.outcome()
        assert outcome is not None and outcome.status == 200
        await over(his)
        again = await bob.join(uri)
        await again.send("back")
        assert [await text_of(hers), await text_of(third)] == ["back", "back"]


@pytest.mark.requirement("CNF-25", "CNF-29")
async def test_the_initiator_leaves_so(instance: Instance, new_user: Callable[..., str]) -> None:
    """Within the dialog, which ends with it: the NOTIFY is before the BYE; the release policy ends the session."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name, carol.name])
        his, third = await bob.joined(), await carol.joined()
        referring = await hers.add([hers.peer.identity], remove=True)
        outcome = await referring.outcome()
        assert outcome is not None and outcome.status == 200
        await asyncio.gather(over(hers), over(his), over(third))


@pytest.mark.requirement("CNF-25", "CNF-22")
def test_the_bye_waits_for_the_answer_to_the_last_notify(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who removes himself within the dialog is told before it ends: sent together, the two may overtake each other."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob, carol])
        assert refer_within(alice, session.ok, f"Refer-To: <{session.uri};method=BYE>").status == 202
        notify = alice.receive("NOTIFY")
        assert notify.value("Subscription-State").startswith("terminated")
        assert alice.quiet(0.3)
        alice.reply(notify, 200, "OK")
        alice.accept("BYE")


@pytest.mark.requirement("CNF-25", "CNF-23")
def test_every_header(instance: Instance, new_user: Callable[..., str]) -> None:
    """202 with norefersub, one NOTIFY that ends the subscription, the BYE; with Refer-Sub: false no NOTIFY."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        session = stand(alice, [bob, carol, dave])
        accepted = alice.final(refer(alice, session.uri, to=f"{address(carol.user)};method=BYE"))
        assert accepted.status == 202 and "norefersub" in accepted.value("Supported")
        notify = told(alice)
        assert notify.body == b"SIP/2.0 200 OK\r\n"
        assert notify.value("Subscription-State") == "terminated;reason=noresource"
        assert "Removed" in carol.accept("BYE").value("Reason")
        accepted = refer_within(alice, session.ok, QUIET, f"Refer-To: <{address(dave.user)};method=BYE>")
        assert (accepted.status, accepted.value("Refer-Sub")) == (202, "false")
        dave.accept("BYE")
        assert alice.quiet(0.3)


@pytest.mark.requirement("CNF-25", "CNF-22")
@pytest.mark.parametrize("form", [";method=BYE", "?method=BYE"])
def test_several_are_removed(instance: Instance, new_user: Callable[..., str], form: str) -> None:
    """With a list, the method as parameter or as in the example of RFC 5368; who is not there is told as 403."""
    with agents(instance, [new_user() for _ in range(5)]) as (alice, bob, carol, dave, erin):
        session = stand(alice, [bob, carol, dave])
        listed = [f"{address(one.user)}{form}" for one in (carol, erin, dave)]
        assert alice.final(refer(alice, session.uri, users=listed)).status == 202
        assert progress(alice) == ["SIP/2.0 200 OK", "SIP/2.0 403 Forbidden", "SIP/2.0 200 OK"]
        for one in (carol, dave):
            one.accept("BYE")
        assert bob.quiet(0.2)


@pytest.mark.requirement("CNF-25", "CNF-30")
def test_an_invitation_is_taken_back(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who is only called is called no more; who asked for the call hears 487."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        assert bob.final(refer(bob, session.uri, to=address(carol.user))).status == 202
        told(bob)
        ring(carol, carol.receive("INVITE"))
        assert status_line(told(bob)) == "SIP/2.0 180 Ringing"
        assert alice.final(refer(alice, session.uri, QUIET, to=f"{address(carol.user)};method=BYE")).status == 202
        carol.receive("CANCEL")
        assert status_line(told(bob)) == "SIP/2.0 487 Request Terminated"


@pytest.mark.requirement("CNF-25")
def test_who_may_not_remove(instance: Instance, new_user: Callable[..., str]) -> None:
    """403: a stranger, one who did not begin the session, somebody who is not there, another session."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        session = stand(alice, [bob, carol])
        other = session.uri.replace("im-session-", "im-session-x")
        for sender, uri, to in (
            (dave, session.uri, address(bob.user)),
            (dave, session.uri, session.uri),
            (bob, session.uri, address(carol.user)),
            (alice, session.uri, address(dave.user)),
            (alice, session.uri, other),
            (alice, other, address(bob.user)),
        ):
            assert sender.final(refer(sender, uri, to=f"{to};method=BYE")).status == 403
        assert bob.quiet(0.2) and carol.quiet(0.1)


@pytest.mark.requirement("CNF-25")
def test_removing_from_a_group(instance: Instance, new_user: Callable[..., str]) -> None:
    """Whom the rules allow to expel; leaving needs no right, by the group's URI too."""
    with agents(instance, [new_user() for _ in range(4)]) as people:
        alice, bob, carol, dave = people
        ruleset = rules((identity(*(one.user for one in people)), INITIATE + JOIN + STATE), (identity(bob.user), EXPEL))
        group = new_group(instance, [one.user for one in people], invite=False, ruleset=ruleset)
        for one in people:
            ok = one.final(begin(one, group))
            assert ok.status == 200
            one.send(one.within(ok, "ACK"))
        assert alice.final(refer(alice, group, QUIET, to=f"{address(carol.user)};method=BYE")).status == 403
        assert bob.final(refer(bob, group, QUIET, to=f"{address(carol.user)};method=BYE")).status == 202
        carol.accept("BYE")
        assert dave.final(refer(dave, group, QUIET, to=f"{group};method=BYE")).status == 202
        dave.accept("BYE")
        assert alice.quiet(0.2)


@pytest.mark.requirement("CNF-25", "IDN-08")
async def test_who_is_nameless_is_removed_by_the_uri_shown(instance: Instance, new_user: Callable[..., str]) -> None:
    """Others know only the URI in the roster; it is enough to remove who it stands for."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.answer_headers = [("Privacy", "id")]
        hers = await alice.create([bob.name, carol.name])
        await bob.joined()
        third = await carol.joined()
        await third.send("who am I")
        message = await hers.receive()
        assert message.envelope is not None and message.envelope.sender is not None
        await hers.add([message.envelope.sender.uri], remove=True)
        await over(third)


@pytest.mark.requirement("CNF-25", "IDN-08")
def test_nobody_finds_out_who_is_nameless_by_removing(instance: Instance, new_user: Callable[..., str]) -> None:
    """By the address of who is nameless the answer is that for who is not here; no notification names him either."""
    with agents(instance, [new_user() for _ in range(5)]) as (alice, bob, carol, dave, erin):
        call_id = begin_session(alice, [address(one.user) for one in (bob, carol, dave)])
        for one, headers in ((bob, ()), (carol, ("Privacy: id",)), (dave, ("Privacy: id",))):
            answer(one, one.receive("INVITE"), *headers)
            one.receive("ACK")
        ok = alice.final(call_id)
        alice.send(alice.within(ok, "ACK"))
        room = contact_uri(ok)
        for asker in (alice, bob):
            texts = set()
            for meant in (carol.user, erin.user):
                refused = asker.final(refer(asker, room, to=f"{address(meant)};method=BYE"))
                assert refused.status == 403
                texts.add(refused.value("Warning"))
            assert len(texts) == 1
        watch = RawWatch(alice, room)
        shown = re.findall(r"sip:anonymous-[^\"<]*", watch.notified().body.decode())
        assert len(set(shown)) == 2
        listed = [f"{uri};method=BYE" for uri in (shown[0], address(carol.user), address(dave.user), address(bob.user))]
        call_id = refer(alice, room, users=listed)
        assert alice.final(call_id).status == 202
        told_of = []
        while True:
            notify = alice.receive("NOTIFY")
            alice.reply(notify, 200, "OK")
            if notify.value("Event").startswith("refer"):
                told_of.append(notify.body.decode())
                if notify.value("Subscription-State").startswith("terminated"):
                    break
        assert [text.partition("\r\n")[0][8:11] for text in told_of] == ["200", "403", "403", "200"]
        assert shown[0] in told_of[0]
        bob.accept("BYE")
