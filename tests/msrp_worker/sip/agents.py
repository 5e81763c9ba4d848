"""A user agent around one leg, for ladders: routes events to it, keeps its timer and writes down what its owner heard."""

from __future__ import annotations

from collections.abc import Callable

from msrp_worker.sip import caller, leg
from msrp_worker.sip.callee import Refusal, answer_call
from msrp_worker.sip.invite import Phase
from msrp_worker.sip.leg_types import (
    Ack,
    Cancelled,
    Effect,
    Ended,
    Input,
    Invitation,
    Leg,
    LegPolicy,
    Rejected,
    Request,
    Response,
    Tick,
    TimedOut,
)
from msrp_worker.sip.message import read
from msrp_worker.sip.port import (
    AckReceived,
    CancelInvite,
    CancelReceived,
    PortEvent,
    Reply,
    RequestReceived,
    RequestTimedOut,
    ResponseReceived,
    SendRequest,
)
from tests.msrp_worker.sip.tm_model import Network, Side


class Agent:
    """One side of a ladder."""

    def __init__(self, name: str, network: Network, policy: LegPolicy, chance: Callable[[], float]) -> None:
        self.network = network
        self.policy = policy
        self.chance = chance
        self.side = Side(name, self.receive)
        self.leg: Leg | None = None
        self.heard: list[Effect] = []
        self.on_event: Callable[[Effect], None] = lambda event: None

    @property
    def over(self) -> bool:
        """Whether the owner was told so."""
        return any(isinstance(one, Ended | Rejected) for one in self.heard)

    @property
    def gone(self) -> bool:
        """Whether nothing is left of the leg."""
        return self.leg is None or self.leg.phase is Phase.TERMINATED

    def call(self, invitation: Invitation) -> None:
        """Send the INVITE."""
        self.leg, effects = caller.call(invitation, self.policy, "ladder", self.side.name, 1, self.network.now)
        self._apply(effects)

    def do(self, what: Input) -> None:
        """One step of the leg."""
        assert self.leg is not None
        self.leg, effects = leg.step(self.leg, what, self.network.now, self.chance())
        self._apply(effects)

    def tick(self) -> None:
        """Time has come."""
        if self.leg is not None and (at := self.leg.next_deadline()) is not None and at <= self.network.now:
            self.do(Tick())

    def receive(self, event: PortEvent) -> None:
        """An event of tm, routed as the shell does."""
        match event:
            case RequestReceived(transaction, data):
                self._requested(transaction, data)
            case AckReceived(data):
                if self.leg is not None and read(data).to_tag == self.leg.dialog.local_tag:
                    self.do(Ack(read(data)))
            case CancelReceived(transaction):
                if self.leg is not None:
                    self.do(Cancelled(transaction))
            case ResponseReceived(message=data):
                if self.leg is not None:
                    self.do(Response(read(data)))
            case RequestTimedOut():
                if self.leg is not None:
                    self.do(TimedOut(event.method, event.cseq, event.remote_tag))

    def _requested(self, transaction: tuple[int, int], data: bytes) -> None:
        message = read(data)
        if self.leg is not None and message.to_tag == self.leg.dialog.local_tag:
            self.do(Request(transaction, message))
        elif message.method == "INVITE" and not message.to_tag and self.leg is None:
            made = answer_call(
                message, transaction, self.policy, f"<sip:{self.side.name}@h>", self.side.name, self.network.now, 0.1
            )
            assert not isinstance(made, Refusal)
            self.leg = made
        else:
            status = 482 if message.method == "INVITE" else 481
            self.network.command(self.side, Reply(transaction, status, "No", self.side.name))

    def _apply(self, effects: list[Effect]) -> None:
        for one in effects:
            if isinstance(one, SendRequest | Reply | CancelInvite):
                self.network.command(self.side, one)
            else:
                self.network.trace.append(f"{self.network.now:.2f} {self.side.name} hears {type(one).__name__}")
                assert not self.over, "nothing is told after the end"
                self.heard.append(one)
                self.on_event(one)


def wire(one: Agent, other: Agent) -> None:
    """Put two agents on the ends of their network."""
    one.side.peer, other.side.peer = other.side, one.side


def advance(network: Network, agents: list[Agent], until: float) -> None:
    """Let everything happen that happens up to a time, timers of the legs included."""
    while True:
        deadlines = [a.leg.next_deadline() for a in agents if a.leg is not None]
        times = [at for at in (*deadlines, network.next_at()) if at is not None]
        if not times or min(times) > until:
            network.now = max(network.now, until)
            return
        first = min(times)
        if network.next_at() == first:
            network.run_one()
        else:
            network.now = max(network.now, first)
        for agent in agents:
            agent.tick()
