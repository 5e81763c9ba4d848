"""Benchmark of the MSRP media plane: `python -m tests.bench.bench_msrp [--quick] [--json]`.

Everything of one run is measured side by side: peers direct, a TCP forwarder (the limit of any hop in user
space), our hop and our switch, each server in its own process. Direct, forwarder and hop take turns within each
figure, so that what else the machine does meets all of them alike. Compare CPU time per message and ratios; the
driver is one process on the same machine, so rates are its limit as often as the server's. It reads with our codec, as
ends that speak MSRP do; what that means for hop / forwarder says docs/decisions/msrp-chunks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from functools import partial

import uvloop

from msrp_worker import cpim
from msrp_worker.cpim import Address
from tests.bench.msrp_load import Pairs, Peer, binding, connect, frame, until
from tests.bench.msrp_servers import ROOM, peer_uri
from tests.bench.process import ServerProcess

SERVERS = "tests.bench.msrp_servers"
BODY = b"x" * 500
MIB = 1024 * 1024
CHUNK = 8_192
ROLES = ("direct", "forwarder", "hop")
P99_TARGET = 0.4
"""Milliseconds through the hop at 1,000 messages a second, on a machine where the forwarder has FORWARDER_P99."""
FORWARDER_P99 = 0.19
"""Milliseconds. Where the forwarder needs longer, the machine does, and the hop may take as much longer as that."""


FREE_MACHINE = 0.85
"""Part of its possible rate that the forwarder reaches at least where nothing else runs. With less, processors are shared,
which costs the hop more than the forwarder: their rates are not compared then."""


@dataclass
class Row:
    """One line of the table. `target` and `met` are empty for baselines."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Plan:
    """How long a run takes."""

    seconds: float = 3.0
    rounds: int = 3
    slices: int = 12
    """Turns in which latency is measured, `seconds` altogether."""
    large: int = 64 * MIB
    large_rounds: int = 7
    huge: int = 1024 * MIB
    rooms: tuple[int, ...] = (2, 10, 50, 200, 1_000)
    copies: int = 100_000
    idle: tuple[int, ...] = (1_000, 5_000)


FULL = Plan()
QUICK = Plan(
    seconds=1.2,
    rounds=3,
    slices=6,
    large_rounds=5,
    large=32 * MIB,
    huge=256 * MIB,
    rooms=(2, 50, 200),
    copies=20_000,
    idle=(1_000,),
)


@dataclass
class Traffic:
    """What one server did with 500-byte messages."""

    rate: float = 0.0
    cpu: float = 0.0  # microseconds per message
    unbatched_rate: float = 0.0
    unbatched_cpu: float = 0.0
    p50: float = 0.0  # milliseconds
    p99: float = 0.0
    megabytes: float = 0.0  # per second, in chunks of CHUNK
    chunk_cpu: float = 1e9  # microseconds per chunk
    driver_cpu: float = 1e9  # of the driver, which is both ends

    @property
    def possible_megabytes(self) -> float:
        """Per second, where server and driver each have a processor to themselves: what the busier one can do."""
        return CHUNK / max(self.chunk_cpu, self.driver_cpu)


Opened = dict[str, "tuple[Pairs, ServerProcess | None]"]


async def messages(pairs: Pairs, server: ServerProcess | None, seconds: float, outstanding: int) -> tuple[float, float]:
    """Rate, and the server's CPU microseconds per message."""
    await pairs.pipelined(outstanding, BODY, 0.2)
    before = server.cpu_seconds() if server else 0.0
    count, took = await pairs.pipelined(outstanding, BODY, seconds)
    cpu = (server.cpu_seconds() - before) if server else 0.0
    return count / took, cpu / max(count, 1) * 1e6


async def open_pairs(role: str, count: int) -> tuple[Pairs, ServerProcess | None]:
    """Sessions of one kind of path: direct, forwarder or hop."""
    pairs = Pairs()
    if role == "hop":
        server = ServerProcess(SERVERS, role, count).__enter__()
        await pairs.through_hop(server.ready["port"], server.ready["uris"])
        return pairs, server
    port = await pairs.listen()
    if role == "direct":
        await pairs.through(port, count)
        return pairs, None
    server = ServerProcess(SERVERS, role, count, f"127.0.0.1:{port}").__enter__()
    await pairs.through(server.ready["port"], count)
    return pairs, server


def end(pairs: Pairs, server: ServerProcess | None) -> None:
    pairs.close()
    if server is not None:
        server.__exit__(None, None, None)


