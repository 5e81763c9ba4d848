"""Legs in given phases, for tests of one rule at a time."""

from __future__ import annotations

from typing import TypeVar

from msrp_worker.sip import caller, leg
from msrp_worker.sip.callee import Refusal, answer_call
from msrp_worker.sip.leg_types import Accept, Ack, Effect, Input, Invitation, Leg, LegPolicy, Request, Response
from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import Command, Reply, SendRequest
from tests.msrp_worker.sip.sip_text import ANSWER, CALLEE_CONTACT, OFFER, Lines, request, response

NOW = 1000.0
INVITE = (1, 1)
"""Transaction of the first INVITE."""
INVITATION = Invitation(
    request_uri="sip:bob@example.com",
    from_uri="sip:alice@example.com",
    to_uri="sip:bob@example.com",
    contact=CALLEE_CONTACT,
    sdp=OFFER,
    next_hop="sip:127.0.0.1:5060;lr",
    from_name='"Alice"',
)
TIMER = (("Supported", "timer"),)
T = TypeVar("T")


class Script:
    """A leg with its effects so far; each call makes one step and gives what it caused."""

    def __init__(self, start: Leg, effects: list[Effect] | None = None, now: float = NOW) -> None:
        self.leg = start
        self.now = now
        self.effects: list[Effect] = list(effects or ())
        self.transactions = 10

    def do(self, what: Input, chance: float = 0.5) -> list[Effect]:
        """One step."""
        before = self.leg
        self.leg, effects = leg.step(before, what, self.now, chance)
        assert leg.step(before, what, self.now, chance) == (self.leg, effects), "a step depends on nothing else"
        self.effects += effects
        return effects

    def request(self, method: str, cseq: int, *, lines: Lines = (), body: bytes = b"", **parts: str) -> list[Effect]:
        """A request of the peer inside the dialog."""
        self.transactions += 1
        dialog = self.leg.dialog
        tags = {"from_tag": dialog.remote_tag, "to_tag": dialog.local_tag, "call_id": dialog.call_id, **parts}
        return self.do(Request((self.transactions, 0), read(request(method, cseq, lines=lines, body=body, **tags))))

    def ack(self, cseq: int = 1, body: bytes = b"") -> list[Effect]:
        """The ACK of the peer."""
        dialog = self.leg.dialog
        tags = {"from_tag": dialog.remote_tag, "to_tag": dialog.local_tag}
        return self.do(Ack(read(request("ACK", cseq, body=body, **tags))))

    def respond(self, sent: SendRequest, status: int, reason: str = "Whatever", **parts: object) -> list[Effect]:
        """A response of the peer."""
        return self.do(Response(response(sent, status, reason, **parts)))  # type: ignore[arg-type]

    def sent(self, method: str = "") -> SendRequest:
        """The last request of ours."""
        return next(
            one for one in reversed(self.effects) if isinstance(one, SendRequest) and (not method or one.method == method)
        )


def only(effects: list[Effect], kind: type[T]) -> T:
    """The one effect of a kind."""
    (found,) = (one for one in effects if isinstance(one, kind))
    return found


def commands(effects: list[Effect]) -> list[Command]:
    """What goes to Kamailio."""
    return [one for one in effects if type(one).__module__ == "msrp_worker.sip.port"]  # type: ignore[misc]


def told(effects: list[Effect]) -> list[Effect]:
    """What the owner hears."""
    return [one for one in effects if type(one).__module__ != "msrp_worker.sip.port"]


def statuses(effects: list[Effect]) -> list[int]:
    """Status codes of the replies."""
    return [one.status for one in effects if isinstance(one, Reply)]


def invite(*, lines: Lines = TIMER, body: bytes = OFFER, **parts: str) -> Message:
    """The INVITE that starts the callee's legs."""
    return read(request("INVITE", 1, lines=lines, body=body, **parts))


def incoming(policy: LegPolicy | None = None, **parts: object) -> Script:
    """A callee before any response."""
    made = answer_call(
        invite(**parts),  # type: ignore[arg-type]
        INVITE,
        policy or LegPolicy(),
        CALLEE_CONTACT,
        "us",
        NOW,
        0.0,
    )
    assert not isinstance(made, Refusal), made
    return Script(made)


def accepted(**parts: object) -> Script:
    """A callee that has sent its 200."""
    script = incoming(**parts)  # type: ignore[arg-type]
    script.do(Accept(sdp=ANSWER))
    return script


def confirmed_callee(**parts: object) -> Script:
    """A callee with its ACK."""
    script = accepted(**parts)
    script.ack()
    return script


def calling(policy: LegPolicy | None = None) -> Script:
    """A caller that has heard nothing."""
    return Script(*caller.call(INVITATION, policy or LegPolicy(), "call-2", "us", 1, NOW))


def confirmed_caller(policy: LegPolicy | None = None, lines: Lines = ()) -> Script:
    """A caller with a 200."""
    script = calling(policy)
    script.respond(script.sent(), 200, "OK", body=ANSWER, lines=lines)
    return script
