"""Many deadlines, one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

SLACK = 1000
"""Outdated deadlines that are not worth a sweep."""


class Timed(Protocol):
    """A thing with at most one deadline; `Timers` writes it."""

    deadline: float | None


Thing = TypeVar("Thing", bound=Timed)


class Timers(Generic[Thing]):
    """Calls `due(thing)` once its deadline has come, on the clock given."""

    def __init__(self, clock: Callable[[], float], due: Callable[[Thing], None]) -> None:
        self._clock = clock
        self._due = due
        self._heap: list[tuple[float, int, Thing]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def set(self, thing: Thing, deadline: float | None, things: int) -> None:
        """Change a deadline; None for none. `things` is how many there are, to tell when a sweep pays."""
        if deadline == thing.deadline:
            return
        thing.deadline = deadline
        if deadline is None:
            return
        heapq.heappush(self._heap, (deadline, next(self._count), thing))
        if len(self._heap) > 4 * things + SLACK:
            self._heap = [one for one in self._heap if one[2].deadline == one[0]]
            heapq.heapify(self._heap)
        self._arm()

    def tick(self) -> None:
        """Call `due` for all whose time has come."""
        self._timer_at = float("inf")
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            deadline, _, thing = heapq.heappop(self._heap)
            if thing.deadline == deadline:
                thing.deadline = None
                self._due(thing)
        self._arm()

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if not self._heap or self._heap[0][0] >= self._timer_at:
            return
        self.close()
        self._timer_at = self._heap[0][0]
        delay = max(0.0, self._timer_at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self.tick)
