"""One deadline on the clock of the event loop: the shell of the pure cores that tell when they want to be called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `work` with the time of the loop at the deadline set last; at most one is set."""

    def __init__(self, work: Callable[[float], None]) -> None:
        self._work = work
        self._handle: asyncio.TimerHandle | None = None

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def set(self, deadline: float | None) -> None:
        """Replace the deadline; None removes it."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if deadline is not None:
            self._handle = asyncio.get_running_loop().call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._work(self.now())
