"""Responses that are sent again until the peer confirms them: 2xx by ACK, reliable provisionals by PRACK. Pure.

RFC 3261 section 13.3.1.4 and RFC 3262 section 3. Both go end to end, so that they repeat on any transport.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from .timers import BaseTimers


class Due(Enum):
    """What `fire` finds due."""

    NOTHING = auto()
    AGAIN = auto()  # send the response again
    GIVE_UP = auto()  # 64*T1 have passed


@dataclass(frozen=True, slots=True)
class Repetition:
    """Times in seconds of the caller's clock. `longest` is the longest interval, None for no limit."""

    at: float
    interval: float
    until: float
    longest: float | None

    @property
    def deadline(self) -> float:
        return min(self.at, self.until)


def of_success(timers: BaseTimers, now: float) -> Repetition:
    """For a 2xx: T1, doubling up to T2 (RFC 3261 section 13.3.1.4)."""
    return Repetition(now + timers.t1, timers.t1, now + timers.timeout, timers.t2)


def of_provisional(timers: BaseTimers, now: float) -> Repetition:
    """For a reliable provisional response: T1, doubling without limit (RFC 3262 section 3)."""
    return Repetition(now + timers.t1, timers.t1, now + timers.timeout, None)


def fire(repetition: Repetition, now: float) -> tuple[Repetition, Due]:
    """What is due at `now`, and the repetition after it."""
    if now >= repetition.until:
        return repetition, Due.GIVE_UP
    if now < repetition.at:
        return repetition, Due.NOTHING
    interval = 2 * repetition.interval
    if repetition.longest is not None:
        interval = min(interval, repetition.longest)
    return replace(repetition, at=now + interval, interval=interval), Due.AGAIN
