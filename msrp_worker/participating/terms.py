"""What the two sides of a bridged session are told of each other: pure functions over session descriptions (PFS-05).

A line passes with its direction, content types and file; paths, addresses, set-up roles and certificates are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Generic, TypeVar

from msrp_worker.msrp import MsrpUri
from msrp_worker.sdp import Media, Origin, SessionDescription, describe
from msrp_worker.sdp_msrp import ACTIVE_PORT, MsrpMedia, Setup

StreamT = TypeVar("StreamT")


class End(Enum):
    """One of the two sides of a bridged session."""

    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> End:
        """The side across."""
        return End.CALLEE if self is End.CALLER else End.CALLER


@dataclass(slots=True)
class Face(Generic[StreamT]):
    """What one side and we have told each other."""

    origin: Origin
    """Of our next description."""
    slots: list[StreamT | None] = field(default_factory=list)
    """The stream of each m= line; None for a line with port 0. Lines are added, never removed (RFC 3264 section 8)."""
    theirs: SessionDescription | None = None
    ours: SessionDescription | None = None
    """Ours as last agreed."""
    sent: SessionDescription | None = None
    """Ours as last sent, agreed or refused: the version of o= counts from it."""

    def say(self, host: str, sections: Sequence[Media], times: str = "0 0") -> SessionDescription:
        """Our description for this side; the same one, o= line included, where nothing changes (RFC 4975 section 8)."""
        for known in (self.ours, self.sent):
            if known is not None and known.media == tuple(sections):
                return known
        if self.sent is not None:
            self.origin = replace(self.origin, version=self.origin.version + 1)
        self.sent = describe(self.origin, host, sections, times)
        return self.sent

    def free_slot(self, used: Sequence[int]) -> int:
        """Where a new line goes: in the place of one that is over, else behind the last one."""
        for index, stream in enumerate(self.slots):
            if stream is None and index not in used:
                return index
        return max((len(self.slots) - 1, *used)) + 1


def only(offered: SessionDescription, index: int) -> SessionDescription:
    """The offer with one of its lines."""
    return replace(offered, media=(offered.media[index],))


def section_across(line: MsrpMedia, local: MsrpUri, max_size: int | None, fingerprints: tuple[str, ...] = ()) -> Media:
    """A line of one side's offer in ours to the other side, with our path.

    A side behind a middlebox answers to msrp-cema with the address to connect to (RFC 6714).
    """
    return _ours(replace(line, setup=Setup.ACTPASS, cema=True), local, max_size, fingerprints).build()  # MED-05


def section_back(
    mine: MsrpMedia, answered: MsrpMedia, local: MsrpUri, max_size: int | None, fingerprints: tuple[str, ...] = ()
) -> Media:
    """A line of the other side's answer in ours: `mine` has the set-up role that we answer for ourselves."""
    line = replace(answered, setup=mine.setup, secure=mine.secure, cema=mine.cema)
    return _ours(line, local, max_size, fingerprints).build()


def _ours(line: MsrpMedia, local: MsrpUri, max_size: int | None, fingerprints: tuple[str, ...]) -> MsrpMedia:
    sizes = [size for size in (line.max_size, max_size) if size is not None]
    return replace(
        line,
        path=(str(local),),
        port=local.port or ACTIVE_PORT,
        address=None,
        secure=local.secure,
        fingerprints=fingerprints if local.secure else (),  # MED-04
        max_size=min(sizes) if sizes else None,
    )
