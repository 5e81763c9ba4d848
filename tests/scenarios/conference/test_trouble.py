"""What goes wrong at the focus: those invited are silent, never connect, or answer while all is taken back; the worker dies
in each state of a session. Nothing is left of it, and everybody may come again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.agent import Agent, Message
from tests.scenarios.bed import Instance, instance_with, wait_until
from tests.scenarios.conference.conference import address, all_in, over, text_of, users
from tests.scenarios.conference.referring import refer, stand, status_line, told
from tests.scenarios.conference.signalling import agents, answer, begin_session, refuse, ring
from tests.scenarios.conference.watching import Watch
from tests.scenarios.sessions.test_trouble import metric


def nothing_left(instance: Instance) -> None:
    """Neither legs nor sessions, in memory and in the store."""
    wait_until(lambda: metric(instance, "im_legs") == 0, "no leg is left", 45)
    wait_until(lambda: metric(instance, "im_conference_sessions") == 0, "no session is left")
    node = instance.deployment.config.domain
    wait_until(lambda: not instance.in_store(lambda store: store.legs.of_node(node)), "no leg is stored")


def drain(agent: Agent, seconds: float = 1.0) -> list[Message]:
    """Requests that still come, each answered 200."""
    found = []
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            request = agent.receive(seconds=left)
        except TimeoutError:
            break
        if request.method != "ACK":
            agent.reply(request, 200, "OK")
        found.append(request)
    return found


@pytest.mark.requirement("CNF-08", "CNF-26")
def test_silence(instance: Instance, new_user: Callable[..., str]) -> None:
    """One answers nothing, the others never connect: the session is over when their time is, and BYE says why."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_session(alice, [address(bob.user), address(carol.user)])
        carol.receive("INVITE")
        answer(bob, bob.receive("INVITE"))
        accepted = alice.final(call_id)
        assert accepted.status == 200
        alice.send(alice.within(accepted, "ACK"))
        bob.receive("ACK")
        for one in (alice, bob):
            request = one.receive(seconds=60)
            if request.method == "INVITE":  # an MSRP session is offered once more
                refuse(one, request, 488)
                request = one.receive(seconds=60)
            assert request.method == "BYE"
            assert "503" in request.value("Reason") or "410" in request.value("Reason")
            one.reply(request, 200, "OK")
        nothing_left(instance)


@pytest.mark.requirement("CNF-08", "CNF-09")
@pytest.mark.parametrize("body", [b"", b"v=0\r\nnonsense"])
def test_a_200_without_a_description(instance: Instance, new_user: Callable[..., str], body: bytes) -> None:
    """ACK and BYE for who sends it: alone it is a failure for the initiator, beside another it is none."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_session(alice, [address(bob.user)])
        answer(bob, bob.receive("INVITE"), body=body)
        bob.receive("ACK")
        assert "cause=488" in bob.accept("BYE").value("Reason")
        assert alice.final(call_id).status in (480, 488, 502)
        call_id = begin_session(alice, [address(bob.user), address(carol.user)])
        answer(bob, bob.receive("INVITE"), body=body)
        bob.receive("ACK")
        bob.accept("BYE")
        answer(carol, carol.receive("INVITE"))
        accepted = alice.final(call_id)
        assert accepted.status == 200
        alice.send(alice.within(accepted, "ACK"))
        carol.receive("ACK")
        alice.send(alice.within(accepted, "BYE"))
        carol.accept("BYE")
        nothing_left(instance)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that gives a peer a second to connect."""
    with instance_with(tmp_path_factory.mktemp("impatient"), {"IM_MSRP_PEER_SECONDS": "1"}) as running:
        yield running


@pytest.mark.requirement("CNF-08", "CNF-21", "CNF-26", "CES-04", "MED-08")
async def test_one_never_connects(impatient: Instance) -> None:
    """Who answers 200 and comes to no MSRP connection is offered another one, and removed when that is refused; the
    subscribers are told, the others talk on."""
    instance = impatient
    with agents(instance, ["bob"]) as (bob,):
        async with users(instance, ["alice", "carol"]) as (alice, carol):
            calling = asyncio.ensure_future(alice.create(["bob", "carol"]))
            invite = await asyncio.to_thread(bob.receive, "INVITE")
            answer(bob, invite)
            hers, third = await calling, await carol.joined()
            await asyncio.to_thread(bob.receive, "ACK")
            await all_in(hers, third)
            async with Watch(carol, hers.peer.identity) as watch:
                await watch.until(alice="connected", bob="connected", carol="connected")
                bye = await asyncio.to_thread(until_bye, bob)
                assert "cause=503" in bye.value("Reason")
                await watch.until(alice="connected", carol="connected")
                assert watch.status("bob") == "disconnected"
            await hers.send("the two of us")
            assert await text_of(third) == "the two of us"
            await hers.close()
            await over(third)
            await asyncio.to_thread(nothing_left, instance)


def until_bye(agent: Agent) -> Message:
    """Refuse new offers until BYE comes, which is answered 200."""
    while True:
        request = agent.receive(seconds=40)
        if request.method == "BYE":
            agent.reply(request, 200, "OK")
            return request
        if request.method != "ACK":
            refuse(agent, request, 488)


