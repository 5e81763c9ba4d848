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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios come first: they wait most, so that of several processes none has a long one left at the end."""
    items.sort(key=lambda item: item.get_closest_marker("scenario") is None)
