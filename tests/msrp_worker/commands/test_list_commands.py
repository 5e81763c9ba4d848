"""`list` as an operator runs it, and what `group put` and `rules put` say of lists (XDM-04)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
FRIENDS = (
    "http://example.com:8080/xcap/resource-lists/users/sip:alice@example.com/index/~~/"
    "resource-lists/list%5B@name=%22friends%22%5D"
)

pytestmark = pytest.mark.requirement("XDM-04")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command on a new database with the demo data."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
    environ |= {"IM_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def one(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "msrp_worker", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=60, cwd=tmp_path)

    assert one("init").returncode == 0
    return one


def lists(*members: str, more: str = "") -> bytes:
    entries = "".join(f'<entry uri="{member}"/>' for member in members)
    return (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">\n'
        f'<list name="friends">{entries}{more}</list></resource-lists>\n'
    ).encode()


def test_the_life_of_a_document(command: Command, tmp_path: Path) -> None:
    first = lists("sip:bob@example.com", "sip:carol@example.com")
    (tmp_path / "lists.xml").write_bytes(first)
    said = command("list", "put", "alice", "lists.xml").stdout.decode().splitlines()
    assert said[0].startswith("Created the document index of sip:alice@example.com: 1 list, ")
    assert said[1:] == [f"{FRIENDS}: 2 addresses"]
    for name in ("alice", "alice@example.com", "sip:alice@example.com"):
        assert command("list", "get", name).stdout == first
    more = '<external anchor="http://elsewhere.example/list"/>'
    said = command("list", "put", "alice", "-", stdin=lists("sip:bob@example.com", more=more)).stdout.decode().splitlines()
    assert said[0].startswith("Replaced the document index of sip:alice@example.com: 1 list, ")
    assert said[1:] == [f"{FRIENDS}: 1 address", "Note: http://elsewhere.example/list: it is not on this server"]
    command("list", "put", "bob", "-", "--name", "work", stdin=lists())
    shown = json.loads(command("list", "list", "--json").stdout)
    assert [(one["owner"], one["name"], one["lists"], one["entries"]) for one in shown] == [
        ("sip:alice@example.com", "index", ["friends"], 2),
        ("sip:bob@example.com", "work", ["friends"], 0),
    ]
    assert "sip:alice@example.com" in command("list", "list").stdout.decode()
    said = command("list", "delete", "alice").stdout.decode()
    assert said == "Deleted the document index of sip:alice@example.com.\n"
    assert command("list", "get", "alice").returncode == 2
    assert command("list", "get", "bob", "--name", "work").stdout == lists()


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("list", "get", "alice"), b"", "sip:alice@example.com has no document index; `list list`"),
        (("list", "delete", "alice", "--name", "x"), b"", "sip:alice@example.com has no document x"),
        (("list", "put", "nobody", "-"), lists(), "no user sip:nobody@example.com"),
        (("list", "put", "alice", "missing.xml"), b"", "missing.xml: No such file"),
        (("list", "put", "alice", "-"), lists("sip:"), "-: line 2, entry: "),
        (("list", "put", "alice", "-", "--name", ""), lists(), "the name of a document has"),
        (("list", "get", "sip:alice@elsewhere.example"), b"", "not in the served domain"),
    ],
)
def test_what_cannot_be_says_why(command: Command, arguments: tuple[str, ...], stdin: bytes, says: str) -> None:
    process = command(*arguments, stdin=stdin)
    assert process.returncode == 2
    assert process.stdout == b""
    assert says in process.stderr.decode()


def test_a_group_or_rules_of_a_list_that_is_not_there_are_noted(command: Command) -> None:
    group = (
        '<group xmlns="urn:oma:xml:poc:list-service"><list-service uri="sip:chess@example.com">'
        f'<list><external anchor="{FRIENDS}"/></list></list-service></group>'
    ).encode()
    rules = (
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="r"><conditions>'
        f'<external-list xmlns="urn:oma:xml:xdm:common-policy"><entry anc="{FRIENDS}"/></external-list>'
        "</conditions></rule></ruleset>"
    ).encode()
    note = f"Note: nobody is on the list {FRIENDS}: sip:alice@example.com has no document index."
    puts = [(("group", "put", "-"), group), (("rules", "put", "bob", "-"), rules)]
    for arguments, document in puts:
        assert command(*arguments, stdin=document).stdout.decode().splitlines()[1:] == [note]
    command("list", "put", "alice", "-", stdin=lists("sip:carol@example.com"))
    for arguments, document in puts:
        assert command(*arguments, stdin=document).stdout.decode().splitlines()[1:] == []
    assert b"sip:chess@example.com: 1 member," in command("group", "put", "-", stdin=group).stdout
    listed = json.loads(command("group", "list", "--json").stdout)
    assert (listed[0]["uri"], listed[0]["members"]) == ("sip:chess@example.com", 1)
