"""REFER that adds users: who may, whom, and what the one who asked is told (7.2.1.7, 7.2.2.7, RFC 3515, 4488, 5368)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from im_client.errors import SubscriptionError
from im_client.refer import refer as referral
from im_client.referring import Referring
from tests.scenarios.bed import Instance, instance_with
from tests.scenarios.conference.conference import address, new_users, text_of
from tests.scenarios.conference.groups import INITIATE, JOIN, identity, new_group, rules
from tests.scenarios.conference.referring import (
    LIST,
    LIST_BODY,
    contact_uri,
    progress,
    refer,
    refer_within,
    stand,
    status_line,
    told,
)
from tests.scenarios.conference.signalling import agents, answer, begin, begin_session, refuse, resource_list, ring
from tests.scenarios.conference.watching import Watch

ADD = "<allow-invite-users-dynamically>true</allow-invite-users-dynamically>"
STATE = "<allow-conference-state>true</allow-conference-state>"
TRYING = "SIP/2.0 100 Trying"


@pytest.mark.requirement("CNF-22", "CNF-24", "CNF-34")
async def test_one_user_is_added(instance: Instance, new_user: Callable[..., str]) -> None:
    """Within the dialog: NOTIFYs until the 200 of the one who was called; then all three talk, and the roster says so."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name])
        his = await bob.joined()
        async with Watch(bob, hers.peer.identity) as watch:
            await watch.until(**{alice.name: "connected", bob.name: "connected"})
            referring = await hers.add([address(carol.name)])
            assert (await referring.next()).status == 100
            outcome = await referring.outcome()
            assert outcome is not None and outcome.status == 200
            third = await carol.joined()
            await watch.until(**{alice.name: "connected", bob.name: "connected", carol.name: "connected"})
        await third.send("here")
        assert [await text_of(hers), await text_of(his)] == ["here", "here"]
        invitation = await carol.invited()
        assert invitation.peer.identity == hers.peer.identity
        assert invitation.call.referred_by == address(alice.name)


@pytest.mark.requirement("CNF-22", "CNF-24")
async def test_by_one_who_was_called(instance: Instance, new_user: Callable[..., str]) -> None:
    """Within the dialog that the focus began; the one who is added adds the next."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        hers = await alice.create([bob.name])
        adding, added = await bob.joined(), (carol, dave)
        for one in added:
            outcome = await (await adding.add([address(one.name)])).outcome()
            assert outcome is not None and outcome.status == 200
            adding = await one.joined()
            await adding.send(one.name)
            assert await text_of(hers) == one.name


@pytest.mark.requirement("CNF-22", "CNF-23")
async def test_several_are_added(instance: Instance, new_user: Callable[..., str]) -> None:
    """By one who was invited, outside any dialog, with a list and without notifications."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        hers = await alice.create([bob.name])
        await bob.joined()
        referring = Referring(bob.client.calls.layer)
        wanted = referral([address(carol.name), address(dave.name)], content_id="some@list")
        response = await referring.outside(hers.peer.identity, wanted)
        assert (response.status, response.header("Refer-Sub")) == (202, "false")
        assert "norefersub" in (response.header("Supported") or "")
        assert referring.over
        for one in (carol, dave):
            session = await one.joined()
            await session.send(one.name)
            assert await text_of(hers) == one.name


@pytest.mark.requirement("CNF-22", "CNF-23", "CNF-24")
def test_a_dialog_of_its_own(instance: Instance, new_user: Callable[..., str]) -> None:
    """Every header of the 202 and of the NOTIFYs: the progress of one invitation from 100 to 200."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        call_id = refer(bob, session.uri, to=f"{address(carol.user)};method=INVITE")
        accepted = bob.final(call_id)
        assert accepted.status == 202
        assert "norefersub" in accepted.value("Supported")
        assert f"<{session.uri}>;isfocus" in accepted.value("Contact")
        assert not accepted.value("Refer-Sub")
        first = told(bob)
        assert status_line(first) == TRYING
        assert first.value("Event") == "refer"
        assert first.value("Content-Type").startswith("message/sipfrag")
        assert first.value("Subscription-State").startswith("active;expires=")
        assert first.value("Call-ID") == call_id
        assert first.value("To").partition(";tag=")[2] and first.value("From").endswith(
            accepted.value("To").partition(";tag=")[2]
        )
        invite = carol.receive("INVITE")
        assert "isfocus" in invite.value("Contact") and session.uri in invite.value("Contact")
        assert address(bob.user) in invite.value("P-Asserted-Identity")
        assert address(bob.user) in invite.value("Referred-By")
        ring(carol, invite)
        assert status_line(told(bob)) == "SIP/2.0 180 Ringing"
        answer(carol, invite)
        last = told(bob)
        assert last.body == b"SIP/2.0 200 OK\r\n"
        assert last.value("Subscription-State") == "terminated;reason=noresource"
        assert bob.quiet()


@pytest.mark.requirement("CNF-23")
@pytest.mark.parametrize("wish", ["Refer-Sub: false", "Norefer-Sub: true", "Refer-Sub: FALSE;x=y"])
def test_no_notifications(instance: Instance, new_user: Callable[..., str], wish: str) -> None:
    """Repeated in the 202, and nothing is told; also in the words of the draft."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        accepted = alice.final(refer(alice, session.uri, wish, to=address(carol.user)))
        assert (accepted.status, accepted.value("Refer-Sub")) == (202, "false")
        answer(carol, carol.receive("INVITE"))
        assert alice.quiet()
        inside = refer_within(alice, session.ok, wish, f"Refer-To: <{address(bob.user)}>")
        assert (inside.status, inside.value("Refer-Sub"), inside.value("Supported")) == (202, "false", "")


