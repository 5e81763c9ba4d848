"""After a restart: legs of the worker before us are taken up by their owners, or released (SEC-06)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from msrp_worker.sip.leg_types import Cause, Ended, LegEvent, LegId, LegPolicy, Rejected, Release
from msrp_worker.sip.outbox import LegOwner, LegStore
from msrp_worker.sip.record import leg_of
from msrp_worker.sip.shell import LegManager
from msrp_worker.store.legs import LegRecord

log = logging.getLogger("im.legs")

RESTARTED = 'SIP;cause=503;text="Service restarted"'
"""Reason of the BYE to a peer whose session is gone (RFC 3326 section 2)."""
RELEASES_PER_TURN = 100
TURN_S = 0.2
"""500 BYE requests per second: a node full of sessions is released in two minutes, and new requests get through."""

Resume = Callable[[LegRecord], LegOwner | None]
"""The owner that goes on with a leg, None when nobody can."""


@dataclass(slots=True)
class _Nobody:
    """Owner of a leg that is to be ended: whatever the peer does before its turn has come ends it now."""

    manager: LegManager
    kind: str
    identity: str

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """Nobody could answer a request, or talk in a session that stands only now."""
        if not isinstance(event, Ended | Rejected):
            self.manager.order(leg_id, Release(cause=Cause.RESTARTED, why=RESTARTED))


@dataclass(slots=True)
class Restored:
    """What became of the legs in the store."""

    resumed: int = 0
    released: int = 0
    orphans: list[LegId] = field(default_factory=list)
    """Legs that nobody goes on with, to be given to `release`."""


async def adopt(
    manager: LegManager,
    store: LegStore,
    resume: Resume,
    policy: LegPolicy | None = None,
) -> Restored:
    """Take the stored legs of this node up, before Kamailio's events come in: none of them may find its leg unknown, and
    hear 481. Nothing is sent. Errors of the store.

    A session that stands is offered to `resume`; one that nobody takes, or whose time is over, is an orphan.
    """
    found = Restored()
    after = ("", "")
    while records := await store.of_node(manager.node, after):
        after = records[-1].call_id, records[-1].local_tag
        for record in records:
            leg_id = record.call_id, record.local_tag
            if manager.find(leg_id) is not None:
                continue  # made after the start
            if _adopt_one(manager, record, resume, policy or LegPolicy()):
                found.resumed += 1
            else:
                found.orphans.append(leg_id)
    return found


async def release(manager: LegManager, found: Restored) -> Restored:
    """Release the orphans, so many at a time that new requests get through beside them.

    A session gets a BYE with a Reason. A call of ours that had no answer is cancelled; should it be answered all the same,
    it gets the BYE then.
    """
    for leg_id in found.orphans:
        found.released += 1
        if manager.order(leg_id, Release(cause=Cause.RESTARTED, why=RESTARTED)) and not found.released % RELEASES_PER_TURN:
            await asyncio.sleep(TURN_S)
    found.orphans = []
    if found.resumed or found.released:
        log.info("after the restart %d legs go on, %d are released", found.resumed, found.released)
    return found


async def restore(manager: LegManager, store: LegStore, resume: Resume, policy: LegPolicy | None = None) -> Restored:
    """`adopt`, then `release`."""
    return await release(manager, await adopt(manager, store, resume, policy))


def _adopt_one(manager: LegManager, record: LegRecord, resume: Resume, policy: LegPolicy) -> bool:
    """Take up one leg; False when it is an orphan."""
    now = manager.clock()
    expired = record.session_interval > 0 and record.expires <= manager.epoch + now
    owner = None if record.state == "calling" or expired else resume(record)
    made = leg_of(record, policy, now, manager.epoch)
    manager.adopt(made, owner or _Nobody(manager, record.owner_kind, record.owner_id), record)
    return owner is not None
