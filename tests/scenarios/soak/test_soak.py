"""A short soak, once as ever and once as never before: the promise holds through every fault."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.soak.run import soak

OPERATIONS = 250
SECONDS = 30.0


@pytest.mark.scenario
@pytest.mark.requirement("SEC-06", "DEF-01", "DEF-05", "LRG-01")
@pytest.mark.parametrize("seed", [4, None], ids=["fixed", "random"])
def test_every_accepted_message_is_delivered_once_or_still_stored(seed: int | None, tmp_path: Path) -> None:
    """Repeat a failure with `python -m tests.soak --operations 250 --seed SEED`."""
    chosen = secrets.randbelow(1 << 31) if seed is None else seed
    report = soak(tmp_path, OPERATIONS, chosen, SECONDS, print)
    print(report)
    assert report.good, str(report)
