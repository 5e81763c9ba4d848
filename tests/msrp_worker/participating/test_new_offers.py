"""New offers through a bridged session: relayed in the form the other leg allows, refused, crossed, taken back (PFS-05)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from msrp_worker.participating.terms import End
from tests.msrp_worker.participating.bridge import AUDIO, FILE, Bridge, answered, bridge, described, parsed, path, version
from tests.msrp_worker.sip.sip_text import header

pytestmark = pytest.mark.requirement("PFS-05")


@pytest.fixture
async def standing() -> AsyncIterator[Bridge]:
    async with bridge() as made:
        await made.stand()
        yield made


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("by", list(End))
async def test_hold_reaches_the_other_side_and_back(standing: Bridge, by: End, method: str) -> None:
    """The direction passes both ways; paths stay, as nothing about them changes; the o= versions count up by one."""
    one, other = (standing.caller, standing.callee) if by is End.CALLER else (standing.callee, standing.caller)
    before = {end: standing.media.ours(end) for end in End}
    transaction = await one.send(method, described("alice" if by is End.CALLER else "bob", "sendonly", version=2))
    offer = other.asked()
    assert offer.method == method
    assert b"a=sendonly" in offer.body
    assert standing.statuses(transaction) == []
    await other.respond(200, answered("bob" if by is End.CALLER else "alice", "recvonly", version=2))
    reply = standing.replied(transaction)
    assert reply.status == 200
    assert b"a=recvonly" in reply.body
    for body, end in ((offer.body, by.other), (reply.body, by)):
        known = before[end]
        assert known is not None
        assert path(body) == known.media[0].attribute("path")
        assert version(body) == known.origin.version + 1
    assert len(standing.endpoint.registry) == 2


async def test_update_only_where_the_other_leg_allows_it() -> None:
    async with bridge() as made:
        await made.invite(described("alice"))
        await made.callee.respond(200, answered("bob"), (("Allow", "INVITE, ACK, BYE"),))
        await made.caller.ack(cseq=1)
        await made.caller.send("UPDATE", described("alice", "sendonly", version=2))
        assert made.callee.asked().method == "INVITE"


async def test_a_refusal_leaves_all_as_it_was(standing: Bridge) -> None:
    """And goes back with its reason; the next offer has a version of its own."""
    before = list(standing.endpoint.registry)
    moved = described("elsewhere", "sendonly", version=2)
    transaction = await standing.caller.send("INVITE", moved)
    first = version(standing.callee.asked().body)
    await standing.callee.respond(488, lines=(("Warning", '304 bob "no"'),))
    reply = standing.replied(transaction)
    assert (reply.status, header(reply, "Warning")) == (488, '304 bob "no"')
    assert list(standing.endpoint.registry) == before
    assert [str(one.remote[0]) for one in before] == [
        "msrp://198.51.100.7:2855/alice;tcp",
        "msrp://198.51.100.7:2855/bob;tcp",
    ]
    await standing.caller.ack()
    await standing.caller.send("INVITE", described("alice", "inactive", version=3))
    assert version(standing.callee.asked().body) == first + 1


async def test_a_new_path_is_a_new_session_on_that_side_alone(standing: Bridge) -> None:
    """The other side need not be asked, and its session stays."""
    ours = standing.media.ours(End.CALLER)
    assert ours is not None
    requests = len(standing.port.requests())
    across = next(one for one in standing.endpoint.registry if "bob" in str(one.remote[0]))
    transaction = await standing.caller.send("INVITE", described("alice-2", version=2))
    reply = standing.replied(transaction)
    assert reply.status == 200
    assert path(reply.body) != ours.media[0].attribute("path")
    assert len(standing.port.requests()) == requests
    sessions = {str(one.remote[0]).rpartition("/")[2]: one for one in standing.endpoint.registry}
    assert set(sessions) == {"alice-2;tcp", "bob;tcp"}
    assert sessions["bob;tcp"] is across
    assert across.handler.other(across) is sessions["alice-2;tcp"]  # type: ignore[attr-defined]


async def test_an_answer_with_a_new_path_gets_a_new_session_of_the_same_uri(standing: Bridge) -> None:
    await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    old = next(one for one in standing.endpoint.registry if "bob" in str(one.remote[0]))
    await standing.callee.respond(200, answered("bob-2", "recvonly", version=2))
    new = next(one for one in standing.endpoint.registry if "bob" in str(one.remote[0]))
    assert new is not old
    assert new.local == old.local
    assert str(new.remote[0]).endswith("/bob-2;tcp")


async def test_a_refresh_is_answered_here(standing: Bridge) -> None:
    """The same description, or the same media under a new version: the other side hears nothing."""
    requests = len(standing.port.requests())
    for number in (1, 2):
        transaction = await standing.caller.send("INVITE", described("alice", version=number))
        assert standing.replied(transaction).status == 200
        await standing.caller.ack()
    transaction = await standing.callee.send("UPDATE")
    assert standing.replied(transaction).status == 200
    assert len(standing.port.requests()) == requests


async def test_an_invite_without_an_offer_gets_ours(standing: Bridge) -> None:
    """What the answer in the ACK changes is offered to the other side."""
    ours = standing.media.ours(End.CALLER)
    transaction = await standing.caller.send("INVITE")
    reply = standing.replied(transaction)
    assert reply.status == 200
    assert ours is not None and reply.body == ours.build()
    requests = len(standing.port.requests())
    await standing.caller.ack(described("alice", version=2))
    assert len(standing.port.requests()) == requests
    await standing.caller.send("INVITE")
    await standing.caller.ack(described("alice-3", "recvonly", version=3))
    assert b"a=recvonly" in standing.callee.asked().body
    await standing.callee.respond(200, answered("bob", "sendonly", version=2))
    assert {str(one.remote[0]).rpartition("/")[2] for one in standing.endpoint.registry} == {"alice-3;tcp", "bob;tcp"}
    assert ours.media[0].attribute("path") in {one.local_text for one in standing.endpoint.registry}


async def test_glare_of_the_two_sides(standing: Bridge) -> None:
    """Both offer at once: the one that is relayed wins, the other one gets 491; our own 491 is tried again."""
    first = await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    second = await standing.callee.send("INVITE", described("bob", "inactive", version=2))
    assert standing.statuses(second) == [491]
    await standing.callee.respond(491)
    assert standing.statuses(first) == []
    standing.now += 4.5
    standing.manager.timers.tick()
    await standing.callee.respond(200, answered("bob", "recvonly", version=2))
    assert standing.statuses(first) == [200]


async def test_an_offer_while_ours_waits_for_its_turn(standing: Bridge) -> None:
    """After a 491 of the other side its own offer is told 491 as well, and the first one comes through."""
    first = await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    await standing.callee.respond(491)
    transaction = await standing.callee.send("INVITE", described("bob", "inactive", version=2))
    assert standing.statuses(transaction) == [491]
    standing.now += 4.5
    standing.manager.timers.tick()
    await standing.callee.respond(200, answered("bob", "recvonly", version=2))
    assert standing.statuses(first) == [200]


async def test_an_offer_taken_back_after_the_other_side_agreed(standing: Bridge) -> None:
    """The other side is offered again what stands."""
    transaction = await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    await standing.caller.cancel(transaction)
    offered = standing.callee.asked()
    await standing.callee.respond(200, answered("bob", "recvonly", version=2))
    again = standing.callee.asked()
    assert again is not offered
    assert b"a=sendonly" not in again.body
    assert version(again.body) == version(offered.body) + 1
    await standing.callee.respond(200, answered("bob", version=3))
    assert standing.statuses(transaction) == []
    following = await standing.callee.send("INVITE", described("bob", "sendonly", version=4))
    await standing.caller.respond(200, answered("alice", "recvonly", version=3))
    assert standing.statuses(following) == [200]


async def test_an_offer_taken_back_and_refused(standing: Bridge) -> None:
    transaction = await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    await standing.caller.cancel(transaction)
    await standing.callee.respond(488)
    assert standing.statuses(transaction) == []
    assert len(standing.endpoint.registry) == 2
    assert not standing.ended


async def test_a_file_beside_the_conversation(standing: Bridge) -> None:
    """A new line is offered across; refused or ended, its place is free for the next one, and the conversation stays."""
    transaction = await standing.caller.send("INVITE", described("alice", version=2, more=FILE))
    offer = parsed(standing.callee.asked().body)
    assert [media.refused for media in offer.media] == [False, False]
    assert offer.media[1].attribute("file-selector")
    assert offer.media[1].attribute("sendonly") is not None
    refused = "m=message 0 TCP/MSRP *\r\n"
    await standing.callee.respond(200, answered("bob", version=2, more=refused))
    reply = standing.replied(transaction)
    assert [media.refused for media in parsed(reply.body).media] == [False, True]
    assert len(standing.endpoint.registry) == 2
    await standing.caller.ack()

    transaction = await standing.caller.send("INVITE", described("alice", version=3, more=FILE))
    taken = FILE.replace("sendonly", "recvonly").replace("actpass", "active").replace("/file;", "/bobs-file;")
    await standing.callee.respond(200, answered("bob", version=3, more=taken))
    assert [media.refused for media in parsed(standing.replied(transaction).body).media] == [False, False]
    assert len(standing.endpoint.registry) == 4
    await standing.caller.ack()

    await standing.caller.send("INVITE", described("alice", version=4, more=refused))
    assert [media.refused for media in parsed(standing.callee.asked().body).media] == [False, True]
    await standing.callee.respond(200, answered("bob", version=4, more=refused))
    assert len(standing.endpoint.registry) == 2
    assert not standing.ended


async def test_what_is_no_msrp_gets_port_0(standing: Bridge) -> None:
    requests = len(standing.port.requests())
    transaction = await standing.caller.send("INVITE", described("alice", version=2, more=AUDIO))
    assert len(standing.port.requests()) == requests
    assert [(media.kind, media.refused) for media in parsed(standing.replied(transaction).body).media] == [
        ("message", False),
        ("audio", True),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        described("alice", port=0, version=2),
        described("alice", version=2).replace(b"message", b"audio"),
        described("alice", version=2).replace(b"TCP/MSRP", b"TCP/TLS/MSRP"),
        described("alice", version=2).partition(b"m=")[0],
    ],
    ids=["malformed", "nothing left", "no MSRP", "TLS not served", "fewer lines"],
)
async def test_unacceptable_here(standing: Bridge, body: bytes) -> None:
    requests = len(standing.port.requests())
    transaction = await standing.caller.send("INVITE", body)
    assert standing.replied(transaction).status == 488
    assert len(standing.port.requests()) == requests
    assert len(standing.endpoint.registry) == 2


async def test_an_answer_that_cannot_be_used_ends_the_session(standing: Bridge) -> None:
    await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    await standing.callee.respond(200, b"v=0\r\nnonsense")
    byes = [one for one in standing.port.requests() if one.method == "BYE"]
    assert len(byes) == 2
    assert all("488" in header(one, "Reason") for one in byes)
    assert len(standing.endpoint.registry) == 0


async def test_the_dead_side_ends_both(standing: Bridge) -> None:
    """481 to the offer of the other side: the dialog there is gone (RFC 3261 12.2.1.2)."""
    transaction = await standing.caller.send("INVITE", described("alice", "sendonly", version=2))
    await standing.callee.respond(481)
    assert standing.statuses(transaction) == [487]
    assert standing.caller.tag and standing.ended


async def test_only_the_loss_of_the_last_stream_ends_the_session(standing: Bridge) -> None:
    """Two streams, lost one after the other."""
    await standing.caller.send("INVITE", described("alice", version=2, more=FILE))
    taken = FILE.replace("sendonly", "recvonly").replace("actpass", "active").replace("/file;", "/bobs-file;")
    await standing.callee.respond(200, answered("bob", version=2, more=taken))
    await standing.caller.ack()
    sessions = {str(one.remote[0]).rpartition("/")[2]: one for one in standing.endpoint.registry}
    sessions["bobs-file;tcp"].close("connection lost")
    assert len(standing.endpoint.registry) == 2
    assert not standing.ended
    sessions["bob;tcp"].close("connection lost")
    assert len(standing.endpoint.registry) == 0
    assert sum(one.method == "BYE" for one in standing.port.requests()) == 2
