"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msrp_worker.store import Store

NOW = 1_800_000_000.0
Opener = Callable[..., Awaitable[Store]]
"""`await opener(IM_NAME=value, …)`: one more store on the database of the test."""


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now
