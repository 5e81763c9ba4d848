"""Turns of NOTIFYs (CES-06)."""

from __future__ import annotations

import pytest

from msrp_worker.controlling.notify_queue import NotifyQueue


@pytest.mark.requirement("CES-06")
def test_every_session_gets_its_share() -> None:
    queue: NotifyQueue[str] = NotifyQueue()
    for number in range(100):
        queue.add("large", f"large {number}", urgent=False)
    queue.add("small", "small 0", urgent=False)
    queue.add("small", "small 1", urgent=False)
    queue.add("large", "asked", urgent=True)
    assert len(queue) == 103
    assert [queue.next() for _ in range(5)] == ["asked", "large 0", "small 0", "large 1", "small 1"]
    assert [queue.next() for _ in range(98)] == [f"large {number}" for number in range(2, 100)]
    assert (queue.next(), len(queue)) == (None, 0)
    queue.add("large", "again", urgent=False)
    assert queue.next() == "again"
