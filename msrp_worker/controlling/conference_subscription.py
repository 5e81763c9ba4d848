"""One subscription to the participants of a session: RFC 6665 section 4.2 as `step(subscription, event, now)`. Pure.

The step decides when a NOTIFY is due; it then waits for its `Turn`, as all NOTIFYs of a worker share one budget. What it
tells is of that moment, and by the numbers of the roster (`conference_roster`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.controlling.conference_state import CONTENT_TYPE, EVENT
from msrp_worker.controlling.refusal import Refused, forbidden
from msrp_worker.event_package import Package

PACKAGE = Package(
    event=EVENT,
    content_type=CONTENT_TYPE,
    default_s=3600,  # RFC 4575 section 3.3
    shortest_s=60,  # as for message-summary: more refreshes than that are no use to anybody
    longest_s=86_400,  # a day; a client that is gone is found out by its NOTIFYs before
)
"""CES-08"""
ANSWER_S = 40.0
"""How long the response to a NOTIFY is waited for, in seconds: its transaction takes 32."""
RETRY_S = 5.0
"""After a NOTIFY that failed for the moment and said nothing of Retry-After, in seconds."""
LONGEST_RETRY_S = 300.0
"""What is believed of a Retry-After, in seconds."""
MOST_FAILURES = 3
"""NOTIFYs that fail one after the other before the subscription is given up."""
REMOVES = frozenset({0, 404, 405, 408, 410, 416, *range(480, 486), 489, 501, 604})
"""Outcomes of a NOTIFY that end the subscription (RFC 6665 section 4.2.2), 0 for no response; 408 ends the dialog
(RFC 5057 section 5.1)."""
NEVER = float("inf")


class Subscription(Struct, frozen=True, kw_only=True):
    """The state of one subscription. Times in seconds of the caller's clock."""

    expires_at: float = 0.0
    waiting_until: float = NEVER
    """A NOTIFY is out; its response is waited for until then."""
    earliest: float = 0.0
    """No NOTIFY of mere changes before (CES-06)."""
    version: int = 0
    """Of the last document sent (RFC 4575 section 5.2)."""
    told: int = 0
    """Number of the last change that was told and acknowledged; 0: the next document is full."""
    base: int = 0
    sent: tuple[int, int] = (0, 0)
    """`told` and `base` once the NOTIFY that is out is acknowledged."""
    dirty: bool = False
    """Something has changed, or one document could not hold all."""
    owed: bool = False
    """A SUBSCRIBE was answered; a NOTIFY with the full state follows, whatever the rate."""
    queued: bool = False
    """Waits for its turn."""
    ending: str = ""
    """The reason of the last NOTIFY, once there is one to be sent."""
    final: bool = False
    """The NOTIFY that is out is the last."""
    failures: int = 0
    over: bool = False

    def next_deadline(self) -> float:
        """When `Tick` has something to do."""
        if self.over:
            return NEVER
        end = NEVER if self.ending else self.expires_at
        if self.waiting_until != NEVER:
            return min(end, self.waiting_until)
        return min(end, self.earliest if self.dirty and not self.queued else NEVER)


class Asked(Struct, frozen=True):
    """A SUBSCRIBE was accepted for so many seconds; 0 ends the subscription, or fetches the state once."""

    seconds: int


class Changed(Struct, frozen=True):
    """The participants have changed."""


class Closed(Struct, frozen=True):
    """The session is over, or the subscriber has left it (CES-07), or may not see it any more."""

    reason: str = "noresource"


class Turn(Struct, frozen=True):
    """A NOTIFY may go now. `latest` is the number of the last change, `interval` the least time to the next, in seconds."""

    latest: int
    interval: float


class Notified(Struct, frozen=True):
    """The NOTIFY was answered; status 0: it was not."""

    status: int
    retry_after: float | None = None


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


class Queue(Struct, frozen=True):
    """Give this subscription a turn, `urgent`ly where a SUBSCRIBE waits for its NOTIFY."""

    urgent: bool


class Notify(Struct, frozen=True):
    """Send what is new since `told`, `base`; `state` is the value of Subscription-State. Then call `sent`."""

    state: str
    version: int
    told: int
    base: int


class Gone(Struct, frozen=True):
    """Forget the subscription."""


