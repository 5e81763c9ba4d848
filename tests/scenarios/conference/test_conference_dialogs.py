"""The dialogs of conference subscriptions byte by byte: refreshed, refused, unanswered, over (RFC 6665, 7.2.2.10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.scenarios.agent import FEATURE_TAG, SECONDS, Agent, Message
from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import User, new_users
from tests.scenarios.conference.groups import INITIATE, JOIN, delete, new_group, rules
from tests.scenarios.conference.watching import ACCEPT, EVENT, RawWatch

EVERYBODY = rules(("", JOIN + INITIATE + "<allow-conference-state>true</allow-conference-state>"))


@contextmanager
def agent_of(instance: Instance, new_user: Callable[..., str]) -> Iterator[Agent]:
    """An agent of a user of the test's own, registered."""
    with Agent(instance.sip_port, new_user()) as agent:
        assert agent.register().status == 200
        yield agent


def is_full(notify: Message) -> bool:
    return b'state="full" version=' in notify.body


def version(notify: Message) -> int:
    return int(notify.body.partition(b' version="')[2].partition(b' version="')[2].partition(b'"')[0])


async def join(user: User, group: str) -> None:
    await user.join(group)


@pytest.mark.requirement("CES-03", "CES-08")
def test_the_ladder_of_a_subscription(instance: Instance, new_user: Callable[..., str]) -> None:
    """SUBSCRIBE, 200, NOTIFY; refresh, 200, full NOTIFY; Expires 0, 200, last NOTIFY; then 481."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        watch = RawWatch(agent, group, expires=600)
        assert (watch.answer.status, watch.answer.value("Expires")) == (200, "600")
        assert FEATURE_TAG in watch.answer.value("Contact")
        assert watch.answer.value("Server")
        first = watch.notified(200)
        assert first.value("Event") == "conference"
        assert first.value("Subscription-State") in ("active;expires=600", "active;expires=599")
        assert first.value("Call-ID") == watch.answer.value("Call-ID")
        assert first.value("Contact").startswith("<sip:im-leg-")
        assert (is_full(first), version(first)) == (True, 1)
        refreshed = watch.again(1200)
        assert (refreshed.status, refreshed.value("Expires")) == (200, "1200")
        assert "norefersub" in refreshed.value("Supported")
        second = watch.notified(200)
        assert (is_full(second), version(second)) == (True, 2)
        assert int(second.value("CSeq").split()[0]) > int(first.value("CSeq").split()[0])
        assert watch.again(5).status == 423
        assert watch.again(0).status == 200
        last = watch.notified(200)
        assert last.value("Subscription-State") == "terminated;reason=timeout"
        assert watch.again(600).status == 481
        assert agent.quiet()


@pytest.mark.requirement("CES-02")
async def test_a_subscription_without_the_feature_tag(instance: Instance, new_user: Callable[..., str]) -> None:
    """An IM Session Identity is for IM alone: 403. Whether another address is a group, the core does not ask without it."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        async with new_users(instance, new_user, 1) as (alice,):
            uri = (await alice.join(group)).peer.identity
            fields = (EVENT, ACCEPT, f"Contact: <{agent.contact}>", "Expires: 600")
            assert (await asyncio.to_thread(agent.ask, "SUBSCRIBE", uri, *fields)).status == 403
            assert (await asyncio.to_thread(RawWatch, agent, uri)).answer.status == 200


@pytest.mark.requirement("CES-08")
def test_another_event(instance: Instance, new_user: Callable[..., str]) -> None:
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        answer = agent.ask(
            "SUBSCRIBE", group, "Accept-Contact: *;+g.oma.sip-im;require;explicit", "Event: dialog",
            f"Contact: <{agent.contact}>", "Expires: 600",
        )  # fmt: skip
        assert (answer.status, answer.value("Allow-Events")) == (489, "conference")


@pytest.mark.requirement("CES-08")
async def test_a_subscriber_that_does_not_know_its_subscription(instance: Instance, new_user: Callable[..., str]) -> None:
    """481 to a NOTIFY removes the subscription: nothing more is sent, and a refresh gets 481."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        watch = RawWatch(agent, group)
        await asyncio.to_thread(watch.notified, 481)
        async with new_users(instance, new_user, 1) as (alice,):
            await join(alice, group)
            assert await asyncio.to_thread(agent.quiet, 1.5)
        answer = await asyncio.to_thread(watch.again, 600)
        assert answer.status == 481


@pytest.mark.requirement("CES-06", "CES-08")
async def test_a_subscriber_that_is_busy_gets_the_whole_later(instance: Instance, new_user: Callable[..., str]) -> None:
    """500 with Retry-After: the next document is full and comes then, with the version after the one that failed."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        watch = RawWatch(agent, group)
        await asyncio.to_thread(watch.notified)
        async with new_users(instance, new_user, 2) as (alice, bob):
            await join(alice, group)
            failed = await asyncio.to_thread(watch.notified, 500, "Busy", "Retry-After: 2")
            assert (is_full(failed), version(failed)) == (False, 2)
            await join(bob, group)
            assert await asyncio.to_thread(agent.quiet, 1.2)
            again = await asyncio.to_thread(watch.notified)
            assert (is_full(again), version(again)) == (True, 3)
            assert again.body.count(b"<status>connected</status>") == 2


@pytest.mark.requirement("CES-06")
async def test_one_notification_at_a_time(instance: Instance, new_user: Callable[..., str]) -> None:
    """While a NOTIFY has no answer, no other is sent; what changed meanwhile comes in the next."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        watch = RawWatch(agent, group)
        await asyncio.to_thread(watch.notified)
        async with new_users(instance, new_user, 3) as (alice, bob, carol):
            await join(alice, group)
            waiting = await asyncio.to_thread(agent.receive, "NOTIFY")
            await join(bob, group)
            await join(carol, group)
            assert await asyncio.to_thread(agent.quiet, 1.5)  # retransmissions are no new requests
            agent.reply(waiting, 200, "OK")
            found = await asyncio.to_thread(watch.notified)
            assert (version(waiting), version(found)) == (2, 3)
            assert found.body.count(b"<user ") == 2


@pytest.mark.requirement("CES-07")
def test_the_last_notification_is_repeated_and_nothing_follows(instance: Instance, new_user: Callable[..., str]) -> None:
    """A group is deleted: noresource; while that has no answer, a refresh gets 481; afterwards, too."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    with agent_of(instance, new_user) as agent:
        watch = RawWatch(agent, group)
        watch.notified()
        delete(instance, group)
        last = agent.receive("NOTIFY", SECONDS)
        assert last.value("Subscription-State") == "terminated;reason=noresource"
        assert watch.again(600).status == 481
        agent.reply(last, 200, "OK")
        assert watch.again(600).status == 481
        assert agent.quiet()
