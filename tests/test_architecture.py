"""The arrows of import, and the habits a machine can see. A rule that fails here is a decision to talk about."""

from __future__ import annotations

import ast
import functools
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("kemi", "msrp_worker", "im_client")
SHELL = frozenset({"kemi.adapter", "kemi.app", "kemi.bindings", "kemi.breaker", "kemi.im", "kemi.ksr"})
TOUCHES_KAMAILIO = frozenset({"kemi.adapter", "kemi.bindings", "kemi.ksr"})
"""The adapter, and what reads values for it."""
"""The modules of kemi/ that live inside Kamailio; every other one is pure."""
IMPURE = frozenset(
    {"asyncio", "os", "pathlib", "random", "secrets", "select", "socket", "subprocess", "threading", "time", "uuid"}
)
"""A pure module of kemi/ has no clock, no randomness and no I/O."""
SHARED_WITH_CLIENT = re.compile(
    r"msrp_worker\.(msrp(\.\w+)*|sdp\w*|cpim|imdn|is_composing|file_transfer|content_types|offer_answer|"
    r"group_advertisement)"
)
CONFERENCE = {"msrp_worker.msrp.switch", "msrp_worker.msrp.room", "msrp_worker.msrp.fanout"}
"""The switch reads the envelopes it passes on (RFC 7701 section 6.2); nothing else of MSRP knows a content format."""
MAX_LINES = 500
LONG_FILES = {
    "kemi/im.cfg": "an operator includes one file: its settings, criteria and routes stay together",
    "tests/msrp_worker/sip/test_shell.py": "rows for one object, the leg manager, that share its builders",
    "tests/msrp_worker/msrp/test_switch.py": "rows for one object, the switch, that share its builders",
    "tests/msrp_worker/msrp/test_session.py": "rows for one object, the session, that share its builders",
}
"""Files that may be longer than MAX_LINES, each with its reason."""
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|farm)/")


def files(*suffixes: str) -> Iterator[Path]:
    """The project's own files, hidden and generated directories left out."""
    for top in sorted(ROOT.iterdir()):
        if top.name in ("var", "build") or (top.name.startswith(".") and top.name != ".ci"):
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else (top,):
            if path.is_file() and "__pycache__" not in path.parts and (not suffixes or path.suffix in suffixes):
                yield path


def module_name(path: Path) -> str:
    """Dotted name of a Python file of the project."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in files(".py")}


@functools.cache
def tree(name: str) -> ast.Module:
    """Syntax tree of a module."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@functools.cache
def imports(name: str) -> frozenset[str]:
    """Absolute names of everything a module imports, submodules resolved where the project has them."""
    return imported(name, tree(name))


def imported(name: str, within: ast.AST) -> frozenset[str]:
    """The same for a part of a module's tree."""
    found = set()
    for node in ast.walk(within):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, node)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found.add(submodule if submodule in MODULES else base)
    return frozenset(found)