async def measure_paths(plan: Plan) -> dict[str, Traffic]:
    """All figures of all kinds of path, which take turns. Of the rounds the best one counts; of latencies all."""
    found = {role: Traffic(cpu=1e9, unbatched_cpu=1e9) for role in ROLES}
    opened: Opened = {role: await open_pairs(role, 10) for role in ROLES}
    for _ in range(plan.rounds):
        for role, (pairs, server) in opened.items():
            rate, cpu = await messages(pairs, server, plan.seconds / plan.rounds, 16)
            found[role].rate, found[role].cpu = max(rate, found[role].rate), min(cpu, found[role].cpu)
    times: dict[str, list[float]] = {role: [] for role in ROLES}
    for _ in range(plan.slices):
        for role, (pairs, _) in opened.items():
            times[role] += await pairs.paced(1_000, len(BODY), plan.seconds / plan.slices)
    for role in ROLES:
        times[role].sort()
        found[role].p50, found[role].p99 = (times[role][int(len(times[role]) * part)] * 1e3 for part in (0.5, 0.99))
    for _ in range(plan.large_rounds):
        for role, (pairs, server) in opened.items():
            before, driver = server.cpu_seconds() if server else 0.0, time.process_time()
            megabytes = plan.large / await pairs.large(plan.large, CHUNK) / 1e6
            driver = time.process_time() - driver
            cpu = server.cpu_seconds() - before if server else 0.0
            best = found[role]
            best.megabytes = max(megabytes, best.megabytes)
            best.chunk_cpu = min(cpu / plan.large * CHUNK * 1e6, best.chunk_cpu)
            best.driver_cpu = min(driver / plan.large * CHUNK * 1e6, best.driver_cpu)
    for pairs, server in opened.values():
        end(pairs, server)
    opened = {role: await open_pairs(role, 200) for role in ROLES}
    for _ in range(plan.rounds):
        for role, (pairs, server) in opened.items():
            rate, cpu = await messages(pairs, server, plan.seconds / plan.rounds, 1)
            best = found[role]
            best.unbatched_rate, best.unbatched_cpu = max(rate, best.unbatched_rate), min(cpu, best.unbatched_cpu)
    for pairs, server in opened.values():
        end(pairs, server)
    return found


