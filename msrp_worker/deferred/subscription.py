"""One subscription to message-summary: RFC 6665 section 4.2 as `step(subscription, event, now)`, RFC 3842. Pure."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.deferred.summary import CONTENT_TYPE, EVENT
from msrp_worker.event_package import Package

PACKAGE = Package(
    event=EVENT,
    content_type=CONTENT_TYPE,
    default_s=3600,  # RFC 3842 section 3.4: one hour when the subscriber does not say
    shortest_s=60,  # RFC 6665 section 4.2.1.1
    longest_s=604_800,  # a week; RFC 3842 section 3.4 speaks of minutes to weeks
)
"""Who may subscribe for how long (DEF-08)."""
ANSWER_S = 40.0
"""How long the response to a NOTIFY is waited for, in seconds: its transaction takes 32."""


class Subscription(Struct, frozen=True, kw_only=True):
    """The state of one subscription."""

    expires_at: float = 0.0
    waiting_until: float = float("inf")
    """A NOTIFY is out; its response is waited for until then."""
    dirty: bool = False
    """Something changed since the NOTIFY that is out."""
    ending: str = ""
    """The reason of the last NOTIFY, once there is one to be sent."""
    over: bool = False

    def next_deadline(self) -> float:
        """When `Tick` has something to do."""
        return min(self.expires_at if not self.ending else float("inf"), self.waiting_until)


class Asked(Struct, frozen=True):
    """A SUBSCRIBE was accepted for so many seconds; 0 ends the subscription, or fetches the state once."""

    seconds: int


class Changed(Struct, frozen=True):
    """What waits has changed."""


class Notified(Struct, frozen=True):
    """The NOTIFY was answered; 0: it was not."""

    status: int


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


class Notify(Struct, frozen=True):
    """Send a NOTIFY with what waits now; `state` is the value of Subscription-State."""

    state: str


class Gone(Struct, frozen=True):
    """Forget the subscription."""


Event: TypeAlias = Asked | Changed | Notified | Tick
Effect: TypeAlias = Notify | Gone


def step(subscription: Subscription, event: Event, now: float) -> tuple[Subscription, list[Effect]]:
    """The subscription after `event`, and what is to be done. One NOTIFY is out at a time (RFC 6665 4.2.2)."""
    if subscription.over:
        return subscription, []
    match event:
        case Asked(seconds):
            ending = "" if seconds else "timeout"
            return _notify(replace(subscription, expires_at=now + seconds, ending=ending), now)
        case Changed():
            return (subscription, []) if subscription.ending else _notify(subscription, now)
        case Notified(status):
            if not 200 <= status < 300:
                return _gone(subscription)  # 481, or nobody there
            after = replace(subscription, waiting_until=float("inf"))
            if after.dirty:
                return _notify(after, now)
            return (after, []) if not after.ending else _gone(after)
        case Tick():
            if now >= subscription.waiting_until:
                return _gone(subscription)
            if not subscription.ending and now >= subscription.expires_at:
                return _notify(replace(subscription, ending="timeout"), now)
    return subscription, []


def _notify(subscription: Subscription, now: float) -> tuple[Subscription, list[Effect]]:
    if subscription.waiting_until != float("inf"):
        return replace(subscription, dirty=True), []
    left = max(0, round(subscription.expires_at - now))
    state = f"terminated;reason={subscription.ending}" if subscription.ending else f"active;expires={left}"
    return replace(subscription, waiting_until=now + ANSWER_S, dirty=False), [Notify(state)]


def _gone(subscription: Subscription) -> tuple[Subscription, list[Effect]]:
    return replace(subscription, over=True), [Gone()]
