"""The reference client's commands in conferences, each a process of its own; its terminal is a pipe (CLI-02, CLI-03)."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.scenarios.bed import Instance
from tests.scenarios.conference.conference import address

NewUser = Callable[..., str]
PATIENCE = 20.0


def account(instance: Instance, name: str) -> list[str]:
    proxy = f"127.0.0.1:{instance.sip_port};transport=tcp"
    return ["--identity", address(name), "--password", f"{name}-secret", "--proxy", proxy]


class Terminal:
    """One running command: what it says, line by line, and what is typed."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "im_client", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.decode().rstrip("\n"))

    def type(self, line: str) -> None:
        """One line on the keyboard."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def until(self, text: str) -> str:
        """The next line that has this text in it."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"{text!r} was never said, but {self.said}") from None
            self.said.append(line)
            if text in line:
                return line

    def end(self) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(PATIENCE)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    running = Terminal(*arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def run(*arguments: str) -> tuple[int, str]:
    """A command that ends by itself: its status and what it says."""
    command = [sys.executable, "-m", "im_client", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.requirement("CLI-02", "CLI-03", "CES-04", "MED-07", "CNF-22", "CNF-27")
def test_a_conference_on_four_terminals(instance: Instance, new_user: NewUser) -> None:
    """Start, talk, whisper, be renamed, ask who is there, add from inside and outside, list, leave."""
    alice, bob, carol, dave = (new_user() for _ in range(4))
    with ExitStack() as stack:

        def chat(name: str) -> Terminal:
            found = stack.enter_context(terminal("chat", *account(instance, name)))
            found.until("waits to be invited")
            return found

        second, third, fourth = chat(bob), chat(carol), chat(dave)
        users = [address(bob), address(carol)]
        first = stack.enter_context(terminal("conference", "start", *account(instance, alice), *users))
        identity = first.until("in conference ").split()[2].rstrip(";")
        for _ in range(3):
            first.until("is here")
        second.until("is here")
        first.type("Hello both")
        assert alice in second.until("Hello both") and alice in third.until("Hello both")
        first.type(f"/msg {address(bob)} a secret")
        second.until("a secret")
        third.type("/nick Captain")
        third.until("known by it")
        first.until("Captain has another name")
        first.type("/who")
        first.until(f"Captain <{address(carol)}> connected")

        status, said = run("conference", "list", *account(instance, alice), identity, "--json")
        assert status == 0, said
        listed = json.loads(said)
        assert listed["active"] and {user["uri"] for user in listed["users"]} == {address(n) for n in (alice, bob, carol)}
        status, said = run("conference", "add", *account(instance, alice), identity, address(dave))
        assert (status, said.strip()) == (0, "200 OK")
        fourth.until("is here")
        first.until(f"{dave}@example.com is here")
        assert not any("a secret" in line for line in third.said)

        second.type("/quit")
        assert second.end() == 0
        first.until(f"{bob}@example.com has left")
        status, said = run("conference", "remove", *account(instance, alice), identity, address(carol))
        assert status == 0, said
        third.until("over: ")
        assert third.end() == 0
        first.type("/quit")
        fourth.until("over: ")
        assert (first.end(), fourth.end()) == (0, 0)


@pytest.mark.requirement("CLI-02", "CNF-20")
def test_what_is_refused_is_said(instance: Instance, new_user: NewUser) -> None:
    """A session that is not there; a user who is nobody's participant; too many users."""
    alice = new_user()
    nowhere = "sip:im-session-0000000000000000000000@example.com"
    for words in (("join", nowhere), ("list", nowhere)):
        status, said = run("conference", words[0], *account(instance, alice), *words[1:])
        assert status == 1 and "404" in said, said
    status, said = run("conference", "add", *account(instance, alice), nowhere, address("nobody"))
    assert status == 1 and "403" in said, said
    status, said = run(
        "conference", "start", *account(instance, alice), "sip:a@b.example", "sip:c@b.example", "--most", "1"
    )
    assert status == 1 and "at most 1" in said
