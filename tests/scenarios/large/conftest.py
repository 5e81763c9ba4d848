"""What scenarios of large messages look at: the files in the state directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance

Files = Callable[[], list[Path]]
"""Content files that have come since the test began and are there now."""


@pytest.fixture
def files(instance: Instance) -> Files:
    directory = instance.state_dir / "content"
    before = set(directory.glob("*"))
    return lambda: sorted(set(directory.glob("*")) - before)
