"""Who is in a session, as subscribers are told (7.2.2.10 to 7.2.2.12, RFC 4575)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.conference.conference import FACTORY, User, address, new_users, over
from tests.scenarios.conference.groups import ANONYMITY, INITIATE, JOIN, delete, identity, new_group, put, rules
from tests.scenarios.conference.watching import Watch, refusal

INTERVAL = 1.0
"""Default of IM_CONFERENCE_NOTIFY_INTERVAL."""
SEE = "<allow-conference-state>true</allow-conference-state>"


def names(*users: User) -> list[str]:
    return [user.name for user in users]


@pytest.mark.requirement("CES-03", "CES-04", "HDR-03", "CNF-34")
async def test_a_participant_is_told_the_whole_at_once(instance: Instance, new_user: Callable[..., str]) -> None:
    """The 200 is that of the focus; the first document is full: who is there, and the conference it is about."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        hers = await alice.create([bob.name], subject="Lunch")
        await bob.joined()
        assert (await bob.invited()).call.header("Allow-Events") == "conference"  # RFC 4579 section 3.4
        async with Watch(bob, hers.peer.identity) as watch:
            assert watch.answer is not None
            assert watch.answer.header("Contact") == f"<{hers.peer.identity}>;isfocus;+g.oma.sip-im"
            assert watch.answer.header("P-Asserted-Identity") == f"<{FACTORY}>"
            assert "norefersub" in (watch.answer.header("Supported") or "")
            assert watch.answer.header("Expires") == "3600"
            (first,) = watch.told
            assert first.body.content_type == "application/conference-info+xml"
            assert first.request.headers.get("Subscription-State") == "active;expires=3600"
            assert b'state="full" version="1"' in first.body.data
            assert watch.conference.entity == hers.peer.identity
            assert watch.conference.active
            assert watch.present == {alice.name: "connected", bob.name: "connected"}
            assert first.body.data.count(b"<endpoint ") == first.body.data.count(b"<user ") == 2
            assert watch.conference.subject == "Lunch"


@pytest.mark.requirement("CES-04", "CNF-33", "CES-05")
async def test_changes_come_as_partial_documents(instance: Instance, new_user: Callable[..., str]) -> None:
    """One rings, answers and leaves: only that is told, with versions that rise by one, under the URI of the list."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.accepts = False
        hers = await alice.create(names(bob, carol))
        async with Watch(alice, hers.peer.identity) as watch:
            invitation = await carol.invited()
            await invitation.ring()
            await watch.until(**{alice.name: "connected", bob.name: "connected", carol.name: "alerting"})
            before = len(watch.told)
            third = await carol.accept(invitation)
            await watch.until(**{alice.name: "connected", bob.name: "connected", carol.name: "connected"})
            await third.close()
            await watch.until(**{alice.name: "connected", bob.name: "connected"})
            assert watch.status(carol.name) == "disconnected"
            for one in watch.told[before:]:
                assert b'state="partial"' in one.body.data
                assert one.body.data.count(b"<user ") == 1
                assert f'<user entity="{address(carol.name)}"'.encode() in one.body.data
            assert watch.conference.version == len(watch.told)


@pytest.mark.requirement("CES-01", "CES-04", "CES-05", "CES-07")
async def test_a_group_is_watched_before_its_session_begins(instance: Instance, new_user: Callable[..., str]) -> None:
    """Without a session a group is there and not active; the session begins, is told under the group's URI, and ends."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, {alice.name: "Alice", bob.name: "Bob"})
        watch = Watch(bob, group)
        async with watch:
            assert (watch.conference.active, watch.present, watch.conference.entity) == (False, {}, group)
            assert watch.answer is not None
            assert watch.answer.header("P-Asserted-Identity") == f"<{group}>"
            hers = await alice.join(group)
            await watch.until(**{alice.name: "connected", bob.name: "connected"})
            assert watch.conference.active
            assert {user.name for user in watch.conference.present} == {"Alice", "Bob"}
            async with Watch(alice, hers.peer.identity) as other:
                assert other.conference.entity == group
                assert other.answer is not None
                assert other.answer.header("P-Asserted-Identity") == f"<{group}>"
            delete(instance, group)
            assert await asyncio.wait_for(watch.subscriber.ended, 10) == "noresource"


@pytest.mark.requirement("CES-05", "IDN-08")
async def test_who_is_anonymous_stays_so(instance: Instance, new_user: Callable[..., str]) -> None:
    """One comes anonymously, another answers so: no byte of any notification tells who they are."""
    async with new_users(instance, new_user, 4) as (alice, bob, carol, dave):
        everybody = names(alice, bob, carol, dave)
        group = new_group(instance, dict(zip(everybody, ("A", "B", "Carola", "D"), strict=True)), invite=True,
                          ruleset=rules(("<is-list-member/>", JOIN + INITIATE + ANONYMITY + SEE)))  # fmt: skip
        carol.accepts = 480
        bob.answer_headers.append(("Privacy", "id"))
        hers = await alice.join(group)
        await bob.joined()
        async with Watch(dave, group) as watch:
            hidden = await carol.join(group, anonymous=True)
            while len(watch.conference.present) < 4:
                await watch.next()
            shown = {user.entity for user in watch.conference.present}
            assert {address(alice.name), address(dave.name)} < shown
            anonymous = shown - {address(alice.name), address(dave.name)}
            assert len(anonymous) == 2
            assert all(uri.endswith("@anonymous.invalid") for uri in anonymous)
            await hidden.close()
            while len(watch.conference.present) > 3:
                await watch.next()
            documents = b"".join(one.body.data for one in watch.told)
            for secret in (carol.name, bob.name, "Carola"):
                assert secret.encode() not in documents
        await hers.close()


