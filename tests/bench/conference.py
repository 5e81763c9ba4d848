"""The focus: what a conference costs against a session of two, how it grows, how fast messages pass in many of them.

One process: the focus with its legs and switch on a model of Kamailio, which answers for all who are invited, and raw MSRP
connections as their clients. So the figures have the clients' cost in them, and none of Kamailio's.

    python -m tests.bench.conference [--quick]
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from kemi.messages import TransactionId
from msrp_worker.config import Config
from msrp_worker.controlling.release_policy import Why
from msrp_worker.group import Group
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.ruleset import Conditions, Rule
from msrp_worker.sip.message import read
from msrp_worker.sip.port import Command, Reply, ResponseReceived, SendRequest
from tests.bench.msrp_load import Peer, binding, connect, frame, until
from tests.msrp_worker.controlling.focus_bench import FACTORY, FocusBench, uri
from tests.msrp_worker.sip.fakes import FakePort
from tests.msrp_worker.sip.sip_text import on_the_wire, reply_on_the_wire

SIZES = (10, 100, 1_000)
CONFERENCES, MEMBERS, RATE = 200, 10, 1.0
"""Conferences under way, participants of each, messages per second of each."""
SET_UP_RATIO = 10.0
"""A conference of ten is to cost less than so many sessions of two."""
GROWTH = 2.0
"""Cost per participant of the largest size against the cheapest of the others: linear, with room for caches."""
P99_MS = 50.0
"""From SEND to the last delivery."""
CHAT = "sip:chat@example.com"
_PATH = re.compile(rb"a=path:(\S+)")


def description(path: str, setup: str = "") -> bytes:
    """One MSRP line at this path."""
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9999 TCP/MSRP *\r\n"
        f"a=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\na=path:{path}\r\n"
        + (f"a=setup:{setup}\r\n" if setup else "")
    ).encode()


def path_of(name: str) -> str:
    """A client's own MSRP URI."""
    return f"msrp://127.0.0.1:9999/{name};tcp"


