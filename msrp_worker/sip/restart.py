"""After a restart: legs of the worker before us are taken up by their owners, or released (SEC-06)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from msrp_worker.sip.leg_types import Cause, LegEvent, LegId, LegPolicy, Release
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
    """Owner of a leg that is only being ended."""

    kind: str
    identity: str

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """Nothing is to be done about it."""


@dataclass(slots=True)
class Restored:
    """What became of the legs in the store."""

    resumed: int = 0
    released: int = 0


async def restore(manager: LegManager, store: LegStore, resume: Resume, policy: LegPolicy | None = None) -> Restored:
    """Go through the stored legs of this node once, before or while Kamailio's events come in. Errors of the store.

    A session that stands is offered to `resume`; one that nobody takes, or whose time is over, gets a BYE with a Reason.
    A call of ours that had no answer is cancelled; should it be answered all the same, it gets the BYE then.
    """
    found = Restored()
    after = ("", "")
    while records := await store.of_node(manager.node, after):
        after = records[-1].call_id, records[-1].local_tag
        for record in records:
            if manager.find((record.call_id, record.local_tag)) is not None:
                continue  # made after the start
            if _restore_one(manager, record, resume, policy or LegPolicy()):
                found.resumed += 1
                continue
            found.released += 1
            if found.released % RELEASES_PER_TURN == 0:
                await asyncio.sleep(TURN_S)
    if found.resumed or found.released:
        log.info("after the restart %d legs go on, %d are released", found.resumed, found.released)
    return found


def _restore_one(manager: LegManager, record: LegRecord, resume: Resume, policy: LegPolicy) -> bool:
    """Take up one leg; False when it is released."""
    now = manager.clock()
    expired = record.session_interval > 0 and record.expires <= manager.epoch + now
    owner = None if record.state == "calling" or expired else resume(record)
    made = leg_of(record, policy, now, manager.epoch)
    if owner is not None:
        manager.adopt(made, owner, record)
        return True
    manager.adopt(made, _Nobody(record.owner_kind, record.owner_id), record)
    manager.order(made.identity, Release(cause=Cause.RESTARTED, why=RESTARTED))
    return False
