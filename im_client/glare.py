"""Offers that cross in a dialog: who may offer now, and what the other is told. Pure.

RFC 3261 section 14, RFC 3311 section 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY_AFTER_LIMIT = 10
"""Seconds; the Retry-After of a 500 is below it (RFC 3261 section 14.2)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is under way in a dialog.

    `inviting`: an INVITE of ours has no final response or ACK; `invited`: one of the peer's has none;
    `offering`: an offer of ours has no answer; `updating`: an UPDATE of the peer's has no final response.
    """

    inviting: bool = False
    invited: bool = False
    offering: bool = False
    updating: bool = False

    @property
    def free(self) -> bool:
        """Whether this side may send a re-INVITE or an offer (section 14.1)."""
        return not (self.inviting or self.invited or self.offering or self.updating)


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    retry_after: bool = False


def on_invite(exchange: Exchange) -> Refusal | None:
    """What a re-INVITE of the peer is refused with (section 14.2), None where it may go on."""
    if exchange.invited:
        return Refusal(500, retry_after=True)
    if exchange.inviting or exchange.offering:
        return Refusal(491)
    return None


def on_update(exchange: Exchange, *, offer: bool) -> Refusal | None:
    """What an UPDATE of the peer is refused with (RFC 3311 section 5.2), None where it may go on."""
    if exchange.updating:
        return Refusal(500, retry_after=True)
    if not offer:
        return None
    if exchange.offering:
        return Refusal(491)
    if exchange.invited:
        return Refusal(500, retry_after=True)
    return None


def retry_seconds(*, owner: bool, fraction: float) -> float:
    """How long to wait after a 491 (section 14.1), in units of 10 ms.

    `owner`: whether we made the Call-ID; `fraction`: a random number from 0 up to 1.
    """
    low, high = (2.1, 4.0) if owner else (0.0, 2.0)
    return round(low + fraction * (high - low), 2)
