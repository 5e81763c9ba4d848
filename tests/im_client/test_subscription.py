"""Subscriptions as the subscriber sees them (RFC 6665 section 4.1): the pure states, and the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from im_client import subscription
from im_client.errors import NoAnswerError, SubscriptionError
from im_client.subscriber import CONFERENCE, MESSAGE_SUMMARY, Subscriber
from im_client.subscription import Due, State, Subscription, SubscriptionState, again_after, parse_state
from im_client.timers import BaseTimers
from tests.im_client.conftest import Incoming, Stage, contact, notify

TIMERS = BaseTimers()
ACTIVE = SubscriptionState("active")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("active;expires=60", SubscriptionState("active", 60)),
        ("Terminated ; reason=NoResource;retry-after=5", SubscriptionState("terminated", None, "noresource", 5)),
        ("pending;expires=soon", SubscriptionState("pending")),
        ("", None),
    ],
)
def test_subscription_state(value: str, found: SubscriptionState | None) -> None:
    assert parse_state(value) == found


def asked(now: float = 0.0) -> Subscription:
    return subscription.asked(Subscription(), TIMERS, now)


@pytest.mark.requirement("CLI-03")
def test_life() -> None:
    state = asked()
    assert state.deadline == 32.0  # Timer N
    state = subscription.answered(state, 200, 3600, 0.1)
    assert (state.state, state.ends_at, state.refresh_at) == (State.NOTIFY_WAIT, 3600.1, 3000.1)
    state = subscription.notified(state, SubscriptionState("pending", 3600), 0.2)
    assert (state.state, state.notify_by) == (State.PENDING, None)
    state = subscription.notified(state, SubscriptionState("active", 600), 1.0)  # authoritative
    assert (state.state, state.ends_at, state.refresh_at) == (State.ACTIVE, 601.0, 301.0)
    state, due = subscription.tick(state, 301.0)
    assert due is Due.REFRESH
    state = subscription.asked(state, TIMERS, 301.0)
    assert state.deadline == 333.0
    state = subscription.notified(subscription.answered(state, 200, 600, 301.1), ACTIVE, 301.2)
    state = subscription.asked(state, TIMERS, 400.0, end=True)
    state = subscription.answered(state, 200, 0, 400.1)
    assert not state.over
    state = subscription.notified(state, SubscriptionState("terminated", reason="timeout"), 400.2)
    assert (state.over, state.deadline) == (True, None)
    assert subscription.notified(state, ACTIVE, 401.0) == state


@pytest.mark.parametrize(
    ("status", "over"), [(404, True), (481, True), (489, True), (408, True), (500, False), (503, False), (403, False)]
)
def test_refused_refreshes(status: int, over: bool) -> None:
    state = subscription.notified(asked(), SubscriptionState("active", 600), 1.0)
    state = subscription.asked(state, TIMERS, 300.0)
    after = subscription.answered(state, status, None, 301.0)
    assert after.over is over
    if not over:  # valid until its end (section 4.1.2.2)
        assert (after.ends_at, after.notify_by) == (601.0, None)
        assert subscription.tick(after, 601.0)[0].reason == "expired"


def test_first_refusals_and_silence() -> None:
    assert subscription.answered(asked(), 500, None, 1.0).over
    assert subscription.tick(asked(), 32.0)[0].reason == "no notification came"
    assert subscription.tick(asked(), 31.9)[0] == asked()


@pytest.mark.parametrize(
    ("reason", "wait", "expected"),
    [
        ("deactivated", 7, 0.0),
        ("timeout", None, 0.0),
        ("probation", 7, 7.0),
        ("giveup", None, 0.0),
        ("rejected", 7, None),
        ("noresource", 7, None),
        ("invariant", 7, None),
        ("unheard", 7, None),
    ],
)
def test_when_to_subscribe_again(reason: str, wait: int | None, expected: float | None) -> None:
    over = subscription.notified(asked(), SubscriptionState("terminated", None, reason, wait), 1.0)
    assert again_after(over) == expected


# --- on the wire


async def subscribed(stage: Stage, **options: Any) -> tuple[Subscriber, Incoming]:
    subscriber = Subscriber(stage.client.calls.layer, "sip:alice@example.com", MESSAGE_SUMMARY, **options)
    starting = stage.start(subscriber.start())
    request = await stage.peer.expect("SUBSCRIBE")
    request.reply(200, "OK", "Expires: 600", contact(stage.peer))
    await starting
    return subscriber, request


@pytest.mark.requirement("CLI-03", "CLI-06")
async def test_subscribe_notify_end(stage: Stage) -> None:
    subscriber, request = await subscribed(stage)
    assert request.header("Event") == "message-summary"
    assert request.header("Accept") == "application/simple-message-summary"
    assert request.header("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
    assert (request.header("Contact") or "").endswith(";+g.oma.sip-im")
    stage.peer.send(notify(stage.peer, request, 1, "active;expires=600", b"Messages-Waiting: no\r\n"))
    await stage.peer.expect(200)
    assert (await subscriber.next()).body.data == b"Messages-Waiting: no\r\n"
    ending = stage.start(subscriber.end())
    last = await stage.peer.expect("SUBSCRIBE")
    assert (last.header("Expires"), last.header("Call-ID")) == ("0", request.header("Call-ID"))
    assert ";tag=peer" in (last.header("To") or "")
    last.send(last.response(200, "OK", "Expires: 0").replace(b";tag=peer;tag=peer", b";tag=peer"))
    stage.peer.send(notify(stage.peer, request, 2, "terminated;reason=timeout"))
    await stage.peer.expect(200)
    await ending
    with pytest.raises(EOFError):
        await subscriber.next()
    stage.peer.send(notify(stage.peer, request, 3, "active"))
    await stage.peer.expect(481)
    assert not len(stage.client.calls.layer)


async def test_a_notification_may_come_before_the_answer(stage: Stage) -> None:
    subscriber = Subscriber(stage.client.calls.layer, "sip:alice@example.com", MESSAGE_SUMMARY)
    starting = stage.start(subscriber.start())
    request = await stage.peer.expect("SUBSCRIBE")
    stage.peer.client = getattr(stage.peer, "client", None)
    request.send(notify(stage.peer, request, 1, "active", b"Messages-Waiting: yes\r\n"))
    await stage.peer.expect(200)
    request.reply(200, "OK", "Expires: 600", contact(stage.peer))
    await starting
    assert subscriber.state.state is State.ACTIVE
    assert (await subscriber.next()).body


@pytest.mark.parametrize(
    ("number", "state", "event", "tag", "status"),
    [
        (2, "active", "conference", "peer", 489),
        (2, "", "message-summary", "peer", 400),
        (2, "active", "message-summary", "other", 481),
        (1, "active", "message-summary", "peer", 500),  # older than the one before
    ],
)
async def test_notifications_that_are_not_ours(
    stage: Stage, number: int, state: str, event: str, tag: str, status: int
) -> None:
    subscriber, request = await subscribed(stage)
    stage.peer.send(notify(stage.peer, request, 1, "active"))
    await stage.peer.expect(200)
    bad = notify(stage.peer, request, number, state, event=event, tag=tag).replace(b"branch=z9hG4bKn", b"branch=z9hG4bKbad")
    stage.peer.send(bad)
    await stage.peer.expect(status)
    assert not subscriber.state.over


async def test_refusal_and_silence(udp_stage: Stage) -> None:
    subscriber = Subscriber(udp_stage.client.calls.layer, "sip:room@example.com", CONFERENCE)
    starting = udp_stage.start(subscriber.start())
    (await udp_stage.peer.expect("SUBSCRIBE")).reply(403, "Forbidden", 'Warning: 399 x "no"')
    with pytest.raises(SubscriptionError, match="403"):
        await starting
    silent = Subscriber(udp_stage.client.calls.layer, "sip:room@example.com", CONFERENCE)
    with pytest.raises(NoAnswerError):
        await silent.start()
    assert silent.ended.done()


async def test_without_notification_it_is_over_after_timer_n(udp_stage: Stage) -> None:
    subscriber, _ = await subscribed(udp_stage)
    async with asyncio.timeout(5):
        assert await subscriber.ended == "no notification came"


async def test_refresh_at_half_of_a_short_time(udp_stage: Stage) -> None:
    subscriber, request = await subscribed(udp_stage)
    udp_stage.peer.send(notify(udp_stage.peer, request, 1, "active;expires=1"))
    await udp_stage.peer.expect(200)
    again = await udp_stage.peer.expect("SUBSCRIBE")
    assert (again.header("Expires"), again.header("CSeq")) == ("3600", "2 SUBSCRIBE")
    again.send(again.response(481, "Gone").replace(b";tag=peer;tag=peer", b";tag=peer"))
    async with asyncio.timeout(5):
        assert await subscriber.ended == "refused with 481"
