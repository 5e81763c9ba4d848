"""Byte-Range values and the set of received bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.msrp.ranges import MAX_GAPS, ByteRange, RangeSet, parse_byte_range


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-25/25", ByteRange(1, 25, 25)),
        ("1-*/8", ByteRange(1, None, 8)),
        ("5-*/*", ByteRange(5, None, None)),
        ("1-0/0", ByteRange(1, 0, 0)),
        ("9-8/8", ByteRange(9, 8, 8)),
        ("0-4/4", None),
        ("5-3/9", None),
        ("1-10/9", None),
        ("11-*/9", None),
        ("1-2", None),
        ("1-2/3 ", None),
        ("*-2/3", None),
        ("1-٣/٣", None),
        ("1-" + "9" * 30 + "/*", None),
    ],
)
def test_byte_range(text: str, expected: ByteRange | None) -> None:
    assert parse_byte_range(text) == expected
    if expected is not None:
        assert str(expected) == text


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30))
def test_range_set_is_the_set_of_its_bytes(pieces: list[tuple[int, int]]) -> None:
    ranges = RangeSet()
    model: set[int] = set()
    for start, length in pieces:
        assert ranges.add(start, start + length)
        model |= set(range(start, start + length))
    assert {n for low, high in ranges.stretches() for n in range(low, high)} == model
    for total in range(82):
        assert ranges.covers(total) == (set(range(total)) <= model)
    lows = [low for low, _ in ranges.stretches()]
    highs = [high for _, high in ranges.stretches()]
    assert all(high < low for high, low in zip(highs, lows[1:], strict=False))


@pytest.mark.requirement("SEC-05")
def test_gaps_are_bounded() -> None:
    ranges = RangeSet()
    assert all(ranges.add(2 * n, 2 * n + 1) for n in range(MAX_GAPS))
    assert not ranges.add(2 * MAX_GAPS, 2 * MAX_GAPS + 1)
    assert len(ranges.stretches()) == MAX_GAPS
