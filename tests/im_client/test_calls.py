"""Sessions at the level of SIP between two clients: made, refused, cancelled, forked, with what gets lost between."""

from __future__ import annotations

import asyncio

import pytest

from im_client.call import State
from im_client.callee import IncomingCall
from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.errors import NoAnswerError, SessionEndedError, SessionRefusedError
from im_client.invitation import Invite
from im_client.session import Session
from im_client.transport import Target
from tests.im_client.relay import (
    ALICE,
    ANSWER,
    BOB,
    FAST,
    OFFER,
    PATIENCE,
    Pair,
    Passing,
    ended,
    established,
    invited,
    start,
)


@pytest.mark.requirement("CLI-02", "CLI-04")
async def test_invite_answer_release(pair: Pair) -> None:
    ours, theirs = await established(pair)
    invite = pair.relay.log[0]
    assert invite.header("Accept-Contact") == "*;+g.oma.sip-im;require;explicit"
    assert (invite.header("Contact") or "").endswith(";+g.oma.sip-im")
    assert invite.header("Session-Expires") == "1800;refresher=uac"
    assert {"timer", "100rel", "replaces"} <= set((invite.header("Supported") or "").split(", "))
    assert {"INVITE", "CANCEL", "BYE", "UPDATE", "PRACK"} <= set((invite.header("Allow") or "").split(", "))
    assert (invite.header("User-Agent") or "").startswith("IM-client/OMA1.0")
    assert invite.header("P-Asserted-Identity") == f"<{ALICE}>"
    answer = await pair.relay.seen("bob 200 INVITE")
    assert (answer.header("Server") or "").startswith("IM-client/OMA1.0")
    assert answer.header("P-Asserted-Identity") == f"<{BOB}>"
    assert "UPDATE" in (answer.header("Allow") or "")
    assert (answer.header("Session-Expires"), answer.header("Require")) == ("1800;refresher=uac", "timer")
    assert (ours.timer.refreshing, theirs.timer.refreshing) == (True, False)
    await ours.close()
    assert await ended(theirs) == ["released by the peer"]
    assert pair.relay.whats("INVITE", "200 INVITE", "ACK", "BYE", "200 BYE") == [
        "alice INVITE",
        "bob 200 INVITE",
        "alice ACK",
        "alice BYE",
        "bob 200 BYE",
    ]
    assert not len(pair.alice.calls.layer)
    assert not len(pair.bob.calls.layer)


@pytest.mark.requirement("CLI-04")
async def test_the_callee_releases_and_says_why(pair: Pair) -> None:
    ours, theirs = await established(pair)
    await theirs.close([("Reason", 'SIP;cause=410;text="Gone"')])
    assert "Gone" in (await ended(ours))[0]
    with pytest.raises(SessionEndedError):
        await ours.request("UPDATE")


async def test_without_any_server_between() -> None:
    bob = ImClient(ClientConfig(identity=BOB, proxy=Target("127.0.0.1", 1), timers=FAST))
    await bob.start()
    alice = ImClient(ClientConfig(identity=ALICE, proxy=Target(*bob.endpoint.local), timers=FAST))
    answered: list[Session] = []

    async def accept(call: IncomingCall) -> None:
        answered.append(await call.accept(ANSWER))

    bob.calls.on_call = accept
    try:
        await alice.start()
        ours, _ = await alice.calls.outgoing(Invite(to=BOB, body=OFFER)).run()
        await answered[0].established
        await answered[0].close()  # Bob's request goes to Alice's contact, not to his proxy
        assert await ended(ours) == ["released by the peer"]
    finally:
        await alice.close()
        await bob.close()


@pytest.mark.requirement("CLI-04")
@pytest.mark.parametrize("status", [486, 488, 603])
async def test_refusal(pair: Pair, status: int) -> None:
    _, calling = start(pair)
    (await invited(pair)).reject(status, headers=[("Warning", '399 x "busy"')])
    with pytest.raises(SessionRefusedError) as caught:
        await calling
    assert (caught.value.status, caught.value.warning) == (status, "busy")
    await pair.relay.seen("alice ACK")


async def test_nobody_decides(udp_pair: Pair) -> None:
    udp_pair.bob.calls.on_call = None
    _, calling = start(udp_pair)
    with pytest.raises(SessionRefusedError, match="480"):
        await calling


# --- losses