async def measure_fan_out(size: int, plan: Plan) -> tuple[float, float]:
    """CPU microseconds of the switch per copy, and copies per second; recipients answer every copy."""
    seen = 0

    def arrived(_: bytes) -> None:
        nonlocal seen
        seen += 1

    def reached(copies: int) -> bool:
        return seen >= copies

    with ServerProcess(SERVERS, "switch", size) as server:
        peers: list[Peer] = []
        for n, uri in enumerate(server.ready["uris"]):
            peer = await connect(server.ready["port"], arrived)
            peer.write(binding(uri, peer_uri(f"u{n}")))
            peers.append(peer)
        await until(lambda: all(peer.answers for peer in peers))
        envelope = cpim.compose(Address("sip:u0@example.com"), [Address(ROOM)], "text/plain")
        message = frame(server.ready["uris"][0], peer_uri("u0"), envelope.head + BODY, "message/cpim")
        total = max(5, plan.copies // (size - 1))
        best, rate = 1e9, 0.0
        rounds = min(plan.rounds, 3)
        for _ in range(rounds):
            count = max(3, total // rounds)
            first, before = seen, server.cpu_seconds()
            start = asyncio.get_running_loop().time()
            sent = 0
            while sent < count:
                ahead = max(1, 2_000 // size)
                peers[0].write(message * min(ahead, count - sent))
                sent += min(ahead, count - sent)
                await until(partial(reached, first + sent * (size - 1)))
            await asyncio.sleep(0.05)  # the last responses
            copies = count * (size - 1)
            best = min(best, (server.cpu_seconds() - before) / copies * 1e6)
            rate = max(rate, copies / (asyncio.get_running_loop().time() - start))
        for peer in peers:
            assert peer.transport is not None
            peer.transport.abort()
        return best, rate


async def measure_idle(role: str, count: int) -> float:
    """PSS in bytes per waiting and bound session (endpoint: one connection; hop: two sessions, two
    connections)."""
    with ServerProcess(SERVERS, role, 0) as empty:
        base = empty.pss_bytes()
    with ServerProcess(SERVERS, role, count) as server:
        peers = []
        for n, uri in enumerate(server.ready["uris"]):
            peer = await connect(server.ready["port"])
            names = f"{'ab'[n % 2]}{n // 2}" if role == "hop" else f"u{n}"
            peer.write(binding(uri, peer_uri(names)))
            peers.append(peer)
        await until(lambda: all(peer.answers for peer in peers))
        used = server.pss_bytes() - base
        for peer in peers:
            assert peer.transport is not None
            peer.transport.abort()
    return used / count


async def measure_huge(size: int) -> tuple[float, float]:
    """Growth of the hop's memory in bytes while one long message passes, and its MB/s."""
    pairs, server = await open_pairs("hop", 1)
    assert server is not None
    await pairs.large(16 * MIB, 65_536)
    server.reset_peak()
    before = server.peak_rss_bytes()
    seconds = await pairs.large(size, 65_536)
    growth = server.peak_rss_bytes() - before
    end(pairs, server)
    return growth, size / seconds / 1e6


async def run(plan: Plan) -> list[Row]:
    """The whole table."""
    paths = await measure_paths(plan)
    direct, forwarder, hop = paths.values()
    shared = forwarder.megabytes < FREE_MACHINE * forwarder.possible_megabytes
    p99 = P99_TARGET * max(1.0, forwarder.p99 / FORWARDER_P99)
    rows = []
    for name, traffic in paths.items():
        target = name == "hop"
        rows += [
            Row(
                f"{name}: pipelined, messages/s (x direct)",
                f"{traffic.rate:,.0f} ({traffic.rate / direct.rate:.2f})",
            ),
            Row(
                f"{name}: pipelined, CPU us/message",
                f"{traffic.cpu:.1f}",
                "<= 15" if target else "",
                traffic.cpu <= 15 if target else None,
            ),
            Row(
                f"{name}: unbatched, CPU us/message",
                f"{traffic.unbatched_cpu:.1f}",
                "<= 27" if target else "",
                traffic.unbatched_cpu <= 27 if target else None,
            ),
            Row(
                f"{name}: at 1,000/s, p50 / p99 ms",
                f"{traffic.p50:.2f} / {traffic.p99:.2f}",
                f"p99 <= {p99:.2f}" if target else "",
                traffic.p99 <= p99 if target else None,
            ),
            Row(
                f"{name}: {plan.large // MIB} MiB in 8 KiB chunks, MB/s (CPU us/chunk)",
                f"{traffic.megabytes:.0f} ({traffic.chunk_cpu:.1f})",
                (">= 0.8 forwarder" if not shared else "machine is shared") if target else "",
                hop.megabytes >= 0.8 * forwarder.megabytes if target and not shared else None,
            ),
        ]
    rows.append(Row("hop / forwarder: CPU unbatched", f"{hop.unbatched_cpu / forwarder.unbatched_cpu:.2f}"))
    rows.append(Row("hop / forwarder: p99", f"{hop.p99 / forwarder.p99:.2f}"))
    rows.append(Row("hop / forwarder: MB/s", f"{hop.megabytes / forwarder.megabytes:.2f}"))
    for size in plan.rooms:
        cpu, rate = await measure_fan_out(size, plan)
        target = size == 50
        rows.append(
            Row(
                f"switch, {size} participants: CPU us/copy (copies/s)",
                f"{cpu:.1f} ({rate:,.0f})",
                "<= 9" if target else "",
                cpu <= 9 if target else None,
            )
        )
    for count in plan.idle:
        used = await measure_idle("endpoint", count)
        rows.append(Row(f"{count:,} idle sessions: PSS kB each", f"{used / 1e3:.1f}", "<= 9", used <= 9_000))
    used = await measure_idle("hop", plan.idle[0])
    rows.append(Row(f"{plan.idle[0]:,} idle joined pairs (2 connections): PSS kB each", f"{used / 1e3:.1f}"))
    growth, speed = await measure_huge(plan.huge)
    rows.append(
        Row(
            f"one message of {plan.huge // MIB} MiB through the hop: memory MiB ({speed:.0f} MB/s)",
            f"{growth / MIB:.2f}",
            "<= 4",
            growth <= 4 * MIB,
        )
    )
    return rows


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 30 seconds, less exact")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = uvloop.run(run(QUICK if options.quick else FULL))
    if options.json:
        print(json.dumps([vars(row) for row in rows], indent=1))
    else:
        width = max(len(row.what) for row in rows)
        for row in rows:
            verdict = {True: "met", False: "MISSED", None: ""}[row.met]
            print(f"{row.what:<{width}}  {row.value:>18}  {row.target:<17} {verdict}".rstrip())
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