class ModelPort(FakePort):
    """Kamailio and all who are invited: a 200 to each INVITE and BYE. Answers to those who come in are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.final: dict[TransactionId, Reply] = {}
        self.heard: Callable[[Any], None] = lambda event: None
        self.invited: dict[str, bytes] = {}
        """Descriptions that the focus has offered, by user."""

    def send(self, command: Command, pin: int) -> bool:
        if isinstance(command, Reply):
            if command.status >= 200:
                self.final[command.transaction] = command
        elif isinstance(command, SendRequest):
            asyncio.get_running_loop().call_soon(self._answer, command)
        return True

    def _answer(self, command: SendRequest) -> None:
        asked = read(on_the_wire(command))
        body = b""
        if command.method == "INVITE":
            name = command.request_uri.partition(":")[2].partition("@")[0]
            self.invited[name] = asked.sdp
            body = description(path_of(name), "active")
        contact = (("Contact", "<sip:x@203.0.113.5>"),)
        data = reply_on_the_wire(Reply((0, 0), 200, "OK", "b", contact, body), asked)
        self.heard(ResponseReceived(asked.call_id, asked.cseq, asked.method, data))


class Bench(FocusBench):
    """A focus whose peers answer by themselves."""

    def __init__(self, endpoint: MsrpEndpoint, config: Config) -> None:
        super().__init__(endpoint, config, 50_000)
        self.port: ModelPort = ModelPort()  # type: ignore[assignment]
        legs = self.functions.legs
        self.port.heard = legs.handle
        legs.sender._port = self.port
        everybody = Rule("r", Conditions(), {"join-handling": True, "allow-initiate-conference": True})
        self.groups.known[CHAT] = Group(CHAT, rules=(everybody,))

    async def settle(self) -> None:
        """Nothing is waited for here."""

    async def come(self, name: str, to: str, names: tuple[str, ...] = ()) -> bytes:
        """An INVITE with its ACK: the description in its 200."""
        transaction = await self.invite(name, to, names, body=description(path_of(name)))
        while transaction not in self.port.final:
            await asyncio.sleep(0)
        reply = self.port.final[transaction]
        assert reply.status == 200, reply
        await self.ack(transaction)
        return reply.body

    def replies(self, transaction: TransactionId) -> list[Reply]:
        """The final response."""
        return [self.port.final[transaction]]


async def media(answer: bytes, name: str, on_message: Callable[[bytes], None]) -> Peer:
    """The MSRP connection of a client, bound."""
    found = _PATH.search(answer)
    assert found is not None
    path = found[1].decode()
    peer = await connect(int(path.split(":")[2].partition("/")[0]), on_message)
    peer.path = path  # type: ignore[attr-defined]
    peer.write(binding(path, path_of(name)))
    return peer


async def conference(bench: Bench, number: int, size: int, on_message: Callable[[bytes], None]) -> list[Peer]:
    """An ad-hoc session of so many, each with its MSRP connection."""
    names = [f"c{number}u{index}" for index in range(size)]
    answer = await bench.come(names[0], FACTORY, tuple(names[1:]))
    while any(name not in bench.port.invited for name in names[1:]):
        await asyncio.sleep(0)
    descriptions = [answer, *(bench.port.invited[name] for name in names[1:])]
    peers = await asyncio.gather(*(media(sdp, name, on_message) for sdp, name in zip(descriptions, names, strict=True)))
    await until(lambda: all(peer.answers for peer in peers))
    return list(peers)


def message(peer: Peer, room: str, name: str, text: str) -> bytes:
    """A SEND to all."""
    body = f"From: <{uri(name)}>\r\nTo: <{room}>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}".encode()
    return frame(peer.path, path_of(name), body, "message/cpim")  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


async def measure_set_up(bench: Bench, rounds: int) -> list[Row]:
    """Set-up to the last MSRP connection, of two and of ten."""
    spent: dict[int, float] = {}
    for size in (2, 10):
        best = float("inf")
        for number in range(rounds):
            begin = time.perf_counter()
            peers = await conference(bench, number * 100 + size, size, lambda body: None)
            best = min(best, time.perf_counter() - begin)
            await release(bench, peers)
        spent[size] = best
    ratio = spent[10] / spent[2]
    return [
        Row("session of 2: set-up, best", f"{spent[2] * 1e3:.2f} ms"),
        Row("conference of 10: set-up, best", f"{spent[10] * 1e3:.2f} ms"),
        Row("  against a session of 2", f"{ratio:.1f}x", f"< {SET_UP_RATIO:g}x", ratio < SET_UP_RATIO),
    ]


async def release(bench: Bench, peers: list[Peer]) -> None:
    """End every session, and the connections."""
    for session in list(bench.function.sessions()):
        session.release(Why.OPERATOR)
    for peer in peers:
        assert peer.transport is not None
        peer.transport.close()
    while len(bench.functions.legs):
        await asyncio.sleep(0)


async def measure_growth(bench: Bench, sizes: tuple[int, ...]) -> list[Row]:
    """Join one by one, one message to all, release: microseconds per participant."""
    rows, costs = [], []
    for size in sizes:
        seen = 0

        def count(body: bytes) -> None:
            nonlocal seen
            seen += b"hello" in body

        names = [f"g{size}u{index}" for index in range(size)]
        begin = time.perf_counter()
        peers = [await media(await bench.come(name, CHAT), name, count) for name in names]
        await until(lambda: all(peer.answers for peer in peers))  # noqa: B023 - awaited here
        joined = time.perf_counter()
        peers[0].write(message(peers[0], CHAT, names[0], "hello"))
        await until(lambda: seen == size - 1)  # noqa: B023 - awaited here
        sent = time.perf_counter()
        await release(bench, peers)
        parts = [
            (end - start) / size * 1e6 for start, end in ((begin, joined), (joined, sent), (sent, time.perf_counter()))
        ]
        costs.append(sum(parts))
        text = f"{parts[0]:.0f} + {parts[1]:.0f} + {parts[2]:.0f} us"
        rows.append(Row(f"session of {size:,}: join + message + release, each", text))
    growth = costs[-1] / min(costs[:-1] or costs)
    rows.append(Row("  largest against the cheapest of the others", f"{growth:.2f}", f"<= {GROWTH:g}", growth <= GROWTH))
    return rows


async def measure_latency(bench: Bench, conferences: int, seconds: float) -> list[Row]:
    """Many conferences that talk: from SEND to the last delivery."""
    waiting: dict[bytes, tuple[float, int]] = {}
    times: list[float] = []

    def arrived(body: bytes) -> None:
        key = body.rpartition(b"\r\n")[2]
        if key in waiting:
            begin, left = waiting.pop(key)
            if left > 1:
                waiting[key] = begin, left - 1
            else:
                times.append(time.perf_counter() - begin)

    rooms = [await conference(bench, 10_000 + number, MEMBERS, arrived) for number in range(conferences)]
    # The same order as the sessions have: the focus keeps them so.
    identities = [session.address.uri for session in bench.function.sessions()]
    end = time.perf_counter() + seconds
    pause = 1.0 / (conferences * RATE)
    number = 0
    due = time.perf_counter()
    while time.perf_counter() < end:
        room = number % conferences
        key = f"k{number}"
        speaker = (number // conferences) % MEMBERS
        name = f"c{10_000 + room}u{speaker}"
        peer = rooms[room][speaker]
        data = message(peer, identities[room], name, key)
        waiting[key.encode()] = time.perf_counter(), MEMBERS - 1
        peer.write(data)
        number += 1
        due += pause
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await until(lambda: not waiting)
    await release(bench, [peer for peers in rooms for peer in peers])
    times.sort()
    p50, p99 = (times[int(len(times) * part)] * 1e3 for part in (0.5, 0.99))
    what = f"{conferences} conferences of {MEMBERS} at {RATE:g} msg/s: SEND to last delivery"
    return [Row(f"{what}, p50", f"{p50:.1f} ms"), Row(f"{what}, p99", f"{p99:.1f} ms", f"< {P99_MS:g} ms", p99 < P99_MS)]


async def run(*, quick: bool) -> list[Row]:
    """All rows."""
    endpoint = MsrpEndpoint(EndpointConfig(port=0, max_connections_per_address=20_000))
    await endpoint.start()
    bench = Bench(endpoint, Config(adhoc_max_participants=100))
    steps: list[Awaitable[list[Row]]] = [
        measure_set_up(bench, 10 if quick else 50),
        measure_growth(bench, SIZES[:2] if quick else SIZES),
        measure_latency(bench, 20 if quick else CONFERENCES, 2.0 if quick else 10.0),
    ]
    rows = [row for step in steps for row in await step]
    await bench.function.close()
    await endpoint.stop()
    return rows


def main(*, quick: bool = False) -> int:
    """Print the table; 1 where a target is missed."""
    rows = uvloop.run(run(quick=quick))
    width = max(len(row.what) for row in rows)
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what:<{width}}  {row.value:>24}  {row.target:<8} {verdict}".rstrip(), flush=True)
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(quick="--quick" in sys.argv[1:]))
