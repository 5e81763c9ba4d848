"""`doctor`: what an operator would check by hand before and while the server runs."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from msrp_worker.commands.common import FAILURE, print_json, run_with_store
from msrp_worker.config import Config
from msrp_worker.store import Store, StoreError

LEAST_FREE_BYTES = 1 << 30
"""Free space in the state directory below which stored messages are in danger."""
LEAST_OPEN_FILES = 4096
"""Descriptors of the worker: one for each MSRP connection, and the store's."""
MODULE_DIRECTORIES = (
    "/usr/lib/*/kamailio/modules",
    "/usr/lib*/kamailio/modules",
    "/usr/local/lib*/kamailio/modules",
)
MODULES = (
    *("app_python3", "auth", "auth_db", "htable", "jsonrpcs", "pv", "registrar", "rr"),
    *("siputils", "sl", "textops", "tm", "tmx", "usrloc"),
)


class Check(NamedTuple):
    """One finding."""

    name: str
    ok: bool
    text: str


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("doctor", help="check database, directories, modules, ports, limits")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace, config: Config) -> int:
    checks = list(examine(config))
    if arguments.json:
        print_json([check._asdict() for check in checks])
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.text}")
    return 0 if all(check.ok for check in checks) else FAILURE


def examine(config: Config) -> Iterator[Check]:
    """All checks, in the order in which one would repair things."""
    yield _state_directory(config)
    yield _disk_space(config)
    yield _database(config)
    yield _kamailio_modules(config)
    yield _tls_files(config)
    yield from _ports(config)
    yield _open_files()


def _state_directory(config: Config) -> Check:
    try:
        with tempfile.TemporaryFile(dir=config.state_dir):
            return Check("state directory", True, f"{config.state_dir} can be written")
    except OSError as error:
        return Check("state directory", False, f"{config.state_dir}: {error.strerror}; create it or set IM_STATE_DIR")


def _disk_space(config: Config) -> Check:
    try:
        free = shutil.disk_usage(config.state_dir).free
    except OSError as error:
        return Check("disk space", False, f"{config.state_dir}: {error.strerror}")
    return Check("disk space", free >= LEAST_FREE_BYTES, f"{free >> 20} MiB free, {LEAST_FREE_BYTES >> 20} wanted")


def _database(config: Config) -> Check:
    async def work(store: Store) -> str:
        rows = await store.database.read("SELECT COUNT(*) FROM users")
        return f"{store.database.dialect}, schema current, {rows[0][0]} users"

    try:
        return Check("database", True, run_with_store(config, work))
    except StoreError as error:
        return Check("database", False, str(error))


def _kamailio_modules(config: Config) -> Check:
    wanted = {*MODULES, "db_postgres" if config.database_url.startswith("postgresql:") else "db_sqlite"}
    if config.tls_enabled:
        wanted.add("tls")
    found = {path.stem for pattern in MODULE_DIRECTORIES for path in Path("/").glob(f"{pattern.lstrip('/')}/*.so")}
    missing = sorted(wanted - found)
    if missing:
        return Check("Kamailio modules", False, f"missing: {', '.join(missing)}; install their packages")
    return Check("Kamailio modules", True, f"all {len(wanted)} are installed")


def _tls_files(config: Config) -> Check:
    unreadable = [str(path) for path in (config.tls_certificate, config.tls_key) if path and not os.access(path, os.R_OK)]
    if unreadable:
        return Check("TLS files", False, f"cannot be read: {', '.join(unreadable)}")
    return Check("TLS files", True, "can be read" if config.tls_enabled else "none configured, TLS is off")


def _ports(config: Config) -> Iterator[Check]:
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    wanted = [
        ("SIP", config.listen, config.sip_port, (tcp, udp)),
        ("control", "127.0.0.1", config.control_port, (tcp,)),
        ("MSRP", config.listen, config.msrp_port, (tcp,)),
        ("HTTP", config.listen, config.http_port, (tcp,)),
    ]
    if config.trusted_peers:
        wanted.append(("SIP originating", config.listen, config.originating_port, (tcp, udp)))
        wanted.append(("SIP terminating", config.listen, config.terminating_port, (tcp, udp)))
    if config.tls_enabled:
        wanted.append(("SIP TLS", config.listen, config.sips_port, (tcp,)))
        wanted.append(("MSRP TLS", config.listen, config.msrps_port, (tcp,)))
    for name, address, port, kinds in wanted:
        troubles = [trouble for kind in kinds if (trouble := _port_trouble(address, port, kind, _holder))]
        yield Check(f"port {port}", not troubles, f"{name}: {troubles[0] if troubles else 'free or ours'}")


def _port_trouble(
    address: str, port: int, kind: socket.SocketKind, holder: Callable[[int, socket.SocketKind], str]
) -> str | None:
    """Why we could not listen there; None when the port is free or held by a server of ours."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            return None
        except OSError as error:
            who = holder(port, kind)
            if who == "ours":
                return None
            return f"{address}:{port}: {error.strerror}{who}; free it, or set IM_PORT_OFFSET or IM_LISTEN"


def _holder(port: int, kind: socket.SocketKind) -> str:
    """`ours` for Kamailio or the worker, else what can be told about the process, from /proc."""
    inodes = set(_inodes(port, "tcp" if kind == socket.SOCK_STREAM else "udp"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {str(link.readlink()) for link in (process / "fd").iterdir()}
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or not ours to look at
        if inodes & links:
            if words[0].rpartition(b"/")[2] == b"kamailio" or b"msrp_worker" in words:
                return "ours"
            return f" (held by process {process.name})"
    return ""


def _inodes(port: int, protocol: str) -> Iterator[str]:
    for table in (protocol, f"{protocol}6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            is_bound = protocol == "udp" or fields[3] == "0A"  # listening
            if is_bound and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def _open_files() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # `serve` raises its own to this one
    enough = hard == resource.RLIM_INFINITY or hard >= LEAST_OPEN_FILES
    return Check("open files", enough, f"hard limit {hard}, at least {LEAST_OPEN_FILES} wanted (ulimit -Hn)")
