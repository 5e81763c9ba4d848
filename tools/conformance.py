"""Builds `docs/conformance.md`: which code and which tests stand behind each requirement.

Pure but for the few functions at the end that read the tree: `docs/requirements.md` and the outcomes of a test run go in,
the text of the table comes out, the same for the same input. `tests/conftest.py` feeds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path("docs/requirements.md")
CONFORMANCE = Path("docs/conformance.md")
CODE = ("kemi/**/*.py", "kemi/**/*.cfg", "msrp_worker/**/*.py", "im_client/**/*.py", "kamailio.cfg", "schema.sql")
"""Where code that fulfils a requirement can stand, with the id in a comment."""

_SECTION = re.compile(r"## ([A-Z]{3}): (.+)")
_ID = re.compile(r"\b([A-Z]{3})-(\d{2})\b")
_NOT_A_FAMILY = frozenset({"UTF"})
"""What looks like the family of an id in a comment and is none: UTF-16."""
NO_SCENARIO = "no scenario on the wire"
FAILING = "a test fails"
HEAD = """# Conformance

Made by a full test run (`make test`) from `docs/requirements.md`, the ids in the code and the ids on the tests; not edited
by hand. *done*: a scenario on real processes showed it, no test of it failed, and nothing is known to be missing. *partly*:
there is code or a test, and the row says what is missing. Scenarios stand first among the tests.
"""


class ConformanceError(Exception):
    """The list, a comment or a marker cannot be right; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the list; `open` is empty or says what is missing."""

    id: str
    clause: str
    text: str
    open: str


@dataclass(frozen=True, slots=True)
class Family:
    """One section of the list, in its order."""

    name: str
    title: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One test function of one requirement, all its rows together. `name` is `file::function`."""

    name: str
    scenario: bool
    passed: bool


def read_requirements(text: str) -> list[Family]:
    """Parse `docs/requirements.md`. ConformanceError names the line of a row that does not fit."""
    families: list[Family] = []
    rows: list[Requirement] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if section := _SECTION.fullmatch(line.strip()):
            rows = []
            families.append(Family(section[1], section[2], ()))
        elif families and line.startswith("|") and not line.startswith(("| id |", "|---")):
            row = _row(line, number, families[-1].name)
            if row.id in seen:
                raise ConformanceError(f"requirements line {number}: {row.id} stands twice")
            seen.add(row.id)
            rows.append(row)
            families[-1] = Family(families[-1].name, families[-1].title, tuple(rows))
    return families


def _row(line: str, number: int, family: str) -> Requirement:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if len(cells) != 4:
        raise ConformanceError(f"requirements line {number}: {len(cells)} cells, expected id, clause, requirement, open")
    requirement = Requirement(*cells)
    found = _ID.fullmatch(requirement.id)
    if found is None or found[1] != family:
        raise ConformanceError(f"requirements line {number}: {requirement.id!r} is not an id of {family}")
    if not requirement.clause or not requirement.text:
        raise ConformanceError(f"requirements line {number}: {requirement.id} lacks its clause or its text")
    return requirement


def known_ids(families: Iterable[Family]) -> frozenset[str]:
    """The ids of all families."""
    return frozenset(requirement.id for family in families for requirement in family.requirements)


def code_places(sources: Mapping[str, str], known: frozenset[str]) -> dict[str, list[str]]:
    """For each id the files that name it, sorted. ConformanceError lists ids that the list does not have."""
    places: dict[str, list[str]] = {}
    unknown: list[str] = []
    for path in sorted(sources):
        for identifier in sorted({found[0] for found in _ID.finditer(sources[path]) if found[1] not in _NOT_A_FAMILY}):
            if identifier in known:
                places.setdefault(identifier, []).append(path)
            else:
                unknown.append(f"{path}: {identifier}")
    if unknown:
        raise ConformanceError("ids that docs/requirements.md does not have: " + ", ".join(unknown))
    return places


def state(requirement: Requirement, code: list[str], tests: list[Shown]) -> str:
    """`done`, `not yet`, or `partly: ` and what is missing."""
    if not code and not tests:
        return "not yet"
    if any(not test.passed for test in tests):
        return f"partly: {FAILING}"
    missing = [] if any(test.scenario for test in tests) else [NO_SCENARIO]
    if requirement.open:
        missing.insert(0, requirement.open)
    return f"partly: {'; '.join(missing)}" if missing else "done"


def render(families: list[Family], places: Mapping[str, list[str]], tests: Mapping[str, list[Shown]]) -> str:
    """The text of `docs/conformance.md`."""
    states = {
        requirement.id: state(requirement, places.get(requirement.id, []), tests.get(requirement.id, []))
        for family in families
        for requirement in family.requirements
    }
    counts = [sum(value.startswith(word) for value in states.values()) for word in ("done", "partly", "not yet")]
    lines = [HEAD, f"{len(states)} requirements: {counts[0]} done, {counts[1]} partly, {counts[2]} not yet."]
    for family in families:
        lines += [
            "",
            f"## {family.name}: {family.title}",
            "",
            "| id | clause | code | tests | state |",
            "|---|---|---|---|---|",
        ]
        for requirement in family.requirements:
            ordered = sorted(tests.get(requirement.id, []), key=lambda test: (not test.scenario, test.name))
            cells = (
                requirement.id,
                requirement.clause,
                "<br>".join(places.get(requirement.id, [])),
                "<br>".join(test.name for test in ordered),
                states[requirement.id],
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def load_requirements(root: Path) -> list[Family]:
    """Read the list of the project at `root`."""
    return read_requirements((root / REQUIREMENTS).read_text(encoding="utf-8"))


def load_sources(root: Path) -> dict[str, str]:
    """Text of every file in which code can stand, by its path from `root`."""
    paths = {path for pattern in CODE for path in root.glob(pattern)}
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def build(root: Path, tests: Mapping[str, list[Shown]]) -> str:
    """The fresh text for the project at `root` after a run of `tests`."""
    families = load_requirements(root)
    return render(families, code_places(load_sources(root), known_ids(families)), tests)
