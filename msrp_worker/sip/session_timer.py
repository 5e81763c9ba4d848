"""Session timers (RFC 4028): who refreshes, how often, and when a session counts as dead."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.sip.message import Message, parameter
from msrp_worker.sip.port import Headers

SMALLEST_S = 90
"""No Min-SE and no session interval is below this (sections 4 and 5)."""
BYE_BEFORE_S = 32.0
"""How long before the expiry the side that does not refresh gives up, at most; else a third of the interval (10)."""
RETRY_S = 10.0
"""Between two tries of a refresh that was refused without a reason of its own, at least."""

Refresher = Literal["uac", "uas"]


class TimerPolicy(Struct, frozen=True):
    """What this side wants."""

    interval_s: int = 1800
    """Session interval asked for, in seconds."""
    min_s: int = SMALLEST_S
    """Smallest interval accepted, in seconds; below it 422 (section 9)."""
    refresher: Refresher = "uac"
    """Who refreshes when we answer and the other side leaves it to us."""
    ask: Literal["", "uac", "uas"] = ""
    """Who is to refresh what our INVITE starts (PFS-11); empty leaves it to the other side, as RFC 4028 7.1 advises."""


class SessionTimer(Struct, frozen=True):
    """The timer of one dialog; `interval` 0 means that there is none."""

    interval: int = 0
    refreshes_here: bool = False
    expires_at: float = 0.0
    """Seconds on the clock of `now`; meaningless while `interval` is 0."""
    min_se: int = 0
    """Largest Min-SE heard on this dialog, 0 for none (section 7.4)."""
    next_try_at: float = 0.0
    """Earliest time of the next refresh after one that was refused."""

    def deadline(self) -> float | None:
        """When `due` has something to say; None without a timer."""
        if not self.interval:
            return None
        if self.refreshes_here:
            return min(max(self.expires_at - self.interval / 2, self.next_try_at), self.expires_at)
        return self.expires_at - min(BYE_BEFORE_S, self.interval / 3)

    def due(self, now: float) -> Literal["", "refresh", "expired"]:
        """What is to be done at `now`: refresh at half the interval (section 7.2), or end the session (section 10)."""
        at = self.deadline()
        if at is None or now < at:
            return ""
        return "refresh" if self.refreshes_here and now < self.expires_at else "expired"


class Wish(Struct, frozen=True):
    """What a session refresh request says about timers."""

    interval: int = 0
    """Session-Expires in seconds, 0 when absent."""
    refresher: str = ""
    min_se: int = 0
    supported: bool = False


class TooSmall(Struct, frozen=True):
    """422 with this Min-SE."""

    min_se: int


class Granted(Struct, frozen=True):
    """The timer after our 2xx, and the headers that the 2xx carries."""

    timer: SessionTimer
    headers: Headers


def wish_of(message: Message) -> Wish:
    """Session-Expires, Min-SE and Supported of a request. An unreadable number counts as absent."""
    return Wish(
        interval=message.number("session-expires") or 0,
        refresher=parameter(message.first("session-expires"), "refresher").lower(),
        min_se=message.number("min-se") or 0,
        supported="timer" in message.tokens("supported") or "timer" in message.tokens("require"),
    )


def request_headers(timer: SessionTimer, policy: TimerPolicy) -> Headers:
    """Session-Expires and Min-SE of a request of ours that starts or refreshes a session (sections 7.1 and 7.4).

    The refresher is named once it is known, so that the role stays; Supported: timer is the caller's.
    """
    if timer.interval:
        interval = max(timer.interval, timer.min_se, SMALLEST_S)
        role = "uac" if timer.refreshes_here else "uas"
        expires = f"{interval};refresher={role}"
    else:
        role = f";refresher={policy.ask}" if policy.ask else ""
        expires = f"{max(policy.interval_s, timer.min_se, policy.min_s)}{role}"
    found: list[tuple[str, str]] = [("Session-Expires", expires)]
    if max(timer.min_se, policy.min_s) > SMALLEST_S:
        found.append(("Min-SE", str(max(timer.min_se, policy.min_s))))
    return tuple(found)


def answer(timer: SessionTimer, wish: Wish, policy: TimerPolicy, now: float) -> Granted | TooSmall:  # CNF-28, PFS-12
    """What our 2xx to a session refresh request says, sent at `now` (section 9).

    A peer that does not know timers is refreshed by us: the header is lost on it, and it will answer the refreshes.
    """
    if wish.interval and wish.interval < policy.min_s and wish.supported:
        return TooSmall(policy.min_s)
    least = max(wish.min_se, SMALLEST_S)
    # Shorter than asked is allowed down to Min-SE; longer is not, but for a proxy's value that breaks the rule itself.
    interval = max(min(wish.interval or policy.interval_s, policy.interval_s), least)
    if not wish.supported:
        role: Refresher = "uas"
    elif wish.refresher == "uac" or wish.refresher == "uas":
        role = "uac" if wish.refresher == "uac" else "uas"
    else:
        role = policy.refresher
    headers: list[tuple[str, str]] = [("Session-Expires", f"{interval};refresher={role}")]
    if wish.supported:
        headers.append(("Require", "timer"))
    granted = SessionTimer(interval, role == "uas", now + interval, max(timer.min_se, wish.min_se))
    return Granted(granted, tuple(headers))


def answered(timer: SessionTimer, asked: int, response: Message, now: float) -> SessionTimer:
    """The timer after a 2xx to our request that asked for `asked` seconds (section 7.2)."""
    interval = response.number("session-expires") or 0
    if not interval:
        # The peer does not know timers, or switches them off: the interest is ours alone, so we refresh.
        return replace(timer, interval=asked, refreshes_here=True, expires_at=now + asked, next_try_at=0.0)
    role = parameter(response.first("session-expires"), "refresher").lower()
    interval = max(interval, SMALLEST_S)
    # COMPAT(peers that leave the refresher out): refreshing is the safe reading.
    return replace(timer, interval=interval, refreshes_here=role != "uas", expires_at=now + interval, next_try_at=0.0)


def raised(timer: SessionTimer, response: Message, policy: TimerPolicy) -> SessionTimer | None:
    """After a 422: the timer with the larger Min-SE, None when repeating would ask for nothing new (section 7.3)."""
    min_se = response.number("min-se") or 0
    if min_se <= max(timer.min_se, timer.interval or max(policy.interval_s, policy.min_s)):
        return None
    return replace(timer, min_se=min_se)


def refused(timer: SessionTimer, now: float) -> SessionTimer:
    """After a refresh that failed otherwise: try again at half of what is left (section 10: not continuously)."""
    return replace(timer, next_try_at=now + max(RETRY_S, (timer.expires_at - now) / 2))


def asked_interval(headers: Headers) -> int:
    """The seconds that `request_headers` asked for."""
    return next((int(value.partition(";")[0]) for name, value in headers if name == "Session-Expires"), 0)
