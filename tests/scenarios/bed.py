"""The test bed: a real Kamailio and a real worker on their own ports and state directory, SIPp and IM clients around them.

A scenario takes the `instance` fixture (conftest.py) or makes one with `instance_with(**settings)`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

from im_client.client import ImClient
from im_client.config import ClientConfig
from im_client.transport import Target
from msrp_worker.commands.common import run_with_store
from msrp_worker.store import Store
from tests.scenarios.in_process import output_of
from tests.scenarios.namespaces import Namespace
from tools.deployment import Deployment

T = TypeVar("T")

HERE = Path(__file__).parent
PORTS = (5060, 5061, 5070, 5072, 5090, 2855, 2856, 8080)
OFFSETS = range(10_000, 24_600, 100)
"""Below the ports that the kernel gives to clients (32768 and up), which may be taken at any moment."""
SIPP_SECONDS = 30
WAIT_SECONDS = 15.0
DOMAIN = "example.com"


class Offset:
    """A port offset with which every port of an instance is free, and no other run of tests takes it until `release`."""

    def __init__(self) -> None:
        for self.number in random.sample(OFFSETS, len(OFFSETS)):
            self._lock = os.open(f"{tempfile.gettempdir()}/im-offset-{self.number}.lock", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                continue
            if all(_free(port + self.number) for port in PORTS):
                return
            os.close(self._lock)
        raise RuntimeError("no port offset is free")

    def release(self) -> None:
        """Others may have it."""
        os.close(self._lock)


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_port() -> int:
    """A UDP and TCP port that is free now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if _free(port):
            return port


class SippError(AssertionError):
    """A SIPp scenario failed; the text has what it sent, received and expected."""


@dataclass
class SippRun:
    """A SIPp process, and what it saw."""

    process: subprocess.Popen[bytes]
    directory: Path
    name: str

    def wait(self) -> str:
        """Wait for its end; the trace of all messages. SippError when it did not succeed."""
        try:
            self.process.wait(SIPP_SECONDS + 10)
        finally:
            self.kill()
        if self.process.returncode != 0:
            errors = "".join(path.read_text(errors="replace") for path in self.directory.glob("*_errors.log"))
            raise SippError(f"{self.name} failed ({self.process.returncode})\n{errors[-3000:]}\n{self.trace()[-6000:]}")
        return self.trace()

    def trace(self) -> str:
        """All messages sent and received so far."""
        path = self.directory / "messages.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Instance:
    """A running instance with everything a scenario needs of it.

    In a network namespace it has all ports to itself and listens where the setting IM_LISTEN says; else it has ports of
    its own on 127.0.0.1.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, str], *, namespace: Namespace | None = None, **options: Any
    ) -> None:
        self.directory = directory
        self._namespace = namespace
        self._offset = None if namespace else Offset()
        self.offset = self._offset.number if self._offset else 0
        if namespace:
            options["launcher"] = namespace.launcher
        base = {name: value for name, value in os.environ.items() if not name.startswith("IM_")}
        name = namespace.name if namespace else f"im-{os.getpid()}-{self.offset}"
        state = Path(f"/tmp/{name}")  # short: sockets live in it
        environ = {**base, "IM_STATE_DIR": str(state), "IM_PORT_OFFSET": str(self.offset), **settings}
        self.deployment = Deployment(environ, log_dir=directory, **options)
        self.state_dir = state
        self._runs: list[SippRun] = []
        self._count = 0

    @property
    def sip_port(self) -> int:
        """Port of the SIP core."""
        return self.deployment.config.sip_port

    def start(self) -> None:
        """Create the database and start both processes."""
        self.beside(self.deployment.initialise)
        self.beside(self.deployment.start)
        wait_until(lambda: "beat" in str(self.deployment.rpc("htable.dump", "im_link")), "Kamailio has heard of the worker")

    def beside(self, work: Callable[[], T]) -> T:
        """What `work` returns, run on the host that the instance is on: for what looks whether it listens."""
        return self._namespace.run(work) if self._namespace else work()

    def stop(self) -> None:
        """Stop everything and remove the state."""
        for run in self._runs:
            run.kill()
        self.deployment.stop()
        subprocess.run(["rm", "-rf", str(self.state_dir)], check=False)
        if self._offset:
            self._offset.release()

    # ---- SIPp

    def sipp(
        self,
        scenario: Path,
        *,
        port: int | None = None,
        target: str = "",
        transport: str = "u1",
        service: str = "bob",
        user: str = "alice",
        calls: int = 1,
        keys: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        arguments: tuple[str, ...] = (),
    ) -> SippRun:
        """Start a SIPp scenario as `user` towards `service`; the run, to be waited for."""
        self._count += 1
        directory = self.directory / f"sipp-{self._count}-{scenario.stem}"
        directory.mkdir()
        command = [
            *("sipp", "-sf", str(scenario), "-i", address, "-p", str(port or free_port()), "-m", str(calls)),
            *("-t", transport, "-s", service, "-au", user, "-ap", f"{user}-secret"),
            *("-key", "user", user, "-key", "domain", DOMAIN),
            *("-nostdin", "-timeout", str(SIPP_SECONDS), "-timeout_error", "-recv_timeout", "12000"),
            *("-trace_msg", "-message_file", str(directory / "messages.log")),
            *("-trace_err", "-error_file", str(directory / "sipp_errors.log")),
        ]
        for name, value in (keys or {}).items():
            command += ["-key", name, value]
        command += [*arguments, target or f"127.0.0.1:{self.sip_port}"]
        with (directory / "screen.txt").open("wb") as screen:
            process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT
            )
        run = SippRun(process, directory, scenario.name)
        self._runs.append(run)
        return run

    # ---- IM clients

    def client(self, user: str, *, transport: str = "udp", password: str = "", **options: Any) -> ImClient:
        """An IM client of `user`, not registered yet; use as `async with`."""
        settings = self.deployment.config
        port = settings.sips_port if transport == "tls" else settings.sip_port
        config = ClientConfig(
            identity=f"sip:{user}@{settings.domain}",
            password=password or f"{user}-secret",
            proxy=Target(settings.listen, port, transport),
            **options,
        )
        return ImClient(config)

    # ---- operator's view

    def command(self, *arguments: str) -> str:
        """An operator's command that must succeed; its output."""
        result = self.beside(lambda: self.deployment.command(*arguments))
        assert result.returncode == 0, (arguments, result.stdout, result.stderr)
        return result.stdout.decode(errors="replace")

    def in_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """What a command does to the store, or reads in it, without a process of its own: for what a test does often."""
        config = self.deployment.config
        with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
            return self.beside(lambda: thread.submit(run_with_store, config, work).result())

    def _output(self, *arguments: str) -> bytes:
        config = self.deployment.config
        with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
            return self.beside(lambda: thread.submit(output_of, config, *arguments).result())

    def stored(self, user: str) -> list[dict[str, Any]]:
        """Deferred messages of a user as the operator's command lists them."""
        values = json.loads(self._output("deferred", "list", user, "--json"))
        assert isinstance(values, list)
        return values

    def stored_bytes(self, user: str, message_id: str) -> bytes:
        """The bytes of one stored message as the operator's command shows them."""
        return self._output("deferred", "show", user, message_id)

    def trace(self, call_id: str) -> list[dict[str, Any]]:
        """The life of a message as the operator's command tells it."""
        values = json.loads(self._output("trace", call_id, "--json"))
        assert isinstance(values, list)
        return values

    def kamailio_log(self) -> str:
        """All that Kamailio has logged."""
        return (self.directory / "kamailio.log").read_text(errors="replace")

    def worker_log(self) -> str:
        """All that the worker has logged."""
        return (self.directory / "worker.log").read_text(errors="replace")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Look again and again until `condition` is true; its value. For what only a log or a command shows."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


