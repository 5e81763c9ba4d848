"""The wire between the two hosts: a process that carries every packet between two TUN interfaces, with loss and delay.

What `tc netem` does on a veth pair, where the kernel has sch_netem: many have not, and this one has a seed. The kernels on
both sides see real packets, so TCP retransmits and SIP over UDP has its timers tried.

    python -m tests.soak.netem SEED NAMESPACE ADDRESS NAMESPACE ADDRESS     conditions are lines of JSON on standard input
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from tests.scenarios.namespaces import Namespace, NamespaceError

TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
INTERFACE = "wire0"
PACKET_BYTES = 65536
QUEUE_PACKETS = 5000
"""Packets under way in both directions; more are lost, as in a router."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How the wire is: probability of losing a packet, seconds of delay with as much jitter around it, or cut."""

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    cut: bool = False

    def __str__(self) -> str:
        if self.cut:
            return "cut"
        return f"loss {self.loss:.0%}, delay {self.delay * 1000:.0f} ± {self.jitter * 1000:.0f} ms"

    @property
    def whole(self) -> bool:
        """Whether every packet arrives, and soon."""
        return not self.cut and not self.loss and self.delay + self.jitter < 0.1


GOOD = Condition()


class Line:
    """What is under way. Pure: packets in, packets out when their time has come."""

    def __init__(self, seed: int) -> None:
        self.condition = GOOD
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._order = itertools.count().__next__

    def put(self, side: int, packet: bytes, now: float) -> None:
        """A packet for that side enters the wire."""
        condition = self.condition
        if condition.cut or len(self._under_way) >= QUEUE_PACKETS or self._random.random() < condition.loss:
            return
        delay = max(0.0, condition.delay + self._random.uniform(-condition.jitter, condition.jitter))
        heapq.heappush(self._under_way, (now + delay, self._order(), side, packet))

    def take(self, now: float) -> list[tuple[int, bytes]]:
        """The packets that arrive, each with its side."""
        found = []
        while self._under_way and self._under_way[0][0] <= now:
            _, _, side, packet = heapq.heappop(self._under_way)
            found.append((side, packet))
        return found

    @property
    def next(self) -> float | None:
        """When the next one arrives."""
        return self._under_way[0][0] if self._under_way else None


class Wire:
    """The running wire between two namespaces. Use `set` to change its condition; `close` ends it."""

    def __init__(self, seed: int, one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
        ends = (one.name, one_address, other.name, other_address)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(seed), *ends], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.close()
            raise NamespaceError(f"the wire did not come up; it needs root and {TUN}")
        self.condition = GOOD

    def set(self, condition: Condition) -> None:
        """From now on it is like that."""
        self.condition = condition
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(condition)) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it, whatever is under way."""
        self._process.kill()
        self._process.communicate()


def _interface(namespace: str) -> int:
    """A TUN interface in that namespace; its file descriptor gives and takes IP packets."""

    def make() -> int:
        descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", INTERFACE.encode(), _IFF_TUN | _IFF_NO_PI))
        return descriptor

    return Namespace(namespace).run(make)


def carry(line: Line, ends: list[int], conditions: int) -> None:
    """Carry packets until the conditions end (standard input is closed)."""
    poller = select.poll()
    for descriptor in (*ends, conditions):
        poller.register(descriptor, select.POLLIN)
    pending = b""
    while True:
        wait = None if line.next is None else max(0.0, line.next - time.monotonic()) * 1000
        for descriptor, _ in poller.poll(wait):
            if descriptor == conditions:
                data = os.read(conditions, PACKET_BYTES)
                if not data:
                    return
                *rows, pending = (pending + data).split(b"\n")
                for row in rows:
                    line.condition = Condition(**json.loads(row))
                continue
            side = 1 - ends.index(descriptor)
            for packet in _read(descriptor):
                line.put(side, packet, time.monotonic())
        for side, packet in line.take(time.monotonic()):
            try:
                os.write(ends[side], packet)
            except OSError:
                continue  # its queue is full: lost


def _read(descriptor: int) -> list[bytes]:
    """What is there, at most a burst, so that the others have their turn."""
    found: list[bytes] = []
    try:
        while len(found) < 64:
            found.append(os.read(descriptor, PACKET_BYTES))
    except BlockingIOError:
        pass
    return found


def main(arguments: list[str]) -> None:
    """Make the interfaces, say so, and carry."""
    seed, *ends = arguments
    descriptors = []
    for namespace, address in (ends[0:2], ends[2:4]):
        descriptors.append(_interface(namespace))
        Namespace(namespace).address(INTERFACE, address)
    print("ready", flush=True)
    carry(Line(int(seed)), descriptors, sys.stdin.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
