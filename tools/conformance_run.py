"""What a pytest run tells `tools.conformance`: outcomes by requirement, whether the run was complete, and the last test.

`tests/conftest.py` registers `TableCheck`. The comparison with the committed file is reported as a test that ran last, so
that a stale file shows where every other failure shows: in the summary, the counts and the exit code.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tools.conformance import CONFORMANCE, ConformanceError, Shown, build, known_ids, load_requirements

ITEM_PATH = "tests/test_conformance.py"
ITEM_NAME = "test_conformance_is_current"
SCENARIOS = "tests/scenarios/"
SHOWN_DIFF_LINES = 60
"""Lines of the difference that the message of the failed item shows outside CI."""


def function_name(nodeid: str) -> str:
    """`file::function` of a test item, without its parameters."""
    return nodeid.partition("[")[0]


@dataclass
class Run:
    """Outcomes collected during one run."""

    expected: int = 0
    reported: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    requirements: dict[str, set[str]] = field(default_factory=dict)
    """Test function to its requirement ids; functions run several times, once for each row."""
    scenarios: set[str] = field(default_factory=set)
    broken_files: int = 0
    """Files that could not be collected, where the run went on without them."""

    def add(self, nodeid: str, requirements: Iterable[str], *, scenario: bool) -> None:
        """Note what a test item says of itself; as often as it reports."""
        name = function_name(nodeid)
        if requirements:
            self.requirements.setdefault(name, set()).update(requirements)
        if scenario:
            self.scenarios.add(name)

    def report(self, nodeid: str, when: str, outcome: str) -> None:
        """Note how a phase of an item ended; anything but passed counts as failed."""
        if outcome != "passed":
            self.failed.add(nodeid)
        if when == "teardown":
            self.reported.add(nodeid)

    def shown(self) -> dict[str, list[Shown]]:
        """Tests by requirement id."""
        failed = {function_name(nodeid) for nodeid in self.failed}
        tests: dict[str, list[Shown]] = {}
        for name, ids in self.requirements.items():
            for identifier in ids:
                tests.setdefault(identifier, []).append(Shown(name, name in self.scenarios, name not in failed))
        return tests


def requirements_of(item: pytest.Item) -> list[str]:
    """The ids of an item's markers."""
    return sorted({identifier for marker in item.iter_markers("requirement") for identifier in marker.args})


def check_markers(items: list[pytest.Item], root: Path) -> None:
    """ConformanceError when a marker names an id that the list does not have, or none at all."""
    known = known_ids(load_requirements(root))
    wrong = set()
    for item in items:
        for marker in item.iter_markers("requirement"):
            if not marker.args:
                wrong.add(f"{function_name(item.nodeid)}: a requirement marker without an id")
            wrong |= {
                f"{function_name(item.nodeid)}: {identifier!r}" for identifier in marker.args if identifier not in known
            }
    if wrong:
        raise ConformanceError("requirement ids that docs/requirements.md does not have:\n" + "\n".join(sorted(wrong)))


def selects_everything(config: pytest.Config) -> bool:
    """Whether the command line asks for all tests: no expression, no path below `tests`, nothing left out."""
    option: Any = config.option
    left_out = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")
    if any(getattr(option, name, None) for name in left_out):
        return False
    everything = {config.rootpath, config.rootpath / "tests"}
    return all((config.invocation_params.dir / argument).resolve() in everything for argument in config.args)


def compare(root: Path, run: Run, *, ci: bool) -> str:
    """Compare the committed table with this run; the message for the developer, empty when it is current.

    Outside CI the fresh table is written, so that the cure is to look at it and commit it.
    """
    if run.failed or run.broken_files:
        count = len(run.failed) + run.broken_files
        return f"{CONFORMANCE} was not compared: failures to be mended first: {count}"
    if len(run.reported) != run.expected:
        return f"{CONFORMANCE} was not compared: only {len(run.reported)} of {run.expected} tests ran"
    path = root / CONFORMANCE
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    fresh = build(root, run.shown())
    if fresh == committed:
        return ""
    lines = list(difflib.unified_diff(committed.splitlines(), fresh.splitlines(), "committed", "fresh", lineterm="", n=0))
    if ci:
        return "\n".join([f"{CONFORMANCE} is stale: run `make test` and commit the file it writes", *lines])
    path.write_text(fresh, encoding="utf-8")
    rest = len(lines) - SHOWN_DIFF_LINES
    more = [f"... and {rest} more lines"] if rest > 0 else []
    cure = f"{CONFORMANCE} was stale and has been written anew: look at it, then `git add {CONFORMANCE}`"
    return "\n".join([cure, *lines[:SHOWN_DIFF_LINES], *more])


class TableCheck:
    """Hooks of pytest: what each report says is noted, and a complete run ends with the comparison as one more test.

    Tests may run in several processes (pytest-xdist): then each report carries the ids of its test to the process
    that the run was started in, and only that one compares.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run = Run()
        self._complete = not hasattr(config, "workerinput") and selects_everything(config)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Refuse unknown ids in any run."""
        try:
            check_markers(items, config.rootpath)
        except ConformanceError as error:
            raise pytest.UsageError(str(error)) from None
        self._run.expected = len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Each process collects all the tests, and runs some."""
        self._run.expected = len(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the report say what its test shows, wherever it is read."""
        report = yield
        scenario = item.get_closest_marker("scenario") is not None
        vars(report).update(requirements=requirements_of(item), scenario=scenario)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how each phase of each test ended."""
        said = vars(report)
        self._run.add(report.nodeid, said.get("requirements", ()), scenario=said.get("scenario", False))
        self._run.report(report.nodeid, str(report.when), report.outcome)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected."""
        self._run.broken_files += report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Report the comparison like a test, so that it shows in the summary, the counts and the exit code."""
        if not self._complete or not self._run.expected:
            return
        try:
            message = compare(self._config.rootpath, self._run, ci=os.environ.get("CI") == "true")
        except ConformanceError as error:
            message = str(error)
        for when in ("setup", "call", "teardown"):
            failed = message if when == "call" else ""
            session.config.hook.pytest_runtest_logreport(report=_report(when, failed))
        if message:
            session.testsfailed += 1
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _report(when: Literal["setup", "call", "teardown"], message: str) -> pytest.TestReport:
    """How a phase of the comparison ended; the message alone, a traceback through the tool helps nobody."""
    return pytest.TestReport(
        nodeid=f"{ITEM_PATH}::{ITEM_NAME}",
        location=(ITEM_PATH, 0, ITEM_NAME),
        keywords={},
        outcome="failed" if message else "passed",
        longrepr=message or None,
        when=when,
    )
