"""What a pytest run tells `tools.conformance`: outcomes by requirement, whether the run was complete, and the last test.

`tests/conftest.py` owns the hooks and calls this. The comparison with the committed file is a test item of its own that
runs last, so that a stale file shows where every other failure shows: in the summary, the counts and the exit code.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def add(self, item: pytest.Item) -> None:
        """Note an item that is going to run."""
        self.expected += 1
        name = function_name(item.nodeid)
        for marker in item.iter_markers("requirement"):
            self.requirements.setdefault(name, set()).update(marker.args)
        if item.get_closest_marker("scenario") is not None:
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
    left_out = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly", "numprocesses")
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


class CurrentTable(pytest.Item):
    """The last test of a complete run: the committed table says what this run showed."""

    run: Run

    @classmethod
    def create(cls, session: pytest.Session, run: Run) -> CurrentTable:
        """The item, to be put behind all others."""
        item: CurrentTable = cls.from_parent(session, name=ITEM_NAME, nodeid=f"{ITEM_PATH}::{ITEM_NAME}")
        item.run = run
        return item

    def runtest(self) -> None:
        """Fail with the message of `compare`."""
        message = compare(self.config.rootpath, self.run, ci=os.environ.get("CI") == "true")
        if message:
            raise ConformanceError(message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message alone; a traceback through the tool helps nobody."""
        if isinstance(excinfo.value, ConformanceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the item stands in reports."""
        return self.config.rootpath / ITEM_PATH, 0, ITEM_NAME
