"""One seat of a session with all that its shell keeps beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msrp_worker.controlling.invitation import Inviter
from msrp_worker.controlling.media import SeatMedia
from msrp_worker.sip.leg_types import LegId

Progress = Callable[[int, str], None]
"""Told each response to an invitation: status and reason; 200 or a failure comes last."""


@dataclass(slots=True, eq=False)
class Place:
    """Who sits, or is to sit, on one seat."""

    number: int
    key: str
    """Canonical address of the user: the seat's key."""
    uri: str
    """The address as others may see it, unless `anonymous`."""
    name: str
    """Display name; empty for none."""
    media: SeatMedia
    anonymous: str = ""
    """The URI that stands for the user, where privacy was asked for (IDN-04); empty: the address is shown."""
    leg: LegId | None = None
    contact: str = ""
    """URI of the Contact of the user's client."""
    dialed_in: bool = True
    target: str = ""
    """Request-URI of our INVITE."""
    by: Inviter | None = None
    """Who has the user invited."""
    replaces: str = ""
    on_progress: Progress | None = None

    @property
    def entity(self) -> str:
        """The URI that others see (CES-05)."""
        return self.anonymous or self.uri
