"""Time of the SIP layer: the base values of RFC 3261 and one queue of deadlines for everything that waits."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class BaseTimers:
    """Seconds (RFC 3261 table 4)."""

    t1: float = 0.5  # round-trip estimate; the first retransmission
    t2: float = 4.0  # longest interval between retransmissions of a non-INVITE request
    t4: float = 5.0  # how long a message can stay in the network

    @property
    def timeout(self) -> float:
        """64*T1: how long to wait for a final response, or to absorb retransmissions of a request."""
        return 64 * self.t1


DEFAULT_TIMERS = BaseTimers()


class TimerQueue(Generic[K]):
    """At most one deadline per key. No clock: the caller says what time it is."""

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def set(self, key: K, deadline: float | None) -> None:
        """Replace the deadline of `key`; None removes it."""
        if deadline is None:
            self._deadlines.pop(key, None)
            self._compact()
        elif self._deadlines.get(key) != deadline:
            self._deadlines[key] = deadline
            self._order += 1
            heapq.heappush(self._heap, (deadline, self._order, key))

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap and self._deadlines.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[K]:
        """The keys whose deadline has come, earliest first; they have no deadline any more."""
        keys = []
        while (deadline := self.next()) is not None and deadline <= now:
            key = heapq.heappop(self._heap)[2]
            del self._deadlines[key]
            keys.append(key)
        return keys

    def _compact(self) -> None:
        # Entries of removed keys stay in the heap until they come up; keep them from outnumbering
        # the live ones.
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._deadlines):
            self._heap = [entry for entry in self._heap if self._deadlines.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
