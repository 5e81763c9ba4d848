"""A port, a store and an owner for tests of the shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msrp_worker.sip.leg_types import LegEvent, LegId
from msrp_worker.sip.port import Command, Reply, SendRequest
from msrp_worker.store import StoreError
from msrp_worker.store.legs import LegRecord


@dataclass
class FakePort:
    """Keeps what it is given."""

    sent: list[Command] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    away: bool = False

    def send(self, command: Command, pin: int) -> bool:
        if self.away:
            return False
        self.sent.append(command)
        self.pins.append(pin)
        return True

    def requests(self) -> list[SendRequest]:
        return [one for one in self.sent if isinstance(one, SendRequest)]

    def replies(self) -> list[Reply]:
        return [one for one in self.sent if isinstance(one, Reply)]


@dataclass
class FakeStore:
    """A table in memory; writes are done at once, or when the test says so."""

    rows: dict[LegId, LegRecord] = field(default_factory=dict)
    error: StoreError | None = None
    held: list[tuple[asyncio.Future[None], Callable[[], Any]]] | None = None
    writes: int = 0

    def put(self, record: LegRecord) -> asyncio.Future[None]:
        self.writes += 1
        return self._write(lambda: self.rows.__setitem__((record.call_id, record.local_tag), record))

    def remove(self, call_id: str, local_tag: str) -> asyncio.Future[None]:
        return self._write(lambda: self.rows.pop((call_id, local_tag), None))

    def _write(self, change: Callable[[], Any]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.held is not None:
            self.held.append((done, change))
        else:
            self._finish(done, change)
        return done

    def _finish(self, done: asyncio.Future[None], change: Callable[[], Any]) -> None:
        if self.error is not None:
            done.set_exception(self.error)
            return
        change()
        done.set_result(None)

    def let_go(self) -> None:
        """Do the writes that are held."""
        held, self.held = self.held or [], None
        for done, change in held:
            self._finish(done, change)

    async def of_node(self, node: str, after: tuple[str, str] = ("", "")) -> list[LegRecord]:
        return [self.rows[key] for key in sorted(self.rows) if key > after and self.rows[key].node == node]


@dataclass
class FakeOwner:
    """Writes down what it hears."""

    kind: str = "test"
    identity: str = "1"
    heard: list[LegEvent] = field(default_factory=list)
    react: Callable[[LegId, LegEvent], None] = lambda leg_id, event: None

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        self.heard.append(event)
        self.react(leg_id, event)


async def settle() -> None:
    """Let the event loop do what is ready."""
    for _ in range(6):
        await asyncio.sleep(0)
