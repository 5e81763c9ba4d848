"""The benchmark of the conference event package measures what it says."""

from __future__ import annotations

from tests.bench.conference_notify import Cost, measure
from tests.msrp_worker.controlling.virtual_time import run


def test_small_rooms() -> None:
    found: list[Cost] = []
    run(measure(3, 1, found))
    (cost,) = found
    assert cost.size == 3
    assert cost.change > 0
    assert cost.whole > 0
    assert cost.memory > 0
    assert 300 < cost.whole_bytes < 2000
