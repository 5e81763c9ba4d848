"""Foci of sessions that are over: who left may come back by the Contact that it was given (PFS-11)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

KEEP_S = 3600.0
"""How long a URI of ours leads to its focus after the session, in seconds."""
MAX_KEPT = 10_000
"""URIs kept so, some 300 bytes each; the oldest go first."""


class Foci:
    """URIs of foci by the identity of a session that is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds that do not jump."""
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, identity: str, focus: str) -> None:
        """The session is over from now on."""
        self._known[identity] = self._clock() + KEEP_S, focus
        while len(self._known) > MAX_KEPT or next(iter(self._known.values()))[0] <= self._clock():
            self._known.popitem(last=False)

    def find(self, identity: str) -> str:
        """URI of its focus, empty when none is known any more."""
        until, focus = self._known.get(identity, (0.0, ""))
        return focus if self._clock() < until else ""
