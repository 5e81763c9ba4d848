"""Nicknames of a room (RFC 7701 section 7): who holds which, prepared and compared as RFC 7700 says. No
I/O."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

MAX_NICKNAME_BYTES = 1023
"""Octets of a nickname on the wire (RFC 7701 section 7.1)."""

ACCEPTED = 200
MALFORMED = 424
TAKEN = 425

# nickname = DQUOTE 1*1023(qdtext / qd-esc) DQUOTE ; qd-esc = (BACKSLASH BACKSLASH) / (BACKSLASH DQUOTE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_SPACES = re.compile(r" {2,}")
# What the FreeformClass (RFC 7564 section 4.3) does not admit, by Unicode general category: controls, format
# characters, surrogates, private use, unassigned; line and paragraph separators count as spaces and are
# mapped.
_DISALLOWED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))


def parse_use_nickname(value: str) -> str | None:
    """The text of a Use-Nickname value, '' to give the nickname up; None outside the grammar."""
    match = _QUOTED.fullmatch(value.strip())
    if match is None or len(match[1].encode("utf-8", "replace")) > MAX_NICKNAME_BYTES:
        return None
    return re.sub(r"\\(.)", r"\1", match[1])


def prepare(nickname: str) -> str | None:
    """The form to show (RFC 7700 section 2.3, enforcement): spaces mapped and trimmed, NFKC. None: not
    allowed."""
    text = "".join(" " if unicodedata.category(c) in ("Zs", "Zl", "Zp") else c for c in nickname)
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text).strip(" "))
    if not text or any(unicodedata.category(character) in _DISALLOWED for character in text):
        return None
    return text


def comparison_key(prepared: str) -> str:
    """Equal for nicknames that are the same to the room (RFC 7700 section 2.4: case-mapped)."""
    return unicodedata.normalize("NFKC", prepared.lower())


@dataclass(slots=True)
class _Holding:
    owner: str
    """Address key of the user."""
    text: str
    sessions: set[object] = field(default_factory=set)
    free_at: float | None = None
    """End of the quarantine, None while in use."""


class Nicknames:
    """The nicknames of one room. A user may hold one per session, and the same one in several."""

    __slots__ = ("_by_session", "_held", "_quarantine", "_reserved")

    def __init__(self, reserved: tuple[str, ...] = (), quarantine: float = 0.0) -> None:
        """`reserved`: never given out. `quarantine`: seconds for which one stays its holder's after use."""
        self._reserved = {comparison_key(prepare(word) or word) for word in reserved}
        self._quarantine = quarantine
        self._held: dict[str, _Holding] = {}
        self._by_session: dict[object, str] = {}

    def use(self, session: object, owner: str, use_nickname: str, now: float) -> int:
        """Take, change or (with an empty string) give up the nickname of a session: the response code. A
        failed request changes nothing (RFC 7701 section 7.2)."""
        wanted = parse_use_nickname(use_nickname)
        if wanted is None:
            return MALFORMED
        if wanted == "":
            self.release(session, now)
            return ACCEPTED
        text = prepare(wanted)
        if text is None:
            return MALFORMED
        key = comparison_key(text)
        if key in self._reserved:
            return TAKEN
        holding = self._held.get(key)
        if holding is not None and holding.owner != owner and not self._is_free(holding, now):
            return TAKEN
        if self._by_session.get(session) != key:
            self.release(session, now)
        if holding is None or holding.owner != owner:
            holding = self._held[key] = _Holding(owner, text)
        holding.text = text
        holding.free_at = None
        holding.sessions.add(session)
        self._by_session[session] = key
        return ACCEPTED

    def of(self, session: object) -> str | None:
        """The nickname of a session."""
        key = self._by_session.get(session)
        return None if key is None else self._held[key].text

    def release(self, session: object, now: float) -> None:
        """The session ended or gave its nickname up."""
        key = self._by_session.pop(session, None)
        if key is None:
            return
        holding = self._held[key]
        holding.sessions.discard(session)
        if holding.sessions:
            return
        if self._quarantine <= 0:
            del self._held[key]
        else:
            holding.free_at = now + self._quarantine

    def tick(self, now: float) -> None:
        """Forget those whose quarantine is over."""
        for key in [key for key, holding in self._held.items() if self._is_free(holding, now)]:
            del self._held[key]

    @staticmethod
    def _is_free(holding: _Holding, now: float) -> bool:
        return holding.free_at is not None and holding.free_at <= now
