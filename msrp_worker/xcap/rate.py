"""How many requests somebody may send (SEC-02). Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict

MAX_KEYS = 50_000
"""Users or addresses remembered, about 200 bytes each; the one that was counted first is forgotten."""


class Rate:
    """At most `most` events for each key within `seconds`; 0 is no limit."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._counted: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, key: str, now: float) -> bool:
        """Note an event; False when it is one too many."""
        begin, events = self._window(key, now)
        if key not in self._counted and len(self._counted) >= MAX_KEYS:
            self._counted.popitem(last=False)
        self._counted[key] = (begin, events + 1)
        return not self.most or events < self.most

    def spent(self, key: str, now: float) -> float:
        """Seconds until the next event is allowed; 0 when it is now."""
        begin, events = self._window(key, now)
        return max(0.0, begin + self.seconds - now) if self.most and events >= self.most else 0.0

    def _window(self, key: str, now: float) -> tuple[float, int]:
        begin, events = self._counted.get(key, (now, 0))
        return (now, 0) if now - begin >= self.seconds else (begin, events)
