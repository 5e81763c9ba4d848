"""What has changed among the participants of a session, and the documents that tell it (7.2.2.11). No I/O, no clock.

Every change of a user has a number, higher than all before; a user keeps the number of its last change only. A subscriber
is known by the number up to which it has been told. So changes merge per user, a subscriber costs a number, and all who
have been told as much get the same document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from msrp_worker.controlling import conference_state as state
from msrp_worker.controlling.conference_state import ConferenceUser, Document, Overview, StateSource, UserStatus

LARGEST_USERS = 45_000
"""Bytes of users in one document, some 200 of them: a NOTIFY is one UDP datagram at most. The others follow in partial
documents; user-count tells of all (RFC 4575 section 5.5.1)."""
MOST_GONE = 1000
"""Users that have left and are remembered for subscribers who have not been told; beyond, those get a full document."""
MOST_CACHED = 16
"""Documents kept rendered; subscribers differ only while a round of NOTIFYs is under way."""


@dataclass(slots=True)
class _Entry:
    """One user as it has been shown since `first`, last changed at `changed`."""

    user: ConferenceUser
    first: int
    changed: int
    element: bytes
    listed: bool = True
    """The source still has it."""

    @property
    def is_shown(self) -> bool:
        return self.user.status in state.SHOWN


@dataclass(frozen=True, slots=True)
class Told:
    """A document, and what who has it has been told."""

    document: Document
    upto: int
    """Number of the last change in it, or of the last there is."""
    base: int
    """Number of the last change before the full document it began with; what went before that is nothing to it."""
    more: bool
    """The document could not hold all."""


class Roster:
    """The users of one source, as its subscribers have been or will be told."""

    def __init__(self, source: StateSource, *, room: int = LARGEST_USERS, most_gone: int = MOST_GONE) -> None:
        self._room = room
        self._most_gone = most_gone
        self._entries: dict[str, _Entry] = {}
        """By the URI shown, in the order of `changed`."""
        self._number = 1
        self._described = 1
        """Number of the last change of subject or maximum."""
        self._forgotten = 0
        """Changes up to here are not all known any more."""
        self._cache: dict[tuple[int, int], Told] = {}
        self._whole = state.overview(source, ())
        self._over = False
        self.refresh(source)

    @property
    def latest(self) -> int:
        """Number of the last change."""
        return self._number

    def refresh(self, source: StateSource) -> None:
        """Note what has changed in the source."""
        if not self._over:
            users = source.users()
            self._take(users, state.overview(source, users))

    def end(self, source: StateSource) -> None:
        """The session is over: nobody is there any more (CES-07)."""
        if self._over:
            return
        self._over = True
        users = [
            replace(user, status=UserStatus.DISCONNECTED) if user.status in state.SHOWN else user for user in source.users()
        ]
        self._take(users, replace(state.overview(source, users), connected=0, active=False))

    def since(self, told: int, base: int) -> Told:
        """What to tell who was told up to `told`, beginning with a full document at `base`; 0 and 0 for nothing yet."""
        if told == 0 or max(told, base) < self._forgotten:
            told = base = 0
        if (told, base) not in self._cache:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            self._cache[told, base] = self._render(told, base)
        found = self._cache[told, base]
        if found.more and self._over and told:
            return self.since(0, 0)  # nothing can follow the last NOTIFY; that nobody is there always fits
        return found

    def _render(self, told: int, base: int) -> Told:
        full = told == 0
        elements: list[bytes] = []
        room, upto, more = self._room, self._number, False
        last = told
        for entry in self._after(told, full=full):
            if elements and len(entry.element) > room:
                upto, more = last, True
                break
            room -= len(entry.element)
            elements.append(entry.element)
            last = entry.changed
        document = state.render(self._whole, elements, full=full, described=self._described > told)
        return Told(document, upto, self._number if full else base, more)

    def _after(self, told: int, *, full: bool) -> Iterable[_Entry]:
        if full:
            return [entry for entry in self._entries.values() if entry.is_shown]
        found: list[_Entry] = []
        for entry in reversed(self._entries.values()):
            if entry.changed <= told:
                break
            if entry.is_shown or entry.listed or entry.first <= told:  # else it came and went in between
                found.append(entry)
        return reversed(found)

    def _take(self, users: Iterable[ConferenceUser], whole: Overview) -> None:
        before = self._number
        named: dict[str, ConferenceUser] = {}
        for user in sorted(users, key=_hidden_last):
            if user.entity not in named or user.status in state.SHOWN:  # an endpoint that left, and came back as another
                named[user.entity] = user
        # Who becomes anonymous, or does not stay so, has left and somebody has come, for all that others may know (IDN-08).
        there = {user.key for user in named.values() if user.status in state.SHOWN and not user.is_anonymous}
        for entity, entry in list(self._entries.items()):
            if entity not in named and entry.listed:
                self._gone(entity, entry, renamed=entry.user.key in there and not entry.user.is_anonymous)
        for entity, user in named.items():
            self._put(entity, user)
        if (whole.subject, whole.maximum_users) != (self._whole.subject, self._whole.maximum_users):
            self._number += 1
            self._described = self._number
        if whole != self._whole or self._number != before:
            self._number += self._number == before
            self._whole = whole
            self._cache.clear()
            self._forget()

    def _put(self, entity: str, user: ConferenceUser) -> None:
        entry = self._entries.get(entity)
        if entry is not None and entry.listed and entry.user == user:
            return
        was_shown = entry is not None and entry.is_shown
        if user.status not in state.SHOWN and not was_shown and user.status is not UserStatus.DISCONNECTED:
            return  # not there, not called: 7.2.2.11 has no status for it
        if user.status not in state.SHOWN and user.status is not UserStatus.DISCONNECTED:
            user = replace(user, status=UserStatus.DISCONNECTED)
            if entry is not None and entry.user == user:
                return
        self._change(entity, user, state.user_element(user), listed=True)

    def _gone(self, entity: str, entry: _Entry, *, renamed: bool) -> None:
        if not entry.is_shown:
            entry.listed = False  # they have been told
            return
        user = replace(entry.user, status=UserStatus.DISCONNECTED)
        element = state.deleted_element(entity) if renamed else state.user_element(user)
        self._change(entity, user, element, listed=False)

    def _change(self, entity: str, user: ConferenceUser, element: bytes, *, listed: bool) -> None:
        self._number += 1
        before = self._entries.pop(entity, None)
        first = self._number if before is None else before.first
        self._entries[entity] = _Entry(user, first, self._number, element, listed)

    def _forget(self) -> None:
        """Drop the older half of those who have left, when there are too many."""
        gone = [entity for entity, entry in self._entries.items() if not entry.is_shown and not entry.listed]
        if len(gone) <= self._most_gone:
            return
        for entity in gone[: len(gone) // 2]:
            self._forgotten = max(self._forgotten, self._entries.pop(entity).changed)


def _hidden_last(user: ConferenceUser) -> tuple[bool, str]:
    """Those whose names are hidden come last and in an order of their own: the place in a list would tell (IDN-08)."""
    return (True, user.entity) if user.is_anonymous else (False, "")
