"""Facts about users as the processes of Kamailio share them, decoded once per process."""

from __future__ import annotations

from kemi.messages import EndFacts, decode_shared

DECODED_FACTS = 1000
"""Distinct facts a process keeps decoded; users with the same settings share one."""


class SharedFacts:
    """Reads values of the shared table."""

    def __init__(self) -> None:
        self._decoded: dict[str, EndFacts] = {}

    def read(self, text: str | None, revision: int) -> EndFacts | None:
        """The facts of a value that are of this revision of the store; None for an old, torn or missing value."""
        if text is None or not text.startswith(f"{revision} "):
            return None
        facts = self._decoded.get(text)
        if facts is None:
            facts = decode_shared(text)
            if facts is None:
                return None
            if len(self._decoded) >= DECODED_FACTS:
                self._decoded.clear()
            self._decoded[text] = facts
        return facts