@pytest.mark.requirement("CNF-24")
@pytest.mark.parametrize(
    ("status", "reason"), [(302, "Elsewhere"), (404, "Nobody"), (486, "Busy Here"), (603, "Decline"), (500, "Broken")]
)
def test_who_does_not_come(instance: Instance, new_user: Callable[..., str], status: int, reason: str) -> None:
    """The failure is the last thing told, and the session goes on."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        call_id = refer(alice, session.uri, to=address(carol.user))
        assert alice.final(call_id).status == 202
        assert status_line(told(alice)) == TRYING
        refuse(carol, carol.receive("INVITE"), status, reason)
        last = told(alice)
        assert last.value("Subscription-State") == "terminated;reason=noresource"
        assert status_line(last).startswith(f"SIP/2.0 {status} " if status != 500 else "SIP/2.0 500 ")
        assert bob.quiet(0.2)


@pytest.mark.requirement("CNF-24", "CNF-13")
def test_a_warning_is_passed_on(instance: Instance, new_user: Callable[..., str]) -> None:
    """403 "isfocus already assigned" of another focus: its Warning is in the fragment (7.2.1.7, after the note)."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        alice.final(refer(alice, session.uri, to=address(carol.user)))
        told(alice)
        invite = carol.receive("INVITE")
        carol.reply(invite, 403, "Forbidden", 'Warning: 399 other.example "isfocus already assigned"')
        assert told(alice).body == b'SIP/2.0 403 Forbidden\r\nWarning: 399 other.example "isfocus already assigned"\r\n'


@pytest.mark.requirement("CNF-24")
@pytest.mark.parametrize("body", [b"", b"v=0\r\nnonsense"])
def test_an_answer_that_cannot_be_used(instance: Instance, new_user: Callable[..., str], body: bytes) -> None:
    """200 without a usable description: BYE, and a failure is told."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        alice.final(refer(alice, session.uri, to=address(carol.user)))
        told(alice)
        answer(carol, carol.receive("INVITE"), body=body)
        assert status_line(told(alice)).split()[1] in ("488", "502")
        carol.receive("ACK")
        carol.accept("BYE")


@pytest.mark.requirement("CNF-24", "CNF-22")
def test_a_list_with_progress(instance: Instance, new_user: Callable[..., str]) -> None:
    """One subscription for all: each NOTIFY names its user, the last ends it; who is here already needs no call."""
    with agents(instance, [new_user() for _ in range(5)]) as (alice, bob, carol, dave, erin):
        session = stand(alice, [bob])
        listed = [address(one.user) for one in (carol, dave, bob, alice, carol)]
        call_id = refer(alice, session.uri, users=[*listed, f"{address(erin.user)};method=INVITE"])
        assert alice.final(call_id).status == 400, "one method for all"
        call_id = refer(alice, session.uri, users=[*listed, address(erin.user)])
        assert alice.final(call_id).status == 202
        first = told(alice)
        assert first.body.decode() == f"SIP/2.0 200 OK\r\nTo: <{address(bob.user)}>\r\n"
        refuse(dave, dave.receive("INVITE"), 486)
        assert told(alice).body.decode() == f"SIP/2.0 486 No\r\nTo: <{address(dave.user)}>\r\n"
        answer(carol, carol.receive("INVITE"))
        third = told(alice)
        assert third.body.decode() == f"SIP/2.0 200 OK\r\nTo: <{address(carol.user)}>\r\n"
        assert third.value("Subscription-State").startswith("active")
        answer(erin, erin.receive("INVITE"))
        last = told(alice)
        assert last.value("Subscription-State") == "terminated;reason=noresource"
        carol.receive("ACK")
        assert carol.quiet(0.2) and bob.quiet(0.1), "nobody is called twice"


@pytest.mark.requirement("CNF-24")
def test_what_happens_while_a_notify_is_out(instance: Instance, new_user: Callable[..., str]) -> None:
    """Merged: of each user only the last is told when the subscriber has answered."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        alice.final(refer(alice, session.uri, to=address(carol.user)))
        first = alice.receive("NOTIFY")
        invite = carol.receive("INVITE")
        ring(carol, invite)
        answer(carol, invite)
        assert carol.receive("ACK") and carol.quiet(0.3), "the focus knows of the 200"
        alice.reply(first, 200, "OK")
        assert progress(alice) == ["SIP/2.0 200 OK"]


