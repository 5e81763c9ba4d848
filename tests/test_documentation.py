"""Every setting and every operator's command is in the documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "kemi/im.cfg", ROOT / "kamailio.cfg"))
DEFINITION = re.compile(r"^#!(?:ifn?def|(?:try)?def\w*|redefine)\s+(IM_\w+)|\$def\((IM_\w+)\)", re.MULTILINE)
ROUTE = re.compile(r"route\[(IM_\w+)\]")
NAME = re.compile(r"IM_[A-Z0-9_]*[A-Z0-9]")
LISTED = re.compile(r"^    ([a-z][a-z-]*)(?: |$)", re.MULTILINE)
"""A command in the help of argparse; its own help, when it wraps, stands further in."""


def documentation() -> str:
    """What an operator can read."""
    paths = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def settings() -> set[str]:
    """Names of all settings, in the native configuration and in Python."""
    names = {first or second for first, second in DEFINITION.findall(NATIVE)}
    for package in ("kemi", "msrp_worker", "im_client", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                    names.add(node.value)
    return names - set(ROUTE.findall(NATIVE))


def listed(*command: str) -> list[str]:
    """The commands that the help of a command lists."""
    run = subprocess.run(
        [sys.executable, "-m", "msrp_worker", *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return LISTED.findall(run.stdout)


def commands() -> set[str]:
    """All of them, `user add` as one."""
    found = set()
    for command in listed():
        actions = listed(command)
        found |= {f"{command} {action}" for action in actions} or {command}
    return found


def test_the_readers_find_what_there_is() -> None:
    assert {"IM_DOMAIN", "IM_PAGER_MAX_SIZE", "IM_DEFERRED_DAYS", "IM_SEPARATE_CORE", "IM_SIP_LISTEN"} <= settings()
    assert "IM_UNANSWERED" not in settings()
    assert {"serve", "user add", "deferred show", "check-config"} <= commands()


def test_every_setting_is_documented() -> None:
    documented = set(NAME.findall(documentation()))
    assert sorted(settings() - documented) == []


def is_named(command: str, text: str) -> bool:
    """Whether a text names a command; `user add|set|list` names three."""
    name, _, action = command.partition(" ")
    wanted = rf" (?:[a-z-]+\|)*{action}(?![a-z-])" if action else "(?![a-z-])"
    return re.search(rf"(?:msrp_worker |`){name}{wanted}", text) is not None


def test_every_command_is_documented() -> None:
    text = documentation()
    assert sorted(command for command in commands() if not is_named(command, text)) == []
