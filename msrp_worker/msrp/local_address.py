"""Which of our addresses reaches a peer: asked of the kernel, remembered until its addresses or routes
change."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pyroute2

from .logs import limited_logger

log = limited_logger(__name__)

MAX_REMEMBERED = 10_000
"""Peers whose answer is kept; one costs about 200 bytes."""

# Groups of rtnetlink(7) that tell about addresses and routes.
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_IPV6_ROUTE = 0x400
_GROUPS = _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV6_ROUTE


class LocalAddresses:
    """Asks in a thread of its own, so that the event loop never waits for the kernel."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._generation = 0
        self._thread: ThreadPoolExecutor | None = None
        self._changes: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Begin to follow changes of addresses and routes, such as a virtual address that moves here."""
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "msrp-route")
        try:
            self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            self._changes.bind((0, _GROUPS))
        except OSError as error:
            log.warning("msrp: changes of addresses are not followed: %s", error)
            return
        self._loop.add_reader(self._changes.fileno(), self._changed)

    def close(self) -> None:
        """Stop following."""
        if self._changes is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._changes.fileno())
            self._changes.close()
            self._changes = None
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def towards(self, peer: str) -> str | None:
        """Our address on the way to `peer`, an address or a name; None where there is no way or no such
        name."""
        if peer in self._known:
            return self._known[peer]
        assert self._loop is not None, "start comes first"
        generation = self._generation
        addresses = [peer]
        if not _is_address(peer):
            try:
                found = await self._loop.getaddrinfo(peer, None, type=socket.SOCK_STREAM)
            except OSError as error:
                log.info("msrp: no address of %r: %s", peer, error)
                return None  # not remembered: the name may come up
            addresses = [str(entry[4][0]) for entry in found]
        local = await self._loop.run_in_executor(self._thread, _ask_kernel, addresses)
        # An answer from before a change is used, but not kept. Nor are names: theirs may change at any time.
        if generation == self._generation and _is_address(peer):
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[peer] = local
        return local

    def _changed(self) -> None:
        assert self._changes is not None
        try:
            while self._changes.recv(65_536):
                pass
        except BlockingIOError:
            pass
        except OSError as error:  # ENOBUFS: changes were missed, which is a change too
            log.info("msrp: netlink: %s", error)
        self._generation += 1
        self._known.clear()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _ask_kernel(addresses: list[str]) -> str | None:
    """The preferred source address of the first of these that has a route. Blocks; called in the thread."""
    with pyroute2.IPRoute() as kernel:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                routes = list(kernel.route("get", dst=address, family=family))
            except (pyroute2.NetlinkError, OSError) as error:
                log.info("msrp: no route to %s: %s", address, error)
                continue
            for route in routes:
                source = route.get_attr("RTA_PREFSRC")
                if source:
                    return str(source)
    return None
