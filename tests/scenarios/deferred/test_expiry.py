"""A message with Expires is never given out late, and is purged (DEF-10, PAG-04)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from email.utils import formatdate
from time import time

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.traffic import Peer, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1"}


@pytest.mark.requirement("DEF-10")
async def test_an_expired_message_disappears(instance: Instance, new_user: Callable[..., str]) -> None:
    """Listed until it expires, never afterwards; the purge removes its bytes and notes it in the trace."""
    recipient = new_user()
    async with await Peer.open(instance.sip_port) as peer:
        short = im_message("alice", recipient, b"soon gone", "Expires: 6")
        long = im_message("alice", recipient, b"stays", "Expires: 3600")
        for request in (short, long):
            assert (await peer.ask(request)).status == 202
    listed = {entry["call_id"]: entry for entry in instance.stored(recipient)}
    assert listed.keys() == {short.call_id, long.call_id}
    gone = listed[short.call_id]
    assert 5 <= gone["expires"] - gone["received"] <= 7
    entries = await async_until(lambda: len(found := instance.stored(recipient)) == 1 and found, "it is not listed")
    assert time() >= gone["expires"]
    assert [entry["call_id"] for entry in entries] == [long.call_id]
    assert instance.deployment.command("deferred", "show", recipient, gone["message_id"]).returncode != 0
    await async_until(lambda: len(rows(instance, recipient)) == 1, "its bytes are removed")
    assert [step["kind"] for step in instance.trace(short.call_id)] == ["received", "deferred", "expired"]
    assert instance.trace(short.call_id)[-1]["requirement"] == "DEF-10"
    assert "DEF-10 purged 1 expired" in instance.worker_log()


def rows(instance: Instance, user: str) -> list[tuple[str]]:
    """What the table holds, expired or not."""
    with sqlite3.connect(instance.state_dir / "im.sqlite") as connection:
        return connection.execute(
            "SELECT call_id FROM deferred WHERE recipient = ?", (f"sip:{user}@example.com",)
        ).fetchall()


@pytest.mark.requirement("DEF-10", "PAG-04")
async def test_a_message_that_is_late_already_is_refused(instance: Instance, new_user: Callable[..., str]) -> None:
    """Date and Expires in the past: refused with a Warning, not stored."""
    recipient = new_user()
    date = f"Date: {formatdate(time() - 7200, usegmt=True)}"
    async with await Peer.open(instance.sip_port) as peer:
        reply = await peer.ask(im_message("alice", recipient, b"late", date, "Expires: 3600"))
        assert (reply.status, reply.header("Warning")) == (403, '399 example.com "Message expired"')
        in_time = await peer.ask(im_message("alice", recipient, b"in time", date, "Expires: 10800"))
        assert in_time.status == 202
        for unreadable in ("Expires: soon", "Expires: -1", "Expires: 99999999999999999999", "Expires:"):
            reply = await peer.ask(im_message("alice", recipient, b"odd", unreadable))
            assert reply.status in (202, 400), unreadable
    assert b"late" not in b"".join(
        instance.stored_bytes(recipient, entry["message_id"]).rpartition(b"\r\n")[2] for entry in instance.stored(recipient)
    )
