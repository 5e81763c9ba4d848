"""Whose NOTIFY goes next: every session gets its share, whatever the size of the others (CES-06). Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class NotifyQueue(Generic[T]):
    """Urgent ones first, in order; then one of each session in turn, in order within a session."""

    def __init__(self) -> None:
        self._urgent: deque[T] = deque()
        self._sessions: dict[str, deque[T]] = {}
        self._order: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, session: str, one: T, *, urgent: bool) -> None:
        """Put one at the end."""
        self._count += 1
        if urgent:
            self._urgent.append(one)
            return
        waiting = self._sessions.get(session)
        if waiting is None:
            self._sessions[session] = deque((one,))
            self._order.append(session)
        else:
            waiting.append(one)

    def next(self) -> T | None:
        """Take the next one; None when nobody waits."""
        if self._count == 0:
            return None
        self._count -= 1
        if self._urgent:
            return self._urgent.popleft()
        session = self._order.popleft()
        waiting = self._sessions[session]
        one = waiting.popleft()
        if waiting:
            self._order.append(session)
        else:
            del self._sessions[session]
        return one
