"""Carry out a plan: operations in their order, many under way at a time; then heal everything, let it settle, and judge."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.scenarios.bed import DOMAIN
from tests.soak.books import Books, Trouble, Verdict
from tests.soak.netem import GOOD
from tests.soak.plan import PRESENT, Kind, Operation, plan
from tests.soak.site import Site, site
from tests.soak.user import User

UNDER_WAY = 120
"""Operations at a time."""
PER_SECOND = 40.0
"""Operations that begin in a second at most, so that a fault meets some of them and not all."""
PROGRESS_SECONDS = 10.0
SETTLE_SECONDS = 100.0
"""For everything to come to rest once all is well: timers of SIP (64*T1 twice), leases of deliveries (60 s). Less than
the time after which a device registers again, so that a message is not helped by that."""
REST_SECONDS = 150.0
"""For the last SIP transaction to end: an INVITE that rings has 120 s (fr_inv_timer), also when its worker died."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """How a soak went."""

    seed: int
    done: Counter[Kind]
    seconds: float
    verdict: Verdict
    bugs: list[str]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdict.breaches and not self.bugs

    def __str__(self) -> str:
        total = sum(self.done.values())
        lines = [f"seed {self.seed}: {total} operations in {self.seconds:.0f} s ({total / self.seconds:.1f} per second)"]
        lines += [f"  {count:7d}  {kind}" for kind, count in sorted(self.done.items())]
        lines += ["the books:"] + [f"  {count:7d}  {what}" for what, count in self.verdict.counts.items()]
        lines += ["not accepted because of:"] + [f"  {count:7d}  {why}" for why, count in self.verdict.reasons.items()]
        lines += [f"BREACH: {text}" for text in self.verdict.breaches] + [f"BUG: {text}" for text in self.bugs]
        return "\n".join([*lines, "every promise was kept" if self.good else f"NOT KEPT (seed {self.seed})"])


class Soak:
    """One run."""

    def __init__(self, ground: Site, seed: int, say: Say) -> None:
        self._site = ground
        self._seed = seed
        self._say = say
        self.books = Books()
        self._users = {name: User(name, partial(ground.client, name), self.books) for name in PRESENT}
        self._slots = asyncio.Semaphore(UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = asyncio.Lock()
        self._network = asyncio.Lock()
        self._diary = (ground.instance.directory / "operations.log").open("w", buffering=1)
        self._done: Counter[Kind] = Counter()
        self._failures: list[str] = []

    async def run(self, operations: Sequence[Operation], seconds: float) -> Report:
        """All operations, or those that begin within `seconds`; then the judgement."""
        began = time.monotonic()
        progress = asyncio.create_task(self._progress(began, len(operations)))
        try:
            await asyncio.gather(*(user.register() for user in self._users.values()))
            for operation in operations:
                if time.monotonic() - began > seconds:
                    break
                await self._slots.acquire()
                self._start(operation)
                await asyncio.sleep(1 / PER_SECOND)
            await self._settle()
        finally:
            progress.cancel()
            self._diary.close()
        took = time.monotonic() - began
        stored = await asyncio.to_thread(self._site.stored)
        bugs = self._failures + await asyncio.to_thread(self._site.bugs)
        verdict = self.books.judge(stored)
        if verdict.breaches and not self._site.instance.deployment.config.database:
            self._say(f"the store, with the trace of every message: {await asyncio.to_thread(self._site.keep)}")
        return Report(self._seed, self._done, took, verdict, bugs)

    # --- operations

    def _start(self, operation: Operation) -> None:
        task = asyncio.create_task(self._carry_out(operation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, operation: Operation) -> None:
        self._write(f"begins  {operation}")
        try:
            await self._operate(operation)
            self._done[operation.kind] += 1
        except Exception as error:  # a client or the bed is at fault: it must not end the run unseen
            self._failures.append(f"{operation}: {type(error).__name__} {error}")
        finally:
            self._write(f"ends    {operation}")
            self._slots.release()

    def _write(self, text: str) -> None:
        self._diary.write(f"{time.monotonic():.2f} {text}\n")

    async def _operate(self, operation: Operation) -> None:
        match operation.kind:
            case Kind.PAGER | Kind.LARGE:
                ident = f"{self._seed}-{operation.number}"
                large = operation.kind is Kind.LARGE
                now = time.monotonic()
                sending = self.books.send(ident, operation.user, operation.peer, operation.size, large, now)
                await self._users[operation.user].send(sending, f"sip:{operation.peer}@{DOMAIN}")
            case Kind.REGISTER:
                await self._users[operation.user].register()
            case Kind.DEREGISTER:
                await self._users[operation.user].deregister()
            case Kind.FETCH:
                await self._users[operation.user].fetch()
            case Kind.VANISH:
                began = time.monotonic()
                await self._users[operation.user].vanish()
                self._note(Trouble(f"{operation.user} vanished", began, time.monotonic()))
            case Kind.FREEZE_WORKER:
                await self._freeze(operation.seconds)
            case Kind.KILL_WORKER:
                await self._kill(self._site.kill_worker)
            case Kind.KILL_KAMAILIO:
                await self._kill(self._site.kill_kamailio)
            case Kind.NETWORK:
                await self._trouble_network(operation)

    async def _kill(self, work: Callable[[], Trouble]) -> None:
        async with self._server:
            self._note(await asyncio.to_thread(work))

    async def _freeze(self, seconds: float) -> None:
        async with self._server:
            began = time.monotonic()
            self._site.freeze_worker()
            await asyncio.sleep(seconds)
            self._site.thaw_worker()
            self._note(Trouble("worker frozen", began, time.monotonic()))

    async def _trouble_network(self, operation: Operation) -> None:
        async with self._network:
            began = time.monotonic()
            self._site.wire.set(operation.condition)
            await asyncio.sleep(operation.seconds)
            self._site.wire.set(GOOD)
            if not operation.condition.whole:
                self._note(Trouble(str(operation.condition), began, time.monotonic()))

    def _note(self, trouble: Trouble) -> None:
        self.books.troubles.append(trouble)

    # --- the end

    async def _settle(self) -> None:
        """Everybody comes back, and what waits for them is pushed."""
        self._say("all operations have begun; waiting for those under way")
        while self._tasks:
            await asyncio.wait(self._tasks)
        async with asyncio.TaskGroup() as group:
            for user in self._users.values():
                group.create_task(self._come_back(user))
        self._say("everybody is registered; waiting for what is stored to be pushed")
        left: dict[str, int] = {}

        async def pushed() -> bool:
            nonlocal left
            waiting = await asyncio.to_thread(self._site.waiting)
            left = {name: count for name, count in waiting.items() if name in self._users}
            return not left

        if not await _until(pushed):
            self._failures.append(f"still stored {SETTLE_SECONDS:.0f} s after their recipients have registered: {left}")

        async def at_rest() -> bool:
            return await asyncio.to_thread(self._site.transactions) <= 0

        if not await _until(at_rest, REST_SECONDS):
            self._failures.append(f"SIP transactions are left: {self._site.list_transactions()}")
        for user in self._users.values():
            await user.vanish()

    async def _come_back(self, user: User) -> None:
        if not await _until(user.register):
            self._failures.append(f"{user.name} cannot register: {user.registrations_refused[-3:]}")

    async def _progress(self, began: float, total: int) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            done = sum(self._done.values())
            sent = Counter(str(sending.outcome) for sending in self.books.sendings.values() if sending.ended)
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(sent.items()))
            self._say(
                f"{time.monotonic() - began:5.0f} s  {done}/{total} operations, {len(self._tasks)} under way; "
                f"{outcomes}; {len(self.books.arrivals)} arrivals; wire: {self._site.wire.condition}"
            )


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = SETTLE_SECONDS) -> bool:
    """Look again and again until it holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await condition():
            return True
        await asyncio.sleep(0.5)
    return False


def soak(
    directory: Path,
    count: int,
    seed: int,
    seconds: float,
    say: Say,
    settings: Mapping[str, str] | None = None,
    *,
    postgresql: bool = False,
) -> Report:
    """Run one with `settings` of the server, whose logs go into `directory`. Raises NamespaceError."""
    with site(directory, seed, settings, postgresql=postgresql) as ground:
        return asyncio.run(Soak(ground, seed, say).run(plan(count, seed), seconds))
