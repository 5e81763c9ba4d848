"""The worker stops, dies or hangs while messages flow: what a sender sees, what others see, how it comes back (SEC-06)."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.health import AllWork, Whole
from tests.scenarios.traffic import (
    Flood,
    Peer,
    Reply,
    Sip,
    address,
    ask_all,
    im_message,
    median_seconds,
    plain_message,
)

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
SEEN_WITHIN = {signal.SIGTERM: 0.5, signal.SIGKILL: 0.2, signal.SIGSTOP: 2.0}
"""Seconds until Kamailio knows and answers at once; a heartbeat is missed only after 1.5 s."""
AT_ONCE = 0.15
"""Seconds: a sixth of what a single retransmission would take, far above what a busy machine needs."""
ANSWER_TIMEOUT = 4.0
LAST_REPETITION = 7.5
"""Seconds after the first datagram: when a storm overruns a socket buffer, Timer E brings the lost one again until then."""
GIVEN_UP = 32.0
"""Seconds after which a client gives a request up (RFC 3261 17.1.2, Timer F)."""
SLOWER = 5.0
"""Factor and, in seconds, offset within which `as fast as before` holds on a machine that does other things too."""
NOISE = 0.005


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


async def probes(peer: Peer, user: str) -> dict[str, float]:
    """Median times of what needs no worker: OPTIONS, REGISTER, a relayed MESSAGE without the feature tag."""
    options = Sip("OPTIONS", f"sip:127.0.0.1:{peer.target_port}", address(user))
    return {
        "OPTIONS": await median_seconds(lambda: peer.ask(Sip(options.method, options.uri, options.sender))),
        "REGISTER": await median_seconds(lambda: peer.register(user)),
        "MESSAGE": await median_seconds(lambda: peer.ask(plain_message(user, user))),
    }


def refused_at_once(reply: Reply) -> bool:
    return reply.status == 503 and reply.seconds < AT_ONCE


@pytest.mark.requirement("SEC-06", "DEF-01", "COR-03")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP], ids=lambda how: how.name)
async def test_worker_goes_away_under_load(
    instance: Instance, new_user: Callable[..., str], peer: Peer, how: signal.Signals
) -> None:
    """503 with Retry-After at once, other traffic as before, everything acknowledged kept, recovery by itself."""
    online, absent = new_user(), new_user()
    await peer.register(online)
    assert (await peer.ask(im_message(absent, online))).status == 200
    before = await probes(peer, online)
    with Whole(instance):
        async with Flood(peer, lambda: im_message(online, absent), 200) as flood:
            await async_until(lambda: len(flood.replies) > 50, "messages are stored")
            working = AllWork(instance)
            gone = time.monotonic()
            instance.deployment.worker.send(how)
            meanwhile = await probes(peer, online)
            await asyncio.to_thread(working.confirm)
            refused = await async_until(
                lambda: [r for r in flood.replies.values() if r.sent > gone + SEEN_WITHIN[how]][:100], "refusals"
            )
            to_online = await peer.ask(im_message(absent, online))
        replies = flood.replies
        for kind, median in meanwhile.items():
            assert median < SLOWER * before[kind] + NOISE, (kind, before, meanwhile)
        assert all(refused_at_once(reply) for reply in refused), refused
        assert refused_at_once(to_online)
        for reply in refused:
            assert reply.header("Retry-After") == "5"
            assert reply.header("Warning") == '399 example.com "IM worker is not running"'
        assert {reply.status for reply in replies.values()} == {202, 503}
        assert max(reply.seconds for reply in replies.values()) < ANSWER_TIMEOUT + 1.5
        assert re.search(rf"IM refused 503 SEC-06 MESSAGE Call-ID={last(replies, 503)} ", instance.kamailio_log())

        await come_back(instance, how)
        back = await come_back_seconds(peer, online, absent)
        assert back < 3
        stored = [entry["call_id"] for entry in instance.stored(absent)]
        assert len(set(stored)) == len(stored)
        assert {call_id for call_id, reply in replies.items() if reply.status == 202} <= set(stored)


def last(replies: dict[str, Reply], status: int) -> str:
    """Call-ID of the reply with this status whose request was sent last."""
    return max((reply.sent, call_id) for call_id, reply in replies.items() if reply.status == status)[1]


async def come_back(instance: Instance, how: signal.Signals) -> None:
    """Continue or restart the worker."""
    worker = instance.deployment.worker
    if how is signal.SIGSTOP:
        worker.send(signal.SIGCONT)
        return
    await async_until(lambda: not worker.running(), "the worker has ended")
    await asyncio.to_thread(instance.deployment.start_worker)


async def come_back_seconds(peer: Peer, sender: str, recipient: str) -> float:
    """Ask until a message is accepted; how long it took."""
    start = time.monotonic()
    while True:
        reply = await peer.ask(im_message(sender, recipient))
        if reply.status == 202:
            return time.monotonic() - start
        assert refused_at_once(reply), reply
        assert time.monotonic() < start + 15


@pytest.mark.requirement("SEC-06")
async def test_storm_while_the_worker_hangs(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """5,000 messages in one go at a hung worker freeze no process of Kamailio; each gets its 503 within seconds."""
    online, absent = new_user(), new_user()
    await peer.register(online)
    assert (await peer.ask(im_message(online, absent))).status == 202
    before = await probes(peer, online)
    with Whole(instance):
        instance.deployment.worker.send(signal.SIGSTOP)
        try:
            working = AllWork(instance)
            storms = [asyncio.create_task(storm(instance, online, absent, 1000)) for _ in range(5)]
            meanwhile = await probes(peer, online)
            replies = [reply for task in storms for reply in (await task).values()]
            await asyncio.to_thread(working.confirm)
        finally:
            instance.deployment.worker.send(signal.SIGCONT)
        assert [reply.status for reply in replies] == [503] * 5000
        assert all(reply.header("Retry-After") for reply in replies)
        assert max(reply.seconds for reply in replies) < GIVEN_UP  # the client still waits
        for kind, median in meanwhile.items():
            assert median < 0.1, (kind, before, meanwhile)  # a storm of this size beside it
        await come_back_seconds(peer, online, absent)
        assert len(instance.stored(absent)) == 2, "what was answered 503 is not kept: its sender tries again"


async def storm(instance: Instance, sender: str, recipient: str, count: int) -> dict[str, Reply]:
    """Messages of 1 KiB from a socket of their own, all at once."""
    async with await Peer.open(instance.sip_port) as peer:
        return await ask_all(peer, (im_message(sender, recipient, b"x" * 1000) for _ in range(count)), count)


@pytest.mark.requirement("SEC-06", "DEF-01")
async def test_kamailio_dies_and_returns(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """Kamailio is killed and started again under a running worker: messages flow again by themselves, none twice."""
    sender, absent = new_user(), new_user()
    first = await peer.ask(im_message(sender, absent))
    assert first.status == 202
    for _ in range(2):
        instance.deployment.kamailio.kill()
        await asyncio.to_thread(instance.deployment.start_kamailio)
        assert await come_back_seconds(peer, sender, absent) < 3
    assert len(instance.stored(absent)) == 3
    assert instance.worker_log().count("is gone, reconnecting") >= 2
    assert instance.deployment.worker.running()
