"""What the sender of a REFER is told: its implicit subscription as `step(progress, event, now)` (RFC 3515 2.4). Pure.

One NOTIFY is out at a time; what happens meanwhile waits, of each user only the last. Several users have one subscription:
each NOTIFY tells of one of them, named by a To in the fragment, and the last one ends it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.event_package import Package

SIPFRAG: Final = "message/sipfrag;version=2.0"
"""RFC 3420."""
LONGEST_S = 900
"""What a refresh may extend a subscription to, in seconds; no invitation rings for that long."""
PACKAGE = Package(event="refer", content_type="message/sipfrag", default_s=300, shortest_s=0, longest_s=LONGEST_S)
"""Five minutes are more than the three that an INVITE may ring, with its last transactions (RFC 3515 section 3.4)."""
ANSWER_S = 40.0
"""How long the response to a NOTIFY is waited for, in seconds: its transaction takes 32."""
LONGEST_TEXT = 200
"""Characters of a reason or Warning that go into a NOTIFY; they are somebody else's."""
NEVER = float("inf")
DONE: Final = "terminated;reason=noresource"
EXPIRED: Final = "terminated;reason=timeout"


class News(Struct, frozen=True):
    """How the request to one user goes."""

    key: str
    """Canonical address; never sent."""
    status: int
    reason: str
    shown: str = ""
    """The URI by which a NOTIFY names the user; empty where only one is meant."""
    warning: str = ""

    @property
    def body(self) -> bytes:
        """The fragment (RFC 3420): a status line, and what belongs to it."""
        lines = [f"SIP/2.0 {self.status} {_plain(self.reason)}"]
        if self.shown:
            lines.append(f"To: <{self.shown}>")
        if self.warning:
            lines.append(f"Warning: {_plain(self.warning)}")
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


TRYING = News("", 100, "Trying")


class Progress(Struct, frozen=True):
    """One implicit subscription; changed only by `step`."""

    waiting: tuple[News, ...] = ()
    """Not told yet."""
    pending: frozenset[str] = frozenset()
    """Users without a final response."""
    last: News = TRYING
    until: float = NEVER
    answer_by: float = NEVER
    """When the NOTIFY that is out has failed; infinite while none is."""
    expired: bool = False
    over: bool = False

    def next_deadline(self) -> float:
        """When `Tick` has something to do; infinite for never."""
        return min(self.until, self.answer_by)


# --- what happens


class Began(Struct, frozen=True):
    """The REFER was accepted: these users are called, of others the outcome is known."""

    pending: frozenset[str]
    known: tuple[News, ...] = ()


class Told(Struct, frozen=True):
    """A response to one of the requests."""

    news: News


class Notified(Struct, frozen=True):
    """The response to our NOTIFY; 0 for none."""

    status: int


class Refreshed(Struct, frozen=True):
    """A SUBSCRIBE inside the dialog; 0 seconds end the subscription."""

    seconds: int


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


Event: TypeAlias = Began | Told | Notified | Refreshed | Tick


# --- what is to be done


class Notify(Struct, frozen=True):
    """Send a NOTIFY."""

    state: str
    """Subscription-State."""
    body: bytes


def step(progress: Progress, event: Event, now: float) -> tuple[Progress, list[Notify]]:
    """The subscription and the NOTIFYs to send after `event` at `now`, seconds of a clock that does not jump."""
    if progress.over:
        return progress, []
    match event:
        case Began(pending, known):
            waiting = known or (TRYING,)  # the first NOTIFY comes at once
            progress = replace(progress, pending=pending, waiting=waiting, until=now + PACKAGE.default_s)
        case Told(news):
            progress = _told(progress, news)
        case Notified(status):
            if not 200 <= status < 300:  # RFC 6665 section 4.2.2: who cannot be told is told no more
                return replace(progress, over=True), []
            progress = replace(progress, answer_by=NEVER)
        case Refreshed(0):
            progress = _expire(progress)
        case Refreshed(seconds):
            waiting = progress.waiting or (progress.last,)
            progress = replace(progress, until=now + seconds, waiting=waiting)
        case Tick():
            if progress.answer_by <= now:
                return replace(progress, over=True), []
            if progress.until <= now:
                progress = _expire(progress)
    return _send(progress, now)


def _told(progress: Progress, news: News) -> Progress:
    if news.key not in progress.pending:
        return progress
    waiting = (*(one for one in progress.waiting if one.key != news.key), news)
    pending = progress.pending - {news.key} if news.status >= 200 else progress.pending
    return replace(progress, waiting=waiting, pending=pending)


def _expire(progress: Progress) -> Progress:
    waiting = progress.waiting[-1:] or (progress.last,)
    return replace(progress, expired=True, waiting=waiting, until=NEVER)


def _send(progress: Progress, now: float) -> tuple[Progress, list[Notify]]:
    """The next NOTIFY, unless one is out."""
    if progress.answer_by != NEVER or not progress.waiting:
        return progress, []
    news, *rest = progress.waiting
    if progress.expired or not (rest or progress.pending):
        ended = replace(progress, over=True, waiting=(), last=news)
        return ended, [Notify(EXPIRED if progress.expired else DONE, news.body)]
    left = max(1, int(progress.until - now))
    progress = replace(progress, waiting=tuple(rest), last=news, answer_by=now + ANSWER_S)
    return progress, [Notify(f"active;expires={left}", news.body)]


def _plain(text: str) -> str:
    """Somebody else's text on one line."""
    return "".join(character for character in text if character.isprintable())[:LONGEST_TEXT]
