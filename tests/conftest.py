"""Hooks for every test: scenarios are marked, requirement ids are checked, a full run checks `docs/conformance.md`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tools.conformance import ConformanceError
from tools.conformance_run import ITEM_NAME, SCENARIOS, CurrentTable, Run, check_markers, selects_everything

RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with an empty record."""
    config.stash[RUN] = Run()


def pytest_itemcollected(item: pytest.Item) -> None:
    """What lies under tests/scenarios runs on real processes."""
    if item.nodeid.startswith(SCENARIOS):
        item.add_marker("scenario")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse unknown ids in any run; let a complete run end with the check of the table."""
    try:
        check_markers(items, config.rootpath)
    except ConformanceError as error:
        raise pytest.UsageError(str(error)) from None
    if selects_everything(config):
        run = config.stash[RUN]
        for item in items:
            run.add(item)
        run.broken_files = session.testsfailed  # before any test ran, only collection can have failed
        items.append(CurrentTable.create(session, run))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record how each phase of each test ended."""
    report = yield
    if item.name != ITEM_NAME:
        item.config.stash[RUN].report(report.nodeid, report.when, report.outcome)
    return report
