"""For every test: scenarios are marked, requirement ids are checked, a full run checks `docs/conformance.md`."""

from __future__ import annotations

import pytest

from tools.conformance_run import SCENARIOS, TableCheck


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run."""
    config.pluginmanager.register(TableCheck(config), "conformance")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What lies under tests/scenarios runs on real processes."""
    if item.nodeid.startswith(SCENARIOS):
        item.add_marker("scenario")