Event: TypeAlias = Asked | Changed | Closed | Turn | Notified | Tick
Effect: TypeAlias = Queue | Notify | Gone


def may_subscribe(originator: str, participants: Collection[str], conference_state_right: bool | None) -> Refused | None:
    """Whether somebody may see the participants (7.2.2.10-5); the refusal, or None.

    `conference_state_right` is what the rules of a group say (<allow-conference-state>), None where there is no group: then
    only who takes part or is invited may. Addresses are canonical.
    """
    allowed = originator in participants if conference_state_right is None else conference_state_right
    return None if allowed else forbidden("CES-02", "Not allowed to see the participants")  # CES-02


def step(subscription: Subscription, event: Event, now: float) -> tuple[Subscription, list[Effect]]:
    """The subscription after `event`, and what is to be done. One NOTIFY is out at a time, so they arrive in order."""
    if subscription.over:
        return subscription, []
    match event:
        case Asked(seconds):
            return _asked(subscription, seconds, now)
        case Changed():
            return _queue(replace(subscription, dirty=True), now)
        case Closed(reason):
            if subscription.final:
                return subscription, []
            return _queue(replace(subscription, ending=reason), now)
        case Turn(latest, interval):
            return _turn(replace(subscription, queued=False), latest, interval, now)
        case Notified(status, retry_after):
            return _notified(replace(subscription, waiting_until=NEVER), status, retry_after, now)
        case Tick():
            if now >= subscription.waiting_until:
                return _gone(subscription)
            if not subscription.ending and now >= subscription.expires_at:
                subscription = replace(subscription, ending="timeout")
            return _queue(subscription, now)


def sent(subscription: Subscription, upto: int, base: int, *, more: bool) -> Subscription:
    """After the NOTIFY of the last step has gone out: what it told (`conference_roster.Told`)."""
    return replace(subscription, sent=(upto, base), dirty=subscription.dirty or more)


def _asked(subscription: Subscription, seconds: int, now: float) -> tuple[Subscription, list[Effect]]:
    """A refresh brings the full state anew (RFC 4575 section 4.6): the subscriber may have missed something."""
    if subscription.ending:
        return subscription, []
    ending = "" if seconds else "timeout"
    return _queue(replace(subscription, expires_at=now + seconds, ending=ending, owed=True, told=0, sent=(0, 0)), now)


def _turn(subscription: Subscription, latest: int, interval: float, now: float) -> tuple[Subscription, list[Effect]]:
    must = bool(subscription.owed or subscription.ending)
    if subscription.waiting_until != NEVER:
        return subscription, []
    if not must and subscription.told == latest:  # changed, and back again
        return replace(subscription, dirty=False), []
    left = max(0, round(subscription.expires_at - now))
    value = f"terminated;reason={subscription.ending}" if subscription.ending else f"active;expires={left}"
    after = replace(
        subscription,
        waiting_until=now + ANSWER_S,
        earliest=now + interval,
        version=subscription.version + 1,
        dirty=False,
        owed=False,
        final=bool(subscription.ending),
    )
    return after, [Notify(value, after.version, subscription.told, subscription.base)]


def _notified(
    subscription: Subscription, status: int, retry_after: float | None, now: float
) -> tuple[Subscription, list[Effect]]:
    if subscription.final or status in REMOVES:
        return _gone(subscription)
    if 200 <= status < 300:
        told, base = subscription.sent
        return _queue(replace(subscription, told=told, base=base, failures=0), now)
    failures = subscription.failures + 1
    if failures >= MOST_FAILURES:
        return _gone(subscription)
    # It is not known what the subscriber has taken: full state, when it is ready again.
    wait = min(RETRY_S if retry_after is None else retry_after, LONGEST_RETRY_S)
    earliest = max(subscription.earliest, now + wait)
    return _queue(replace(subscription, told=0, dirty=True, earliest=earliest, failures=failures), now)


def _queue(subscription: Subscription, now: float) -> tuple[Subscription, list[Effect]]:
    must = bool(subscription.owed or subscription.ending)
    due = must or (subscription.dirty and now >= subscription.earliest)
    if subscription.queued or subscription.waiting_until != NEVER or not due:
        return subscription, []
    return replace(subscription, queued=True), [Queue(must)]


def _gone(subscription: Subscription) -> tuple[Subscription, list[Effect]]:
    return replace(subscription, over=True), [Gone()]
