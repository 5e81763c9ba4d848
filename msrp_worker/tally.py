"""What is counted of each session for its operator, beside what the session needs for itself."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

_NUMBERS = itertools.count(1)


@dataclass(slots=True, eq=False)
class Tally:
    """One session since it began. Times are seconds of the monotonic clock."""

    number: int = field(default_factory=lambda: next(_NUMBERS))
    """In the order in which the sessions of this worker begin, each used once."""
    began: float = field(default_factory=time.monotonic)
    messages: int = 0
    last: float = 0.0
    """When the last message came, 0 when none has."""

    def count(self) -> None:
        """A message was taken."""
        self.messages += 1
        self.last = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last message, or since the session began."""
        return time.monotonic() - max(self.last, self.began)

    @property
    def since(self) -> float:
        """When the session began, seconds since 1970."""
        return time.time() - (time.monotonic() - self.began)
