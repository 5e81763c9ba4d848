"""Sessions at the level of SIP between two clients, with everything that goes wrong between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from im_client.body import NOTHING, SDP, Body
from im_client.call import State
from im_client.callee import IncomingCall
from im_client.caller import OutgoingCall
from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.errors import NoAnswerError, SessionEndedError, SessionRefusedError
from im_client.exchange import ReceivedResponse
from im_client.invitation import Invite
from im_client.replaces import Replaces
from im_client.session import NotAcceptableError, Session
from im_client.transport import Target
from tests.im_client.relay import ALICE, BOB, FAST, PATIENCE, MakePair, Pair, Passing, open_pair

OFFER, ANSWER = Body(SDP, b"offer"), Body(SDP, b"answer")


class FakeMedia:
    """Answers every offer but "bad"; notes what it saw."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def offer(self) -> Body:
        return Body(SDP, b"as before")

    async def answer(self, offer: Body) -> Body:
        if offer.data == b"bad":
            raise NotAcceptableError(488, "no such media")
        self.seen.append(offer.data)
        return Body(SDP, b"yes to " + offer.data)

    async def complete(self, answer: Body) -> None:
        self.seen.append(answer.data)


@pytest.fixture
async def make_pair() -> AsyncIterator[MakePair]:
    open_ones = []

    async def make(transport: str = "udp", **options: Any) -> Pair:
        context = open_pair(transport, **options)
        open_ones.append(context)
        return await context.__aenter__()

    yield make
    for context in open_ones:
        await context.__aexit__(None, None, None)


@pytest.fixture
async def pair(make_pair: MakePair, transport: str) -> Pair:
    found: Pair = await make_pair(transport)
    return found


@pytest.fixture
async def udp_pair(make_pair: MakePair) -> Pair:
    found: Pair = await make_pair("udp")
    return found


Answered = tuple[Session, ReceivedResponse]


def start(pair: Pair, **options: Any) -> tuple[OutgoingCall, asyncio.Task[Answered]]:
    call = pair.alice.calls.outgoing(Invite(to=BOB, body=options.pop("body", OFFER)), **options)
    return call, asyncio.ensure_future(call.run())


async def invited(pair: Pair) -> IncomingCall:
    async with asyncio.timeout(PATIENCE):
        return await pair.calls.get()


async def established(pair: Pair) -> tuple[Session, Session]:
    """Alice's and Bob's end of a session."""
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    ours, response = await calling
    assert response.message.body == b"answer"
    async with asyncio.timeout(PATIENCE):
        await theirs.established
    ours.media, theirs.media = FakeMedia(), FakeMedia()
    pair.alice.calls.remember(ours, BOB)
    pair.bob.calls.remember(theirs, ALICE)
    return ours, theirs


async def ended(*sessions: Session) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        return [await asyncio.shield(session.ended) for session in sessions]


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
    await udp_pair.relay.seen("alice ACK", 2)
    assert lost == ["486 INVITE", "ACK"]


async def test_a_lost_200_is_repeated_and_acknowledged(pair: Pair) -> None:
    """On any transport: the 2xx goes end to end (RFC 3261 section 13.3.1.4)."""
    pair.relay.filter = lambda passing: passing.what != "200 INVITE" or pair.relay.whats().count("bob 200 INVITE") > 2
    ours, theirs = await established(pair)
    assert pair.relay.whats("200 INVITE", "ACK") == ["bob 200 INVITE"] * 3 + ["alice ACK"]
    await ours.close()
    await ended(theirs)


async def test_a_lost_ack_is_sent_again_for_the_next_200(pair: Pair) -> None:
    pair.relay.filter = lambda passing: passing.what != "ACK" or pair.relay.whats().count("alice ACK") > 2
    ours, theirs = await established(pair)
    assert pair.relay.whats("ACK") == ["alice ACK"] * 3
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
    pair.relay.filter = lambda passing: passing.what != "ACK" or pair.relay.whats().count("alice ACK") > 2
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    await asyncio.gather(theirs.close(), calling)
    whats = pair.relay.whats("ACK", "BYE")
    assert whats == ["alice ACK"] * 3 + ["bob BYE"]


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
    await udp_pair.relay.seen("alice ACK", 3)
    byes = [passing for passing in udp_pair.relay.log if passing.what == "BYE"]
    assert [";tag=fork" in (passing.header("To") or "") for passing in byes] == [True]
    assert ours.alive


# --- reliable provisional responses


