"""Two workers over one network; one of them dies at any point and comes back. Nothing is left behind."""

from __future__ import annotations

import itertools

import pytest

from msrp_worker.sip import restart
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Answered,
    Cause,
    Confirmed,
    Ended,
    LegEvent,
    LegId,
    LegPolicy,
    Offer,
    Offered,
    Rejected,
    Release,
    Ring,
)
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Command, PortEvent, Reply, RequestReceived, SendRequest
from msrp_worker.sip.restart import restore
from msrp_worker.sip.session_timer import TimerPolicy
from msrp_worker.sip.shell import LegManager
from msrp_worker.store.legs import LegRecord
from tests.msrp_worker.sip.fakes import FakeOwner, FakeStore, settle
from tests.msrp_worker.sip.legs import INVITATION
from tests.msrp_worker.sip.sip_text import ANSWER, CALLEE_CONTACT, OTHER_ANSWER, OTHER_OFFER, header
from tests.msrp_worker.sip.tm_model import DELAY, Network, Side

POLICY = LegPolicy(timer=TimerPolicy(interval_s=200))


class Worker:
    """A worker that can die: its manager goes, its store and its Kamailio stay."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.network = network
        self.store = FakeStore()
        self.side = Side(name, self.receive)
        self.ids = (f"{name}{number}" for number in itertools.count())
        self.heard: list[LegEvent] = []
        self.legs: list[LegId] = []
        self.events = 0
        self.dies_at = -1
        self.alive = True
        self.sent: list[Command] = []
        self.manager = self.new_manager()

    def new_manager(self) -> LegManager:
        """What a start makes."""
        return LegManager(
            self,
            self.store,
            self.name,
            self.invited,
            clock=lambda: self.network.now,
            wall=lambda: self.network.now,
            chance=lambda: 0.5,
            new_id=lambda: next(self.ids),
        )

    # the port

    def send(self, command: Command, pin: int) -> bool:
        if self.alive:
            self.sent.append(command)
            self.network.command(self.side, command)
        return True

    # the owner

    kind = "test"
    identity = "1"

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        if not self.alive:
            return
        self.network.trace.append(f"{self.network.now:.2f} {self.name} hears {type(event).__name__}")
        self.heard.append(event)
        if isinstance(event, Offered):
            self.manager.order(leg_id, AcceptOffer(sdp=OTHER_ANSWER))

    def invited(self, transaction: tuple[int, int], message: Message) -> None:
        leg_id = self.manager.take(transaction, self, CALLEE_CONTACT, POLICY)
        assert leg_id is not None
        self.legs.append(leg_id)
        self.manager.order(leg_id, Ring(reliably=True))
        self.network.at(0.1, lambda: self.manager.order(leg_id, Accept(sdp=ANSWER)) and None)

    def receive(self, event: PortEvent) -> None:
        if not self.alive:
            if isinstance(event, RequestReceived):  # Kamailio says so itself
                self.network.command(self.side, Reply(event.transaction, 503, "Service Unavailable", "tm"))
            return
        self.events += 1
        self.manager.handle(event)
        if self.events == self.dies_at:
            self.die()

    def die(self) -> None:
        """kill -9: what Kamailio had suspended for it gets 503 after a while."""
        self.alive = False
        self.network.trace.append(f"{self.network.now:.2f} {self.name} dies")
        self.network.at(1.0, self.orphans)

    def orphans(self) -> None:
        for transaction, server in self.side.servers.items():
            if server.replied < 200:
                self.network.command(self.side, Reply(transaction, 503, "Service Unavailable", "tm"))

    async def restart(self) -> None:
        """Start anew over what was stored."""
        if self.alive:
            return
        self.alive = True
        self.dies_at = -1
        self.manager = self.new_manager()
        await restore(self.manager, self.store, lambda record: None)


class Pair:
    """A caller and a callee."""

    def __init__(self) -> None:
        self.network = Network(lambda kind: None if kind == "repetition" else DELAY)
        self.caller = Worker("caller", self.network)
        self.callee = Worker("callee", self.network)
        self.caller.side.peer, self.callee.side.peer = self.callee.side, self.caller.side
        self.workers = (self.caller, self.callee)

    async def advance(self, seconds: float) -> None:
        """Let everything happen within a time."""
        until = self.network.now + seconds
        while True:
            await settle()
            times = [self.network.next_at()]
            for worker in self.workers:
                if worker.alive:
                    times += [leg.next_deadline() for leg in map(worker.manager.find, list(worker.manager._entries)) if leg]
            first = min((at for at in times if at is not None), default=until + 1)
            if first > until:
                self.network.now = until
                return
            if self.network.next_at() == first:
                self.network.run_one()
            self.network.now = max(self.network.now, first)
            for worker in self.workers:
                if worker.alive:
                    worker.manager.timers.tick()

    async def script(self) -> None:
        """A call with a change of terms, released in the end."""
        leg_id = self.caller.manager.call(INVITATION, self.caller, POLICY)
        self.network.at(0.5, lambda: self.caller.manager.order(leg_id, Offer(sdp=OTHER_OFFER)) and None)
        self.network.at(0.8, lambda: self.caller.manager.order(leg_id, Release()) and None)
        await self.advance(2.0)

    def check(self) -> None:
        """Nothing is left of anything."""
        trace = "\n".join(self.network.trace)
        for worker in self.workers:
            assert len(worker.manager) == 0, trace
            assert worker.store.rows == {}, trace
            assert [one.request.method for one in worker.side.servers.values() if one.replied < 200] == [], trace


async def test_without_a_death_the_script_ends_well() -> None:
    pair = Pair()
    await pair.script()
    assert [type(one) for one in pair.callee.heard] == [Confirmed, Offered, Ended]
    assert [type(one).__name__ for one in pair.caller.heard] == ["Ringing", "Answered", "Answered", "Ended"]
    pair.check()


@pytest.mark.requirement("SEC-06", "PFS-09")
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize("away", [0.05, 5.0, 60.0])
async def test_a_worker_that_dies_at_any_event_leaves_nothing(victim: int, after: int, away: float) -> None:
    pair = Pair()
    pair.workers[victim].dies_at = after
    await pair.script()
    await pair.advance(away)
    await pair.workers[victim].restart()
    await pair.advance(400)
    pair.check()
    survivor = pair.workers[1 - victim]
    if survivor.legs or survivor is pair.caller:
        assert len([one for one in survivor.heard if isinstance(one, Ended | Rejected)]) == 1


@pytest.mark.requirement("SEC-06")
async def test_a_session_that_nobody_resumes_gets_a_bye_with_a_reason() -> None:
    pair = Pair()
    leg_id = pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    await pair.advance(3.0)
    await pair.caller.restart()
    bye = pair.caller.sent[-1]
    assert isinstance(bye, SendRequest) and bye.method == "BYE"
    assert header(bye, "Reason") == 'SIP;cause=503;text="Service restarted"'
    assert int(header(bye, "CSeq").split()[0]) > 1000, "above what the worker before may have used"
    await pair.advance(1.0)
    assert pair.callee.heard[-1].why == 'SIP;cause=503;text="Service restarted"'  # type: ignore[union-attr]
    pair.check()
    assert leg_id not in pair.caller.store.rows


@pytest.mark.requirement("SEC-06", "CNF-28")
async def test_a_session_that_its_owner_resumes_goes_on() -> None:
    pair = Pair()
    leg_id = pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    await pair.advance(3.0)
    pair.caller.alive, pair.caller.manager = True, pair.caller.new_manager()
    owner = FakeOwner(identity="resumed")
    asked: list[LegRecord] = []

    def resume(record: LegRecord) -> FakeOwner:
        asked.append(record)
        return owner

    found = await restore(pair.caller.manager, pair.caller.store, resume)
    assert (found.resumed, found.released) == (1, 0)
    assert (asked[0].owner_kind, asked[0].owner_id, asked[0].call_id) == ("test", "1", leg_id[0])
    await pair.advance(150.0)
    assert owner.heard == [] and len(pair.caller.manager) == len(pair.callee.manager) == 1, "it was refreshed"
    pair.caller.manager.order(leg_id, Offer(sdp=OTHER_OFFER))
    await pair.advance(1.0)
    assert isinstance(owner.heard[0], Answered)
    pair.callee.manager.order(pair.callee.legs[0], Release())
    await pair.advance(1.0)
    assert owner.heard[-1].cause is Cause.BYE  # type: ignore[union-attr]
    pair.check()


@pytest.mark.requirement("SEC-06", "PFS-10")
async def test_a_session_whose_time_is_over_is_not_resumed() -> None:
    pair = Pair()
    pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    await pair.advance(250.0)
    pair.caller.alive, pair.caller.manager = True, pair.caller.new_manager()
    found = await restore(pair.caller.manager, pair.caller.store, lambda record: FakeOwner())
    assert (found.resumed, found.released) == (0, 1)
    await pair.advance(1.0)
    pair.check()


@pytest.mark.requirement("SEC-06", "PFS-10")
async def test_a_worker_that_never_comes_back_does_not_keep_the_other() -> None:
    pair = Pair()
    pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    await pair.advance(300.0)
    assert isinstance(pair.callee.heard[-1], Ended) and pair.callee.heard[-1].cause is Cause.SESSION_EXPIRED
    assert len(pair.callee.manager) == 0


@pytest.mark.requirement("SEC-06")
async def test_many_legs_are_released_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "RELEASES_PER_TURN", 10)
    monkeypatch.setattr(restart, "TURN_S", 0.0)
    pair = Pair()
    for _ in range(25):
        pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    await pair.caller.restart()
    await pair.advance(2.0)
    assert len([one for one in pair.caller.sent if isinstance(one, SendRequest) and one.method == "BYE"]) == 25
    pair.check()


@pytest.mark.requirement("SEC-06", "PFS-09")
@pytest.mark.parametrize("order", [Release(), Offer(sdp=OTHER_OFFER)], ids=["BYE", "re-INVITE"])
async def test_a_peer_that_speaks_before_its_leg_is_released_is_answered(order: Release | Offer) -> None:
    """No 481 and no silence while there are more legs to release than can be at once."""
    pair = Pair()
    pair.caller.manager.call(INVITATION, pair.caller, POLICY)
    await pair.advance(1.0)
    pair.caller.die()
    pair.caller.alive, pair.caller.manager = True, pair.caller.new_manager()
    pair.caller.sent.clear()
    found = await restart.adopt(pair.caller.manager, pair.caller.store, lambda record: None)
    assert len(found.orphans) == 1
    pair.callee.manager.order(pair.callee.legs[0], order)
    await pair.advance(1.0)
    replies = [one.status for one in pair.caller.sent if isinstance(one, Reply)]
    assert replies == ([200] if isinstance(order, Release) else [487])
    assert isinstance(pair.callee.heard[-1], Ended)
    assert (await restart.release(pair.caller.manager, found)).released == 1
    await pair.advance(40.0)
    pair.check()
