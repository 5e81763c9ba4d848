"""The database is locked while a push is under way: what is acknowledged is deleted in the end, and comes once (DEF-05)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from im_client.callee import IncomingCall
from msrp_worker.deferred.delivery import WINDOW_MESSAGES
from msrp_worker.msrp import DEFERRED, IncomingMessage, Session
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.delivery.conftest import Store
from tests.scenarios.delivery.device import Device

SETTINGS = {
    "IM_TRUSTED_PEERS": "127.0.0.9",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "100000",
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
}
COUNT = 100


class Late(Device):
    """A device that acknowledges when it is told to."""

    def __init__(self, instance: Instance, user: str) -> None:
        super().__init__(instance, user)
        self.waiting: list[tuple[Session, IncomingMessage]] = []
        self.late = True

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        done = super().message(session, message, body)
        if not body or not self.late:
            return done
        self.waiting.append((session, message))
        return DEFERRED

    def acknowledge(self) -> None:
        """All that has come, and from now on at once."""
        self.late = False
        for session, message in self.waiting:
            session.answer(message, 200)


@pytest.mark.requirement("DEF-05", "DEF-13", "SEC-06")
async def test_a_lock_while_messages_are_acknowledged(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """Longer than the worker waits for the lock: the deletions are tried again, and nothing is sent a second time."""
    recipient = new_user()
    await store(recipient, COUNT)
    async with Late(instance, recipient) as device:
        await device.register()
        await device.until(lambda: len(device.waiting) >= 60)
        lock = sqlite3.connect(instance.state_dir / "im.sqlite", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        device.acknowledge()
        await async_until(lambda: "not deleted" in instance.worker_log(), "a deletion has failed")
        assert len(instance.stored(recipient)) == COUNT
        lock.execute("ROLLBACK")
        lock.close()
        await device.until(lambda: device.ended, 30)
        await async_until(lambda: not instance.stored(recipient), "all have come and are deleted", 30)
        assert len(device.bodies) == COUNT == len(set(device.message_ids)), "each came once"


class Locking(Device):
    """A device whose first session begins under a locked database."""

    lock: sqlite3.Connection | None = None
    database = ""

    async def _on_call(self, call: IncomingCall) -> None:
        if self.lock is None:
            self.lock = sqlite3.connect(self.database, isolation_level=None)
            self.lock.execute("BEGIN EXCLUSIVE")
        await super()._on_call(call)


@pytest.mark.requirement("DEF-05", "DEF-13", "SEC-06")
async def test_a_lock_interrupts_a_push_and_nobody_registers_again(
    instance: Instance, new_user: Callable[..., str], store: Store
) -> None:
    """The rest cannot be leased: the session ends, and the push goes on by itself when the store does."""
    recipient = new_user()
    await store(recipient, COUNT)
    async with Locking(instance, recipient) as device:
        device.database = str(instance.state_dir / "im.sqlite")
        await device.register()
        await device.until(lambda: device.ended, 30)
        assert device.lock is not None
        device.lock.execute("ROLLBACK")
        device.lock.close()
        await async_until(lambda: not instance.stored(recipient), "all have come and are deleted", 40)
        assert len(set(device.message_ids)) == COUNT
        assert len(device.bodies) <= COUNT + WINDOW_MESSAGES
