"""One seat of a session with all that its shell keeps beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from msrp_worker.controlling.identity import user_of
from msrp_worker.controlling.invitation import Inviter
from msrp_worker.controlling.media import SeatMedia
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.msrp.address_key import address_key
from msrp_worker.sip.leg_types import LegId


class Progress(Protocol):
    """Told each response to an invitation; 200 or a failure comes last, exactly once."""

    def __call__(self, place: Place, status: int, reason: str, warning: str = "") -> None: ...


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
    followers: list[Progress] = field(default_factory=list)
    """Who is told how our INVITE goes, until its final response."""

    def reached_at(self, contact: str) -> None:
        """The URI of the Contact of the user's side. That of a participating function in the media path is the one by which
        its client knows us: messages to it are to the room (PFS-11)."""
        self.contact = contact
        if user_of(contact).startswith(LEG_TAG):
            self.media.rooms = frozenset({address_key(contact)})

    @property
    def entity(self) -> str:
        """The URI that others see (CES-05)."""
        return self.anonymous or self.uri

    def tell(self, status: int, reason: str, warning: str = "") -> None:
        """A response to our INVITE, or what amounts to one; after a final one nobody is told any more (CNF-24)."""
        told = list(self.followers)
        if status >= 200:
            self.followers.clear()
        for follower in told:
            follower(self, status, reason, warning)
