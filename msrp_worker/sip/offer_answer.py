"""Offers and answers (RFC 3264): which message may carry one, and what happens when two meet.

Sections 13.2.1 and 14 of RFC 3261, 5 of RFC 3262 and 5 of RFC 3311. One exchange at a time in a dialog; the owner of a leg
writes and reads the descriptions, this knows whose turn it is.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

CALL_ID_OWNER_RETRY_S = (2.1, 4.0)
OTHER_RETRY_S = (0.0, 2.0)
"""After a 491 (RFC 3261 section 14.1): who made the Call-ID waits longer, so that one of the two comes through."""
RETRY_STEP_S = 0.01
RETRY_AFTER_S = 10
"""Retry-After of a 500 is chosen between 0 and this (RFC 3261 section 14.2)."""
MAX_TRIES = 8
"""Tries of one offer that meets a 491 each time."""


class Exchange(Enum):
    """Whose turn it is."""

    NONE = auto()
    """No description has been exchanged yet."""
    STABLE = auto()
    LOCAL_OFFER = auto()
    """Ours waits for its answer."""
    REMOTE_OFFER = auto()
    """Theirs waits for its answer."""


class Step(Enum):
    """What moves an exchange."""

    OFFER_SENT = auto()
    OFFER_RECEIVED = auto()
    ANSWER_SENT = auto()
    ANSWER_RECEIVED = auto()
    ABANDONED = auto()
    """The request or response that carried the offer failed: the session stays as it was (488 and others)."""


TABLE: dict[tuple[Exchange, Step], Exchange] = {
    (Exchange.NONE, Step.OFFER_SENT): Exchange.LOCAL_OFFER,
    (Exchange.NONE, Step.OFFER_RECEIVED): Exchange.REMOTE_OFFER,
    (Exchange.STABLE, Step.OFFER_SENT): Exchange.LOCAL_OFFER,
    (Exchange.STABLE, Step.OFFER_RECEIVED): Exchange.REMOTE_OFFER,
    (Exchange.LOCAL_OFFER, Step.ANSWER_RECEIVED): Exchange.STABLE,
    (Exchange.LOCAL_OFFER, Step.ABANDONED): Exchange.STABLE,
    (Exchange.REMOTE_OFFER, Step.ANSWER_SENT): Exchange.STABLE,
    (Exchange.REMOTE_OFFER, Step.ABANDONED): Exchange.STABLE,
}
"""What is not in the table is not allowed."""


class Refusal(Struct, frozen=True):
    """Response to a request whose offer comes at a bad time."""

    status: int
    reason: str
    retry_after: int | None = None


def moved(exchange: Exchange, step: Step) -> Exchange:
    """The exchange after a step. ValueError for a step that is not allowed now."""
    try:
        return TABLE[exchange, step]
    except KeyError:
        raise ValueError(f"{step.name} while {exchange.name}") from None


def judge_request(
    exchange: Exchange,
    *,
    method: str,
    has_offer: bool,
    our_invite: bool,
    their_invite: bool,
    their_update: bool,
    chance: float,
) -> Refusal | None:  # PFS-05
    """Refuse an INVITE or UPDATE of the peer in a dialog, or None to take it.

    `our_invite`: an INVITE of ours is not answered; `their_invite`, `their_update`: one of theirs is not. `chance` in [0,
    1). An INVITE without a description asks for an offer, so it needs the turn like one that has an offer.
    """
    busy = Refusal(500, "Server Internal Error", int(chance * (RETRY_AFTER_S + 1)))
    if method == "INVITE":
        if their_invite:
            return busy  # RFC 3261 section 14.2
        if our_invite:
            return Refusal(491, "Request Pending")
    elif their_update:
        return busy  # RFC 3311 section 5.2
    if method == "INVITE" or has_offer:
        if exchange is Exchange.LOCAL_OFFER:
            return Refusal(491, "Request Pending")
        if exchange in (Exchange.REMOTE_OFFER, Exchange.NONE):
            return busy
    return None


def may_offer(exchange: Exchange, *, method: str, confirmed: bool, invite_open: bool, peer_allows_update: bool) -> bool:
    """Whether an INVITE or UPDATE of ours may carry an offer now.

    `confirmed`: the dialog has its 2xx and ACK; `invite_open`: an INVITE inside it is under way in either direction.
    """
    if exchange is not Exchange.STABLE:
        return False
    if method == "UPDATE":
        return peer_allows_update  # also in an early dialog, once the first exchange was reliable
    return confirmed and not invite_open


def retry_delay(owns_call_id: bool, chance: float) -> float:
    """Seconds to wait after a 491, in units of 10 ms; `chance` in [0, 1)."""
    low, high = CALL_ID_OWNER_RETRY_S if owns_call_id else OTHER_RETRY_S
    steps = round((high - low) / RETRY_STEP_S)
    return round(low + int(chance * (steps + 1)) * RETRY_STEP_S, 2)
