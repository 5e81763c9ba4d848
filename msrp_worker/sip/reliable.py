"""Reliable provisional responses (RFC 3262), on both sides of an INVITE."""

from __future__ import annotations

import re
from enum import Enum, auto

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers

T1_S = 0.5
"""Estimate of the round trip (RFC 3261 section 17.1.1.1); retransmission starts with it."""
GIVE_UP_S = 64 * T1_S
"""Without a PRACK for this long the INVITE is refused with a 5xx (section 3)."""
MAX_FIRST_RSEQ = 2**31 - 1
MAX_WAITING = 16
"""Reliable responses that may wait behind the one that is not acknowledged."""

_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10})\s+([!-~]+)")


class Heard(Enum):
    """What a reliable provisional response is to the one who gets it."""

    NEW = auto()
    """Acknowledge it with PRACK and act on it."""
    REPEATED = auto()
    OUT_OF_ORDER = auto()
    """Neither acknowledged nor acted on; the sender repeats it in time (section 4)."""


def rseq_of(response: Message) -> int | None:
    """RSeq when the response has to be acknowledged: 101 to 199 with Require: 100rel (section 4)."""
    if not 100 < response.status < 200 or "100rel" not in response.tokens("require"):
        return None
    return response.number("rseq")


def hear(last: int | None, rseq: int) -> Heard:  # PFS-15, CNF-33
    """Judge an RSeq by the last one acted on in the same dialog, None before the first."""
    if last is None or rseq == last + 1:
        return Heard.NEW
    return Heard.REPEATED if rseq <= last else Heard.OUT_OF_ORDER


def rack_header(rseq: int, cseq: int) -> tuple[str, str]:
    """RAck of the PRACK for a response to INVITE `cseq` (section 7.2)."""
    return "RAck", f"{rseq} {cseq} INVITE"


class Provisional(Struct, frozen=True):
    """One provisional response to be sent reliably."""

    status: int
    reason: str
    headers: Headers = ()
    body: bytes = b""


class Reliable(Struct, frozen=True):
    """The reliable responses of one INVITE that we answer."""

    next_rseq: int
    """RSeq of the next new response."""
    cseq: int
    """CSeq of the INVITE."""
    unanswered: Provisional | None = None
    resend_at: float = 0.0
    interval: float = T1_S
    give_up_at: float = 0.0
    waiting: tuple[Provisional, ...] = ()

    @property
    def rseq(self) -> int:
        """RSeq of the response that is not acknowledged yet."""
        return self.next_rseq - 1

    @property
    def holds_answer(self) -> bool:
        """Whether a 2xx has to wait: a session description is not acknowledged (section 5)."""
        return bool(self.unanswered and self.unanswered.body) or any(one.body for one in self.waiting)

    def deadline(self) -> float | None:
        """When `due` has something to say."""
        return min(self.resend_at, self.give_up_at) if self.unanswered else None


def send(state: Reliable, response: Provisional, now: float) -> tuple[Reliable, Provisional | None]:
    """Send a new response, or let it wait for the PRACK before it; None to send then. ValueError when too many wait."""
    if state.unanswered is not None:
        if len(state.waiting) >= MAX_WAITING:
            raise ValueError("too many reliable responses wait for a PRACK")
        return replace(state, waiting=(*state.waiting, response)), None
    state = replace(
        state,
        next_rseq=state.next_rseq + 1,
        unanswered=response,
        resend_at=now + T1_S,
        interval=T1_S,
        give_up_at=now + GIVE_UP_S,
    )
    return state, response


def headers(state: Reliable) -> Headers:
    """Require and RSeq of the response under way."""
    return ("Require", "100rel"), ("RSeq", str(state.rseq))


def due(state: Reliable, now: float) -> tuple[Reliable, Provisional | None, bool]:
    """At a deadline: the response to send once more or None, and whether it is time to refuse the INVITE."""
    if state.unanswered is None:
        return state, None, False
    if now >= state.give_up_at:
        return state, None, True
    if now < state.resend_at:
        return state, None, False
    interval = state.interval * 2  # without T2 as a limit, unlike a 2xx (section 3)
    return replace(state, interval=interval, resend_at=now + interval), state.unanswered, False


def matches(state: Reliable, prack: Message) -> bool:
    """Whether the PRACK acknowledges the response under way; any other one gets 481 (section 3)."""
    found = _RACK.fullmatch(prack.first("rack"))
    return (
        found is not None
        and state.unanswered is not None
        and int(found[1]) == state.rseq
        and int(found[2]) == state.cseq
        and found[3] == "INVITE"
    )


def acknowledged(state: Reliable, now: float) -> tuple[Reliable, Provisional | None]:
    """After the PRACK: the response that waited, to be sent now."""
    state = replace(state, unanswered=None)
    if not state.waiting:
        return state, None
    first, *rest = state.waiting
    return send(replace(state, waiting=tuple(rest)), first, now)


def stopped(state: Reliable) -> Reliable:
    """After a final response: nothing is repeated, but the PRACK under way is still good (section 3)."""
    return replace(state, resend_at=float("inf"), give_up_at=float("inf"), waiting=())