@pytest.mark.requirement("CNF-24")
@pytest.mark.parametrize("status", [481, 489, 500])
def test_a_subscriber_that_vanishes(instance: Instance, new_user: Callable[..., str], status: int) -> None:
    """It is told no more; the invitation goes on (RFC 3515 section 2.4.4)."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        for inside in (False, True):
            if inside:
                assert refer_within(alice, session.ok, f"Refer-To: <{address(carol.user)}>").status == 202
            else:
                assert alice.final(refer(alice, session.uri, to=address(carol.user))).status == 202
            told(alice, status)
            invite = carol.receive("INVITE")
            ring(carol, invite)
            assert alice.quiet(0.3)
            refuse(carol, invite, 480)
            assert alice.quiet(0.3)


@pytest.mark.requirement("CNF-24")
def test_two_referrals_in_one_dialog(instance: Instance, new_user: Callable[..., str]) -> None:
    """Their NOTIFYs are told apart by the CSeq of the REFER (RFC 3515 section 2.4.6)."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        session = stand(alice, [bob])
        numbers = []
        for one in (carol, dave):
            accepted = refer_within(alice, session.ok, f"Refer-To: <{address(one.user)}>")
            assert accepted.status == 202
            numbers.append(accepted.value("CSeq").split()[0])
            assert told(alice).value("Event") == f"refer;id={numbers[-1]}"
        refuse(dave, dave.receive("INVITE"), 486)
        assert told(alice).value("Event") == f"refer;id={numbers[1]}"
        answer(carol, carol.receive("INVITE"))
        last = told(alice)
        assert (last.value("Event"), status_line(last)) == (f"refer;id={numbers[0]}", "SIP/2.0 200 OK")


@pytest.mark.requirement("CNF-24")
def test_unsubscribing(instance: Instance, new_user: Callable[..., str]) -> None:
    """SUBSCRIBE with Expires 0 ends the NOTIFYs, not the invitation; another one finds nothing."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        call_id = refer(alice, session.uri, to=address(carol.user))
        accepted = alice.final(call_id)
        told(alice)
        invite = carol.receive("INVITE")
        for expires, state in ((120, "active"), (0, "terminated;reason=timeout")):
            fields = (f"Event: refer\r\nContact: <{alice.contact}>\r\nExpires: {expires}\r\nContent-Length: 0").encode()
            alice.send(alice.within(accepted, "SUBSCRIBE").replace(b"Content-Length: 0", fields))
            assert alice.final(call_id).status == 200
            assert told(alice).value("Subscription-State").startswith(state)
        answer(carol, invite)
        assert carol.receive("ACK") and alice.quiet(0.3)


@pytest.mark.requirement("CNF-31", "CNF-22")
def test_who_may_not_add(instance: Instance, new_user: Callable[..., str]) -> None:
    """A stranger, and anybody to a session that is not there: 403, and nobody is called."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        session = stand(alice, [bob])
        assert carol.final(refer(carol, session.uri, to=address(dave.user))).status == 403
        unknown = session.uri.replace("im-session-", "im-session-x")
        assert alice.final(refer(alice, unknown, to=address(dave.user))).status == 403
        assert dave.quiet(0.3)


