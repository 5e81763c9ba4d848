"""The states of a session and the moves between them. Everything that moves one goes through the table."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Life of a session."""

    WAITING = auto()
    """Its URI is known to the peer, no connection is bound to it yet."""
    BOUND = auto()
    """A connection belongs to it: the first one that named its URI, or the one we opened."""
    CLOSED = auto()
    """Over. Its URI is never valid again (MED-10)."""


TRANSITIONS = {
    (State.WAITING, "bind"): State.BOUND,
    (State.WAITING, "close"): State.CLOSED,
    (State.BOUND, "close"): State.CLOSED,
}
"""Every move there is; anything else is a bug of the caller."""
