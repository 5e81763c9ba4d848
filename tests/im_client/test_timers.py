"""The queue of deadlines."""

from __future__ import annotations

from im_client.timers import TimerQueue


def test_due_keys_come_in_order_of_their_deadlines_and_once() -> None:
    queue: TimerQueue[str] = TimerQueue()
    for key, deadline in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        queue.set(key, deadline)
    assert queue.next() == 1.0
    assert queue.due(2.0) == ["a", "b"]
    assert queue.due(2.0) == []
    assert queue.next() == 3.0


def test_a_new_deadline_replaces_the_old_one() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.set("a", 1.0)
    queue.set("a", 5.0)
    assert queue.due(4.0) == []
    assert queue.due(5.0) == ["a"]
    queue.set("a", 6.0)
    queue.set("a", None)
    assert queue.next() is None
    assert len(queue) == 0


def test_removed_keys_do_not_pile_up() -> None:
    queue: TimerQueue[int] = TimerQueue()
    for key in range(10_000):
        queue.set(key, 1000.0)
        queue.set(key, None)
    assert len(queue._heap) <= 128
