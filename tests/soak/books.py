"""The books of a soak: what was sent, what became of it for the sender, what came, and what is still stored. Pure.

How exactly-once is judged stands in the README of this folder.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

ACKNOWLEDGEMENT_SECONDS = 12.0
"""How long after a delivery its acknowledgement may get lost with the effect that it comes again: the 8 s that a device
has to answer before the message is deferred, and the time of a restart."""
REASON_CHARACTERS = 60
MANY_REASONS = 12
"""Of the reasons why messages were not accepted."""


class Outcome(StrEnum):
    """What a sender knows of a message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Way(StrEnum):
    """How a message came."""

    PAGER = "pager"
    PUSH = "push"
    FETCH = "fetch"
    LARGE = "large"


@dataclass(slots=True)
class Sending:
    """A message as its sender sees it. Times are seconds of one monotonic clock. `why` is a status or an error."""

    ident: str
    sender: str
    recipient: str
    size: int
    large: bool
    began: float
    outcome: Outcome = Outcome.UNKNOWN
    why: str = "never decided"
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as a recipient sees it. `key` is what the recipient tells repetitions by: Call-ID, or MSRP Message-ID."""

    ident: str
    recipient: str
    way: Way
    key: str
    time: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A time in which something was broken on purpose."""

    what: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons` are why messages were not accepted, the most frequent ones. `breaches` are the messages for which the
    promise was broken, in words; empty for a good run.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    breaches: list[str]


def content(ident: str, size: int) -> bytes:
    """What a message of that name and size holds: text that starts with both, and `size` bytes that follow from them."""
    filler = random.Random(ident).randbytes((size + 1) // 2).hex()[:size]
    return f"soak {ident} {size}\n{filler}".encode()


def read(body: bytes) -> str | None:
    """The name of the message with this content; None when it is no whole and unchanged message of a soak."""
    words = body.partition(b"\n")[0].decode("utf-8", "replace").split()
    if len(words) != 3 or words[0] != "soak" or not words[2].isdecimal() or len(words[2]) > 9:
        return None
    return words[1] if body == content(words[1], int(words[2])) else None


@dataclass(slots=True)
class Books:
    """Everything that is noted while a soak runs."""

    sendings: dict[str, Sending] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def send(self, ident: str, sender: str, recipient: str, size: int, large: bool, now: float) -> Sending:
        """A message is about to be sent."""
        self.sendings[ident] = sending = Sending(ident, sender, recipient, size, large, now)
        return sending

    def arrive(self, recipient: str, way: Way, key: str, body: bytes, now: float) -> None:
        """A recipient has got this, and acknowledges it now."""
        ident = read(body)
        if ident is None:
            self.damaged.append(f"{recipient} got by {way} what nobody sent: {body[:80]!r} of {len(body)} bytes")
            return
        self.arrivals.append(Arrival(ident, recipient, way, key, now))

    def judge(self, stored: Iterable[tuple[str, str, str]]) -> Verdict:
        """Hold everything against the promise. `stored` are (name, recipient, key) of what is in the store at the end, with
        an empty key where the listing does not show it.
        """
        came: dict[str, list[Arrival]] = defaultdict(list)
        kept: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for arrival in self.arrivals:
            came[arrival.ident].append(arrival)
        for ident, recipient, key in stored:
            kept[ident].append((recipient, key))
        breaches = list(self.damaged)
        counts: Counter[str] = Counter()
        for ident in sorted(came.keys() | kept.keys() - self.sendings.keys()):
            if ident not in self.sendings:
                breaches.append(f"{ident}: nobody sent it")
        for sending in self.sendings.values():
            arrivals, copies = came[sending.ident], kept[sending.ident]
            counts[_column(sending, arrivals, copies)] += 1
            counts["repetitions that the recipient can tell"] += max(0, len(arrivals) + len(copies) - 1)
            breaches += [f"{_named(sending)}: {what}" for what in self._breaches(sending, arrivals, copies)]
        return Verdict(dict(sorted(counts.items())), self._reasons(), breaches)

    def _reasons(self) -> dict[str, int]:
        undone = (sending for sending in self.sendings.values() if sending.outcome is not Outcome.ACCEPTED)
        reasons = Counter(f"{sending.outcome}: {sending.why[:REASON_CHARACTERS]}" for sending in undone)
        return dict(reasons.most_common(MANY_REASONS))

    def _breaches(self, sending: Sending, arrivals: Sequence[Arrival], copies: Sequence[tuple[str, str]]) -> Iterable[str]:
        if sending.outcome is Outcome.ACCEPTED and not arrivals and not copies:
            yield "accepted, and lost"
        if sending.outcome is Outcome.REFUSED and (arrivals or copies) and not self._trouble(sending.began, sending.ended):
            yield "refused, but delivered or stored, with nothing broken meanwhile"
        holders = {arrival.recipient for arrival in arrivals} | {recipient for recipient, _ in copies}
        if holders - {sending.recipient}:
            yield f"it went to {', '.join(sorted(holders))}"
        if len({arrival.key for arrival in arrivals} | {key for _, key in copies if key}) > 1:
            ways = ", ".join(
                [f"{arrival.way} {arrival.key}" for arrival in arrivals] + [f"stored {key}" for _, key in copies]
            )
            yield f"twice, and the recipient cannot tell: {ways}"
        if self._trouble(sending.began, sending.ended):
            return  # it may have been sent twice: its sender was asked for credentials anew
        if len(copies) > 1:
            yield f"stored {len(copies)} times, though nothing was broken when it was sent"
        for first in arrivals[: len(arrivals) - 1 + len(copies)]:
            if not self._trouble(first.time - ACKNOWLEDGEMENT_SECONDS, first.time + ACKNOWLEDGEMENT_SECONDS):
                yield f"twice, though nothing was broken when it came by {first.way} at {first.time:.1f}"

    def _trouble(self, began: float, ended: float) -> bool:
        return any(trouble.began <= ended and began <= trouble.ended for trouble in self.troubles)


def _column(sending: Sending, arrivals: Sequence[Arrival], copies: Sequence[tuple[str, str]]) -> str:
    fate = "delivered" if arrivals else "still stored" if copies else "nowhere"
    return f"{'large' if sending.large else 'pager'}, {sending.outcome}, {fate}"


def _named(sending: Sending) -> str:
    return (
        f"{sending.ident} ({'large' if sending.large else 'pager'} of {sending.size} bytes from {sending.sender} to "
        f"{sending.recipient}, {sending.began:.1f} to {sending.ended:.1f}, {sending.outcome}: {sending.why})"
    )
