"""Facts that the processes of Kamailio share, decoded once. Pure."""

from __future__ import annotations

from kemi.messages import EndFacts, decode_shared

DECODED_FACTS = 1000
"""Distinct facts a process keeps decoded; users with the same settings share one."""


class DecodedFacts:
    """What one process has decoded."""

    def __init__(self) -> None:
        self._decoded: dict[str, EndFacts] = {}

    def decode(self, text: str) -> EndFacts | None:
        """The facts of a shared value; None when it was not written as one."""
        facts = self._decoded.get(text)
        if facts is None and (facts := decode_shared(text)) is not None:
            if len(self._decoded) >= DECODED_FACTS:
                self._decoded.clear()
            self._decoded[text] = facts
        return facts
