"""The operator's commands as an operator runs them: processes, exit codes, output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from msrp_worker.common_policy import Action, Decision
from msrp_worker.config import Config
from msrp_worker.service_settings import Document, Settings, build_settings
from msrp_worker.store import NewDeferred, Store, TraceEvent, open_store
from tests.scenarios.bed import Offset

ROOT = Path(__file__).parents[3]
ALICE = "sip:alice@example.com"
EVERY_BYTE = b"MESSAGE sip:alice@example.com SIP/2.0\r\n\r\n" + bytes(range(256))
RULES = b"""<?xml version="1.0"?>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules">
<rule id="a"><actions><im:allow-session>reject</im:allow-session></actions></rule></ruleset>"""

Command = Callable[..., subprocess.CompletedProcess[bytes]]


def run(tmp_path: Path, *arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
    environ |= {"IM_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "msrp_worker", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=60, cwd=tmp_path)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command on a new database with the demo users."""
    assert run(tmp_path, "init").returncode == 0

    def one(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        return run(tmp_path, *arguments, stdin=stdin, **settings)

    return one


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a command on a database with the demo users that no test changes."""
    directory = tmp_path_factory.mktemp("state")
    assert run(directory, "init").returncode == 0

    def one(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return run(directory, *arguments)

    return one


@pytest.fixture
async def store(command: Command, tmp_path: Path) -> AsyncIterator[Store]:
    """The worker's store, open while the commands run."""
    store = await open_store(Config.load({"IM_STATE_DIR": str(tmp_path)}))
    yield store
    await store.close()


async def done(command: Command, *arguments: str, stdin: bytes = b"") -> bytes:
    """Output of a command that has to succeed, while the event loop of the worker runs."""
    process = await asyncio.to_thread(command, *arguments, stdin=stdin)
    assert process.returncode == 0, process.stderr
    assert process.stderr == b""
    return process.stdout


def message(number: int, **values: object) -> NewDeferred:
    given = {
        "recipient": ALICE,
        "originator": "sip:bob@example.com",
        "call_id": f"call-{number}",
        "cseq": 1,
        "from_tag": "t",
        "message": EVERY_BYTE,
        "received": time.time(),
        "subject": "Tea \x1b[31m?",
    }
    return NewDeferred(**{**given, **values})


def test_init_tells_of_the_demo_users(tmp_path: Path) -> None:
    first = run(tmp_path, "init")
    assert first.returncode == 0
    assert b"Created" in first.stdout
    assert b"alice, bob, carol, dave" in first.stdout
    assert b"-secret" in first.stdout
    again = run(tmp_path, "init")
    assert (again.returncode, b"up to date" in again.stdout) == (0, True)
    users = json.loads(run(tmp_path, "user", "list", "--json").stdout)
    assert [user["address"] for user in users] == [f"sip:{n}@example.com" for n in ("alice", "bob", "carol", "dave")]


def test_init_without_demo_data(tmp_path: Path) -> None:
    assert b"No demo data" in run(tmp_path, "init", IM_DEMO="0").stdout
    assert json.loads(run(tmp_path, "user", "list", "--json").stdout) == []
    assert run(tmp_path, "init").returncode == 0  # demo users are for new databases only
    assert json.loads(run(tmp_path, "user", "list", "--json").stdout) == []


@pytest.mark.parametrize("arguments", [("user", "list"), ("deferred", "list", "alice"), ("trace", "x")])
def test_without_a_database_a_command_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = run(tmp_path, *arguments)
    assert process.returncode == 1
    assert b"init" in process.stderr
    assert b"Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("user", "set", "nobody", "willing=no"), b"user list"),
        (("user", "set", "alice", "colour=blue"), b"im_allowed"),
        (("user", "set", "alice", "willing"), b"KEY=VALUE"),
        (("user", "set", "alice", "willing=perhaps"), b"yes, no or default"),
        (("user", "set", "alice", "pager_max_size=32k"), b"number of bytes"),
        (("user", "set", "alice", "content_types=text"), b"content_types"),
        (("user", "set", "alice", "password="), b"empty"),
        (("user", "add", "alice"), b"exists already"),
        (("user", "add", "a b"), b"not a user"),
        (("user", "add", "eve@elsewhere.example"), b"IM_DOMAIN"),
        (("user", "add", "sip:eve;user=phone@example.com:5060"), b"served domain"),
        (("user", "add", "x" * 65), b"at most 64"),
        (("user", "add", "eve", "--password", ""), b"empty"),
        (("user", "delete", "nobody"), b"no user"),
        (("settings", "get", "nobody"), b"no user"),
        (("rules", "get", "alice"), b"no IM rules"),
        (("rules", "delete", "alice"), b"no IM rules"),
        (("rules", "put", "nobody", "-"), b"no user"),
        (("rules", "put", "alice", "-"), b"not well-formed"),
        (("rules", "put", "alice", "/no/such/file"), b"No such file"),
        (("deferred", "list", "nobody"), b"no user"),
        (("deferred", "show", "alice", "1@example.com"), b"deferred list"),
        (("deferred", "delete", "alice", "1@example.com"), b"deferred list"),
        (("trace", "unknown"), b"nothing is known"),
        (("nonsense",), b"invalid choice"),
        ((), b"COMMAND"),
    ],
)
def test_what_does_not_exist_is_an_error(unchanged: Command, arguments: tuple[str, ...], hint: bytes) -> None:
    process = unchanged(*arguments)
    assert process.returncode == 2
    assert hint in process.stderr
    assert b"Traceback" not in process.stderr
    assert process.stdout == b""


