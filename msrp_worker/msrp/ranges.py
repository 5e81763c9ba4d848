"""Byte ranges of a message: the Byte-Range header (RFC 4975 section 9) and the set of bytes received so far.

On the wire positions count from one and both ends are included; everywhere else in this package an offset
counts from zero and the end is excluded. `ByteRange` is the wire's form, `RangeSet` works on offsets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MAX_POSITION_DIGITS = 18
"""Digits of a position: 10^18 bytes is more than any message, and keeps all sums in 64 bits."""
MAX_GAPS = 64
"""Separate stretches one message may leave open; a peer that needs more sends nonsense or an attack."""

# Byte-Range = "Byte-Range:" SP range-start "-" range-end "/" total
# range-start = 1*DIGIT    range-end = 1*DIGIT / "*"    total = 1*DIGIT / "*"
_BYTE_RANGE = re.compile(
    rf"([0-9]{{1,{MAX_POSITION_DIGITS}}})-(\*|[0-9]{{1,{MAX_POSITION_DIGITS}}})/(\*|[0-9]{{1,{MAX_POSITION_DIGITS}}})",
    re.ASCII,
)


class ByteRange(NamedTuple):
    """Value of a Byte-Range header: positions from one; None where the wire has `*`."""

    start: int
    end: int | None
    total: int | None

    def __str__(self) -> str:
        end = "*" if self.end is None else self.end
        total = "*" if self.total is None else self.total
        return f"{self.start}-{end}/{total}"


def parse_byte_range(text: str) -> ByteRange | None:
    """Parse the value; None where it is outside the grammar or contradicts itself.

    An empty range ends one before its start, as in `1-0/0` (section 7.1.1). First chunks are remembered, as
    short messages have few different lengths; the later chunks of a long one would only drive them out.
    """
    return _parse_first(text) if text.startswith("1-") else _parse(text)


def _parse(text: str) -> ByteRange | None:
    match = _BYTE_RANGE.fullmatch(text)
    if match is None:
        return None
    first, last, whole = match.groups()
    start = int(first)
    end = None if last == "*" else int(last)
    total = None if whole == "*" else int(whole)
    if start < 1 or (end is not None and end < start - 1):
        return None
    if total is not None and max(start - 1, end or 0) > total:
        return None
    return ByteRange(start, end, total)


_parse_first = lru_cache(maxsize=1024)(_parse)


class RangeSet:
    """Which bytes of a message have come, as sorted stretches [start, end) that neither touch nor overlap."""

    __slots__ = ("_stretches",)

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> bool:
        """Mark [start, end) as present; False where that takes more than MAX_GAPS stretches."""
        stretches = self._stretches
        if stretches and stretches[-1][0] <= start <= stretches[-1][1]:  # in order: the usual case
            if end > stretches[-1][1]:
                stretches[-1] = (stretches[-1][0], end)
            return True
        if end <= start:
            return True
        kept = []
        for low, high in stretches:
            if high < start or low > end:
                kept.append((low, high))
            else:
                start, end = min(start, low), max(end, high)
        kept.append((start, end))
        if len(kept) > MAX_GAPS:
            return False
        kept.sort()
        self._stretches = kept
        return True

    def covers(self, total: int) -> bool:
        """True where every byte of [0, total) is present."""
        return self.contiguous() >= total

    def contiguous(self) -> int:
        """Bytes present from the beginning without a gap."""
        return self._stretches[0][1] if self._stretches and self._stretches[0][0] == 0 else 0

    def highest(self) -> int:
        """End of the last stretch."""
        return self._stretches[-1][1] if self._stretches else 0

    def stretches(self) -> tuple[tuple[int, int], ...]:
        """The stretches, in order."""
        return tuple(self._stretches)
