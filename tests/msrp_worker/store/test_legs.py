"""Stored legs on both databases."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from msrp_worker.store import LegRecord, Store, legs
from tests.msrp_worker.store.support import NOW, Opener

LEG = LegRecord(
    call_id="call@host",
    local_tag="us",
    node="n1",
    owner_kind="session",
    owner_id="sip:conf1@example.com",
    role="caller",
    state="confirmed",
    remote_tag="b",
    local_uri="sip:alice@example.com",
    remote_uri="sip:bob@example.com",
    remote_target="sip:bob@203.0.113.5;x=é",
    route_set=("<sip:p1;lr>", '<sip:p2;lr>;note="a,b"'),
    contact="<sip:im@192.0.2.1>;isfocus",
    local_cseq=2**31 - 1,
    remote_cseq=7,
    invite_cseq=1,
    session_interval=1800,
    refreshes_here=True,
    expires=NOW + 1800.25,
    peer_update=True,
    local_sdp=b"v=0\r\n\xff\x00",
    remote_sdp=b"",
)


@pytest.mark.requirement("SEC-06")
async def test_a_leg_comes_back_as_it_was(opener: Opener) -> None:
    store = await opener()
    await store.legs.put(LEG)
    await store.close()
    assert await (await opener()).legs.of_node("n1") == [LEG]


async def test_a_change_replaces_and_a_removal_removes(store: Store) -> None:
    changed = replace(LEG, remote_target="sip:bob@203.0.113.6", refreshes_here=False, peer_update=False)
    await store.legs.put(LEG)
    await store.legs.put(changed)
    await store.legs.put(replace(LEG, local_tag="them", role="callee"))
    assert await store.legs.of_node("n1") == [replace(LEG, local_tag="them", role="callee"), changed]
    await store.legs.remove("call@host", "them")
    await store.legs.remove("call@host", "unknown")
    assert await store.legs.of_node("n1") == [changed]
    assert await store.legs.of_node("n2") == []


async def test_many_legs_come_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "LEGS_PER_READ", 2)
    kept = [replace(LEG, call_id=f"c{n // 2}", local_tag=f"t{n}") for n in range(5)]
    for one in kept:
        await store.legs.put(one)
    read: list[LegRecord] = []
    while part := await store.legs.of_node("n1", (read[-1].call_id, read[-1].local_tag) if read else ("", "")):
        assert len(part) <= 2
        read += part
    assert read == kept
