"""The B2BUA as a core sees it, message by message: what comes back by its Route, and what follows in dialogs (PFS-03)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent, Message
from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.evidence import address
from tests.scenarios.separate_core.conftest import CORE_ADDRESS, ODI, Core
from tests.scenarios.sessions.party import ALLOW, SDP, described, path_of

SETTINGS = {"IM_TRUSTED_PEERS": CORE_ADDRESS, "IM_MEDIA_PATH": "always", "IM_DELIVERY_TIMEOUT": "1000"}
CHARGING = "P-Charging-Vector: icid-value=4711;orig-ioi=home.example"
FILE = 'a=sendonly\r\na=file-selector:name:"a.png" type:image/png size:5\r\n'

LEGS = "SELECT call_id FROM leg"

NewUser = Callable[..., str]
both_sides = pytest.mark.parametrize("side", ["originating", "terminating"])


def port_of(core: Core, side: str) -> int:
    """The port of a side."""
    return core.originating if side == "originating" else core.terminating


def invite(core: Core, side: str, sender: str, recipient: str, *lines: str, body: bytes = b"", hops: int = 70) -> str:
    """The INVITE of a user, sent to a side with the Route that leads back; its Call-ID."""
    port = port_of(core, side)
    core.target = ("127.0.0.1", port)
    fields = (
        f"Route: <sip:127.0.0.1:{port};lr>, <sip:{ODI}@{core.address}:{core.port};lr;orig-dialog-id=7>",
        f"P-Asserted-Identity: <{address(sender)}>, <tel:+15550100>",
        "Accept-Contact: *;+g.oma.sip-im;require;explicit",
        f"Contact: <{core.contact}>;+g.oma.sip-im",
        ALLOW,
        CHARGING,
        SDP,
        *lines,
    )
    request = core.build(
        "INVITE", address(recipient), *fields, body=body or described("caller"), sender=f"<{address(sender)}>"
    )
    core.send(request.replace(b"Max-Forwards: 70", f"Max-Forwards: {hops}".encode()))
    return Message(request).value("Call-ID")


@both_sides
@pytest.mark.requirement("PFS-03", "PFS-02", "PFS-11", "PFS-12", "COR-05", "HDR-07", "IDN-04")
def test_what_comes_back(core: Core, new_user: NewUser, side: str) -> None:
    """The INVITE of the B2BUA: a dialog and a media path of its own, the core's mark, identities and charging as they were,
    with privacy asked for too: it is the core's to keep them back. It comes from the port that the core sent to."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    call_id = invite(core, side, sender, recipient, "Privacy: id", "P-Served-User: <sip:x@example.com>;sescase=orig")
    across = core.receive("INVITE")
    port = port_of(core, side)
    assert across.uri == address(recipient)
    assert across.values("Route") == [f"<sip:{ODI}@{CORE_ADDRESS}:{core.port};lr;orig-dialog-id=7>"]
    assert across.value("P-Asserted-Identity") == f"<{address(sender)}>, <tel:+15550100>"
    assert across.value("P-Served-User") == "<sip:x@example.com>;sescase=orig"
    assert across.value("Privacy") == "id"
    assert f"P-Charging-Vector: {across.value('P-Charging-Vector')}" == CHARGING
    assert across.value("Via").startswith(f"SIP/2.0/UDP 127.0.0.1:{port};")
    assert re.fullmatch(rf"<sip:im-leg-[0-9a-f]+@127\.0\.0\.1:{port}>;\+g\.oma\.sip-im", across.value("Contact"))
    assert not across.values("Record-Route") and not [line for line in across.header_lines() if line.startswith("IM-")]
    assert across.value("Max-Forwards") == "69"
    assert across.value("Call-ID") != call_id
    assert path_of(across.body) and "127.0.0.77" not in path_of(across.body)
    asserted = f"P-Asserted-Identity: <{address(recipient)}>"
    contact = f"Contact: <{core.contact}>;+g.oma.sip-im"
    core.reply(across, 200, "OK", contact, asserted, "Privacy: id", SDP, body=described("callee", setup="active"))
    answer = core.final(call_id)
    assert answer.status == 200
    assert answer.value("P-Asserted-Identity") == f"<{address(recipient)}>"
    assert f"@127.0.0.1:{port}>" in answer.value("Contact")
    core.send(core.within(answer, "ACK"))
    assert core.receive("ACK").value("Call-ID") == across.value("Call-ID")
    core.send(core.within(answer, "BYE"))
    bye = core.receive("BYE")
    assert (bye.uri, f"P-Charging-Vector: {bye.value('P-Charging-Vector')}") == (core.contact, CHARGING)
    core.reply(bye, 200, "OK")
    assert core.final(call_id).status == 200