async def test_a_lost_refusal_is_repeated_until_its_ack(udp_pair: Pair) -> None:
    lost: list[str] = []

    def once(passing: Passing) -> bool:
        if passing.what in ("486 INVITE", "ACK") and passing.what not in lost:
            lost.append(passing.what)
            return False
        return True

    udp_pair.relay.filter = once
    _, calling = start(udp_pair)
    (await invited(udp_pair)).reject(486)
    with pytest.raises(SessionRefusedError, match="486"):
        await calling
    await udp_pair.relay.seen("alice ACK", 2, again=True)
    assert lost == ["486 INVITE", "ACK"]


async def test_a_lost_200_is_repeated_and_acknowledged(pair: Pair) -> None:
    """On any transport: the 2xx goes end to end (RFC 3261 section 13.3.1.4)."""
    pair.relay.filter = lambda passing: (
        passing.what != "200 INVITE" or pair.relay.whats(again=True).count("bob 200 INVITE") > 2
    )
    ours, theirs = await established(pair)
    assert pair.relay.whats("200 INVITE", "ACK", again=True)[:4] == ["bob 200 INVITE"] * 3 + ["alice ACK"]
    await ours.close()
    await ended(theirs)


async def test_a_lost_ack_is_sent_again_for_the_next_200(pair: Pair) -> None:
    pair.relay.filter = lambda passing: passing.what != "ACK" or pair.relay.whats(again=True).count("alice ACK") > 2
    ours, theirs = await established(pair)
    assert len(pair.relay.whats("ACK", again=True)) >= 3
    assert (ours.state, theirs.state) == (State.ESTABLISHED, State.ESTABLISHED)


@pytest.mark.requirement("CLI-04")
async def test_a_caller_that_never_acknowledges_is_released(pair: Pair) -> None:
    pair.relay.filter = lambda passing: passing.what != "ACK"
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    ours, _ = await calling
    with pytest.raises(SessionEndedError, match="acknowledge"):
        await theirs.established
    assert await ended(ours) == ["released by the peer"]
    assert pair.relay.whats("BYE") == ["bob BYE"]


async def test_no_bye_before_the_ack(pair: Pair) -> None:
    pair.relay.filter = lambda passing: passing.what != "ACK" or pair.relay.whats(again=True).count("alice ACK") > 2
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    await asyncio.gather(theirs.close(), calling)
    assert pair.relay.whats("ACK", "BYE", again=True)[:4] == ["alice ACK"] * 3 + ["bob BYE"]


async def test_a_callee_that_never_answers(udp_pair: Pair) -> None:
    udp_pair.relay.filter = lambda passing: passing.what != "INVITE"
    _, calling = start(udp_pair)
    with pytest.raises(NoAnswerError):
        await calling


@pytest.mark.requirement("CLI-03")
async def test_a_peer_that_vanishes_ends_the_session(pair: Pair) -> None:
    ours, _ = await established(pair)
    pair.relay.filter = lambda passing: False
    with pytest.raises(NoAnswerError):
        await ours.modify()
    assert await ended(ours) == ["no answer"]


async def test_a_peer_that_forgot_ends_the_session(pair: Pair) -> None:
    ours, theirs = await established(pair)
    pair.bob.calls.layer.remove(theirs.leg.dialog.id)
    assert (await ours.modify()).status == 481
    assert (await ended(ours))[0].startswith("481")
    await pair.relay.seen("alice BYE")  # section 12.2.1.2


# --- CANCEL


@pytest.mark.requirement("CLI-03", "CLI-04")
async def test_cancel(pair: Pair) -> None:
    call, calling = start(pair)
    incoming = await invited(pair)
    ringing = asyncio.ensure_future(incoming.ring(reliably=False))
    await pair.relay.seen("bob 180 INVITE")
    await ringing
    while call.state is not State.RINGING:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(SessionRefusedError, match="487"):
        await calling
    async with asyncio.timeout(PATIENCE):
        await incoming.cancelled.wait()
    with pytest.raises(SessionEndedError):
        await incoming.accept(ANSWER)
    await pair.relay.seen("alice ACK")
    order = pair.relay.whats("CANCEL", "200 CANCEL", "487 INVITE", "ACK")
    assert order[0] == "alice CANCEL"
    assert sorted(order[1:3]) == ["bob 200 CANCEL", "bob 487 INVITE"]