@pytest.mark.requirement("CNF-31")
def test_only_the_initiator_adds(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Local policy IM_ADHOC_ADDING."""
    with (
        instance_with(tmp_path_factory.mktemp("initiator"), {"IM_ADHOC_ADDING": "initiator"}) as instance,
        agents(instance, ["alice", "bob", "carol"]) as (alice, bob, carol),
    ):
        session = stand(alice, [bob])
        assert bob.final(refer(bob, session.uri, to=address("carol"))).status == 403
        assert alice.final(refer(alice, session.uri, to=address("carol"))).status == 202
        carol.receive("INVITE")


@pytest.mark.requirement("CNF-22")
def test_too_many(tmp_path_factory: pytest.TempPathFactory) -> None:
    """486 with its Warning for the whole request; the invited count, the refused do not any more."""
    with (
        instance_with(tmp_path_factory.mktemp("three"), {"IM_ADHOC_MAX_PARTICIPANTS": "3"}) as instance,
        agents(instance, ["alice", "bob", "carol", "dave"]) as (alice, bob, carol, dave),
    ):
        session = stand(alice, [bob])
        both = [address("carol"), address("dave")]
        refused = alice.final(refer(alice, session.uri, users=both))
        assert refused.status == 486 and '"Too many participants"' in refused.value("Warning")
        assert alice.final(refer(alice, session.uri, to=both[0])).status == 202
        told(alice)
        invite = carol.receive("INVITE")
        assert alice.final(refer(alice, session.uri, "Refer-Sub: false", to=both[1])).status == 486
        refuse(carol, invite, 603)
        assert status_line(told(alice)) == "SIP/2.0 603 No"
        assert alice.final(refer(alice, session.uri, "Refer-Sub: false", to=both[1])).status == 202
        dave.receive("INVITE")


@pytest.mark.requirement("CNF-22")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        (("Refer-To: <sip:a@example.com>", "Refer-To: <sip:b@example.com>"), 400),
        (("Refer-To: <http://example.com/>",), 400),
        (("Refer-To: <cid:nothing@example.com>", "Require: multiple-refer"), 400),
        (("Refer-To: <sip:>",), 400),
        (("Refer-To: <sip:a@example.com;method=MESSAGE>",), 403),
        (("Refer-To: <sip:a@example.com>", "Require: some-extension"), 420),
    ],
)
def test_what_cannot_be_done(
    instance: Instance, new_user: Callable[..., str], headers: tuple[str, ...], status: int
) -> None:
    """Refused outside and inside of the dialog alike."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        session = stand(alice, [bob])
        outside = alice.final(refer(alice, session.uri, *headers))
        inside = refer_within(alice, session.ok, *headers)
        assert (outside.status, inside.status) == (status, status)
        if status == 420:
            assert outside.value("Unsupported") == inside.value("Unsupported") == "some-extension"


@pytest.mark.requirement("CNF-22", "CNF-05")
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<not xml", 400), (resource_list(["http://example.com/"]), 400), (resource_list([]), 400)],
)
def test_lists_that_cannot_be_served(instance: Instance, new_user: Callable[..., str], body: bytes, status: int) -> None:
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        session = stand(alice, [bob])
        assert refer_within(alice, session.ok, *LIST, *LIST_BODY, body=body).status == status


@pytest.mark.requirement("CNF-31", "IDN-06")
def test_adding_to_a_group(instance: Instance, new_user: Callable[..., str]) -> None:
    """By the rules of the group: who may add, who may be added, and whether under no name; by its URI too."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        everybody = identity(*(one.user for one in (alice, bob, carol)))
        ruleset = rules((everybody, INITIATE + JOIN + STATE), (identity(alice.user), ADD))
        group = new_group(instance, [alice.user, bob.user], invite=False, ruleset=ruleset)
        assert alice.final(refer(alice, group, to=address(carol.user))).status == 403, "there is no session"
        for one in (alice, bob):
            ok = one.final(begin(one, group))
            assert ok.status == 200
            one.send(one.within(ok, "ACK"))
        assert bob.final(refer(bob, group, to=address(carol.user))).status == 403
        assert alice.final(refer(alice, group, "Privacy: id", to=address(carol.user))).status == 403
        assert alice.final(refer(alice, group, to=address(dave.user))).status == 403
        call_id = refer(alice, group, users=[address(dave.user), address(carol.user)])
        assert alice.final(call_id).status == 202
        assert told(alice).body.decode() == f"SIP/2.0 403 Forbidden\r\nTo: <{address(dave.user)}>\r\n"
        answer(carol, carol.receive("INVITE"))
        assert progress(alice) == ["SIP/2.0 200 OK"]
        assert dave.quiet(0.2)


@pytest.mark.requirement("CNF-22")
def test_a_group_is_added(instance: Instance, new_user: Callable[..., str]) -> None:
    """To an ad-hoc session, its members; only by one of them."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        group = new_group(instance, [alice.user, carol.user, dave.user])
        session = stand(alice, [bob])
        assert bob.final(refer(bob, session.uri, to=group)).status == 403
        assert alice.final(refer(alice, session.uri, "Refer-Sub: false", to=group)).status == 202
        for one in (carol, dave):
            answer(one, one.receive("INVITE"))
            one.receive("ACK")


