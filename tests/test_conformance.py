"""The conformance table: its parts here, and whole runs of a small project of its own.

`test_conformance_is_current` is not in this file: so a complete run reports its comparison (`tools.conformance_run`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.conformance import (
    FAILING,
    NO_SCENARIO,
    ConformanceError,
    Requirement,
    Shown,
    code_places,
    known_ids,
    load_requirements,
    load_sources,
    read_requirements,
    render,
    state,
)

ROOT = Path(__file__).resolve().parent.parent
LIST = """# Requirements

| not | a | row | yet |

## PAG: pager mode

| id | clause | requirement | open |
|---|---|---|---|
| PAG-01 | 6.2 | Refuse | |
| PAG-02 | 6.3 | Deliver | in groups |

## SEC: security

| id | clause | requirement | open |
|---|---|---|---|
| SEC-05 | all | Survive | |
"""
WIRE = Shown("tests/scenarios/pager/test_it.py::test_wire", scenario=True, passed=True)
UNIT = Shown("tests/kemi/test_it.py::test_unit", scenario=False, passed=True)
BROKEN = Shown("tests/kemi/test_it.py::test_broken", scenario=False, passed=False)


def test_the_list_is_read_by_family_and_in_order() -> None:
    families = read_requirements(LIST)
    assert [(family.name, family.title) for family in families] == [("PAG", "pager mode"), ("SEC", "security")]
    assert families[0].requirements == (
        Requirement("PAG-01", "6.2", "Refuse", ""),
        Requirement("PAG-02", "6.3", "Deliver", "in groups"),
    )
    assert known_ids(families) == {"PAG-01", "PAG-02", "SEC-05"}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("| SEC-05 | all | Again | |", "SEC-05 stands twice"),
        ("| SEC-06 | all | Three cells |", "3 cells"),
        ("| SEC-06 | all | a | b | c |", "5 cells"),
        ("| PAG-03 | 6.4 | Wrong family | |", "'PAG-03' is not an id of SEC"),
        ("| SEC-6 | all | Wrong form | |", "'SEC-6' is not an id of SEC"),
        ("| SEC-06 | | No clause | |", "lacks its clause"),
        ("| SEC-06 | all | | |", "lacks its clause or its text"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_line(row: str, complaint: str) -> None:
    with pytest.raises(ConformanceError, match=f"line 17: .*{complaint}"):
        read_requirements(LIST + row + "\n")


def test_code_places_are_files_that_name_an_id_once_each() -> None:
    sources = {"kemi/b.py": "# PAG-01 PAG-02\n# PAG-01\n", "kemi/a.cfg": "# PAG-01\n", "kemi/c.py": "UTF-16 and XPAG-01\n"}
    places = code_places(sources, frozenset({"PAG-01", "PAG-02"}))
    assert places == {"PAG-01": ["kemi/a.cfg", "kemi/b.py"], "PAG-02": ["kemi/b.py"]}


@pytest.mark.parametrize("text", ["# PAG-99", "# PGA-01", 'forbidden("PAG-99", "")'])
def test_an_unknown_id_in_the_code_is_an_error(text: str) -> None:
    with pytest.raises(ConformanceError, match=r"kemi/a\.py: P[AG]+-\d\d"):
        code_places({"kemi/a.py": text}, frozenset({"PAG-01"}))


def test_the_ids_in_the_code_of_this_project_are_known() -> None:
    families = load_requirements(ROOT)
    assert code_places(load_sources(ROOT), known_ids(families))


@pytest.mark.parametrize(
    ("missing", "code", "tests", "expected"),
    [
        ("", [], [], "not yet"),
        ("in groups", [], [], "not yet"),
        ("", ["kemi/a.py"], [], f"partly: {NO_SCENARIO}"),
        ("", [], [UNIT], f"partly: {NO_SCENARIO}"),
        ("", ["kemi/a.py"], [UNIT, WIRE], "done"),
        ("", [], [WIRE], "done"),
        ("in groups", ["kemi/a.py"], [WIRE], "partly: in groups"),
        ("in groups", ["kemi/a.py"], [UNIT], f"partly: in groups; {NO_SCENARIO}"),
        ("", ["kemi/a.py"], [WIRE, BROKEN], f"partly: {FAILING}"),
        ("", [], [Shown(WIRE.name, scenario=True, passed=False)], f"partly: {FAILING}"),
    ],
)
def test_the_state_of_a_row(missing: str, code: list[str], tests: list[Shown], expected: str) -> None:
    assert state(Requirement("PAG-01", "6.2", "Refuse", missing), code, tests) == expected


def test_the_table_names_code_and_tests_scenarios_first() -> None:
    families = read_requirements(LIST)
    text = render(families, {"PAG-01": ["kemi/a.py", "kemi/im.cfg"]}, {"PAG-01": [UNIT, WIRE], "PAG-02": [UNIT]})
    rows = [line for line in text.splitlines() if line.startswith(("| PAG", "| SEC"))]
    assert rows == [
        f"| PAG-01 | 6.2 | kemi/a.py<br>kemi/im.cfg | {WIRE.name}<br>{UNIT.name} | done |",
        f"| PAG-02 | 6.3 |  | {UNIT.name} | partly: in groups; {NO_SCENARIO} |",
        "| SEC-05 | all |  |  | not yet |",
    ]
    assert "3 requirements: 1 done, 1 partly, 1 not yet." in text


# ---- Whole runs -------------------------------------------------------------------------------------------------------

Project = Callable[..., "subprocess.CompletedProcess[str]"]
CURRENT = "tests/test_conformance.py::test_conformance_is_current"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one unit test and one scenario, checked by the same conftest.py and tools."""
    for name in ("docs", "kemi", "tests/scenarios/pager", "tests/kemi"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests/conftest.py")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "docs/requirements.md").write_text(LIST)
    (tmp_path / "kemi/a.py").write_text("# PAG-01\n")
    (tmp_path / "tests/scenarios/pager/test_it.py").write_text(_test_file("test_wire", "PAG-01", rows=2))
    (tmp_path / "tests/kemi/test_it.py").write_text(_test_file("test_unit", "SEC-05"))
    return tmp_path


def _test_file(name: str, identifier: str, *, rows: int = 1, body: str = "pass") -> str:
    return (
        "import pytest\n"
        f"@pytest.mark.requirement({identifier!r})\n"
        f"@pytest.mark.parametrize('row', range({rows}))\n"
        f"def {name}(row):\n    {body}\n"
    )


@pytest.fixture
def pytest_in(root: Path) -> Project:
    """Run pytest in the project, as `CI=true` where asked for."""

    def run(*arguments: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({"CI": "true"} if ci else {})
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_full_run_writes_a_stale_table_fails_and_passes_when_repeated(root: Path, pytest_in: Project) -> None:
    first = pytest_in()
    table = (root / "docs/conformance.md").read_text()
    assert first.returncode == 1
    assert f"FAILED {CURRENT}" in first.stdout
    assert "git add docs/conformance.md" in first.stdout
    assert first.stdout.rstrip().splitlines()[-1].startswith("=") and "1 failed, 3 passed" in first.stdout.splitlines()[-1]
    assert "| PAG-01 | 6.2 | kemi/a.py | tests/scenarios/pager/test_it.py::test_wire | done |" in table
    assert "| SEC-05 | all |  | tests/kemi/test_it.py::test_unit | partly: no scenario on the wire |" in table
    second = pytest_in("tests")
    assert second.returncode == 0, second.stdout
    assert "4 passed" in second.stdout.splitlines()[-1]
    assert (root / "docs/conformance.md").read_text() == table


def test_processes_beside_each_other_tell_the_same(root: Path, pytest_in: Project) -> None:
    beside = ("-p", "xdist.plugin", "-n", "2")
    first = pytest_in(*beside)
    assert first.returncode == 1
    assert f"FAILED {CURRENT}" in first.stdout
    assert "1 failed, 3 passed" in first.stdout.splitlines()[-1]
    table = (root / "docs/conformance.md").read_text()
    assert "| PAG-01 | 6.2 | kemi/a.py | tests/scenarios/pager/test_it.py::test_wire | done |" in table
    assert "| SEC-05 | all |  | tests/kemi/test_it.py::test_unit | partly: no scenario on the wire |" in table
    for again in (pytest_in(*beside), pytest_in()):
        assert again.returncode == 0, again.stdout
        assert "4 passed" in again.stdout.splitlines()[-1]
    (root / "tests/kemi/test_it.py").write_text(_test_file("test_unit", "SEC-05", body="assert False"))
    red = pytest_in(*beside)
    assert red.returncode == 1
    assert "was not compared: failures to be mended first: 1" in red.stdout


def test_ci_prints_the_difference_and_writes_nothing(root: Path, pytest_in: Project) -> None:
    path = root / "docs/conformance.md"
    path.write_text("stale\n")
    run = pytest_in(ci=True)
    assert run.returncode == 1
    assert "-stale" in run.stdout and "+| PAG-01 | 6.2 |" in run.stdout
    assert path.read_text() == "stale\n"


@pytest.mark.parametrize(
    "selection",
    [
        ("-k", "unit"),
        ("-m", "scenario"),
        ("tests/kemi",),
        ("tests/kemi/test_it.py::test_unit",),
        ("--deselect", "tests/kemi"),
        ("--ignore", "tests/kemi"),
        ("--collect-only",),
    ],
    ids=" ".join,
)
def test_a_partial_run_leaves_the_table_alone(root: Path, pytest_in: Project, selection: tuple[str, ...]) -> None:
    run = pytest_in(*selection)
    assert run.returncode == 0, run.stdout
    assert ITEM not in run.stdout
    assert not (root / "docs/conformance.md").exists()


ITEM = "test_conformance_is_current"


def test_a_red_run_is_not_compared(root: Path, pytest_in: Project) -> None:
    (root / "tests/kemi/test_it.py").write_text(_test_file("test_unit", "SEC-05", body="assert False"))
    run = pytest_in()
    assert run.returncode == 1
    assert "was not compared: failures to be mended first: 1" in run.stdout
    assert not (root / "docs/conformance.md").exists()


def test_a_file_that_cannot_be_collected_is_a_failure_too(root: Path, pytest_in: Project) -> None:
    (root / "tests/kemi/test_it.py").write_text("import nowhere_to_be_found\n")
    run = pytest_in("--continue-on-collection-errors")
    assert "was not compared: failures to be mended first: 1" in run.stdout
    assert not (root / "docs/conformance.md").exists()


@pytest.mark.parametrize("marker", ["'PAG-99'", "'pag-01'", ""])
def test_a_marker_with_an_unknown_id_stops_any_run(root: Path, pytest_in: Project, marker: str) -> None:
    text = f"import pytest\n@pytest.mark.requirement({marker})\ndef test_unit(): pass\n"
    (root / "tests/kemi/test_it.py").write_text(text)
    run = pytest_in("-k", "unit")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "tests/kemi/test_it.py::test_unit" in run.stderr


def test_an_unknown_id_in_the_code_fails_the_full_run(root: Path, pytest_in: Project) -> None:
    (root / "kemi/a.py").write_text("# PAG-77\n")
    run = pytest_in()
    assert run.returncode == 1
    assert "kemi/a.py: PAG-77" in run.stdout