@pytest.mark.requirement("PFS-15")
async def test_reliable_ringing(pair: Pair) -> None:
    progress: list[int] = []
    _, calling = start(pair, on_progress=lambda response: progress.append(response.status))
    incoming = await invited(pair)
    async with asyncio.timeout(PATIENCE):
        await incoming.ring(183)
        await incoming.ring(180)
    rseqs = [int(passing.header("RSeq") or 0) for passing in pair.relay.log if passing.what in ("183 INVITE", "180 INVITE")]
    assert rseqs == [rseqs[0], rseqs[0] + 1]
    pracks = [passing.header("RAck") for passing in pair.relay.log if passing.what == "PRACK"]
    assert pracks == [f"{rseq} 1 INVITE" for rseq in rseqs]
    await incoming.accept(ANSWER)
    await calling
    assert progress == [183, 180]


@pytest.mark.requirement("PFS-15")
async def test_a_lost_reliable_response_and_a_lost_prack_are_repeated(udp_pair: Pair) -> None:
    def lose(passing: Passing) -> bool:
        return passing.what not in ("180 INVITE", "PRACK") or udp_pair.relay.whats(passing.what).__len__() > 1

    udp_pair.relay.filter = lose
    _, calling = start(udp_pair)
    incoming = await invited(udp_pair)
    async with asyncio.timeout(PATIENCE):
        await incoming.ring()
    assert len(udp_pair.relay.whats("180 INVITE")) >= 2
    await incoming.accept(ANSWER)
    await calling


@pytest.mark.requirement("PFS-15")
async def test_without_prack_the_invitation_is_refused(pair: Pair) -> None:
    pair.relay.filter = lambda passing: passing.what != "PRACK"
    _, calling = start(pair)
    incoming = await invited(pair)
    with pytest.raises(SessionEndedError):
        await incoming.ring()
    with pytest.raises(SessionRefusedError, match="504"):
        await calling


@pytest.mark.requirement("PFS-15")
async def test_a_prack_for_nothing_gets_481(pair: Pair) -> None:
    ours, _ = await established(pair)
    assert (await ours.leg.request("PRACK", headers=[("RAck", "1 1 INVITE")])).status == 481


# --- modification and glare


@pytest.mark.requirement("CLI-02", "CLI-04")
@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_modification(pair: Pair, method: str) -> None:
    ours, theirs = await established(pair)
    response = await ours.modify(Body(SDP, b"more"), method=method)
    assert (response.status, response.message.body) == (200, b"yes to more")
    refused = await ours.modify(Body(SDP, b"bad"), method=method)
    assert (refused.status, refused.warning) == (488, "no such media")
    assert (await theirs.modify(Body(SDP, b"back"), method=method)).message.body == b"yes to back"
    assert ours.alive
    assert theirs.alive
    assert pair.relay.whats("ACK").count("alice ACK") == (3 if method == "INVITE" else 1)


async def test_a_re_invite_without_offer_gets_ours_and_the_ack_brings_the_answer(pair: Pair) -> None:
    ours, theirs = await established(pair)
    ours.media = None
    await ours.modify(NOTHING, method="INVITE")
    assert (await pair.relay.seen("bob 200 INVITE", 2)).message.body == b"as before"
    assert theirs.alive


async def test_update_is_used_where_the_peer_takes_it(pair: Pair) -> None:
    ours, _ = await established(pair)
    await ours.modify()
    ours.peer_allow = frozenset({"INVITE", "BYE"})
    await ours.modify()
    assert pair.relay.whats("UPDATE", "INVITE") == ["alice INVITE", "alice UPDATE", "alice INVITE"]
    assert pair.relay.log[-3].message.body in (b"as before", b"")


