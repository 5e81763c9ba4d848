"""The wire: what it loses, holds back, and lets overtake."""

from __future__ import annotations

import pytest

from tests.soak.netem import QUEUE_PACKETS, Condition, Line


def arrivals(line: Line, until: float) -> list[bytes]:
    return [packet for _, packet in line.take(until)]


def test_a_good_wire_carries_at_once_and_in_order() -> None:
    line = Line(1)
    for number in range(10):
        line.put(number % 2, b"%d" % number, 1.0)
    assert line.take(1.0) == [(number % 2, b"%d" % number) for number in range(10)]
    assert line.next is None


def test_delay() -> None:
    line = Line(1)
    line.condition = Condition(delay=0.5)
    line.put(0, b"a", 1.0)
    assert line.next == pytest.approx(1.5)
    assert arrivals(line, 1.49) == []
    assert arrivals(line, 1.51) == [b"a"]


def test_jitter_lets_packets_overtake() -> None:
    line = Line(1)
    line.condition = Condition(delay=0.5, jitter=0.3)
    sent = [b"%d" % number for number in range(50)]
    for packet in sent:
        line.put(0, packet, 1.0)
    came = arrivals(line, 1.801)
    assert sorted(came) == sorted(sent)
    assert came != sent


def test_loss_is_a_matter_of_chance_and_of_the_seed() -> None:
    def lost(seed: int) -> set[bytes]:
        line = Line(seed)
        line.condition = Condition(loss=0.3)
        sent = {b"%d" % number for number in range(1000)}
        for packet in sorted(sent):
            line.put(0, packet, 1.0)
        return sent - set(arrivals(line, 1.0))

    assert 200 < len(lost(1)) < 400
    assert lost(1) == lost(1) != lost(2)


def test_a_cut_wire_loses_what_comes_and_brings_what_was_under_way() -> None:
    line = Line(1)
    line.condition = Condition(delay=1.0)
    line.put(0, b"before", 1.0)
    line.condition = Condition(cut=True)
    line.put(0, b"after", 1.0)
    assert arrivals(line, 9.0) == [b"before"]


def test_its_memory_is_bounded() -> None:
    line = Line(1)
    line.condition = Condition(delay=1.0)
    for _ in range(QUEUE_PACKETS + 10):
        line.put(0, b"x", 1.0)
    assert len(arrivals(line, 2.0)) == QUEUE_PACKETS
