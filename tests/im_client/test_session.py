"""Sessions that stand: ringing before them, modification, glare, session timers, replacement, end."""

from __future__ import annotations

import asyncio

import pytest

from im_client.body import NOTHING, SDP, Body
from im_client.errors import SessionEndedError, SessionRefusedError
from im_client.invitation import Invite
from im_client.replaces import Replaces
from im_client.session import Session
from tests.im_client.relay import (
    ALICE,
    ANSWER,
    BOB,
    OFFER,
    PATIENCE,
    Answered,
    FakeMedia,
    MakePair,
    Pair,
    Passing,
    ended,
    established,
    invited,
    start,
)

# --- reliable provisional responses


@pytest.mark.requirement("PFS-15")
async def test_reliable_ringing(pair: Pair) -> None:
    progress: list[int] = []
    _, calling = start(pair, on_progress=lambda response: progress.append(response.status))
    incoming = await invited(pair)
    async with asyncio.timeout(PATIENCE):
        await incoming.ring(183)
        await incoming.ring(180)
    ringing = [passing for passing in pair.relay.log if passing.what in ("183 INVITE", "180 INVITE")]
    rseqs = list(dict.fromkeys(int(passing.header("RSeq") or 0) for passing in ringing))
    assert rseqs == [rseqs[0], rseqs[0] + 1]
    pracks = list(dict.fromkeys(passing.header("RAck") for passing in pair.relay.log if passing.what == "PRACK"))
    assert pracks == [f"{rseq} 1 INVITE" for rseq in rseqs]
    await incoming.accept(ANSWER)
    await calling
    assert progress == [183, 180]


@pytest.mark.requirement("PFS-15")
async def test_a_lost_reliable_response_and_a_lost_prack_are_repeated(udp_pair: Pair) -> None:
    def lose(passing: Passing) -> bool:
        return passing.what not in ("180 INVITE", "PRACK") or len(udp_pair.relay.whats(passing.what, again=True)) > 1

    udp_pair.relay.filter = lose
    _, calling = start(udp_pair)
    incoming = await invited(udp_pair)
    async with asyncio.timeout(PATIENCE):
        await incoming.ring()
    assert len(udp_pair.relay.whats("180 INVITE", again=True)) >= 2
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
    assert (await ours.modify(NOTHING, method="INVITE")).message.body == b"as before"
    assert theirs.alive


async def test_update_is_used_where_the_peer_takes_it(pair: Pair) -> None:
    ours, _ = await established(pair)
    await ours.modify()
    ours.peer_allow = frozenset({"INVITE", "BYE"})
    await ours.modify()
    assert pair.relay.whats("UPDATE", "INVITE") == ["alice INVITE", "alice UPDATE", "alice INVITE"]


@pytest.mark.requirement("CLI-04")
async def test_glare(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both offer at once, both get 491, the one who does not own the Call-ID tries again first."""
    waits: list[bool] = []

    def seconds(*, owner: bool, fraction: float) -> float:
        waits.append(owner)
        return 0.5 if owner else 0.0

    monkeypatch.setattr("im_client.glare.retry_seconds", seconds)
    ours, theirs = await established(pair)
    held: dict[str, Passing] = {}

    def hold(passing: Passing) -> bool:
        if passing.what != "INVITE" or len(held) == 2:
            return True
        held[passing.origin] = passing
        if len(held) == 2:
            for one in held.values():
                pair.relay.send_on(one)
        return False

    pair.relay.filter = hold
    one, other = await asyncio.gather(
        ours.modify(Body(SDP, b"mine"), method="INVITE"), theirs.modify(Body(SDP, b"yours"), method="INVITE")
    )
    assert (one.message.body, other.message.body) == (b"yes to mine", b"yes to yours")
    assert sorted(waits) == [False, True]
    assert sorted(pair.relay.whats("491 INVITE")) == ["alice 491 INVITE", "bob 491 INVITE"]


async def test_a_lost_ack_of_a_re_invite_is_sent_again(pair: Pair) -> None:
    ours, theirs = await established(pair)
    pair.relay.filter = lambda passing: passing.what != "ACK" or pair.relay.whats(again=True).count("alice ACK") > 3
    assert (await ours.modify(Body(SDP, b"more"), method="INVITE")).ok
    await pair.relay.seen("alice ACK", 4, again=True)
    assert ours.alive
    assert theirs.alive


async def test_who_sends_the_next_invite_has_seen_our_200(pair: Pair) -> None:
    """Every ACK of the first INVITE is lost: the re-INVITE says as much, and the session stands."""
    pair.relay.filter = lambda passing: passing.what != "ACK" or passing.header("CSeq") != "1 ACK"
    _, calling = start(pair)
    theirs = await (await invited(pair)).accept(ANSWER)
    theirs.media = FakeMedia()
    ours, _ = await calling
    assert (await ours.modify(Body(SDP, b"bad"), method="INVITE")).status == 488
    async with asyncio.timeout(PATIENCE):
        await theirs.established
    assert theirs.alive


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
