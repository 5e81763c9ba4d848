"""`group` as an operator runs it (XDM-02)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from msrp_worker.config import Config
from msrp_worker.group import Group, Member, parse_group
from msrp_worker.group_watch import GroupWatch
from msrp_worker.store import open_store

ROOT = Path(__file__).parents[3]
Command = Callable[..., subprocess.CompletedProcess[bytes]]


def run(tmp_path: Path, *arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
    environ |= {"IM_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "msrp_worker", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=60, cwd=tmp_path)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command on a new database with the demo data."""
    assert run(tmp_path, "init").returncode == 0

    def one(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run(tmp_path, *arguments, stdin=stdin)

    return one


def document(uri: str, *members: str) -> bytes:
    entries = "".join(f'<entry uri="{member}"/>' for member in members)
    return (
        '<group xmlns="urn:oma:xml:poc:list-service">\n'
        f'<list-service uri="{uri}"><list>{entries}</list></list-service></group>\n'
    ).encode()


@pytest.mark.requirement("XDM-02")
def test_the_demo_group_comes_with_the_demo_users(tmp_path: Path) -> None:
    said = run(tmp_path, "init").stdout.decode()
    assert "the group sip:friends@example.com" in said
    group = parse_group(run(tmp_path, "group", "get", "friends").stdout)
    names = ("alice", "bob", "carol", "dave")
    assert group.members == tuple(Member(f"sip:{name}@example.com", name.capitalize()) for name in names)
    assert group.invite_members


@pytest.mark.requirement("XDM-02")
def test_without_demo_data_there_is_no_group(tmp_path: Path) -> None:
    assert b"friends" not in run(tmp_path, "init", IM_DEMO="0").stdout
    assert json.loads(run(tmp_path, "group", "list", "--json").stdout) == []


@pytest.mark.requirement("XDM-02")
def test_the_life_of_a_group(command: Command, tmp_path: Path) -> None:
    chess = document("SIP:chess@Example.com", "sip:alice@example.com", "sip:bod@example.com", "sip:eve@example.org")
    (tmp_path / "chess.xml").write_bytes(chess)
    put = command("group", "put", "chess.xml").stdout.decode().splitlines()
    assert put[0].startswith("Created the predefined group sip:chess@example.com: 3 members, ")
    assert put[1:] == ["Note: the member sip:bod@example.com is no user yet; `user add` creates one."]
    for name in ("chess", "chess@example.com", "sip:chess@example.com;x=y"):
        assert command("group", "get", name).stdout == chess
    changed = document("sip:chess@example.com", "sip:alice@example.com")
    assert (
        b"Replaced the predefined group sip:chess@example.com: 1 member,"
        in command("group", "put", "-", stdin=changed).stdout
    )
    listed = json.loads(command("group", "list", "--json").stdout)
    assert [one["uri"] for one in listed] == ["sip:chess@example.com", "sip:friends@example.com"]
    assert {key: listed[0][key] for key in ("kind", "members", "invite_members", "max_participants")} == {
        "kind": "predefined",
        "members": 1,
        "invite_members": False,
        "max_participants": None,
    }
    table = command("group", "list").stdout.decode()
    assert table.splitlines()[0].split()[:2] == ["address", "kind"]
    assert "Friends" in table
    assert command("group", "delete", "chess").stdout == b"Deleted the group sip:chess@example.com.\n"
    assert command("group", "get", "chess").returncode == 2


@pytest.mark.requirement("XDM-02")
@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("group", "get", "nobody"), b"", "no group sip:nobody@example.com"),
        (("group", "delete", "nobody"), b"", "no group sip:nobody@example.com"),
        (("group", "get", "a b"), b"", "'a b' is not a group"),
        (("group", "put", "missing.xml"), b"", "missing.xml: No such file"),
        (("group", "put", "-"), b"<group/>", "-: the root is group"),
        (("group", "put", "-"), document("sip:g@example.com", "bob"), "-: line 2, entry: not an address: 'bob'"),
        (("group", "put", "-"), document("sip:g@example.org"), "not in the served domain example.com"),
        (("group", "put", "-"), document("sip:g@example.com:5060"), "not in the served domain example.com"),
        (("group", "put", "-"), document("sip:Conference-Factory@example.com"), "is an address of the service"),
        (("group", "put", "-"), document("sip:im-session-1@example.com"), "is an address of the service"),
        (("group", "put", "-"), document("sip:alice@example.com"), "sip:alice@example.com is the address of a user"),
        (("user", "add", "friends"), b"", "sip:friends@example.com is the address of a group"),
    ],
)
def test_what_cannot_be_says_why(command: Command, arguments: tuple[str, ...], stdin: bytes, says: str) -> None:
    process = command(*arguments, stdin=stdin)
    assert process.returncode == 2
    assert process.stdout == b""
    assert says in process.stderr.decode()


@pytest.mark.requirement("CNF-29", "XDM-07")
async def test_a_running_worker_hears_of_the_command(command: Command, tmp_path: Path) -> None:
    store = await open_store(Config.load({"IM_STATE_DIR": str(tmp_path)}))
    try:
        friends = await store.groups.get("sip:friends@example.com")
        assert friends is not None
        heard: list[Group | None] = []
        watch = GroupWatch(store.groups, store.database.revision)
        watch.watch(friends, lambda uri, old, new: heard.append(new))
        await watch.look()
        await asyncio.to_thread(command, "group", "put", "-", stdin=document(friends.uri))
        await watch.look()
        await asyncio.to_thread(command, "group", "delete", "friends")
        await watch.look()
        assert heard == [Group(friends.uri), None]
    finally:
        await store.close()