@pytest.mark.requirement("CES-06")
async def test_changes_close_together_are_told_together(instance: Instance, new_user: Callable[..., str]) -> None:
    """Many come and go at once: few notifications, at least the interval apart, and nobody is forgotten."""
    async with new_users(instance, new_user, 8) as (alice, *others):
        group = new_group(instance, invite=False, ruleset=rules(("", JOIN + INITIATE + SEE)))
        await alice.join(group)
        async with Watch(alice, group) as watch:
            sessions = [await user.join(group) for user in others]
            await asyncio.gather(*(session.close() for session in sessions[1:]))
            again = [await user.join(group) for user in others[1:4]]
            await watch.until(**{user.name: "connected" for user in (alice, *others[:4])})
            gaps = [later - earlier for earlier, later in itertools.pairwise(watch.times)]
            assert min(gaps) > 0.8 * INTERVAL
            assert len(watch.told) <= 2 + sum(gaps) / INTERVAL
            assert len(again) == 3
            for user in others[4:]:
                assert f":{user.name}@" not in str(watch.present)


@pytest.mark.requirement("CES-07")
async def test_a_session_that_is_over_ends_its_subscriptions(instance: Instance, new_user: Callable[..., str]) -> None:
    """The last notification says noresource and that nobody is there; whoever subscribes then is told 404."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create(names(bob, carol))
        his, third = await bob.joined(), await carol.joined()
        watch = Watch(bob, hers.peer.identity)
        async with watch:
            await hers.close()
            await asyncio.gather(over(his), over(third))
            while watch.conference.active:
                await watch.next()
        assert await watch.subscriber.ended == "noresource"
        assert watch.told[-1].request.headers.get("Subscription-State") == "terminated;reason=noresource"
        assert watch.present == {}
        assert await refusal(bob, hers.peer.identity) == 404


@pytest.mark.requirement("CES-07")
async def test_who_leaves_is_told_no_more(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who leaves a session loses its subscription; the others keep theirs."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        hers = await alice.create(names(bob, carol))
        his, _ = await bob.joined(), await carol.joined()
        async with Watch(carol, hers.peer.identity) as other:
            watch = Watch(bob, hers.peer.identity)
            async with watch:
                await his.close()
                assert await asyncio.wait_for(watch.subscriber.ended, 10) == "noresource"
            await other.until(**{alice.name: "connected", carol.name: "connected"})


@pytest.mark.requirement("CES-01", "CES-02", "CES-08")
async def test_subscriptions_that_are_refused(instance: Instance, new_user: Callable[..., str]) -> None:
    """No such conference 404; not one's own 403; another event 489; another body 406; too short 423."""
    async with new_users(instance, new_user, 3) as (alice, bob, eve):
        hers = await alice.create([bob.name])
        await bob.joined()
        closed = new_group(instance, names(alice, bob), ruleset=rules((identity(alice.name), JOIN + INITIATE + SEE)))
        here = hers.peer.identity
        assert await refusal(alice, f"sip:im-session-{'0' * 22}@{DOMAIN}") == 404
        assert await refusal(alice, f"sip:nogroup@{DOMAIN}") == 404
        assert await refusal(alice, FACTORY) == 404
        assert await refusal(eve, here) == 403
        assert await refusal(bob, closed) == 403
        assert await refusal(alice, closed) == 200
        assert await refusal(bob, here, package=("presence", "application/pidf+xml")) == 489
        assert await refusal(bob, here, package=("conference", "application/pidf+xml")) == 406
        assert await refusal(bob, here, expires=10) == 423


@pytest.mark.requirement("CES-08", "CES-06")
async def test_each_subscription_has_its_own_versions(instance: Instance, new_user: Callable[..., str]) -> None:
    """A fetch is one notification; of two subscriptions of one user each counts for itself."""
    async with new_users(instance, new_user, 3) as (alice, bob, carol):
        carol.accepts = False
        hers = await alice.create(names(bob, carol))
        await bob.joined()
        fetched = Watch(bob, hers.peer.identity, expires=0)
        async with fetched:
            assert await asyncio.wait_for(fetched.subscriber.ended, 10) == "timeout"
        assert len(fetched.told) == 1
        invitation = await carol.invited()
        async with Watch(bob, hers.peer.identity) as early:
            await invitation.ring()
            await early.until(**{alice.name: "connected", bob.name: "connected", carol.name: "alerting"})
            async with Watch(bob, hers.peer.identity) as late:
                assert late.conference.version == 1
                await carol.accept(invitation)
                everybody = dict.fromkeys(names(alice, bob, carol), "connected")
                await asyncio.gather(early.until(**everybody), late.until(**everybody))
                assert late.conference.version == 2


@pytest.mark.requirement("CES-02")
async def test_a_right_that_is_withdrawn(instance: Instance, new_user: Callable[..., str]) -> None:
    """Who may not see a group any more is told so."""
    async with new_users(instance, new_user, 2) as (alice, bob):
        group = new_group(instance, names(alice, bob))
        async with Watch(alice, group):
            watch = Watch(bob, group)
            async with watch:
                put(instance, group, names(alice))
                assert await asyncio.wait_for(watch.subscriber.ended, 10) == "rejected"
            assert await refusal(bob, group) == 403