@both_sides
@pytest.mark.requirement("PFS-03", "PFS-04", "PFS-08", "COR-05")
def test_failure_and_cancel(core: Core, new_user: NewUser, side: str) -> None:
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    call_id = invite(core, side, sender, recipient)
    told = (f"P-Asserted-Identity: <{address(recipient)}>", 'Warning: 399 device "no"')
    core.reply(core.receive("INVITE"), 603, "Decline", *told)
    answer = core.final(call_id)
    assert (answer.status, answer.value("Warning")) == (603, '399 device "no"')
    assert answer.value("P-Asserted-Identity") == f"<{address(recipient)}>"

    call_id = invite(core, side, sender, recipient)
    sent = core.sent[-1]
    ringing = core.receive("INVITE")
    core.reply(ringing, 180, "Ringing")
    core.send(core.cancel(sent))
    cancel = core.accept("CANCEL")
    assert cancel.value("Call-ID") == ringing.value("Call-ID")
    assert cancel.values("Route") == ringing.values("Route")
    core.reply(ringing, 487, "Request Terminated")
    assert {(one.method, one.status) for one in (core.final(call_id), core.final(call_id))} == {
        ("CANCEL", 200),
        ("INVITE", 487),
    }


@both_sides
@pytest.mark.requirement("PFS-03", "COR-05", "SEC-02")
def test_a_core_that_goes_round_in_circles(core: Core, new_user: NewUser, side: str) -> None:
    """A core that does not know its mark again and asks anew: each turn costs a hop, and the last one ends it."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    turns, hops = [], 3
    while hops:
        invite(core, side, sender, recipient, hops=hops)
        hops = int(core.receive("INVITE").value("Max-Forwards"))
        turns.append(hops)
    assert turns == [2, 1, 0]
    assert core.final(invite(core, side, sender, recipient, hops=0)).status == 483


@pytest.mark.requirement("PFS-03", "PFS-16", "LRG-04", "COR-05")
@pytest.mark.parametrize(("side", "status"), [("originating", 480), ("terminating", 200)])
def test_a_large_message_that_nobody_takes(
    instance: Instance, core: Core, new_user: NewUser, side: str, status: int
) -> None:
    """The terminating side keeps it for its user; the originating one passes the failure on, whosever user that is."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    call_id = invite(core, side, sender, recipient, body=described("caller") + FILE.encode())
    core.reply(core.receive("INVITE"), 480, "Temporarily Unavailable")
    answer = core.final(call_id)
    assert answer.status == status
    if status == 200:
        assert b"a=recvonly" in answer.body and ";automata" in answer.value("Contact")
        core.send(core.within(answer, "ACK"), ("127.0.0.1", instance.sip_port))
        core.send(core.within(answer, "BYE"), ("127.0.0.1", instance.sip_port))
        assert core.final(call_id).status == 200


@pytest.mark.requirement("PFS-03", "SEC-01")
def test_only_the_core_speaks_in_its_dialogs(instance: Instance, core: Core, new_user: NewUser) -> None:
    """Who knows all of a dialog, but is another address, ends nothing at these ports."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    call_id = invite(core, "terminating", sender, recipient)
    contact = f"Contact: <{core.contact}>;+g.oma.sip-im"
    core.reply(core.receive("INVITE"), 200, "OK", contact, SDP, body=described("callee", setup="active"))
    answer = core.final(call_id)
    core.send(core.within(answer, "ACK"))
    core.receive("ACK")
    with Agent(core.terminating, "stranger", address="127.0.0.3") as stranger:
        for method in ("BYE", "UPDATE", "MESSAGE"):
            request = core.within(answer, method).replace(
                f"{core.address}:{core.port}".encode(), b"127.0.0.3:%d" % stranger.port, 1
            )
            stranger.send(request)
            assert stranger.final(call_id).status == 403
    assert f"IM refused 403 SEC-01 BYE Call-ID={call_id} from 127.0.0.3" in instance.kamailio_log()
    core.send(core.within(answer, "BYE"))
    core.accept("BYE")
    assert core.final(call_id).status == 200


@pytest.mark.requirement("PFS-03", "PFS-09", "SEC-06")
def test_the_worker_is_restarted(instance: Instance, core: Core, new_user: NewUser) -> None:
    """A session of the core is released towards both sides, by the routes of its dialogs."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    call_id = invite(core, "originating", sender, recipient, f"Record-Route: <sip:{CORE_ADDRESS}:{core.port};lr;y=2>")
    across = core.receive("INVITE")
    way = f"Record-Route: <sip:{CORE_ADDRESS}:{core.port};lr;x=1>"
    contact = f"Contact: <{core.contact}>;+g.oma.sip-im"
    core.reply(across, 200, "OK", way, contact, SDP, body=described("callee", setup="active"))
    answer = core.final(call_id)
    core.send(core.within(answer, "ACK"))
    core.receive("ACK")
    instance.deployment.worker.kill()
    instance.deployment.start_worker()
    instance.deployment.wait_ready()
    byes = sorted((core.accept("BYE") for _ in range(2)), key=lambda bye: bye.value("Call-ID") == call_id)
    way_of = [bye.values("Route") for bye in byes]
    assert way_of == [[f"<sip:{CORE_ADDRESS}:{core.port};lr;x=1>"], [f"<sip:{CORE_ADDRESS}:{core.port};lr;y=2>"]]
    assert all("cause=503" in bye.value("Reason") for bye in byes)
    ours = {call_id, across.value("Call-ID")}

    def released() -> bool:
        return ours.isdisjoint(row[0] for row in instance.in_store(lambda store: store.database.read(LEGS)))

    wait_until(released, "nothing is left")