@functools.cache
def imports_at_run_time(name: str) -> frozenset[str]:
    """What `imports` has, less the names that only types need."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree(name)):
        if not (isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")):
            found |= imported(name, node)
    return frozenset(found)


def absolute(name: str, node: ast.ImportFrom) -> str:
    """The module that a from-import names, relative ones resolved."""
    if node.level == 0:
        return node.module or ""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def within(package: str) -> list[str]:
    """The modules of a package, itself included."""
    return [name for name in MODULES if name == package or name.startswith(package + ".")]


def top(name: str) -> str:
    """First part of a dotted name."""
    return name.partition(".")[0]


def wrong(names: list[str], allowed: object) -> list[str]:
    """`module imports other` for each import that `allowed(module, other)` rejects."""
    assert callable(allowed)
    return [f"{name} imports {other}" for name in names for other in sorted(imports(name)) if not allowed(name, other)]


def test_the_reader_of_imports_sees_every_form() -> None:
    assert "kemi.messages" in imports("kemi.actions")
    assert {"kemi.pager_originating", "kemi.adapter"} <= imports("kemi.app")
    assert any(other.startswith("im_client.") for other in imports("im_client.endpoint")), "relative imports are resolved"
    assert "KSR" in imports("kemi.adapter")


def test_only_the_adapter_touches_kamailio() -> None:
    assert not wrong(list(MODULES), lambda name, other: top(other) != "KSR" or name in TOUCHES_KAMAILIO)
    for name in within("kemi"):
        names = {node.id for node in ast.walk(tree(name)) if isinstance(node, ast.Name)}
        assert name in TOUCHES_KAMAILIO or "KSR" not in names, name


def test_only_the_app_stands_on_the_adapter() -> None:
    assert not wrong(
        list(MODULES), lambda name, other: other != "kemi.adapter" or name == "kemi.app" or top(name) == "tests"
    )
    assert not wrong(list(MODULES), lambda name, other: other != "kemi.app" or name == "kemi.im" or top(name) == "tests")


def test_kemi_needs_the_standard_library_alone() -> None:
    assert not wrong(within("kemi"), lambda _, other: top(other) in {*sys.stdlib_module_names, "kemi", "KSR"})


def test_the_procedures_have_no_clock_no_randomness_and_no_input_or_output() -> None:
    pure = [name for name in within("kemi") if name not in SHELL]
    assert not wrong(pure, lambda _, other: top(other) not in IMPURE and other not in SHELL)


def test_procedures_do_not_import_each_other() -> None:
    def is_procedure(name: str) -> bool:
        functions = {node.name for node in tree(name).body if isinstance(node, ast.FunctionDef)}
        return bool({"screen", "decide"} & functions)

    procedures = {name for name in within("kemi") if is_procedure(name)}
    assert {"kemi.pager_originating", "kemi.pager_terminating"} <= procedures
    users = [name for name in within("kemi") if name not in SHELL]
    assert not wrong(users, lambda _, other: other not in procedures)


def test_msrp_stands_alone() -> None:
    def allowed(module: str, other: str) -> bool:
        if module in CONFERENCE and other in {"msrp_worker.cpim", "msrp_worker.content_types"}:
            return True
        return other in within("msrp_worker.msrp") or top(other) not in {"msrp_worker", "kemi", "im_client"}

    assert not wrong(within("msrp_worker.msrp"), allowed)


def test_the_worker_shares_messages_with_kamailio_and_nothing_else() -> None:
    def allowed(_: str, other: str) -> bool:
        return other in ("kemi.messages", "kemi.trace_events") if top(other) == "kemi" else top(other) != "im_client"

    assert not wrong(within("msrp_worker"), allowed)


def test_the_client_shares_formats_with_the_worker_and_nothing_else() -> None:
    def allowed(_: str, other: str) -> bool:
        return SHARED_WITH_CLIENT.fullmatch(other) is not None if top(other) == "msrp_worker" else top(other) != "kemi"

    assert not wrong(within("im_client"), allowed)


def test_the_product_needs_neither_tests_nor_tools() -> None:
    product = [name for package in PRODUCT for name in within(package)]
    assert not wrong(product, lambda _, other: top(other) not in {"tests", "tools"})
    assert not wrong(within("tools"), lambda _, other: top(other) != "tests")


def test_no_import_turns_back() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(imports_at_run_time(name)):
                if other in MODULES:
                    visit(other, (*path, name))
            done.add(name)

    for package in PRODUCT:
        for name in within(package):
            visit(name, ())


def test_files_are_short_enough_to_know() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n") for path in files(".py", ".cfg", ".sql", ".sh")
    }
    long = {name for name, lines in lengths.items() if lines > MAX_LINES}
    assert not long - LONG_FILES.keys(), "longer than allowed"
    assert not LONG_FILES.keys() - long, "exceptions that are needed no more"


def dotted(node: ast.AST) -> str:
    """`a.b.c` of nested attributes, empty for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def habits_broken(source: str) -> list[str]:
    """What a test file may not do: sleep in real time, skip, expect to fail."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "time"
            and any(alias.name == "sleep" for alias in node.names)
        ):
            found.append(f"line {node.lineno}: imports time.sleep")
        name = dotted(node)
        if name == "time.sleep" or re.fullmatch(
            r"(pytest|unittest)(\.mark)?\.(skip\w*|xfail|importorskip|expectedFailure)", name
        ):
            found.append(f"line {node.lineno}: {name}")  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("import time\ntime.sleep(1)", 1),
        ("from time import sleep", 1),
        ("import pytest\n@pytest.mark.skip\ndef test(): pass", 1),
        ("import pytest\n@pytest.mark.skipif(True, reason='')\ndef test(): pass", 1),
        ("import pytest\n@pytest.mark.xfail(strict=True)\ndef test(): pass", 1),
        ("import pytest\npytest.skip('no')", 1),
        ("import pytest\npytest.importorskip('lxml')", 1),
        ("import asyncio, time\nasyncio.sleep(0)\ntime.monotonic()", 0),
    ],
)
def test_the_reader_of_habits_sees_them(source: str, broken: int) -> None:
    assert len(habits_broken(source)) == broken


def test_tests_do_not_sleep_skip_or_expect_to_fail() -> None:
    found = {name: habits_broken(MODULES[name].read_text(encoding="utf-8")) for name in within("tests")}
    assert not {name: habits for name, habits in found.items() if habits}


def test_every_type_ignore_says_what_it_ignores() -> None:
    bare = re.compile(r"#\s*type:\s*ignore(?!\[)")
    found = []
    for path in files(".py"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        comments = (token for token in tokens if token.type == tokenize.COMMENT and bare.search(token.string))
        found += [f"{path.relative_to(ROOT)}:{token.start[0]}" for token in comments]
    assert not found


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # golden bytes
        found += [f"{path.relative_to(ROOT)}: {line}" for line in text.splitlines() if MACHINE_PATH.search(line)]
    assert not found
