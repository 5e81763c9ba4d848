"""Legs with the real store: what a worker promised, the next one finds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from msrp_worker.config import Config
from msrp_worker.sip.leg_types import Accept
from msrp_worker.sip.message import read
from msrp_worker.sip.port import RequestReceived, SendRequest
from msrp_worker.sip.restart import RESTARTED, restore
from msrp_worker.sip.shell import LegManager
from msrp_worker.store import open_store, prepare_store
from tests.msrp_worker.sip.fakes import FakeOwner, FakePort
from tests.msrp_worker.sip.legs import INVITATION
from tests.msrp_worker.sip.sip_text import ANSWER, CALLEE_CONTACT, OFFER, header, on_the_wire, request

T1 = (1, 1)


@pytest.mark.requirement("SEC-06", "PFS-09")
async def test_the_next_worker_releases_what_this_one_promised(tmp_path: Path) -> None:
    config = Config.load({"IM_STATE_DIR": str(tmp_path), "IM_DEMO": "0"})
    await prepare_store(config)
    store = await open_store(config)
    port = FakePort()
    manager = LegManager(port, store.legs, "n1", lambda transaction, message: None)
    manager.handle(RequestReceived(T1, request("INVITE", 1, body=OFFER, lines=[("Record-Route", "<sip:p;lr>")])))
    leg_id = manager.take(T1, FakeOwner(), CALLEE_CONTACT)
    assert leg_id is not None
    manager.order(leg_id, Accept(sdp=ANSWER))
    manager.call(INVITATION, FakeOwner())
    await manager.close()  # waits for the writes
    assert [one.status for one in port.replies()] == [200] and len(port.requests()) == 1
    await store.close()

    store, port = await open_store(config), FakePort()
    manager = LegManager(port, store.legs, "n1", lambda transaction, message: None, wall=time.time)
    found = await restore(manager, store.legs, lambda record: None)
    assert (found.resumed, found.released, len(manager)) == (0, 2, 2)
    (bye,) = [one for one in port.sent if isinstance(one, SendRequest)]
    assert (bye.request_uri, bye.next_hop, header(bye, "Reason")) == ("sip:alice@198.51.100.1:5060", "sip:p;lr", RESTARTED)
    assert read(on_the_wire(bye)).from_tag == leg_id[1]
    assert len(port.sent) == 2, "and the CANCEL of the other"
    other = LegManager(port, store.legs, "n2", lambda transaction, message: None)
    assert (await restore(other, store.legs, lambda record: None)).released == 0, "the legs of another node are its own"
    await manager.close()
    await store.close()