@pytest.mark.requirement("CLI-04")
async def test_glare(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both offer at once, both get 491, the one who does not own the Call-ID tries again first."""
    waits: list[bool] = []

    def seconds(*, owner: bool, fraction: float) -> float:
        waits.append(owner)
        return 0.5 if owner else 0.0

    monkeypatch.setattr("im_client.glare.retry_seconds", seconds)
    ours, theirs = await established(pair)
    held: list[Passing] = []

    def hold(passing: Passing) -> bool:
        if passing.what == "INVITE" and len(held) < 2:
            held.append(passing)
            if len(held) == 2:
                for one in held:
                    pair.relay.send_on(one)
            return False
        return True

    pair.relay.filter = hold
    one, other = await asyncio.gather(
        ours.modify(Body(SDP, b"mine"), method="INVITE"), theirs.modify(Body(SDP, b"yours"), method="INVITE")
    )
    assert (one.message.body, other.message.body) == (b"yes to mine", b"yes to yours")
    assert sorted(waits) == [False, True]
    assert sorted(pair.relay.whats("491 INVITE")) == ["alice 491 INVITE", "bob 491 INVITE"]


async def test_requests_out_of_order_get_500(udp_pair: Pair) -> None:
    ours, _ = await established(udp_pair)
    await ours.modify()
    update = await udp_pair.relay.seen("alice UPDATE")
    old = update.data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKlate")
    udp_pair.relay.send_on(Passing("alice", old))
    await udp_pair.relay.seen("bob 500 UPDATE")


# --- session timers


@pytest.mark.requirement("CLI-03")
async def test_the_session_is_refreshed_at_half_of_its_interval(make_pair: MakePair) -> None:
    pair = await make_pair("udp", session_expires=1, min_se=1)
    ours, theirs = await established(pair)
    since = ours.timer.since
    await pair.relay.seen("bob 200 UPDATE", 2)
    assert ours.timer.since - since >= 0.5
    assert (await pair.relay.seen("alice UPDATE")).header("Session-Expires") == "1;refresher=uac"
    assert ours.alive
    assert theirs.alive


@pytest.mark.requirement("CLI-03")
async def test_a_session_that_is_not_refreshed_is_released(make_pair: MakePair) -> None:
    pair = await make_pair("udp", session_expires=1, min_se=1)
    ours, theirs = await established(pair)
    ours._alarm.set(None)  # Alice's clock stands still
    assert await ended(theirs) == ["the session timer expired"]
    assert await ended(ours) == ["released by the peer"]


@pytest.mark.requirement("CLI-02")
async def test_422_raises_the_interval(make_pair: MakePair) -> None:
    pair = await make_pair("udp", session_expires=60, min_se=120)
    ours, theirs = await established(pair)
    assert [ours.timer.interval, theirs.timer.interval] == [120, 120]
    refused = await pair.relay.seen("bob 422 INVITE")
    assert refused.header("Min-SE") == "120"
    again = await pair.relay.seen("alice INVITE", 2)
    assert (again.header("Session-Expires"), again.header("Min-SE")) == ("120;refresher=uac", "120")
    assert again.header("CSeq") == "2 INVITE"
    assert again.header("Call-ID") == refused.header("Call-ID")


# --- Replaces


async def replacing(pair: Pair, ours: Session, **headers: str) -> asyncio.Task[Answered]:
    """Alice replaces her session by a new one; `headers` as the network would set them."""
    value = str(Replaces(ours.leg.dialog.id))
    fields = [("Replaces", value), ("Require", "replaces"), *[(n.replace("_", "-"), v) for n, v in headers.items()]]
    invite = Invite(to=BOB, body=OFFER, headers=tuple(fields))
    return asyncio.ensure_future(pair.alice.calls.outgoing(invite).run())


@pytest.mark.requirement("CLI-04")
async def test_replaces(pair: Pair) -> None:
    ours, theirs = await established(pair)
    calling = await replacing(pair, ours, Referred_By=f"<{ALICE}>")
    incoming = await invited(pair)
    assert incoming.replaces == theirs.leg.dialog.id
    await incoming.accept(ANSWER)
    await pair.bob.calls.give_way(incoming)
    successor, _ = await calling
    assert await ended(theirs, ours) == ["replaced", "released by the peer"]
    assert successor.alive


@pytest.mark.requirement("CLI-04")
async def test_replaces_by_somebody_else_is_refused(pair: Pair) -> None:
    ours, theirs = await established(pair)
    calling = await replacing(pair, ours, Referred_By="<sip:mallory@example.com>")
    with pytest.raises(SessionRefusedError, match="403"):
        await calling
    assert theirs.alive
    await ours.close()
    await ended(theirs)
    calling = await replacing(pair, ours, Referred_By=f"<{ALICE}>")
    with pytest.raises(SessionRefusedError, match="603"):
        await calling


async def test_the_end_of_a_client_releases_its_sessions(pair: Pair) -> None:
    _, theirs = await established(pair)
    await pair.alice.close()
    assert await ended(theirs) == ["released by the peer"]


async def test_nothing_is_left_behind(udp_pair: Pair) -> None:
    for _ in range(10):
        ours, theirs = await established(udp_pair)
        await ours.close()
        await ended(theirs)
    async with asyncio.timeout(PATIENCE):
        while udp_pair.alice.endpoint.live_transactions or udp_pair.bob.endpoint.live_transactions:
            await asyncio.sleep(0.02)
    assert len(udp_pair.alice.calls.layer) == len(udp_pair.bob.calls.layer) == 0
    assert not udp_pair.alice.calls.layer._tasks