@pytest.mark.requirement("SET-07")
async def test_users_are_changed_below_a_running_worker(store: Store, command: Command) -> None:
    assert await store.users.facts("sip:eve@example.com") is None
    assert b"Added sip:eve@example.com." in await done(command, "user", "add", "eve", "--password", "x")
    facts = await store.users.facts("sip:eve@example.com")
    assert facts is not None
    assert facts.im_allowed
    output = await done(
        command, "user", "set", "eve@EXAMPLE.com", "im_allowed=no", "pager_max_size=99", "pager_barred=true"
    )
    assert b"im_allowed = no" in output
    facts = await store.users.facts("sip:eve@example.com")
    assert facts is not None
    assert (facts.im_allowed, facts.pager_max_size, facts.pager_barred) == (False, 99, True)
    await done(command, "user", "set", "sip:eve@example.com", "im_allowed=default", "pager_max_size=default")
    facts = await store.users.facts("sip:eve@example.com")
    assert facts is not None
    assert (facts.im_allowed, facts.pager_max_size) == (True, 32768)
    assert b"Deleted sip:eve@example.com" in await done(command, "user", "delete", "eve")
    assert await store.users.facts("sip:eve@example.com") is None


async def test_a_password_is_made_up_and_can_be_changed(store: Store, command: Command) -> None:
    output = (await done(command, "user", "add", "eve")).decode()
    password = output.rstrip(".\n").rpartition(" ")[2]
    assert len(password) == 16
    before = await store.database.read("SELECT ha1 FROM subscriber WHERE username = 'eve'")
    assert b"password = changed" in await done(command, "user", "set", "eve", "password=secret")
    after = await store.database.read("SELECT ha1 FROM subscriber WHERE username = 'eve'")
    assert before != after


