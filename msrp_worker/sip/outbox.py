"""The effects of the legs: in order for each leg, and after the store knows what they promise."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msrp_worker.sip.leg_types import Effect, Ended, Leg, LegEvent, LegId, Rejected
from msrp_worker.sip.port import CancelInvite, Headers, Reply, SendRequest
from msrp_worker.sip.sender import Sender
from msrp_worker.store.errors import StoreError
from msrp_worker.store.legs import LegRecord

log = logging.getLogger("im.legs")

RETRY_AFTER: Headers = (("Retry-After", "5"),)
CLOSE_S = 2.0
"""How long writes under way may take when the worker stops."""


class LegOwner(Protocol):
    """What a leg belongs to: an IM session, a participating function, a delivery."""

    kind: str
    identity: str

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """Hear what happened; the last event is Rejected or Ended. May give orders at once. Must not raise."""
        ...


class LegStore(Protocol):
    """What is needed of `store.Legs`."""

    def put(self, record: LegRecord) -> Awaitable[Any]: ...

    def remove(self, call_id: str, local_tag: str) -> Awaitable[Any]: ...

    async def of_node(self, node: str, after: tuple[str, str] = ("", "")) -> list[LegRecord]: ...


@dataclass(slots=True)
class LegCounters:
    """What the legs have done, for `/metrics`."""

    created: int = 0
    refused: int = 0
    """INVITEs that became no leg: full, malformed, merged, or against a rule."""
    ended: dict[str, int] = field(default_factory=dict)
    """By cause; `rejected` for our INVITEs that failed."""
    malformed: int = 0
    unmatched: int = 0
    """Requests inside dialogs that nobody knows."""
    stray: int = 0
    """Answers to INVITEs that nobody waits for; each was cancelled or released."""
    not_stored: int = 0
    owner_errors: int = 0
    failures: int = 0
    """Bugs in the rules, each logged with its Call-ID."""


@dataclass(slots=True)
class Batch:
    """The effects of one step."""

    effects: list[Effect]
    record: LegRecord | None = None
    promises: bool = False
    """Nothing of it may go out when the record cannot be stored."""
    gone: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A leg with what the shell keeps beside it."""

    leg: Leg
    owner: LegOwner
    merge_key: tuple[str, str, int] | None = None
    stored: LegRecord | None = None
    """Its row in the store, as of the last write that was begun."""
    outbox: deque[Batch] = field(default_factory=deque)
    draining: bool = False
    deadline: float | None = None


class Outbox:
    """Stores, sends and tells what the steps of the legs have brought about."""

    def __init__(
        self,
        sender: Sender,
        store: LegStore,
        counters: LegCounters,
        never_was: Callable[[Entry], list[Effect]],
    ) -> None:
        """`never_was` ends a leg whose first promise could not be stored; what that step brings about."""
        self._sender = sender
        self._store = store
        self._counters = counters
        self._never_was = never_was
        self._writes: set[asyncio.Future[Any]] = set()

    def add(self, entry: Entry, batch: Batch) -> None:
        """Queue the effects of a step; they happen now unless something before them waits for the store."""
        entry.outbox.append(batch)
        if not entry.draining:
            self._drain(entry)

    async def close(self) -> None:
        """Let what is being stored be stored."""
        if self._writes:
            await asyncio.wait(list(self._writes), timeout=CLOSE_S)

    def _drain(self, entry: Entry) -> None:
        entry.draining = True
        while entry.outbox:
            batch = entry.outbox[0]
            if batch.record is not None:
                self._store_first(entry, batch, batch.record)
                return
            entry.outbox.popleft()
            for effect in batch.effects:
                self._effect(entry, effect)
            if batch.gone and entry.stored is not None:
                entry.stored = None
                self._watch(self._store.remove(*entry.leg.identity), entry)
        entry.draining = False

    def _store_first(self, entry: Entry, batch: Batch, record: LegRecord) -> None:
        write = asyncio.ensure_future(self._store.put(record))
        self._writes.add(write)
        write.add_done_callback(lambda done: self._written(entry, batch, done))

    def _written(self, entry: Entry, batch: Batch, done: asyncio.Future[Any]) -> None:
        self._writes.discard(done)
        if done.cancelled():
            return
        batch.record = None
        error = done.exception()
        if error is not None:
            self._not_stored(entry, batch, error)
        self._drain(entry)

    def _not_stored(self, entry: Entry, batch: Batch, error: BaseException) -> None:
        self._counters.not_stored += 1
        log.error("leg %s cannot be stored: %s", entry.leg.identity, error)
        if not batch.promises:
            return  # the row is older than the leg; a restart would still release it
        entry.stored = None
        # No dialog came to be, so no request of ours may go out in it; replies are owed, the 200 becomes 503.
        for each in entry.outbox:
            each.record = None
            each.effects = [_instead(one) for one in each.effects if not isinstance(one, SendRequest | CancelInvite)]
        batch.effects += self._never_was(entry)

    def _effect(self, entry: Entry, effect: Effect) -> None:
        if isinstance(effect, SendRequest | Reply | CancelInvite):
            self._sender.send(effect, entry.leg.dialog.call_id)
            return
        if isinstance(effect, Ended | Rejected):
            cause = effect.cause.value if isinstance(effect, Ended) else "rejected"
            self._counters.ended[cause] = self._counters.ended.get(cause, 0) + 1
        try:
            entry.owner.on_leg_event(entry.leg.identity, effect)
        except Exception:
            self._counters.owner_errors += 1
            log.exception("the owner of leg %s failed on %s", entry.leg.identity, type(effect).__name__)

    def _watch(self, removal: Awaitable[Any], entry: Entry) -> None:
        write = asyncio.ensure_future(removal)
        self._writes.add(write)
        write.add_done_callback(lambda done: self._removed(entry, done))

    def _removed(self, entry: Entry, done: asyncio.Future[Any]) -> None:
        self._writes.discard(done)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StoreError):
            log.warning("leg %s stays in the store; a restart will end it once more: %s", entry.leg.identity, error)
        elif error is not None:
            log.error("leg %s: %r", entry.leg.identity, error)


def _instead(effect: Effect) -> Effect:
    if isinstance(effect, Reply) and 200 <= effect.status < 300:
        return Reply(effect.transaction, 503, "Service Unavailable", effect.to_tag, RETRY_AFTER)
    return effect