@pytest.mark.requirement("CLI-03")
async def test_cancel_waits_for_a_provisional_response(pair: Pair) -> None:
    pair.relay.filter = lambda passing: not passing.what.startswith("1")
    call, calling = start(pair)
    incoming = await invited(pair)
    call.cancel()
    await pair.relay.seen("bob 100 INVITE")  # 200 ms without answer; lost
    assert "alice CANCEL" not in pair.relay.whats()
    pair.relay.filter = lambda passing: True
    await incoming.ring(reliably=False)
    with pytest.raises(SessionRefusedError, match="487"):
        await calling
    assert pair.relay.whats("CANCEL") == ["alice CANCEL"]


@pytest.mark.requirement("CLI-03", "CLI-04")
async def test_a_200_that_crosses_the_cancel_is_acknowledged_and_released(pair: Pair) -> None:
    held: list[Passing] = []

    def hold(passing: Passing) -> bool:
        if passing.what == "CANCEL":
            held.append(passing)
            return False
        return True

    pair.relay.filter = hold
    call, calling = start(pair)
    incoming = await invited(pair)
    await incoming.ring(reliably=False)
    while call.state is not State.RINGING:
        await asyncio.sleep(0)
    call.cancel()
    await pair.relay.seen("alice CANCEL")
    theirs = await incoming.accept(ANSWER)
    with pytest.raises(SessionRefusedError, match="487"):
        await calling
    assert await ended(theirs) == ["released by the peer"]
    pair.relay.send_on(held[0])
    await pair.relay.seen("bob 200 CANCEL")  # the CANCEL comes too late and changes nothing
    assert pair.relay.whats("ACK", "BYE") == ["alice ACK", "alice BYE"]


async def test_a_cancel_for_nothing_gets_481(udp_pair: Pair) -> None:
    _, calling = start(udp_pair)
    (await invited(udp_pair)).reject(486)
    with pytest.raises(SessionRefusedError):
        await calling
    cancel = udp_pair.relay.log[0].data.replace(b"INVITE sip", b"CANCEL sip").replace(b" INVITE\r\n", b" CANCEL\r\n")
    udp_pair.relay.send_on(Passing("alice", cancel.replace(b"branch=z9hG4bK", b"branch=z9hG4bKother")))
    await udp_pair.relay.seen("bob 481 CANCEL")


async def test_a_caller_that_goes_away_cancels(pair: Pair) -> None:
    _, calling = start(pair)
    incoming = await invited(pair)
    await pair.relay.seen("bob 100 INVITE")
    calling.cancel()
    async with asyncio.timeout(PATIENCE):
        await incoming.cancelled.wait()


@pytest.mark.requirement("CLI-03")
async def test_a_callee_that_ignores_the_cancel_is_given_up(udp_pair: Pair) -> None:
    call, calling = start(udp_pair)
    incoming = await invited(udp_pair)
    await incoming.ring(reliably=False)
    while call.state is not State.RINGING:
        await asyncio.sleep(0)
    udp_pair.relay.filter = lambda passing: passing.origin == "alice"
    call.cancel()
    with pytest.raises(SessionRefusedError, match="487"):
        async with asyncio.timeout(PATIENCE):
            await calling
    async with asyncio.timeout(PATIENCE):  # section 9.1: as good as cancelled, nothing waits for the answer
        while udp_pair.alice.endpoint.live_transactions:
            await asyncio.sleep(0.02)


# --- forks


def forked(passing: Passing) -> bytes:
    """The same response from another phone."""
    return passing.data.replace(b";tag=" + tag_of(passing), b";tag=fork")


def tag_of(passing: Passing) -> bytes:
    return (passing.header("To") or "").partition("tag=")[2].encode()


async def test_the_second_200_of_a_fork_is_acknowledged_and_released(udp_pair: Pair) -> None:
    ours, _ = await established(udp_pair)
    answer = await udp_pair.relay.seen("bob 200 INVITE")
    udp_pair.relay.send_on(Passing("bob", forked(answer)))
    await udp_pair.relay.seen("bob 481 BYE")  # Bob does not know the other phone's dialog
    udp_pair.relay.send_on(Passing("bob", forked(answer)))  # repeated: acknowledged again, released once
    await udp_pair.relay.seen("alice ACK", 3, again=True)
    byes = {passing.data: passing.header("To") or "" for passing in udp_pair.relay.log if passing.what == "BYE"}
    assert [";tag=fork" in to for to in byes.values()] == [True]
    assert ours.alive
