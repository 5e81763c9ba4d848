"""What one instance needs for itself: its ports and its state directory. Claimed before anything is started, because a
second instance would otherwise take the sockets of the first, or find its ports answered by it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msrp_worker.config import Config

FURTHER = 100
"""Ports of one instance are closer together than this only where that is meant: a safe step for the next one."""
LOCK = "run.lock"
"""File in the state directory that an instance keeps locked while it runs; it holds the process id."""


class ClaimError(Exception):
    """Something belongs to somebody else already; the text says what and what to do."""


def ports(config: Config) -> list[tuple[str, str, int, str]]:
    """All listeners of an instance: what for, address, port, and `udp` or `tcp`."""
    found = [("SIP", config.listen, config.sip_port, kind) for kind in ("udp", "tcp")]
    if config.trusted_peers:
        sides = (("originating side", config.originating_port), ("terminating side", config.terminating_port))
        found += [(side, config.listen, port, kind) for side, port in sides for kind in ("udp", "tcp")]
    found += [
        ("control", "127.0.0.1", config.control_port, "tcp"),
        ("MSRP", config.listen, config.msrp_port, "tcp"),
        ("HTTP", config.listen, config.http_port, "tcp"),
    ]
    if config.tls_enabled:
        found += [
            ("SIP over TLS", config.listen, config.sips_port, "tcp"),
            ("msrps", config.listen, config.msrps_port, "tcp"),
        ]
    return found


def check_ports(config: Config) -> None:
    """ClaimError names every port that is taken, or an address that this machine does not have."""
    taken = []
    for purpose, address, port, kind in ports(config):
        try:
            _bind(address, port, kind)
        except PermissionError:
            raise ClaimError(f"{address}:{port} ({purpose}) may not be used by this user.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ClaimError(f"{address}:{port} ({purpose}) cannot be used: {error.strerror}.") from None
            taken.append(f"  {address}:{port} {kind} ({purpose})")
    if taken:
        raise ClaimError(
            "Another program, perhaps another instance, has these ports (`ss -lntup` of iproute2 shows which):\n"
            + "\n".join(taken)
            + f"\n{_beside(config)}"
        )


@contextmanager
def state_directory(config: Config) -> Iterator[None]:
    """Hold the state directory. ClaimError when another instance holds it: two would take each other's sockets."""
    path = config.state_dir / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClaimError(
                f"Another instance (process {_holder(path)}) runs with the state directory {config.state_dir}."
                f"\n{_beside(config)}"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _beside(config: Config) -> str:
    offset = config.port_offset + FURTHER
    return (
        "Stop it, or run this one beside it, with other ports and a state directory of its own:\n"
        f"  IM_PORT_OFFSET={offset} IM_STATE_DIR={config.state_dir}-{offset} make run"
    )


def _holder(path: Path) -> str:
    return path.read_text().strip() or "unknown"


def _bind(address: str, port: int, kind: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        if kind == "tcp":  # connections that have just ended do not count; for udp this would hide who listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        if kind == "tcp":
            probe.listen(1)