@pytest.mark.requirement("XDM-03")
async def test_rules_take_effect_and_come_back_as_they_were(store: Store, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "rules.xml"
    file.write_bytes(RULES)
    await store.users.facts(ALICE)
    assert b"Stored" in await done(command, "rules", "put", "alice", str(file))
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert facts.rules is not None
    assert facts.rules.decide(Action.SESSION, "sip:bob@example.com") is Decision.REJECT
    assert await done(command, "rules", "get", "alice") == RULES
    await done(command, "rules", "put", "alice", "-", stdin=RULES)
    assert b"Deleted" in await done(command, "rules", "delete", "alice")
    facts = await store.users.facts(ALICE)
    assert facts is not None
    assert facts.rules is None


@pytest.mark.requirement("DEF-01", "DEF-09")
async def test_deferred_messages(store: Store, command: Command) -> None:
    ids = [await store.deferred.add(message(n)) for n in range(3)]
    table = (await done(command, "deferred", "list", "alice")).decode()
    assert [line.split()[0] for line in table.splitlines()[1:]] == ids
    assert "\x1b" not in table
    entries = json.loads(await done(command, "deferred", "list", "alice", "--json"))
    assert [(entry["message_id"], entry["call_id"]) for entry in entries] == [
        (message_id, f"call-{n}") for n, message_id in enumerate(ids)
    ]
    assert await done(command, "deferred", "show", "alice", ids[1]) == EVERY_BYTE
    process = await asyncio.to_thread(command, "deferred", "delete", "alice", ids[0], "1@example.com")
    assert process.returncode == 2
    assert len(await store.deferred.list(ALICE)) == 3  # one is unknown: none is deleted
    assert b"Deleted 2 deferred messages" in await done(command, "deferred", "delete", "alice", *ids[:2])
    assert [entry.message_id for entry in await store.deferred.list(ALICE)] == ids[2:]
    kinds = [event["kind"] for event in json.loads(await done(command, "trace", "call-0", "--json"))]
    assert kinds == ["deferred", "deleted"]


@pytest.mark.requirement("IDN-04")
async def test_listings_do_not_name_who_asked_for_privacy(store: Store, command: Command) -> None:
    await store.deferred.add(message(1, private=True))
    for form in ([], ["--json"]):
        assert b"bob" not in await done(command, "deferred", "list", "alice", *form)
        assert b"bob" not in await done(command, "trace", "call-1", *form)


async def test_the_trace_is_a_table(store: Store, command: Command) -> None:
    store.trace.add(TraceEvent(time=4e9, call_id="c", kind="refused", originator=ALICE, status=403, requirement="PAG-02"))
    await store.trace.flush()
    header, line = (await done(command, "trace", "c")).decode().splitlines()
    assert header.split() == ["time", "event", "status", "requirement", "originator", "recipient", "detail"]
    assert line.split()[:4] == ["2096-10-02T07:06:40Z", "refused", "403", "PAG-02"]


def test_check_config_names_the_source(tmp_path: Path) -> None:
    file = tmp_path / "im.conf"
    file.write_text("IM_DOMAIN = file.example\n")
    process = run(tmp_path, "--config", str(file), "check-config", "--json", IM_DEFERRED_DAYS="3")
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(process.stdout)}
    assert rows["IM_DOMAIN"] == ("file.example", str(file))
    assert rows["IM_DEFERRED_DAYS"] == ("3", "environment")
    assert rows["IM_LISTEN"] == ("127.0.0.1", "default")
    assert b"IM_TYPO" in run(tmp_path, "check-config", IM_TYPO="1").stdout
    wrong = run(tmp_path, "check-config", IM_DEFERRED_DAYS="many")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"IM_DEFERRED_DAYS: 'many'" in wrong.stderr


def test_the_doctor_finds_a_port_that_is_taken(command: Command) -> None:
    offset = Offset()
    port = 2855 + offset.number
    with socket.create_server(("127.0.0.1", port)):
        process = command("doctor", "--json", IM_PORT_OFFSET=str(offset.number))
    offset.release()
    checks = {check["name"]: check for check in json.loads(process.stdout)}
    assert process.returncode == 1
    assert checks["database"]["ok"]
    assert checks["state directory"]["ok"]
    assert not checks[f"port {port}"]["ok"]
    assert str(os.getpid()) in checks[f"port {port}"]["text"]


def test_the_doctor_says_what_is_missing(tmp_path: Path) -> None:
    none = {"IM_STATE_DIR": str(tmp_path / "none"), "IM_TLS_CERTIFICATE": "/no.pem", "IM_TLS_KEY": "/no.key"}
    process = run(tmp_path, "doctor", **none)
    assert process.returncode == 1
    lines = process.stdout.decode().splitlines()
    failed = [line.split(":")[0].removeprefix("FAIL").strip() for line in lines if line.startswith("FAIL")]
    assert {"state directory", "disk space", "database", "TLS files"} <= set(failed)


@pytest.mark.requirement("SET-06", "SET-07")
async def test_settings_show_what_holds_and_why(command: Command, store: Store) -> None:
    await done(command, "user", "set", "alice", "session_barred=yes")
    document = build_settings(Document("phone", Settings(pager_barred=True)))
    grant = await store.settings.publish(ALICE, "", 600, document)
    rows = {row["setting"]: row for row in json.loads(await done(command, "settings", "get", "alice", "--json"))}
    assert {name: (row["value"], row["source"]) for name, row in rows.items()} == {
        "session_barred": (True, "operator"),
        "pager_barred": (True, "published"),
        "offline_delivery": (False, "default"),
        "visible": (True, "default"),
        "session_history": (False, "default"),
        "message_history": (False, "default"),
    }
    assert rows["pager_barred"]["entity"] == "phone"
    assert grant.seconds - 60 < rows["pager_barred"]["expires_at"] - time.time() <= grant.seconds
    table = (await done(command, "settings", "get", "alice")).decode()
    assert re.search(r"^pager_barred +yes +published +phone +\d{4}-", table, re.MULTILINE)
    assert re.search(r"^visible +yes +default +- +-$", table, re.MULTILINE)
