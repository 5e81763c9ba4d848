"""The shell: routing, order, storing before promising, bounds, a Kamailio that is away."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from msrp_worker.sip import leg, replaces, shell
from msrp_worker.sip.leg_types import (
    Accept,
    Answered,
    Cause,
    Confirmed,
    Ended,
    Invitation,
    LegId,
    LegPolicy,
    Refuse,
    Rejected,
    Release,
    Ring,
)
from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import (
    AckReceived,
    CancelInvite,
    CancelReceived,
    Reply,
    RequestReceived,
    RequestTimedOut,
    ResponseReceived,
    SendRequest,
)
from msrp_worker.sip.shell import LegManager, TooManyLegs
from msrp_worker.store import StoreUnavailable
from tests.msrp_worker.sip.fakes import FakeOwner, FakePort, FakeStore, settle
from tests.msrp_worker.sip.legs import INVITATION, TIMER
from tests.msrp_worker.sip.sip_text import (
    ANSWER,
    CALLEE_CONTACT,
    OFFER,
    header,
    on_the_wire,
    reply_on_the_wire,
    request,
)

T1 = (1, 1)


class Bench:
    """A manager with its fakes and a clock that the test moves."""

    def __init__(self, **settings: object) -> None:
        self.now = 1000.0
        self.port = FakePort()
        self.store = FakeStore()
        self.owner = FakeOwner()
        self.outside: list[tuple[tuple[int, int], Message]] = []
        self.others: list[ResponseReceived] = []
        ids = itertools.count(1)
        self.manager = LegManager(
            self.port,
            self.store,
            "n1",
            lambda transaction, message: self.outside.append((transaction, message)),
            on_other_response=self.others.append,
            clock=lambda: self.now,
            wall=lambda: self.now + 5000,
            chance=lambda: 0.0,
            new_id=lambda: f"id{next(ids)}",
            **settings,  # type: ignore[arg-type]
        )

    async def take(self, **parts: object) -> LegId:
        """An INVITE that became a leg."""
        self.manager.handle(RequestReceived(T1, request("INVITE", 1, lines=TIMER, body=OFFER, **parts)))  # type: ignore[arg-type]
        leg_id = self.manager.take(T1, self.owner, CALLEE_CONTACT)
        assert leg_id is not None
        await settle()
        return leg_id

    async def confirmed(self) -> LegId:
        """A callee's leg with its ACK."""
        leg_id = await self.take()
        self.manager.order(leg_id, Accept(sdp=ANSWER))
        await settle()
        self.manager.handle(AckReceived(request("ACK", 1, to_tag=leg_id[1])))
        return leg_id

    async def call(self, invitation: Invitation = INVITATION) -> LegId:
        """A caller's leg."""
        leg_id = self.manager.call(invitation, self.owner)
        await settle()
        return leg_id

    async def respond(self, sent: SendRequest, status: int, **parts: object) -> None:
        """A response of the peer."""
        asked = read(on_the_wire(sent))
        lines = (("Contact", "<sip:bob@203.0.113.5>"),)
        body = parts.get("body", b"")
        assert isinstance(body, bytes)
        command = Reply((0, 0), status, "X", str(parts.get("to_tag", "b")), lines, body)
        data = reply_on_the_wire(command, asked)
        self.manager.handle(ResponseReceived(asked.call_id, asked.cseq, asked.method, data))
        await settle()

    async def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.manager.timers.tick()
        await settle()


@pytest.fixture
def make() -> type[Bench]:
    return Bench