async def async_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """`wait_until` beside running clients."""
    return await asyncio.to_thread(wait_until, condition, what, seconds)


def messages(trace: str) -> list[str]:
    """The SIP messages of a SIPp trace, in order, each with its start line first."""
    parts = re.split(r"^-{20,} .*$\n(?:UDP|TCP|TLS) message (?:sent|received) .*\n\n?", trace, flags=re.MULTILINE)
    return [part for part in parts[1:] if part.strip()]


def header(message: str, name: str) -> list[str]:
    """All values of a header of a SIP message as text."""
    head = re.split(r"\r?\n\r?\n", message, maxsplit=1)[0]
    return re.findall(rf"^{re.escape(name)}\s*:\s*(.*?)\r?$", head, re.MULTILINE | re.IGNORECASE)


def sip_date(seconds: float) -> str:
    """RFC 3261 20.17 SIP-date, always GMT."""
    return formatdate(seconds, usegmt=True)


def status(message: str) -> int:
    """Status code of a response; 0 for a request."""
    found = re.match(r"SIP/2\.0 (\d{3}) ", message)
    return int(found.group(1)) if found else 0


class RawSip:
    """A UDP socket that sends bytes as they are and gives the responses back: for what no well-behaved client sends."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(5)
        self._target = ("127.0.0.1", port)
        self.address, self.port = self._socket.getsockname()

    def send(self, data: bytes) -> None:
        """One datagram."""
        self._socket.sendto(data, self._target)

    def receive(self, seconds: float = 5.0) -> bytes:
        """The next datagram; TimeoutError when none comes."""
        self._socket.settimeout(seconds)
        return self._socket.recv(65535)

    def final(self, seconds: float = 10.0) -> bytes:
        """The next final response."""
        while True:
            data = self.receive(seconds)
            if not data.startswith(b"SIP/2.0 1"):
                return data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@contextmanager
def instance_with(directory: Path, settings: Mapping[str, str] | None = None, **options: Any) -> Iterator[Instance]:
    """An instance of one's own, with settings (`IM_…`) and Deployment options."""
    instance = Instance(directory, settings or {}, **options)
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()
