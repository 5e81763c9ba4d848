"""Network namespaces: hosts of their own on this machine, which reach each other and nothing else.

They need root (CAP_SYS_ADMIN); without it `Namespace.create` raises NamespaceError. Addresses are private ones
that exist inside the namespaces only.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyroute2
from pyroute2 import netns

T = TypeVar("T")

PREFIX_BITS = 24
FILES = Path("/etc/netns")
"""`ip netns exec NAME` puts the files of /etc/netns/NAME in the place of those in /etc."""
_numbers = itertools.count(1)


class NamespaceError(RuntimeError):
    """There are no network namespaces here; the text says what is needed."""


class Namespace:
    """One host, by the name that `ip netns` shows. `close` removes it and the interfaces in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def create(cls, role: str) -> Namespace:
        """A new one. Raises NamespaceError without the privilege."""
        name = f"im-{os.getpid()}-{next(_numbers)}-{role}"
        try:
            netns.create(name)
        except OSError as error:
            raise NamespaceError(
                f"cannot make the network namespace {name}: {error}. "
                "This needs root (CAP_SYS_ADMIN), and in a container --privileged."
            ) from error
        made = cls(name)
        made.run(lambda: _up("lo"))
        return made

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(FILES / self.name, ignore_errors=True)
        netns.remove(self.name)

    @property
    def launcher(self) -> tuple[str, ...]:
        """What starts a program inside, put before its arguments; the program keeps the process id."""
        return ("ip", "netns", "exec", self.name)

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, run inside by a thread of its own: sockets and processes that it makes belong here."""
        found: Future[T] = Future()

        def inside() -> None:
            try:
                netns.setns(self.name)
                found.set_result(work())
            except BaseException as error:
                found.set_exception(error)

        thread = threading.Thread(target=inside, name=self.name)
        thread.start()
        thread.join()
        return found.result()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and the threads and processes that it starts meanwhile, are inside."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            netns.setns(self.name)
            yield
        finally:
            netns.setns(before)
            os.close(before)

    def address(self, interface: str, address: str) -> None:
        """Give an interface inside an address, and switch it on."""
        self.run(lambda: _up(interface, address))

    def default_route(self, gateway: str) -> None:
        """Send everything else there."""

        def add() -> None:
            with pyroute2.IPRoute() as kernel:
                kernel.route("add", dst="default", gateway=gateway)

        self.run(add)

    def forward(self) -> None:
        """Be a router."""
        self.run(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))

    def resolver(self, address: str) -> None:
        """Programs that `launcher` starts ask the DNS server at this address."""
        directory = FILES / self.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:1 attempts:3\n")


def cable(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """Join two hosts by a veth pair."""
    number = next(_numbers)
    names = (f"veth{number}a", f"veth{number}b")

    def add() -> None:
        with pyroute2.IPRoute() as kernel:
            kernel.link("add", ifname=names[0], kind="veth", peer={"ifname": names[1], "net_ns_fd": other.name})

    one.run(add)
    one.address(names[0], one_address)
    other.address(names[1], other_address)


def _up(interface: str, address: str = "") -> None:
    with pyroute2.IPRoute() as kernel:
        index = kernel.link_lookup(ifname=interface)[0]
        if address:
            kernel.addr("add", index=index, address=address, prefixlen=PREFIX_BITS)
        kernel.link("set", index=index, state="up")
