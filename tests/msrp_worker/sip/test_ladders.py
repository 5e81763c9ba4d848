"""Two legs against each other over a network that misbehaves: whatever happens, both end and tell their owners once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Answered,
    Effect,
    Invitation,
    LegPolicy,
    Offer,
    Offered,
    Refuse,
    RefuseOffer,
    Release,
    Requested,
    Respond,
    Ring,
    Send,
)
from msrp_worker.sip.offer_answer import Exchange
from msrp_worker.sip.session_timer import TimerPolicy
from tests.msrp_worker.sip.agents import Agent, advance, wire
from tests.msrp_worker.sip.tm_model import DELAY, Network

LONGEST_END_S = 400.0
"""After a release everything is over within this: ringing, a lost transaction and its BYE, one after the other."""


def description(who: str, number: int) -> bytes:
    return b"v=0\r\no=- %b %d IN IP4 h\r\n" % (who.encode(), number)


class Ladder(RuleBasedStateMachine):
    """Owners that act at any time, and a network that hypothesis chooses the faults of."""

    lossy = True

    @initialize(data=st.data(), update=st.booleans(), interval=st.sampled_from([90, 1800]), established=st.booleans())
    def start(self, data: st.DataObject, update: bool, interval: int, established: bool) -> None:
        self.data = data
        self.calm = established
        self.number = 0
        self.network = Network(self.fate)
        allow = tuple(m for m in LegPolicy().allow if update or m != "UPDATE")
        policy = LegPolicy(timer=TimerPolicy(interval_s=interval), allow=allow)
        self.caller = Agent("caller", self.network, policy, self.chance)
        self.callee = Agent("callee", self.network, policy, self.chance)
        wire(self.caller, self.callee)
        self.agents = [self.caller, self.callee]
        for agent in self.agents:
            agent.on_event = lambda event, agent=agent: self.heard(agent, event)  # type: ignore[misc]
        self.caller.call(
            Invitation(
                request_uri="sip:callee@h",
                from_uri="sip:caller@h",
                to_uri="sip:callee@h",
                contact="<sip:caller@h>",
                sdp=description("caller", 0),
            )
        )
        if established:
            advance(self.network, self.agents, self.network.now + 1)
            self.accept()
            advance(self.network, self.agents, self.network.now + 1)
            self.calm = False

    # --- faults ---

    def chance(self) -> float:
        return 0.5 if self.calm else self.data.draw(st.floats(0, 0.99))

    def fate(self, kind: str) -> float | None:
        if self.calm:
            return None if kind == "repetition" else DELAY
        delays: list[Any] = [DELAY, 0.0, 0.3, 1.7]
        if kind in ("provisional", "repetition", "ack") or (self.lossy and kind == "request"):
            delays.append(None)
        return self.data.draw(st.sampled_from(delays))  # type: ignore[no-any-return]

    # --- owners ---

    def heard(self, agent: Agent, event: Effect) -> None:
        match event:
            case Offered():
                order: Any = RefuseOffer()
                if self.calm or self.data.draw(st.booleans()):
                    order = AcceptOffer(sdp=self.fresh(agent))
                self.network.at(DELAY, lambda: agent.do(order))
            case Requested(transaction):
                self.network.at(DELAY, lambda: agent.do(Respond(transaction=transaction, status=200, reason="OK")))

    def fresh(self, agent: Agent) -> bytes:
        self.number += 1
        return description(agent.side.name, self.number)

    @precondition(lambda self: self.callee.leg is not None)
    @rule(reliably=st.booleans(), with_answer=st.booleans())
    def ring(self, reliably: bool, with_answer: bool) -> None:
        assert self.callee.leg is not None
        gives = with_answer and reliably and self.callee.leg.exchange is Exchange.REMOTE_OFFER
        self.callee.do(Ring(status=183, reason="P", reliably=reliably, sdp=self.fresh(self.callee) if gives else b""))

    @precondition(lambda self: self.callee.leg is not None)
    @rule()
    def accept(self) -> None:
        self.callee.do(Accept(sdp=self.fresh(self.callee)))

    @precondition(lambda self: self.callee.leg is not None and self.callee.leg.phase is Phase.EARLY)
    @rule()
    def refuse(self) -> None:
        self.callee.do(Refuse(status=486, reason="Busy Here"))

    @rule(callee=st.booleans(), method=st.sampled_from(["INVITE", "UPDATE"]))
    def offer(self, callee: bool, method: str) -> None:
        agent = self.agents[callee]
        if agent.leg is not None:
            agent.do(Offer(sdp=self.fresh(agent), method=method))

    @rule(callee=st.booleans())
    def inform(self, callee: bool) -> None:
        agent = self.agents[callee]
        if agent.leg is not None:
            agent.do(Send(method="INFO"))

    @rule(callee=st.booleans(), really=st.integers(0, 3))
    def release(self, callee: bool, really: int) -> None:
        agent = self.agents[callee]
        if really:
            return  # seldom enough that a session has a life
        if agent.leg is not None:
            agent.do(Release())

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.6, 2.5, 35.0, 70.0]))
    def wait(self, seconds: float) -> None:
        advance(self.network, self.agents, self.network.now + seconds)

    # --- what holds ---

    @invariant()
    def a_leg_that_lives_has_a_deadline(self) -> None:
        for agent in getattr(self, "agents", ()):
            if not agent.gone and agent.leg.phase is not Phase.CONFIRMED:
                assert agent.leg.next_deadline() is not None, agent.leg.phase

    def teardown(self) -> None:
        if not hasattr(self, "agents"):
            return
        self.calm = True
        try:
            self.agree()
            self.end()
        except AssertionError as error:
            raise AssertionError("\n".join(self.network.trace)) from error

    def agree(self) -> None:
        """Left alone, two sides that still talk come to the same view of their session."""
        advance(self.network, self.agents, self.network.now + 40)
        legs = [agent.leg for agent in self.agents]
        if any(leg is None or leg.phase is not Phase.CONFIRMED or leg.exchange is not Exchange.STABLE for leg in legs):
            return
        if any(leg.again or leg.outgoing or leg.offer for leg in legs if leg is not None):
            return
        one, other = legs
        assert one is not None and other is not None
        if self.lossy:  # what was lost for good may have left two views; session timer or BYE ends them
            return
        assert (one.local_sdp, one.remote_sdp) == (other.remote_sdp, other.local_sdp)
        assert any(isinstance(event, Answered) for event in self.caller.heard)

    def end(self) -> None:
        """Once one side releases, nothing is left on either."""
        for agent in self.agents:
            if agent.leg is not None and not agent.over:
                agent.do(Release())
            advance(self.network, self.agents, self.network.now + LONGEST_END_S)
        for agent in self.agents:
            assert agent.gone, agent.leg
            assert agent.leg is None or agent.over
        unanswered = [
            server.request.method for agent in self.agents for server in agent.side.servers.values() if server.replied < 200
        ]
        assert unanswered == [], "every request has its final response"


class CalmLadder(Ladder):
    """The same without lost transactions: then both sides agree about the session too."""

    lossy = False


EXAMPLES = 60
BOUNDED = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
Ladder.TestCase.settings = BOUNDED
CalmLadder.TestCase.settings = BOUNDED


@pytest.mark.requirement("PFS-08", "PFS-09", "PFS-15", "SEC-06")
class TestLossyLadder(Ladder.TestCase):  # type: ignore[misc]
    """Anything may be lost."""


@pytest.mark.requirement("PFS-05", "PFS-15")
class TestCalmLadder(CalmLadder.TestCase):  # type: ignore[misc]
    """Only what tm does not promise is lost."""
