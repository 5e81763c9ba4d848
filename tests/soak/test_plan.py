"""The plan of a soak follows from its seed, and has everything in it."""

from __future__ import annotations

import pytest

from tests.soak.plan import ABSENT, FAULTS, PRESENT, Kind, plan


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(500, 7) == plan(500, 7)
    assert plan(500, 7) != plan(500, 8)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_occurs(seed: int) -> None:
    operations = plan(200, seed)
    assert {operation.kind for operation in operations} >= set(FAULTS)
    assert [operation.number for operation in operations] == list(range(1, 201))


def test_who_acts_towards_whom() -> None:
    for operation in plan(2000, 7):
        if operation.kind in (Kind.PAGER, Kind.LARGE):
            assert operation.user in PRESENT
            assert operation.peer in {*PRESENT, *ABSENT} - {operation.user}
            assert operation.size > 0