@pytest.mark.requirement("PFS-09")
async def test_a_callees_leg_from_invite_to_bye(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.confirmed()
    assert leg_id == ("call-1", "id1")
    assert [(one.status, one.to_tag) for one in bench.port.replies()] == [(200, "id1")]
    assert bench.store.rows[leg_id].state == "confirmed" and bench.store.rows[leg_id].expires == 1000 + 5000 + 1800
    bench.manager.handle(RequestReceived((2, 2), request("BYE", 2, to_tag="id1")))
    await settle()
    assert bench.port.replies()[-1].status == 200
    assert [type(one) for one in bench.owner.heard] == [Confirmed, Ended]
    assert bench.store.rows == {} and len(bench.manager) == 0
    assert bench.manager.counters.ended == {"bye": 1}


@pytest.mark.requirement("PFS-09")
async def test_a_callers_leg_from_invite_to_bye(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.call()
    (invite,) = bench.port.requests()
    assert bench.store.rows[leg_id].state == "calling"
    await bench.respond(invite, 200, body=ANSWER)
    assert bench.store.rows[leg_id].remote_tag == "b" and bench.store.rows[leg_id].state == "confirmed"
    assert isinstance(bench.owner.heard[0], Answered)
    bench.manager.order(leg_id, Release())
    bye = bench.port.requests()[-1]
    await bench.respond(bye, 200)
    assert bench.store.rows == {} and len(bench.manager) == 0
    assert len(set(bench.port.pins)) == 1, "a dialog stays on one connection"


@pytest.mark.requirement("SEC-06")
async def test_nothing_is_promised_before_it_is_stored(make: type[Bench]) -> None:
    bench = make()
    bench.store.held = []
    leg_id = bench.manager.call(INVITATION, bench.owner)
    await settle()
    assert bench.port.sent == []
    bench.manager.order(leg_id, Release())
    bench.store.let_go()
    await settle()
    assert [one.method for one in bench.port.requests()] == ["INVITE"], "in order, and nothing else is due yet"
    assert isinstance(bench.owner.heard[0], Ended)


@pytest.mark.requirement("SEC-06")
async def test_the_200_waits_for_the_store_and_what_comes_behind_waits_with_it(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    bench.store.held = []
    bench.manager.order(leg_id, Accept(sdp=ANSWER))
    bench.manager.handle(RequestReceived((2, 2), request("BYE", 2, to_tag=leg_id[1])))
    await settle()
    assert bench.port.sent == [] and bench.owner.heard == []
    bench.store.let_go()
    await settle()
    assert [one.transaction for one in bench.port.replies()] == [T1, (2, 2)]
    assert bench.store.rows == {}


@pytest.mark.requirement("SEC-06")
async def test_a_store_that_fails_turns_the_200_into_503(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    bench.store.error = StoreUnavailable("disk full")
    bench.manager.order(leg_id, Accept(sdp=ANSWER))
    await settle()
    (reply,) = bench.port.replies()
    assert (reply.status, header(reply, "Retry-After")) == (503, "5")
    assert bench.owner.heard == [Ended(Cause.NOT_STORED)]
    assert len(bench.manager) == 0 and bench.manager.counters.not_stored == 1


@pytest.mark.requirement("SEC-06")
async def test_a_store_that_fails_keeps_the_invite(make: type[Bench]) -> None:
    bench = make()
    bench.store.error = StoreUnavailable("disk full")
    await bench.call()
    assert bench.port.sent == []
    assert bench.owner.heard == [Rejected(503, "Service Unavailable")] and len(bench.manager) == 0


@pytest.mark.requirement("SEC-06")
async def test_a_store_that_fails_later_does_not_harm_the_session(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.call()
    bench.store.error = StoreUnavailable("disk full")
    await bench.respond(bench.port.requests()[0], 200, body=ANSWER)
    assert isinstance(bench.owner.heard[0], Answered)
    assert bench.manager.counters.not_stored == 1
    bench.manager.order(leg_id, Release())
    await bench.respond(bench.port.requests()[-1], 200)
    assert len(bench.manager) == 0


@pytest.mark.requirement("SEC-06")
async def test_a_bye_behind_a_200_that_cannot_be_stored_is_answered(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    bench.store.held = []
    bench.manager.order(leg_id, Accept(sdp=ANSWER))
    bench.manager.handle(RequestReceived((2, 2), request("BYE", 2, to_tag=leg_id[1])))
    bench.store.error = StoreUnavailable("disk full")
    bench.store.let_go()
    await settle()
    assert [one.transaction for one in bench.port.replies()] == [T1, (2, 2)]
    assert bench.port.replies()[0].status == 503
    assert len([one for one in bench.owner.heard if isinstance(one, Ended)]) == 1


async def test_requests_that_change_nothing_are_not_written(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.confirmed()
    writes = bench.store.writes
    for number in range(2, 9):
        bench.manager.handle(RequestReceived((number, 2), request("INFO", number, to_tag=leg_id[1])))
    await settle()
    assert bench.store.writes == writes


@pytest.mark.requirement("SEC-06")
async def test_while_kamailio_is_away_commands_are_kept_in_order(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    bench.port.away = True
    bench.manager.order(leg_id, Ring())
    bench.manager.order(leg_id, Refuse(status=486, reason="Busy Here"))
    bench.manager.sender._retry()
    assert bench.port.sent == []
    bench.port.away = False
    bench.manager.sender._retry()
    assert [one.status for one in bench.port.replies()] == [180, 486]
    bench.port.away = True
    await bench.take(call_id="other")
    bench.manager.order(("other", "id2"), Refuse(status=486, reason="Busy Here"))
    bench.now += 33
    bench.manager.sender._retry()
    assert bench.manager.sender.dropped == 1
    await bench.manager.close()


async def test_requests_for_nobody(make: type[Bench]) -> None:
    bench = make()
    handle = bench.manager.handle
    for number, method in enumerate(("BYE", "INVITE", "UPDATE", "PRACK", "INFO")):
        handle(RequestReceived((number, 0), request(method, 5, to_tag="gone")))
    assert [one.status for one in bench.port.replies()] == [481] * 5
    assert bench.port.replies()[0].to_tag == "gone"
    for method, tag in (("SUBSCRIBE", "sub"), ("SUBSCRIBE", ""), ("PUBLISH", ""), ("MESSAGE", ""), ("NOTIFY", "n")):
        handle(RequestReceived((9, 9), request(method, 5, to_tag=tag)))
    assert [message.method for _, message in bench.outside] == ["SUBSCRIBE", "SUBSCRIBE", "PUBLISH", "MESSAGE", "NOTIFY"]
    transaction, message = bench.outside[0]
    bench.manager.reply(transaction, message, 489, "Bad Event")
    assert bench.port.replies()[-1].status == 489


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        request("INVITE", 1).replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"),
        request("INVITE", 1).replace(b"CSeq: 1", b"CSeq: 99999999999"),
        request("INVITE", 1).replace(b"CSeq: 1", b"CSeq: x"),
        request("INVITE", 1).replace(b"call-1", b"call\xc3\xa9"),
        request("INVITE", 1).replace(b"\r\nTo", b"\r\n: :\r\nnocolon\r\nTo"),
        request("INVITE", 1, lines=[("X", "y")] * 600),
    ],
)
async def test_what_cannot_be_read_gets_400(make: type[Bench], data: bytes) -> None:
    bench = make()
    bench.manager.handle(RequestReceived(T1, data))
    assert [one.status for one in bench.port.replies()] == [400]
    for event in (AckReceived(data), ResponseReceived("x", 1, "INVITE", data)):
        bench.manager.handle(event)
    assert bench.manager.counters.malformed == 3


@pytest.mark.requirement("PFS-08")
async def test_a_cancel_before_the_decision_after_it_and_before_the_invite(make: type[Bench]) -> None:
    bench = make()
    invite = RequestReceived(T1, request("INVITE", 1, body=OFFER))
    bench.manager.handle(CancelReceived(T1))
    bench.manager.handle(invite)
    assert bench.outside == [], "overtaken by its CANCEL"
    bench.manager.handle(invite)
    bench.manager.handle(CancelReceived(T1))
    assert bench.manager.take(T1, bench.owner, CALLEE_CONTACT) is None
    leg_id = await bench.take()
    bench.manager.handle(CancelReceived(T1))
    assert bench.owner.heard == [Ended(Cause.CANCELLED)] and bench.manager.find(leg_id) is None
    assert bench.port.sent == []


async def test_the_same_invite_on_two_ways_is_merged(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    again = request("INVITE", 1, body=OFFER)
    bench.manager.handle(RequestReceived((2, 2), again))
    assert [one.status for one in bench.port.replies()] == [482]
    bench.manager.handle(RequestReceived((3, 3), request("INVITE", 2, body=OFFER)))
    assert len(bench.outside) == 2, "another CSeq is another request"
    bench.manager.dismiss((3, 3))
    bench.manager.handle(RequestReceived((4, 4), request("INVITE", 2, body=OFFER)))
    assert len(bench.outside) == 3, "relayed and back again"
    bench.manager.order(leg_id, Release())
    bench.manager.handle(RequestReceived((5, 5), again))
    assert len(bench.outside) == 4


async def test_a_call_that_comes_back_to_the_same_worker(make: type[Bench]) -> None:
    bench = make()
    ours = await bench.call()
    (invite,) = bench.port.requests()
    bench.manager.handle(RequestReceived(T1, on_the_wire(invite)))
    callee = FakeOwner()
    theirs = bench.manager.take(T1, callee, "<sip:other@h>")
    assert theirs is not None and theirs[0] == ours[0]
    bench.manager.order(theirs, Accept(sdp=ANSWER))
    await settle()
    reply = bench.port.replies()[-1]
    await bench.respond(invite, 200, to_tag=reply.to_tag, body=ANSWER)
    bench.manager.order(ours, Release())
    bye = bench.port.requests()[-1]
    bench.manager.handle(RequestReceived((2, 2), on_the_wire(bye)))
    await settle()
    assert isinstance(callee.heard[-1], Ended)
    bench.manager.handle(RequestTimedOut(ours[0], 2, "BYE", ours[1], theirs[1]))
    await settle()
    assert len(bench.manager) == 0 and bench.store.rows == {}


@pytest.mark.requirement("CNF-30")
@pytest.mark.parametrize("taken", [False, True])
async def test_a_call_that_came_back_is_cancelled_here(make: type[Bench], taken: bool) -> None:
    """Kamailio cannot tell the two transactions apart: who waits hears of it, and gets its 487, once."""
    bench = make()
    ours = await bench.call()
    (invite,) = bench.port.requests()
    bench.manager.handle(RequestReceived(T1, on_the_wire(invite)))
    callee = FakeOwner()
    theirs = bench.manager.take(T1, callee, "<sip:other@h>") if taken else None
    if theirs is not None:
        bench.manager.order(theirs, Ring())
    await bench.respond(invite, 180, to_tag="x")
    bench.manager.order(ours, Release())
    await settle()
    assert [one.status for one in bench.port.replies()] == ([180, 487] if taken else [487])
    assert not taken or isinstance(callee.heard[-1], Ended)
    assert bench.manager.take(T1, callee, "<sip:other@h>") is None
    await bench.respond(invite, 487)
    assert len(bench.manager) == 0


async def test_refused_invites_become_no_leg(make: type[Bench]) -> None:
    bench = make()
    bench.manager.handle(RequestReceived(T1, request("INVITE", 1, contact="")))
    assert bench.manager.take(T1, bench.owner, CALLEE_CONTACT) is None
    bench.manager.handle(RequestReceived(T1, request("INVITE", 1, lines=(("Require", "x"),))))
    assert bench.manager.take(T1, bench.owner, CALLEE_CONTACT) is None
    assert [one.status for one in bench.port.replies()] == [400, 420]
    assert bench.manager.take((7, 7), bench.owner, CALLEE_CONTACT) is None, "never heard of it"
    assert bench.manager.counters.refused == 2 and bench.owner.heard == []


async def test_the_tables_are_bounded(make: type[Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "MAX_WAITING", 2)
    bench = make(max_legs=1)
    await bench.call()
    with pytest.raises(TooManyLegs):
        bench.manager.call(INVITATION, bench.owner)
    for number in range(3):
        bench.manager.handle(RequestReceived((number, 0), request("INVITE", 1, call_id=f"c{number}", body=OFFER)))
    assert [one.status for one in bench.port.replies()] == [503]
    assert bench.manager.take((0, 0), bench.owner, CALLEE_CONTACT) is None
    assert [one.status for one in bench.port.replies()] == [503, 503]
    bench.now += 61
    bench.manager.handle(RequestReceived((9, 0), request("INVITE", 1, call_id="c9", body=OFFER)))
    assert len(bench.port.replies()) == 2, "those that nobody decided are forgotten"


async def test_an_owner_that_raises_harms_no_leg(make: type[Bench]) -> None:
    bench = make()

    def broken(leg_id: LegId, event: object) -> None:
        raise RuntimeError("bug")

    bench.owner.react = broken
    leg_id = await bench.confirmed()
    assert bench.manager.counters.owner_errors == 1
    bench.manager.order(leg_id, Release())
    assert bench.port.requests()[-1].method == "BYE"


async def test_an_owner_may_order_while_it_hears(make: type[Bench]) -> None:
    bench = make()
    bench.owner.react = lambda leg_id, event: (
        None if isinstance(event, Ended) else bench.manager.order(leg_id, Release(why="SIP;cause=410")) and None
    )
    leg_id = await bench.confirmed()
    assert [type(one) for one in bench.owner.heard] == [Confirmed, Ended]
    assert [one.method for one in bench.port.requests()] == ["BYE"] and bench.manager.order(leg_id, Release())


async def test_one_timer_serves_all_legs(make: type[Bench]) -> None:
    bench = make()
    await bench.take()
    await bench.call()
    bench.manager.order(("call-1", "id1"), Accept(sdp=ANSWER))
    await settle()
    await bench.tick(31.9)
    assert bench.owner.heard == []
    await bench.tick(0.1)
    assert bench.owner.heard[0].cause is Cause.NO_ACK  # type: ignore[union-attr]
    await bench.tick(36)
    assert len(bench.manager) == 1
    await bench.tick(180)
    assert isinstance(bench.owner.heard[-1], Rejected)
    await bench.manager.close()


async def test_the_timer_runs_by_itself() -> None:
    port, owner = FakePort(), FakeOwner()
    heard = asyncio.Event()
    owner.react = lambda leg_id, event: heard.set()
    manager = LegManager(port, FakeStore(), "n1", lambda transaction, message: None)
    manager.call(INVITATION, owner, LegPolicy(ring_s=0.01))
    async with asyncio.timeout(5):
        await heard.wait()
    assert isinstance(owner.heard[0], Rejected)
    await manager.close()


@pytest.mark.requirement("SEC-06")
async def test_an_answer_that_nobody_waits_for_is_released_once(make: type[Bench]) -> None:
    bench, other = make(), make()
    await other.call()
    (invite,) = other.port.requests()
    await bench.respond(invite, 100)
    assert bench.port.sent == []
    await bench.respond(invite, 180)
    await bench.respond(invite, 180)
    assert bench.port.sent == [CancelInvite("id1", 1)]
    await bench.respond(invite, 200, body=ANSWER)
    await bench.respond(invite, 200, body=ANSWER)
    ack, bye = bench.port.requests()
    assert (ack.method, header(ack, "CSeq")) == ("ACK", header(invite, "CSeq").replace("INVITE", "ACK"))
    assert (bye.method, bye.request_uri) == ("BYE", "sip:bob@203.0.113.5")
    assert "cause=503" in header(bye, "Reason") and header(bye, "To").endswith(";tag=b")
    assert header(bye, "From").endswith(";tag=id2") and bench.manager.counters.stray == 2
    await bench.respond(bye, 200)
    assert [event.method for event in bench.others] == ["BYE"]


async def test_a_repeated_2xx_of_a_leg_that_is_over_is_dropped(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.call()
    (invite,) = bench.port.requests()
    await bench.respond(invite, 200, body=ANSWER)
    bench.manager.order(leg_id, Release())
    await bench.respond(bench.port.requests()[-1], 200)
    await bench.respond(invite, 200, body=ANSWER)
    assert len(bench.port.requests()) == 2


@pytest.mark.requirement("CNF-11")
async def test_replaces_finds_the_leg_it_means(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.confirmed()

    def found(call_id: str, to_tag: str, from_tag: str, early: bool = False) -> object:
        result = bench.manager.replaced(replaces.Replaces(call_id, to_tag, from_tag, early))
        return result.status if isinstance(result, replaces.Refused) else result

    assert found("call-1", "id1", "a") == leg_id
    assert found("call-1", "id1", "a", True) == 486
    assert found("call-1", "id1", "x") == 481 and found("call-1", "x", "a") == 481 and found("x", "id1", "a") == 481
    bench.manager.order(leg_id, Release(cause=Cause.RELEASED))
    assert found("call-1", "id1", "a") == 603
    bench.manager.handle(RequestTimedOut("call-1", 1, "BYE", "id1", "a"))
    assert found("call-1", "id1", "a") == 603, "just terminated"


@pytest.mark.requirement("CNF-11")
async def test_replaces_of_early_dialogs(make: type[Bench]) -> None:
    bench = make()
    theirs = await bench.take()
    bench.manager.order(theirs, Ring())
    refused = bench.manager.replaced(replaces.Replaces(*theirs, "a"))
    assert isinstance(refused, replaces.Refused) and refused.status == 481
    ours = await bench.call()
    await bench.respond(bench.port.requests()[0], 180)
    assert bench.manager.replaced(replaces.Replaces(*ours, "b")) == ours


async def test_a_bug_costs_one_leg_and_its_request_gets_500(make: type[Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    leg_id = await bench.confirmed()

    def broken(*_: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(leg, "step", broken)
    bench.manager.handle(RequestReceived((2, 2), request("INFO", 2, to_tag=leg_id[1])))
    assert bench.port.replies()[-1].status == 500 and len(bench.manager) == 1
    await bench.tick(10_000)
    assert bench.owner.heard[-1] == Ended(Cause.LOST)
    assert len(bench.manager) == 0 and bench.store.rows == {} and bench.manager.counters.failures == 2


async def test_an_order_that_lacks_something_is_the_owners_bug(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.take()
    with pytest.raises(ValueError, match="description"):
        bench.manager.order(leg_id, Accept())
    assert bench.port.sent == []
    assert not bench.manager.order(("x", "y"), Release())


@pytest.mark.requirement("PFS-08")
async def test_a_cancel_before_its_re_invite(make: type[Bench]) -> None:
    bench = make()
    leg_id = await bench.confirmed()
    bench.manager.handle(CancelReceived((2, 2)))
    bench.manager.handle(RequestReceived((2, 2), request("INVITE", 2, to_tag=leg_id[1], body=ANSWER)))
    assert len(bench.owner.heard) == 1 and len(bench.port.replies()) == 1