@pytest.mark.requirement("IDN-08", "IDN-04")
def test_privacy_lasts(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who is anonymous in the session invites so; who answers so is named so, and not found out by another REFER."""
    with agents(instance, [new_user() for _ in range(4)]) as (alice, bob, carol, dave):
        session = stand(alice, [bob], "Privacy: id")
        call_id = refer(alice, session.uri, users=[address(carol.user), address(dave.user)])
        assert alice.final(call_id).status == 202
        told(alice)
        invite = carol.receive("INVITE")
        assert invite.value("Privacy") == "id"
        assert alice.user not in invite.head.replace("im-session", "")
        answer(carol, invite, "Privacy: id")
        notify = told(alice)
        assert b"@anonymous.invalid>" in notify.body and carol.user not in notify.raw.decode()
        refuse(dave, dave.receive("INVITE"), 480)
        assert progress(alice) == ["SIP/2.0 480 No"]
        call_id = refer(bob, session.uri, to=address(carol.user))
        assert bob.final(call_id).status == 202
        assert progress(bob) == ["SIP/2.0 100 Trying", "SIP/2.0 480 Temporarily Unavailable"]
        for words in ("user", "none"):  # neither takes back what was asked for when the session began
            call_id = refer(alice, session.uri, f"Privacy: {words}", to=address(dave.user))
            assert alice.final(call_id).status == 202
            told(alice)
            invite = dave.receive("INVITE")
            assert alice.user not in invite.head.replace("im-session", "")
            refuse(dave, invite, 480)
            assert progress(alice) == ["SIP/2.0 480 No"]


@pytest.mark.requirement("CNF-24", "CNF-30")
def test_the_session_ends_meanwhile(instance: Instance, new_user: Callable[..., str]) -> None:
    """Its invitations are cancelled: 487 is the last thing told."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        session = stand(alice, [bob])
        assert bob.final(refer(bob, session.uri, to=address(carol.user))).status == 202
        told(bob)
        invite = carol.receive("INVITE")
        ring(carol, invite)
        assert status_line(told(bob)) == "SIP/2.0 180 Ringing"
        alice.send(alice.within(session.ok, "BYE"))
        assert carol.receive("CANCEL").value("Call-ID") == invite.value("Call-ID")
        seen = {one.method: one for one in (bob.receive(), bob.receive())}
        assert set(seen) == {"BYE", "NOTIFY"}
        assert status_line(seen["NOTIFY"]) == "SIP/2.0 487 Request Terminated"
        assert seen["NOTIFY"].value("Subscription-State") == "terminated;reason=noresource"


@pytest.mark.requirement("CNF-22", "CNF-20")
async def test_who_is_called_comes_by_himself(instance: Instance, new_user: Callable[..., str]) -> None:
    """His pending invitation is cancelled, and counts as answered."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.accepts = False
        hers = await alice.create([bob.name])
        await bob.joined()
        referring = await hers.add([address(carol.name)])
        await carol.invited()
        third = await carol.join(hers.peer.identity)
        outcome = await referring.outcome()
        assert outcome is not None and outcome.status == 200
        await third.send("by myself")
        assert await text_of(hers) == "by myself"


@pytest.mark.requirement("CNF-22")
async def test_refused_to_the_client(instance: Instance, new_user: Callable[..., str]) -> None:
    """403 with its Warning is what the reference client hears."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create([bob.name])
        with pytest.raises(SubscriptionError) as caught:
            await Referring(carol.client.calls.layer).outside(
                hers.peer.identity, referral([address(carol.name)], content_id="x@y")
            )
        assert caught.value.status == 403


@pytest.mark.requirement("IDN-08", "CNF-24")
def test_nobody_finds_out_who_is_nameless_by_adding(instance: Instance, new_user: Callable[..., str]) -> None:
    """What is told of who is here under no name is to the byte what is told of somebody who is not registered."""
    away = address(new_user())
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_session(alice, [address(bob.user), address(carol.user)])
        for one, headers in ((bob, ()), (carol, ("Privacy: id",))):
            answer(one, one.receive("INVITE"), *headers)
            one.receive("ACK")
        ok = alice.final(call_id)
        alice.send(alice.within(ok, "ACK"))
        found = []
        for meant in (away, address(carol.user)):
            assert bob.final(refer(bob, contact_uri(ok), to=meant)).status == 202
            bodies = [told(bob)]
            while not bodies[-1].value("Subscription-State").startswith("terminated"):
                bodies.append(told(bob))
            found.append([one.body for one in bodies])
        assert found[0] == found[1]
        assert found[0][-1].startswith(b"SIP/2.0 480 ")
