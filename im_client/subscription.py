"""The state of one subscription as its subscriber sees it (RFC 6665 section 4.1.2). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, auto

from .timers import BaseTimers
from .wire import parameters, split_outside_quotes

ENDS_A_REFRESH = frozenset({404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to a refresh that end the subscription (section 4.1.2.2); 408 ends the dialog (RFC 3261 12.2.1.2)."""
REFRESH_BEFORE = 600.0
"""Seconds before the end at which a long subscription is refreshed; a short one at its half."""

_SECONDS = re.compile(r"[0-9]{1,9}")


class State(Enum):
    NOTIFY_WAIT = auto()
    PENDING = auto()
    ACTIVE = auto()
    TERMINATED = auto()


class Due(Enum):
    """What `tick` finds due."""

    NOTHING = auto()
    REFRESH = auto()


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """The Subscription-State field of a NOTIFY (section 8.2.3)."""

    value: str  # in lower case
    expires: int | None = None
    reason: str = ""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """Times in seconds of the caller's clock. `reason` says why it is over."""

    state: State = State.NOTIFY_WAIT
    ends_at: float | None = None
    refresh_at: float | None = None
    notify_by: float | None = None  # Timer N
    closing: bool = False  # we have asked for the end
    reason: str = ""
    retry_after: int | None = None

    @property
    def over(self) -> bool:
        return self.state is State.TERMINATED

    @property
    def deadline(self) -> float | None:
        """When `tick` is due."""
        if self.over:
            return None
        times = (self.ends_at, self.refresh_at, self.notify_by)
        return min((time for time in times if time is not None), default=None)


def parse_state(value: str) -> SubscriptionState | None:
    """The field; None where it is empty."""
    state, *rest = split_outside_quotes(value, ";")
    found = parameters(rest)
    if not state:
        return None
    return SubscriptionState(
        state.lower(),
        _seconds(found.get("expires")),
        (found.get("reason") or "").lower(),
        _seconds(found.get("retry-after")),
    )


def asked(subscription: Subscription, timers: BaseTimers, now: float, *, end: bool = False) -> Subscription:
    """A SUBSCRIBE goes out: Timer N starts (sections 4.1.2.2 and 4.1.2.4). `end`: it is one with Expires: 0."""
    closing = subscription.closing or end
    return replace(subscription, refresh_at=None, notify_by=now + timers.timeout, closing=closing)


def answered(subscription: Subscription, status: int, expires: int | None, now: float) -> Subscription:
    """Its final response: `expires` as the notifier granted it, in seconds."""
    if subscription.over:
        return subscription
    first = subscription.state is State.NOTIFY_WAIT
    if status >= 300 and (first or status in ENDS_A_REFRESH or subscription.closing):
        return _over(subscription, f"refused with {status}")
    if status >= 300:  # it stands until its end (section 4.1.2.2)
        return replace(subscription, notify_by=None)
    return subscription if subscription.closing or expires is None else _until(subscription, expires, now)


def notified(subscription: Subscription, told: SubscriptionState, now: float) -> Subscription:
    """A NOTIFY (section 4.1.3). A state that is not known counts as active."""
    if subscription.over:
        return subscription
    if told.value == "terminated":
        return replace(_over(subscription, told.reason or "terminated"), retry_after=told.retry_after)
    state = State.PENDING if told.value == "pending" else State.ACTIVE
    # When we have asked for the end, only the NOTIFY that says so is its confirmation.
    waiting = subscription.notify_by if subscription.closing else None
    subscription = replace(subscription, state=state, notify_by=waiting)
    if told.expires is None or subscription.closing:
        return subscription
    return _until(subscription, told.expires, now)


def tick(subscription: Subscription, now: float) -> tuple[Subscription, Due]:
    """What is due at `now`: a refresh, or the end."""
    if subscription.over:
        return subscription, Due.NOTHING
    if subscription.notify_by is not None and subscription.notify_by <= now:
        reason = "unsubscribed" if subscription.closing else "no notification came"
        return _over(subscription, reason), Due.NOTHING
    if subscription.ends_at is not None and subscription.ends_at <= now:
        return _over(subscription, "expired"), Due.NOTHING
    if subscription.refresh_at is not None and subscription.refresh_at <= now:
        return replace(subscription, refresh_at=None), Due.REFRESH
    return subscription, Due.NOTHING


def again_after(subscription: Subscription) -> float | None:
    """Seconds after which to subscribe anew once it is over, None for never (section 4.1.3)."""
    wait = float(subscription.retry_after or 0)
    match subscription.reason:
        case "deactivated" | "timeout" | "expired" | "no notification came":
            return 0.0
        case "probation" | "giveup" | "terminated":
            return wait
    return None


def _until(subscription: Subscription, seconds: int, now: float) -> Subscription:
    early = seconds - REFRESH_BEFORE if seconds > 2 * REFRESH_BEFORE else seconds / 2
    return replace(subscription, ends_at=now + seconds, refresh_at=now + early)


def _over(subscription: Subscription, reason: str) -> Subscription:
    return replace(subscription, state=State.TERMINATED, ends_at=None, refresh_at=None, notify_by=None, reason=reason)


def _seconds(text: str | None) -> int | None:
    return int(text) if text is not None and _SECONDS.fullmatch(text) else None
