"""Commands on their way to Kamailio: sent at once, or kept for a moment while it is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from zlib import crc32

from msrp_worker.sip.port import Command, Port

RETRY_S = 0.2
"""Between two tries while Kamailio is away; its control connection comes back within a second."""
KEEP_S = 32.0
"""How long a command is kept: as long as a request would be waited for (64*T1)."""
MAX_KEPT = 20_000
"""Commands kept, about 2 KiB each."""


class Sender:
    """Sends in order; commands of one Call-ID stay on one connection (`pin`)."""

    def __init__(self, port: Port, clock: Callable[[], float]) -> None:
        self._port = port
        self._clock = clock
        self._kept: deque[tuple[float, int, Command]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = 0
        """Commands given up; the timers of their legs do the rest."""

    def send(self, command: Command, call_id: str) -> None:
        """Send a command, now or as soon as Kamailio is there."""
        pin = crc32(call_id.encode())
        if not self._kept and self._port.send(command, pin):
            return
        if len(self._kept) >= MAX_KEPT:
            self.dropped += 1
            return
        self._kept.append((self._clock() + KEEP_S, pin, command))
        self._arm()

    def close(self) -> None:
        """Forget what waits."""
        self.dropped += len(self._kept)
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._timer = None
        now = self._clock()
        while self._kept:
            give_up_at, pin, command = self._kept[0]
            if now >= give_up_at:
                self.dropped += 1
            elif not self._port.send(command, pin):
                self._arm()
                return
            self._kept.popleft()
