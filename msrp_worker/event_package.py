"""What every event package of ours has in common when a SUBSCRIBE comes (RFC 6665 section 4.2.1). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from msrp_worker import content_types


class Refused(Struct, frozen=True):
    """The response that refuses a SUBSCRIBE."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


class Package(Struct, frozen=True, kw_only=True):
    """One event package."""

    event: str
    content_type: str
    """Of the bodies; a SUBSCRIBE without Accept takes it."""
    default_s: int
    """Granted when the subscriber does not say, in seconds."""
    shortest_s: int
    """Below it, unless 0, the subscription is refused 423."""
    longest_s: int
    """More is cut to it."""

    def screen(self, event: str, accept: Sequence[str], expires: int | None) -> int | Refused:
        """Judge Event, Accept and Expires of a SUBSCRIBE: the seconds granted, or the refusal."""
        if event.partition(";")[0].strip().lower() != self.event:
            return Refused(489, "Bad Event", (("Allow-Events", self.event),))
        if accept and not content_types.accepts(accept, self.content_type):
            return Refused(406, "Not Acceptable", (("Accept", self.content_type),))
        seconds = self.default_s if expires is None else expires
        if 0 < seconds < self.shortest_s:
            return Refused(423, "Interval Too Brief", (("Min-Expires", str(self.shortest_s)),))
        return min(seconds, self.longest_s)
