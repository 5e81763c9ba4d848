"""One instance on this machine: Kamailio with the repository's configuration and the worker beside it.

`make run`, the scenarios and the benchmarks start the product through this module and through nothing else.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msrp_worker.config import Config
from msrp_worker.kamailio_channels import control_key

ROOT = Path(__file__).resolve().parent.parent
KAMAILIO = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or "kamailio"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
SHARED_MEMORY_MIB = 256
"""13 KB per transaction for the 5 s after its end: 3,000 messages per second need 200 MiB."""
PRIVATE_MEMORY_MIB = 16
MEMORY_MANAGER = "tlsf"
"""Kamailio's allocator for shared memory: constant time; its default searches ever longer lists under load."""


class DeploymentError(Exception):
    """A process did not start or died; the text has the end of its log."""


def kamailio_database_url(config: Config) -> str:
    """The IM database as Kamailio's db modules name it."""
    url = config.database_url
    if url.startswith("postgresql://"):
        return "postgres://" + url.removeprefix("postgresql://")
    return "sqlite:///" + url.removeprefix("sqlite://").removeprefix("sqlite:")


def kamailio_environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of `kamailio.cfg` and `im.cfg` as environment variables."""
    peers = {"IM_TRUSTED_PEERS": ",".join(config.trusted_peers)} if config.trusted_peers else {}
    environ = {name: value for name, value in environ.items() if name != "IM_TRUSTED_PEERS"} | peers
    listen = f"[{config.listen}]" if ":" in config.listen else config.listen
    return {
        **environ,
        "IM_DOMAIN": config.domain,
        "IM_STATE_DIR": str(config.state_dir),
        "IM_KEMI_ENTRY": str(ROOT / "kemi" / "im.py"),
        "IM_DB_URL": kamailio_database_url(config),
        "IM_SIP_LISTEN": f"{listen}:{config.sip_port}",
        "IM_TLS_LISTEN": f"{listen}:{config.sips_port}",
        "IM_CONTROL_LISTEN": f"tcp:127.0.0.1:{config.control_port}",
        "IM_CONTROL_PORT": str(config.control_port),
        "IM_ORIGINATING_PORT": str(config.originating_port),
        "IM_ORIGINATING_LISTEN": f"{listen}:{config.originating_port}",
        "IM_TERMINATING_PORT": str(config.terminating_port),
        "IM_TERMINATING_LISTEN": f"{listen}:{config.terminating_port}",
        "IM_RPC_SOCKET": str(config.kamailio_rpc_socket),
        "IM_ROUTE_SECRET": environ.get("IM_ROUTE_SECRET") or route_secret(config.state_dir),
        "IM_PAGER_MAX_SIZE": str(config.pager_max_size),
        "IM_CONTENT_TYPES": ",".join(config.content_types),
        "IM_ANONYMITY": config.anonymity,
        "IM_BARRED_RESPONSE": str(config.barred_response),
        "IM_MEDIA_PATH": config.media_path,
    }


def route_secret(state_dir: Path) -> str:
    """What proves our Record-Route (SEC-01), made of the control key, which outlives restarts."""
    return hmac.new(control_key(state_dir), b"record-route", "sha256").hexdigest()


def kamailio_defines(config: Config) -> list[str]:
    """What the environment cannot say: defines without a value."""
    defines = []
    if config.trusted_peers:
        defines += ["-A", "IM_SEPARATE_CORE"]
    if config.database_url.startswith("postgresql://"):
        defines += ["-A", "IM_POSTGRES"]
    return defines


def write_tls_config(config: Config) -> Path | None:
    """Kamailio's tls.cfg for the configured certificate; None when TLS is off (SEC-04)."""
    if config.tls_certificate is None or config.tls_key is None:
        return None
    path = config.state_dir / "kamailio-tls.cfg"
    path.write_text(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n"
        f"certificate = {config.tls_certificate}\nprivate_key = {config.tls_key}\n\n"
        "[client:default]\nmethod = TLSv1.2+\nverify_certificate = no\n"
    )
    return path


