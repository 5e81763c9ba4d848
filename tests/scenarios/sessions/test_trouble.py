"""Bridged sessions when the worker dies, a peer falls silent, or a storm of invitations comes (SEC-02, SEC-06, PFS-10)."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.conference.silent import one_does_not_refresh
from tests.scenarios.evidence import address
from tests.scenarios.sessions.party import ALLOW, SDP, Party, described
from tests.scenarios.traffic import FEATURE_TAG, Peer, Reply, Sip
from tests.scenarios.traffic import address as of

SETTINGS = {"IM_MEDIA_PATH": "always", "IM_TRUSTED_PEERS": "127.0.0.9", "IM_MSRP_PEER_SECONDS": "600"}
NewUser = Callable[..., str]
STORM = 600
"""INVITEs to one user at once, three times what a user may get in ten seconds."""
AT_ONCE = 80
"""INVITEs that find a new Kamailio: fewer than may ring at one user."""
EXPIRY_SECONDS = 75.0
"""The smallest session interval is 90 s (RFC 4028 section 4); a side that does not refresh gives up 30 s before its end."""


def metrics(instance: Instance) -> str:
    """What /metrics shows."""
    config = instance.deployment.config
    with urllib.request.urlopen(f"http://{config.listen}:{config.http_port}/metrics", timeout=5) as answer:
        return str(answer.read(), "utf-8")


def metric(instance: Instance, name: str) -> float:
    """One value of it."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics(instance), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def stand(caller: Party, callee: Party, *headers: str) -> None:
    caller.invite(address(callee.user), described("caller"), *headers)
    invite = callee.invited()
    callee.answer(invite, 200, body=described("callee", setup="active"))
    caller.established()
    callee.heard("ACK")


@pytest.mark.requirement("SEC-06", "PFS-09")
def test_a_worker_that_was_killed_releases_what_it_had(instance: Instance, new_user: NewUser) -> None:
    """kill -9 with a session that stands and an invitation that rings: BYE with a Reason to both sides of the one, 503 and
    CANCEL for the other; afterwards nothing is left, and the next session stands."""
    with (
        Party(instance.sip_port, new_user()) as caller,
        Party(instance.sip_port, new_user()) as callee,
        Party(instance.sip_port, new_user()) as other,
        Party(instance.sip_port, new_user()) as ringing,
    ):
        for party in (caller, callee, other, ringing):
            party.register()
        stand(caller, callee)
        other.invite(address(ringing.user), described("other"))
        invite = ringing.invited()
        ringing.answer(invite, 180)
        other.provisional(180)
        assert (metric(instance, "im_sessions_bridged"), metric(instance, "im_legs")) == (2, 4)
        instance.deployment.worker.kill()
        assert caller.ask_within("UPDATE").status == 503
        instance.deployment.start_worker()
        instance.deployment.wait_ready()
        for party in (caller, callee):
            bye = party.heard("BYE")
            assert bye.value("Reason") == 'SIP;cause=503;text="Service restarted"'
            party.answer(bye, 200)
        refused = other.final(other.call_id)
        assert (refused.status, refused.value("Retry-After")) == (503, "5")
        ringing.answer(ringing.heard("CANCEL"), 200)
        ringing.answer(invite, 487)
        wait_until(lambda: metric(instance, "im_legs") == 0, "no leg is left")
        stand(caller, callee)
        number = callee.begin_within("BYE")
        caller.answer(caller.heard("BYE"), 200)
        assert callee.outcome_of(number).status == 200
        wait_until(lambda: metric(instance, "im_legs") == 0, "no leg is left")


@pytest.mark.requirement("SEC-06")
def test_an_invitation_that_the_dead_worker_never_read(instance: Instance, new_user: NewUser) -> None:
    """The worker hangs, is asked, and dies of kill -9: who has invited hears 503 from the next one, not from a timer; who
    was answered before hears nothing more."""
    with Party(instance.sip_port, new_user()) as caller, Party(instance.sip_port, new_user()) as callee:
        for party in (caller, callee):
            party.register()
        caller.invite(address(callee.user), described("caller"))
        callee.answer(callee.invited(), 486)
        assert caller.final(caller.call_id).status == 486
        wait_until(lambda: not waiting(instance), "nobody waits")
        instance.deployment.worker.send(signal.SIGSTOP)
        caller.invite(address(callee.user), described("caller"))
        wait_until(lambda: waiting(instance), "an INVITE waits")
        instance.deployment.worker.kill()
        instance.deployment.start_worker()
        instance.deployment.wait_ready()
        refused = caller.final(caller.call_id)
        assert (refused.status, refused.value("Retry-After")) == (503, "5")
        assert "SEC-06 1 invitations that waited for the worker before this one: 503" in instance.worker_log()
        wait_until(lambda: not waiting(instance), "nobody waits")


def waiting(instance: Instance) -> object:
    """What Kamailio's table of waiting INVITEs has."""
    return instance.deployment.rpc("htable.dump", "im_waiting")


