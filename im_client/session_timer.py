"""Session timers (RFC 4028): what a request asks for, what a response grants, when to refresh and to end. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from sipmessage import Headers

from .wire import parameters, split_outside_quotes, values

SMALLEST_MIN_SE = 90
"""Seconds; no Min-SE may be lower, and it is the value of an absent one (sections 4 and 5)."""
DEFAULT_INTERVAL = 1800
"""Seconds between refreshes asked for (section 4 recommends half an hour)."""
BYE_BEFORE = 32.0
"""Seconds before the expiration at which the side that does not refresh releases (section 10)."""

_SECONDS = re.compile(r"[0-9]{1,9}")


class Refresher(Enum):
    UAC = "uac"
    UAS = "uas"


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """The Session-Expires field; `seconds` are the session interval."""

    seconds: int
    refresher: Refresher | None = None

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher.value}" if self.refresher else str(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerPolicy:
    """What this side wants. `interval` 0 asks for no timer; tests may go below the smallest Min-SE."""

    interval: int = DEFAULT_INTERVAL
    min_se: int = SMALLEST_MIN_SE


@dataclass(frozen=True, slots=True)
class SessionTimer:
    """The timer of one session. `interval` None: it does not expire. Times in seconds of the caller's clock."""

    interval: int | None = None
    refreshing: bool = False  # whether this side refreshes
    since: float = 0.0  # when the last 2xx to a refresh was sent or received
    min_se: int | None = None  # the largest seen on the dialog, once there was one (section 7.4)

    @property
    def refresh_at(self) -> float | None:
        """Half of the interval, for the side that refreshes (section 10)."""
        return self.since + self.interval / 2 if self.interval is not None and self.refreshing else None

    @property
    def expires_at(self) -> float | None:
        """When to release: the other side a little before the expiration (section 10)."""
        if self.interval is None:
            return None
        early = 0.0 if self.refreshing else min(BYE_BEFORE, self.interval / 3)
        return self.since + self.interval - early


def parse_session_expires(headers: Headers) -> SessionExpires | None:
    """The field, None where it is absent or unreadable."""
    value = headers.get("Session-Expires")
    if value is None:
        return None
    seconds, *rest = split_outside_quotes(value, ";")
    refresher = (parameters(rest).get("refresher") or "").lower()
    if not _SECONDS.fullmatch(seconds):
        return None
    return SessionExpires(int(seconds), Refresher(refresher) if refresher in ("uac", "uas") else None)


def parse_min_se(headers: Headers) -> int | None:
    """Min-SE in seconds, None where it is absent or unreadable."""
    seconds = (headers.get("Min-SE") or "").partition(";")[0].strip()
    return int(seconds) if _SECONDS.fullmatch(seconds) else None


def supports_timer(headers: Headers) -> bool:
    return "timer" in (tag.lower() for tag in values(headers, "Supported") + values(headers, "Require"))


# --- the side that sends the request


def request_fields(policy: TimerPolicy, min_se: int | None = None) -> list[tuple[str, str]]:
    """Of an initial INVITE; `min_se` is the largest of the 422 received (clause 7.1.1.1-5 and -6, section 7.1)."""
    if not policy.interval:
        return []
    asked = SessionExpires(max(policy.interval, min_se or 0), Refresher.UAC)
    return [("Session-Expires", str(asked)), *_min_se(min_se)]


def wanted(timer: SessionTimer) -> SessionExpires | None:
    """What a request within the dialog asks for: the roles stay (section 7.4). None where there is no timer."""
    if timer.interval is None:
        return None
    refresher = Refresher.UAC if timer.refreshing else Refresher.UAS
    return SessionExpires(max(timer.interval, timer.min_se or 0), refresher)


def refresh_fields(timer: SessionTimer) -> list[tuple[str, str]]:
    """The fields of a request within the dialog."""
    asked = wanted(timer)
    return [*([] if asked is None else [("Session-Expires", str(asked))]), *_min_se(timer.min_se)]


def granted(timer: SessionTimer, asked: SessionExpires | None, headers: Headers, now: float) -> SessionTimer:
    """The timer after a 2xx to our request, which `asked` (section 7.2).

    Where the peer does not know timers, we refresh by ourselves as asked.
    """
    found = parse_session_expires(headers)
    if found is None and asked is not None and not supports_timer(headers):
        found = SessionExpires(asked.seconds, Refresher.UAC)
    if found is None:
        return replace(timer, interval=None, since=now)
    return replace(timer, interval=found.seconds, refreshing=found.refresher is not Refresher.UAS, since=now)


def too_small(timer: SessionTimer, headers: Headers) -> SessionTimer | None:
    """The timer after a 422 (section 7.3); None where its Min-SE is no reason to try again."""
    smallest = parse_min_se(headers)
    if smallest is None or smallest <= (timer.min_se or 0):
        return None
    return replace(timer, min_se=smallest)


# --- the side that answers


def refusal(policy: TimerPolicy, headers: Headers) -> list[tuple[str, str]] | None:
    """The fields of a 422 to a request whose interval is too small (section 9); None where it is not."""
    asked = parse_session_expires(headers)
    if asked is None or not supports_timer(headers) or asked.seconds >= policy.min_se:
        return None
    return [("Min-SE", str(policy.min_se))]


def grant(
    timer: SessionTimer, policy: TimerPolicy, headers: Headers, now: float
) -> tuple[SessionTimer, list[tuple[str, str]]]:
    """The timer and the fields of a 2xx to a request (section 9, table 2; clause 7.1.2.2-4).

    The one who asks may name the refresher; where it does not, this side refreshes.
    """
    asked, peer_knows = parse_session_expires(headers), supports_timer(headers)
    lowest = parse_min_se(headers)
    largest = max(filter(None, (timer.min_se, lowest)), default=None)
    if asked is None and (not peer_knows or not policy.interval):
        return replace(timer, interval=None, since=now, min_se=largest), []
    seconds = asked.seconds if asked is not None else max(policy.interval, lowest or 0)
    by_peer = asked is not None and asked.refresher is Refresher.UAC and peer_knows
    fields = [("Session-Expires", str(SessionExpires(seconds, Refresher.UAC if by_peer else Refresher.UAS)))]
    if peer_knows:
        fields.append(("Require", "timer"))
    return SessionTimer(seconds, not by_peer, now, largest), fields


def _min_se(seconds: int | None) -> list[tuple[str, str]]:
    return [] if seconds is None else [("Min-SE", str(seconds))]