@pytest.mark.requirement("CNF-08")
def test_nobody_answers_anything(instance: Instance, new_user: Callable[..., str]) -> None:
    """The initiator hears 408 when the transactions of all INVITEs have ended."""
    with agents(instance, [new_user() for _ in range(2)]) as (alice, bob):
        call_id = begin_session(alice, [address(bob.user)])
        bob.receive("INVITE")
        assert alice.final(call_id, seconds=60).status in (408, 480)
        nothing_left(instance)


@pytest.mark.requirement("CNF-30")
@pytest.mark.parametrize("repeat", range(4))
@pytest.mark.parametrize("order", ["200 first", "CANCEL first", "refusal first"])
def test_cancel_and_answer_cross(instance: Instance, new_user: Callable[..., str], order: str, repeat: int) -> None:
    """Whatever is first, each leg ends: 487 or 200 and BYE for the initiator, CANCEL or BYE for who is called."""
    with agents(instance, [new_user() for _ in range(3)]) as (alice, bob, carol):
        call_id = begin_session(alice, [address(bob.user), address(carol.user)])
        invite = next(data for data in reversed(alice.sent) if data.startswith(b"INVITE"))
        invites = {one: one.receive("INVITE") for one in (bob, carol)}
        ring(carol, invites[carol])
        ring(bob, invites[bob])
        if order == "CANCEL first":
            alice.send(alice.cancel(invite))
        if order == "refusal first":
            refuse(bob, invites[bob], 486)
        else:
            answer(bob, invites[bob])
        if order != "CANCEL first":
            alice.send(alice.cancel(invite))
        finals = [alice.final(call_id)]
        while not any(one.value("CSeq").endswith("INVITE") for one in finals):
            finals.append(alice.final(call_id))
        outcome = next(one for one in finals if one.value("CSeq").endswith("INVITE"))
        assert outcome.status in (200, 487)
        if outcome.status == 200:
            alice.send(alice.within(outcome, "ACK"))
        at_carol = [one.method for one in drain(carol, 0.5)]
        assert "CANCEL" in at_carol
        refuse(carol, invites[carol], 487, "Request Terminated")
        if order != "refusal first":
            assert {one.method for one in drain(bob)} & {"BYE", "CANCEL"}
        drain(alice, 0.3)
        nothing_left(instance)


@pytest.mark.requirement("CNF-30", "PFS-09")
def test_cancel_through_participating_functions(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Which stay in the path of the media: the CANCEL of the focus reaches who is called through them too."""
    with (
        instance_with(tmp_path_factory.mktemp("between"), {"IM_MEDIA_PATH": "always"}) as instance,
        agents(instance, ["alice", "bob", "carol"]) as (alice, bob, carol),
    ):
        call_id = begin_session(alice, [address("bob"), address("carol")])
        invites = {one: one.receive("INVITE") for one in (bob, carol)}
        for one, invite in invites.items():
            ring(one, invite)
        assert alice.quiet(0.3)
        alice.send(alice.cancel(next(data for data in reversed(alice.sent) if data.startswith(b"INVITE"))))
        for one, invite in invites.items():
            one.accept("CANCEL")
            refuse(one, invite, 487, "Request Terminated")
        assert {alice.final(call_id).status, alice.final(call_id).status} == {200, 487}
        nothing_left(instance)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose worker may be killed."""
    with instance_with(tmp_path_factory.mktemp("mortal")) as running:
        yield running


def kill_worker(instance: Instance) -> None:
    """SIGKILL, and a new one."""
    instance.deployment.worker.kill()
    instance.deployment.start_worker()
    instance.deployment.wait_ready()


@pytest.mark.requirement("SEC-06", "CNF-17", "CNF-30")
@pytest.mark.parametrize("state", ["inviting", "ringing", "standing", "adding"])
def test_the_worker_dies(mortal: Instance, state: str) -> None:
    """The legs that are stored are released by the next worker; the same users begin anew at once."""
    with agents(mortal, ["alice", "bob", "carol"]) as (alice, bob, carol):
        if state in ("standing", "adding"):
            session = stand(alice, [bob])
            if state == "adding":
                call = refer(alice, session.uri, to=address("carol"))
                assert alice.final(call).status == 202
                assert status_line(told(alice)) == "SIP/2.0 100 Trying"
                called = carol.receive("INVITE")
                ring(carol, called)
                told(alice)
        else:
            call = begin_session(alice, [address("bob")])
            invite = bob.receive("INVITE")
            if state == "ringing":
                ring(bob, invite)
        kill_worker(mortal)
        if state in ("standing", "adding"):
            for one in (alice, bob):
                assert "BYE" in [request.method for request in drain(one)]
            if state == "adding":
                assert "CANCEL" in [request.method for request in drain(carol)]
        else:
            if state == "inviting":
                ring(bob, invite)  # what comes late is ended too
            assert alice.final(call).status == 503
            assert "CANCEL" in [request.method for request in drain(bob)]
            refuse(bob, invite, 487, "Request Terminated")
        again = stand(alice, [bob])
        alice.send(alice.within(again.ok, "BYE"))
        assert "BYE" in [request.method for request in drain(bob)]
        if state == "adding":
            refuse(carol, called, 487, "Request Terminated")
        nothing_left(mortal)