@pytest.mark.requirement("PFS-10", "PFS-12", "CNF-28", "CNF-27", "CES-04")
def test_the_session_timer_runs_out(
    instance: Instance, new_user: NewUser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The side that was to refresh does not, the caller of one session and the callee of the other: BYE on both legs. A
    participant of a conference does not, in the same minute: it is out, and the others talk on."""
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        directory = tmp_path_factory.mktemp("conference")
        conference = thread.submit(lambda: asyncio.run(one_does_not_refresh(directory, EXPIRY_SECONDS)))
        parties = [stack.enter_context(Party(instance.sip_port, new_user())) for _ in range(4)]
        for party in parties:
            party.register()
        for caller, callee, theirs, ours in (
            (*parties[:2], "90;refresher=uac", "1800;refresher=uas"),
            (*parties[2:], "1800;refresher=uas", "90;refresher=uas"),
        ):
            caller.invite(address(callee.user), described("caller"), "Supported: timer", f"Session-Expires: {theirs}")
            invite = callee.invited()
            assert invite.value("Session-Expires") == "1800;refresher=uas"
            timer = (f"Session-Expires: {ours}", "Require: timer")
            callee.answer(invite, 200, *timer, body=described("callee", setup="active"))
            answer = caller.established()
            assert answer.value("Session-Expires") == theirs
            assert answer.value("Require") == "timer"
            callee.heard("ACK")
        for party in parties:
            bye = party.receive("BYE", EXPIRY_SECONDS)
            assert "cause=408" in bye.value("Reason")
            party.answer(bye, 200)
        wait_until(lambda: metric(instance, "im_legs") == 0, "no leg is left")
        conference.result()


@pytest.fixture
async def crowd(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port, "127.0.0.9") as peer:
        yield peer


async def invite(crowd: Peer, request: Sip) -> Reply:
    """Send an INVITE and acknowledge its failure (RFC 3261 section 17.1.1.3)."""
    reply = await crowd.ask(request)
    ack = dataclasses.replace(request, method="ACK", headers=(), body=b"").bytes(crowd.host, crowd.port)
    crowd.send(ack.replace(f"To: <{request.uri}>".encode(), f"To: {reply.header('To')}".encode()))
    return reply


@pytest.mark.requirement("SEC-02", "PFS-02")
async def test_a_storm_of_invitations(instance: Instance, new_user: NewUser, crowd: Peer) -> None:
    """From many at once to one user, whose device lets them ring: some ring, the others hear 503 with Retry-After;
    once they are answered nothing is left, and another user was reached all the time."""
    victim, other = new_user(), new_user()
    with Party(instance.sip_port, victim) as device, Party(instance.sip_port, other) as bystander:
        await asyncio.to_thread(device.register)
        await asyncio.to_thread(bystander.register)
        body = described("crowd")

        def invitation(number: int, user: str) -> Sip:
            asserted = f"P-Asserted-Identity: <sip:guest{number}@elsewhere.example>"
            contact = f"Contact: <sip:guest@127.0.0.9:{crowd.port}>"
            lines = (FEATURE_TAG, asserted, contact, ALLOW, SDP)
            return Sip("INVITE", of(user), f"sip:guest{number}@elsewhere.example", lines, body)

        storm = asyncio.gather(*(invite(crowd, invitation(number, victim)) for number in range(STORM)))
        reached = asyncio.ensure_future(invite(crowd, invitation(STORM, other)))
        request = await asyncio.to_thread(bystander.receive, "INVITE")
        bystander.answer(request, 486)
        assert (await reached).status == 486
        rung = 0
        deadline = time.monotonic() + 20
        while not storm.done() and time.monotonic() < deadline:
            try:
                ringing = await asyncio.to_thread(device.receive, "", 1.0)
            except TimeoutError:
                continue
            if ringing.method == "INVITE":
                rung += 1
                device.answer(ringing, 603)
        replies = await storm
        statuses = Counter(reply.status for reply in replies)
        assert set(statuses) == {503, 603}, statuses
        assert statuses[603] == rung <= 220
        assert all(reply.header("Retry-After") for reply in replies if reply.status == 503)
        await asyncio.to_thread(wait_until, lambda: metric(instance, "im_legs") == 0, "no leg is left")


@pytest.mark.requirement("SEC-06", "PFS-02")
async def test_a_storm_right_after_a_restart_of_kamailio(instance: Instance, new_user: NewUser) -> None:
    """All processes of the new Kamailio have to do with the worker at once: none of what they send for it is lost, so that
    everybody hears that nobody is there, and not 408 half a minute later."""
    absent = new_user()
    for _ in range(2):
        await asyncio.to_thread(instance.deployment.kamailio.stop)
        await asyncio.to_thread(instance.deployment.start_kamailio)
        await asyncio.to_thread(instance.deployment.wait_ready)
        async with await Peer.open(instance.sip_port, "127.0.0.9") as crowd:
            contact = f"Contact: <sip:guest@127.0.0.9:{crowd.port}>"
            invitations = [
                Sip(
                    "INVITE",
                    of(absent),
                    f"sip:guest{number}@elsewhere.example",
                    (FEATURE_TAG, f"P-Asserted-Identity: <sip:guest{number}@elsewhere.example>", contact, ALLOW, SDP),
                    described("crowd"),
                )
                for number in range(AT_ONCE)
            ]
            replies = await asyncio.gather(*(invite(crowd, one) for one in invitations))
        assert Counter(reply.status for reply in replies) == {480: AT_ONCE}


def test_every_metric_is_documented(instance: Instance) -> None:
    """The operator finds each name in docs/operating.md."""
    text = (Path(__file__).parents[3] / "docs/operating.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^(im_\w+?)(?:_created)?[ {]", metrics(instance), re.MULTILINE))
    assert len(names) > 20
    assert {name for name in names if f"`{name}" not in text} == set()
