"""Is-composing indications (RFC 3994): the document, and the two state machines with time as an argument
(MED-09).

Times are seconds of any one monotonic clock. The machines are tables:

    sender    idle --compose--> active ("active")      active --sent--> idle
              active --idle time-out--> idle ("idle")  active --refresh--> active ("active")
    receiver  idle --active received--> active         active --idle | content | time-out--> idle
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from msrp_worker import safe_xml
from msrp_worker.content_types import IS_COMPOSING as CONTENT_TYPE
from msrp_worker.safe_xml import XmlError, text_of

__all__ = ["CONTENT_TYPE", "Composing", "Event", "Receiver", "Sender", "State", "parse"]

NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"
DEFAULT_REFRESH = 120
"""Seconds until a receiver takes the composer for idle when no refresh is announced (RFC 3994 3.2)."""
MINIMUM_REFRESH = 60
"""Seconds; "The interval SHOULD be no shorter" (RFC 3994 3.2)."""
IDLE_TIMEOUT = 15
"""Seconds without a key stroke until "idle" is sent (RFC 3994 3.2)."""
MAXIMUM_REFRESH = 86_400
"""Seconds; a longer announcement is taken as this, so that nobody composes for ever."""

_TAG = f"{{{NAMESPACE}}}"


class State(Enum):
    """Of the composer; any other word counts as idle (RFC 3994 3.5)."""

    IDLE = "idle"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Composing:
    """One status message."""

    state: State
    refresh: int | None = None  # seconds
    content_type: str | None = None
    last_active: str | None = None  # xs:dateTime

    def build(self) -> bytes:
        """The document."""
        return safe_xml.serialise(
            safe_xml.new_document(
                NAMESPACE,
                "isComposing",
                (
                    ("state", self.state.value),
                    ("lastactive", self.last_active),
                    ("contenttype", self.content_type),
                    ("refresh", None if self.refresh is None else str(self.refresh)),
                ),
            )
        )


def parse(data: bytes) -> Composing:
    """Read a document. Raises XmlError; a refresh that is no positive number is as none."""
    root = safe_xml.parse(data)
    if root.tag != f"{_TAG}isComposing":
        raise XmlError("not an isComposing document")
    word = text_of(root, f"{_TAG}state")
    if word is None:
        raise XmlError("isComposing without state")
    refresh = text_of(root, f"{_TAG}refresh") or ""
    seconds = int(refresh) if refresh.isascii() and refresh.isdigit() and len(refresh) <= 9 else 0
    return Composing(
        State.ACTIVE if word == State.ACTIVE.value else State.IDLE,
        refresh=min(seconds, MAXIMUM_REFRESH) or None,
        content_type=text_of(root, f"{_TAG}contenttype"),
        last_active=text_of(root, f"{_TAG}lastactive"),
    )


class Event(Enum):
    """What moves the machines."""

    COMPOSE = "a key stroke"
    SENT = "the content message was sent"
    IDLE_TIMEOUT = "no key stroke for the idle time"
    REFRESH = "time to repeat active"
    ACTIVE_RECEIVED = "active received"
    IDLE_RECEIVED = "idle received"
    CONTENT_RECEIVED = "a content message received"
    EXPIRED = "the announced refresh time is over"


# (state, event) -> (state, status message to send). What is absent changes nothing. RFC 3994, figures 1 and
# 2.
_SENDER: dict[tuple[State, Event], tuple[State, State | None]] = {
    (State.IDLE, Event.COMPOSE): (State.ACTIVE, State.ACTIVE),
    (State.ACTIVE, Event.COMPOSE): (State.ACTIVE, None),
    (State.ACTIVE, Event.SENT): (State.IDLE, None),
    (State.ACTIVE, Event.IDLE_TIMEOUT): (State.IDLE, State.IDLE),
    (State.ACTIVE, Event.REFRESH): (State.ACTIVE, State.ACTIVE),
}
_RECEIVER: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.ACTIVE_RECEIVED): State.ACTIVE,
    (State.ACTIVE, Event.ACTIVE_RECEIVED): State.ACTIVE,
    (State.ACTIVE, Event.IDLE_RECEIVED): State.IDLE,
    (State.ACTIVE, Event.CONTENT_RECEIVED): State.IDLE,
    (State.ACTIVE, Event.EXPIRED): State.IDLE,
}


@dataclass(frozen=True, slots=True)
class Sender:
    """The composing side. `refresh` None: "active" is not repeated, which receivers see as idle after 120
    s."""

    state: State = State.IDLE
    refresh: int | None = DEFAULT_REFRESH
    idle_timeout: int = IDLE_TIMEOUT
    last_activity: float = 0.0
    last_status: float = 0.0

    def step(self, event: Event, now: float) -> tuple[Sender, Composing | None]:
        """Move; answers the new state and the status message to send, if any."""
        if (self.state, event) not in _SENDER:
            return self, None
        state, word = _SENDER[self.state, event]
        moved = replace(self, state=state)
        if event is Event.COMPOSE:
            moved = replace(moved, last_activity=now)
        if word is None:
            return moved, None
        announced = self._refresh() if word is State.ACTIVE else None
        return replace(moved, last_status=now), Composing(word, refresh=announced)

    def tick(self, now: float) -> tuple[Sender, Composing | None]:
        """Let time pass: the idle time-out first, then the refresh."""
        if now >= self.last_activity + self.idle_timeout:
            return self.step(Event.IDLE_TIMEOUT, now)
        refresh = self._refresh()
        if refresh is not None and now >= self.last_status + refresh:
            return self.step(Event.REFRESH, now)
        return self, None

    def deadline(self) -> float | None:
        """When `tick` is due, None while idle."""
        if self.state is State.IDLE:
            return None
        idle = self.last_activity + self.idle_timeout
        refresh = self._refresh()
        return idle if refresh is None else min(idle, self.last_status + refresh)

    def _refresh(self) -> int | None:
        return None if self.refresh is None else max(self.refresh, MINIMUM_REFRESH)


@dataclass(frozen=True, slots=True)
class Receiver:
    """The side that shows "is typing"; one per remote composer."""

    state: State = State.IDLE
    expires: float = 0.0

    def receive(self, message: Composing, now: float) -> Receiver:
        """A status message came in."""
        if message.state is State.IDLE:
            return self._move(Event.IDLE_RECEIVED)
        lifetime = message.refresh or DEFAULT_REFRESH
        return replace(self._move(Event.ACTIVE_RECEIVED), expires=now + lifetime)

    def content(self) -> Receiver:
        """A content message came in."""
        return self._move(Event.CONTENT_RECEIVED)

    def tick(self, now: float) -> Receiver:
        """Let time pass."""
        return self._move(Event.EXPIRED) if now >= self.expires else self

    def _move(self, event: Event) -> Receiver:
        return replace(self, state=_RECEIVER.get((self.state, event), self.state))
