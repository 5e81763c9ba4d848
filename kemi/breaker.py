"""The socket from one Kamailio process to the worker, and the circuit breaker that keeps it from ever waiting long."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

from kemi.messages import MAX_PACKET

SEND_WAIT = 0.1
"""Seconds a Kamailio process waits for room in the worker's queue before its breaker opens."""
BREAKER_OPEN = 2.0
"""Seconds an open breaker refuses at once. With SEND_WAIT it bounds what a hung worker can cost a process."""
RETRY_CONNECT = 0.05
"""Seconds between two attempts to connect while the worker is away, so that a storm of requests costs no system calls."""

LOOK_AGAIN = 0.02
"""Seconds for which one look at the connection is good: a system call per message is too dear."""


class Breaker:
    """One connection, made at first use in the process that uses it; found again after the worker's restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._refuse_until = 0.0
        self._seen_alive = 0.0

    def alive(self) -> bool:
        """Whether the worker's end is there: a dead worker is seen at once, a hung one by its missing heartbeat."""
        now = time.monotonic()
        if now < self._refuse_until:
            return False
        if self._socket is not None:
            if now < self._seen_alive + LOOK_AGAIN:
                return True
            self._seen_alive = now
            try:
                if self._socket.recv(1, socket.MSG_PEEK) == b"":
                    self._drop()
            except BlockingIOError:
                return True
            except OSError:
                self._drop()
        return self._connected(now)

    def send(self, packet: bytes, wait: float) -> bool:
        """Hand one packet to the worker. False, at once, when it is away, and within `wait` seconds when it is full."""
        now = time.monotonic()
        if now < self._refuse_until:
            return False
        for _ in (0, 1):  # a worker that restarted is found by the second attempt
            if not self._connected(now):
                return False
            try:
                assert self._socket is not None
                return self._push(self._socket, packet, wait)
            except OSError:
                self._drop()
        return False

    def _connected(self, now: float) -> bool:
        if self._socket is not None:
            return True
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            self._refuse_until = now + RETRY_CONNECT
            return False
        self._socket = connection
        return True

    def _push(self, connection: socket.socket, packet: bytes, wait: float) -> bool:
        try:
            connection.send(packet)
            return True
        except BlockingIOError:
            if wait > 0 and select.select([], [connection], [], wait)[1]:
                try:
                    connection.send(packet)
                    return True
                except BlockingIOError:
                    pass
            if wait > 0:
                self._refuse_until = time.monotonic() + BREAKER_OPEN
            return False

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
