"""What scenarios of large messages look at: the files in the state directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance

Files = Callable[[], list[Path]]
"""Content files that are there now."""


@pytest.fixture
def files(instance: Instance) -> Files:
    return lambda: sorted((instance.state_dir / "content").glob("*"))
