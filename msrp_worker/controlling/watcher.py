"""Who is told of a session at the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msrp_worker.sip.leg_types import LegId, Replied, Requested

if TYPE_CHECKING:
    from msrp_worker.controlling.session import FocusSession


class Watcher(Protocol):
    """See the module."""

    def changed(self, session: FocusSession, key: str) -> None:
        """A user joined, left, rings, or has another name."""
        ...

    def left(self, session: FocusSession, key: str) -> None:
        """A user has no seat any more."""
        ...

    def requested(self, session: FocusSession, leg_id: LegId, key: str, event: Requested) -> None:
        """A participant's other request inside its dialog, to be answered with `Respond`."""
        ...

    def replied(self, leg_id: LegId, event: Replied) -> None:
        """The final response to a request of ours inside a participant's dialog."""
        ...

    def over(self, session: FocusSession) -> None:
        """The session is released."""
        ...
