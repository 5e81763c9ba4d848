"""Facts of users as the processes of Kamailio share them, in a table whose values are read without its lock."""

from __future__ import annotations

import zlib

from kemi.messages import EndFacts, decode_end, encode_end

DECODED_FACTS = 1000
"""Distinct facts a process keeps decoded; users with the same settings share one."""


def encode_shared(revision: int, facts: EndFacts) -> str:
    """Facts of a revision as the processes of Kamailio share them, with a check sum.

    A process reads a value of the shared table without its lock: one that is being written may be read half old, half
    new, or not as text at all (seen once in some thousand changes). The sum makes such a reading no reading.
    """
    text = encode_end(facts)
    return f"{revision} {zlib.crc32(f'{revision} {text}'.encode()):08x} {text}"


def decode_shared(value: str) -> EndFacts | None:
    """The facts of a shared value; None when it was not written so."""
    revision, _, rest = value.partition(" ")
    told, _, text = rest.partition(" ")
    if told != f"{zlib.crc32(f'{revision} {text}'.encode('utf-8', 'replace')):08x}":
        return None
    return decode_end(text)


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
