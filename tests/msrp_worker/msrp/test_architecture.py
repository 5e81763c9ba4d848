"""The package stands on its own, and its core without sockets."""

import ast
from pathlib import Path

import pytest

import msrp_worker.msrp

FOLDER = Path(msrp_worker.msrp.__file__).parent
SHELL = {"connection", "endpoint", "local_address", "relay", "streams", "tls", "websocket"}
"""Modules that may know asyncio and sockets; all others are pure."""
CONFERENCE = {"fanout", "room", "switch"}
"""Modules that know what is in a message: they read its envelope with formats of the worker, pure too."""
FORMATS = {"msrp_worker", "msrp_worker.cpim", "msrp_worker.content_types"}
IMPURE = {
    "asyncio",
    "socket",
    "ssl",
    "time",
    "random",
    "secrets",
    "os",
    "threading",
    "OpenSSL",
    "aiohttp",
    "pyroute2",
}


def imports(path: Path) -> list[tuple[int, str]]:
    """Level and name of what a module imports."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_imports(path: Path) -> None:
    for level, name in imports(path):
        assert level <= 1, f"{path.name} reaches out of the package"
        outside = name.startswith(("msrp_worker", "kemi", "im_client"))
        assert not outside or (path.stem in CONFERENCE and name in FORMATS), f"{path.name} imports {name}"
        if path.stem not in SHELL | {"__init__"}:
            assert name.partition(".")[0] not in IMPURE, f"{path.name} is pure and imports {name}"
            assert level == 0 or name not in SHELL, f"{path.name} is pure and imports {name}"


def test_files_can_be_read_in_one_sitting() -> None:
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path.name