class Process:
    """A child process with its log file."""

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path | None) -> None:
        self.name = name
        self.log = log
        self._arguments = list(arguments)
        self._environ = dict(environ)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; RuntimeError when it was never started."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    def start(self) -> None:
        """Start it in a process group of its own, appending to the log."""
        with contextlib.ExitStack() as stack:
            output = None if self.log is None else stack.enter_context(self.log.open("ab"))
            self._popen = subprocess.Popen(
                self._arguments,
                env=self._environ,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signal the main process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the whole group and wait for its end."""
        self._finish(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for what does not end in time."""
        if self._popen is None:
            return
        if self.running():
            self.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        self._finish(signal.SIGKILL)

    def _finish(self, number: signal.Signals) -> None:
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)
        self._popen.wait()

    def tail(self, lines: int = 30) -> str:
        """The end of the log, for an error message."""
        if self.log is None or not self.log.exists():
            return "(it logged to the terminal)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Deployment:
    """Kamailio and worker of one configuration.

    `environ` carries the settings of `docs/settings.md`; `defines` are more `-A` values for Kamailio; `kamailio_config`
    names another configuration file than the repository's; with `log_dir` both log into files there. `launcher` is put
    before the arguments of both: a program that runs them in the place of itself, such as `ip netns exec NAME`.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        log_dir: Path | None = None,
        kamailio_config: Path | None = None,
        defines: Sequence[str] = (),
        listen_arguments: Sequence[str] = (),
        shared_memory: int = SHARED_MEMORY_MIB,
        launcher: Sequence[str] = (),
    ) -> None:
        self.config = Config.load(environ)
        self.config.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        variables = kamailio_environment(self.config, environ)
        tls = write_tls_config(self.config)
        if tls is not None:
            variables["IM_TLS_CONFIG"] = str(tls)
        arguments = [KAMAILIO, "-DD", "-E", "-f", str(kamailio_config or ROOT / "kamailio.cfg")]
        arguments += ["-m", str(shared_memory), "-M", str(PRIVATE_MEMORY_MIB), "-x", MEMORY_MANAGER]
        arguments += ["-Y", str(self.config.state_dir)]
        arguments += [*kamailio_defines(self.config), *listen_arguments]
        for define in defines:
            arguments += ["-A", define]
        self.environ = dict(environ)
        self.kamailio = Process("kamailio", [*launcher, *arguments], variables, log_dir and log_dir / "kamailio.log")
        worker = [*launcher, sys.executable, "-m", "msrp_worker"]
        self.worker = Process("worker", [*worker, "serve"], environ, log_dir and log_dir / "worker.log")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run an operator's command of the worker with this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "msrp_worker", *arguments],
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def initialise(self) -> str:
        """Create the database if there is none; what was done, in words."""
        result = self.command("init")
        if result.returncode != 0:
            raise DeploymentError(f"cannot create the database:\n{(result.stdout + result.stderr).decode()}")
        return result.stdout.decode()

    def start(self) -> None:
        """Start both and wait until SIP is answered and the worker is linked."""
        self.start_worker()
        self.start_kamailio()
        self.wait_ready()

    def start_worker(self) -> None:
        """Start the worker and wait until it takes questions."""
        self.worker.start()
        self._wait(self.worker, self._worker_listens, "the worker does not listen")

    def start_kamailio(self) -> None:
        """Start Kamailio and wait until it answers SIP."""
        self.kamailio.start()
        self._wait(self.kamailio, self._sip_answers, "Kamailio does not answer SIP")

    def wait_ready(self) -> None:
        """Wait until worker and Kamailio have found each other."""
        self._wait(self.worker, self._worker_ready, "the worker is not linked to Kamailio")

    def rpc(self, method: str, *parameters: object) -> Any:
        """Result of one of Kamailio's JSON-RPC commands; None for an error."""
        here = self.config.state_dir / f"rpc-{os.getpid()}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(here))
            client.settimeout(5)
            try:
                client.connect(str(self.config.kamailio_rpc_socket))
                client.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}).encode())
                answer = json.loads(client.recv(1 << 20))
            finally:
                here.unlink()
        return answer.get("result")

    def stop(self) -> None:
        """Stop Kamailio, then the worker, so that what Kamailio took is finished."""
        self.kamailio.stop()
        self.worker.stop()

    def _wait(self, process: Process, condition: object, what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        assert callable(condition)
        while not condition():
            if not process.running():
                raise DeploymentError(f"{process.name} ended at its start:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise DeploymentError(f"{what} after {START_SECONDS:.0f} s:\n{process.tail()}")
            select_pause()

    def _worker_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            return probe.connect_ex(str(self.config.question_socket)) == 0

    def _worker_ready(self) -> bool:
        linked = http_status(self.config.listen, self.config.http_port, "/readyz") == 200
        return linked and self._kamailio_has_heard()

    def _kamailio_has_heard(self) -> bool:
        """Whether the worker's heartbeat has arrived; taken for granted where Kamailio has no RPC socket to ask at."""
        server = self.config.kamailio_rpc_socket
        if not server.exists():
            return True
        own = server.with_name(f"ready-{os.getpid()}.sock")
        question = {"jsonrpc": "2.0", "method": "htable.get", "params": ["im_link", "beat"], "id": 1}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            own.unlink(missing_ok=True)
            probe.bind(str(own))
            probe.settimeout(1)
            try:
                probe.sendto(json.dumps(question).encode(), str(server))
                return "result" in json.loads(probe.recv(65535))
            except OSError:
                return False
            finally:
                own.unlink(missing_ok=True)

    def _sip_answers(self) -> bool:
        return sip_options(self.config.listen, self.config.sip_port)


def select_pause() -> None:
    """Wait a moment between two looks at a condition."""
    time.sleep(POLL_SECONDS)


def http_status(host: str, port: int, path: str) -> int:
    """Status of a GET, 0 when nobody answers."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            line = connection.recv(64)
        return int(line.split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def sip_options(host: str, port: int) -> bool:
    """Whether a SIP server answers OPTIONS over UDP within a second."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect((host, port))
            local_host, local_port = probe.getsockname()[:2]
            probe.send(
                f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {local_host}:{local_port};"
                f"branch=z9hG4bK{time.monotonic_ns()};rport\r\nMax-Forwards: 5\r\nFrom: <sip:probe@{host}>;tag=p\r\n"
                f"To: <sip:{host}>\r\nCall-ID: {time.monotonic_ns()}\r\nCSeq: 1 OPTIONS\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            return probe.recv(4096).startswith(b"SIP/2.0 ")
        except OSError:
            return False
