"""Requests that a separate core sends through the originating and the terminating side, and gets back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, kinds
from tests.scenarios.separate_core.conftest import CORE_ADDRESS, ODI, Core

SETTINGS = {"IM_TRUSTED_PEERS": CORE_ADDRESS, "IM_DELIVERY_TIMEOUT": "1000"}

NewUser = Callable[..., str]


def sides(core: Core) -> tuple[int, int]:
    """Both ports."""
    return core.originating, core.terminating


@pytest.mark.requirement("PAG-01")
def test_message_without_the_feature_tag(instance: Instance, core: Core, new_user: NewUser) -> None:
    """No Accept-Contact, one that denies the tag, one with others: 403 on either side, nothing stored or sent on."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    calls = []
    for port in sides(core):
        for lines in ([], ['Accept-Contact: *;+g.oma.sip-im="FALSE"'], ["Accept-Contact: *;audio"]):
            uri, asserted = address(recipient), address(sender)
            calls.append(core.to(port, "MESSAGE", uri, *lines, asserted=asserted, body=b"Hello", tag=False))
            response = core.final(calls[-1])
            assert response.status == 403
            assert response.value("Warning") == '399 example.com "Accept-Contact without +g.oma.sip-im"'
            assert response.value("Server").startswith("IM-serv/OMA1.0 ")  # HDR-01
    for call_id in calls:
        assert_refused(instance, call_id, 403, "PAG-01", address(sender), address(recipient))
    assert core.quiet(0.1)
    assert instance.stored(recipient) == []


@pytest.mark.requirement("IDN-01")
def test_message_without_an_identity(instance: Instance, core: Core, new_user: NewUser) -> None:
    """403 on either side: a trusted core says who it is."""
    sender, recipient = new_user(), new_user()
    for port in sides(core):
        call_id = core.to(port, "MESSAGE", address(recipient), body=b"Hello", sender=f"<{address(sender)}>")
        assert core.final(call_id).status == 403
        assert_refused(instance, call_id, 403, "IDN-01", "unidentified", address(recipient), traced=False)


@pytest.mark.requirement("COR-05", "COR-01", "COR-02", "PAG-05", "PAG-09", "PAG-16", "HDR-02", "HDR-07")
def test_there_and_back(instance: Instance, core: Core, new_user: NewUser) -> None:
    """Through the originating side, then the terminating one: each returns it along Route, with the identity untouched.

    The originating side takes the session type off; the terminating one adds Contact and keeps the Request-URI.
    """
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    lines = ("Subject: x", "X-Own:  kept")
    for port, uri in ((core.originating, f"{address(recipient)};session=1-1"), (core.terminating, address(recipient))):
        call_id = core.to(port, "MESSAGE", uri, *lines, asserted=address(sender), body=b"\x00\xff")
        request = core.receive("MESSAGE")
        asserted = f"P-Asserted-Identity: <{address(recipient)}>"
        core.reply(request, 200, "OK", asserted, "Server: device/1")
        response = core.final(call_id)
        assert request.uri == address(recipient)
        assert request.values("Route") == [f"<sip:{ODI}@{CORE_ADDRESS}:{core.port};lr>"]
        assert request.values("P-Asserted-Identity") == [f"<{address(sender)}>"]
        assert {"Subject: x", "X-Own:  kept"} <= set(request.header_lines())
        assert request.body == b"\x00\xff"
        expected = ["<sip:example.com>;+g.oma.sip-im"] if port == core.terminating else []
        assert request.values("Contact") == expected
        assert (response.status, response.values("Server")) == (200, ["device/1"])
        assert response.values("P-Asserted-Identity") == [f"<{address(recipient)}>"]
        assert kinds(instance, call_id, "delivered") == ["received", "delivered"]


@pytest.mark.requirement("PAG-05", "PAG-08", "HDR-07")
def test_failure_of_the_core(instance: Instance, core: Core, new_user: NewUser) -> None:
    """A decision of the device passes both sides; what says that nobody was reached is deferred by the terminating side."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    answers = [
        (core.originating, 486, "Busy Here", 486),
        (core.originating, 480, "Temporarily Unavailable", 480),
        (core.terminating, 603, "Decline", 603),
        (core.terminating, 480, "Temporarily Unavailable", 202),
        (core.terminating, 0, "", 202),
    ]
    for port, code, reason, expected in answers:
        call_id = core.to(port, "MESSAGE", address(recipient), asserted=address(sender), body=b"Hello")
        request = core.receive("MESSAGE")
        if code:
            core.reply(request, code, reason, f"P-Asserted-Identity: <{address(recipient)}>")
        response = core.final(call_id)
        assert response.status == expected, code
        if code == expected:
            assert response.values("P-Asserted-Identity") == [f"<{address(recipient)}>"]
    assert len(instance.stored(recipient)) == 2


@pytest.mark.requirement("PAG-02", "PAG-03", "PAG-06", "COR-05")
def test_policy_on_each_side(instance: Instance, core: Core, new_user: NewUser) -> None:
    """The originating side asks about the sender alone, the terminating one about the recipient alone."""
    sender, recipient = new_user(im_allowed="no"), new_user(pager_barred="yes")
    third = new_user()
    rows = [
        (core.originating, sender, third, 403, "PAG-02"),
        (core.terminating, sender, recipient, 480, "PAG-06"),
        (core.originating, third, recipient, 200, ""),
    ]
    refused = []
    for port, originator, target, expected, requirement in rows:
        call_id = core.to(port, "MESSAGE", address(target), asserted=address(originator), body=b"Hello")
        assert core.outcome(call_id) == expected
        if requirement:
            refused.append((call_id, expected, requirement, address(originator), address(target)))
    for row in refused:
        assert_refused(instance, *row)


@pytest.mark.requirement("COR-05", "COR-01", "COR-02")
def test_session_through_a_side(core: Core, new_user: NewUser) -> None:
    """INVITE, ACK and BYE: record-routed, so that the dialog stays on its path; a CANCEL ends what rings."""
    sender, recipient = new_user(), new_user()
    assert core.tell(recipient) == 200
    for port in sides(core):
        own = "Contact: <sip:a@192.0.2.1>;+g.oma.sip-im"
        dialog = core.to(port, "INVITE", address(recipient), own, asserted=address(sender))
        invite = core.receive("INVITE")
        assert any(f"127.0.0.1:{port};" in value for value in invite.values("Record-Route"))
        core.reply(invite, 200, "OK", f"Contact: <{core.contact}>")
        answer = core.final(dialog)
        assert answer.status == 200
        for method in ("ACK", "BYE"):
            core.send(core.within(answer, method))
            request = core.receive(method)
            assert request.value("Call-ID") == dialog
        core.reply(request, 200, "OK")
        assert core.final(dialog).status == 200

        dialog = core.to(port, "INVITE", address(recipient), own, asserted=address(sender))
        ringing = core.receive("INVITE")
        core.reply(ringing, 180, "Ringing")
        core.send(core.cancel(core.sent[-2]))
        assert core.final(dialog).method == "CANCEL"
        assert core.accept("CANCEL").value("Call-ID") == dialog
        core.reply(ringing, 487, "Request Terminated")
        response = core.final(dialog)
        assert (response.method, response.status) == ("INVITE", 487)


@pytest.mark.requirement("COR-05", "PAG-08")
def test_message_of_our_user_to_another_domain(core: Core, new_user: NewUser) -> None:
    """The originating side serves the sender; where the message goes is the core's business."""
    sender = new_user()
    call_id = core.to(core.originating, "MESSAGE", "sip:carol@other.example", asserted=address(sender), body=b"Hello")
    request = core.receive("MESSAGE")
    core.reply(request, 200, "OK")
    assert request.uri == "sip:carol@other.example"
    assert core.final(call_id).status == 200


@pytest.mark.requirement("SEC-05")
def test_what_the_sides_do_not_take(core: Core) -> None:
    """A request outside any dialog of ours, and a method that is none of ours: an answer all the same."""
    core.target = ("127.0.0.1", core.terminating)
    bye = core.ask("BYE", "sip:a@example.com", to="<sip:a@example.com>;tag=x", challenged=False)
    assert bye.status == 481
    assert core.ask("PUBLISH", "sip:a@example.com", challenged=False).status == 403  # SET-01: no feature tag
    with Agent(core.terminating, "scscf", address=CORE_ADDRESS) as other:
        assert other.ask("OPTIONS", f"sip:127.0.0.1:{core.terminating}", challenged=False).status in (200, 405)


@pytest.mark.requirement("ADV-03", "COR-05", "PAG-08")
def test_group_advertisement(instance: Instance, core: Core, new_user: NewUser) -> None:
    """The core has the bindings and their tags: it gets Accept-Contact as it came, and its 480 says that none matches.

    Not so where nobody has registered, or where the device did not answer: then it is kept.
    """
    sender, recipient, away = new_user(), new_user(), new_user()
    assert core.tell(recipient) == 200
    asking = "Accept-Contact: *;+g.oma.sip-im;+g.poc.groupad;require;explicit"

    def send(port: int, user: str) -> str:
        return core.to(port, "MESSAGE", address(user), asking, asserted=address(sender), body=b"<x/>", tag=False)

    for port, code, reason, expected in (
        (core.originating, 200, "OK", 200),
        (core.terminating, 200, "OK", 200),
        (core.originating, 480, "Temporarily Unavailable", 480),
        (core.terminating, 480, "Temporarily Unavailable", 480),
        (core.terminating, 408, "Request Timeout", 202),
    ):
        call_id = send(port, recipient)
        request = core.receive("MESSAGE")
        assert [line for line in request.header_lines() if line.startswith("Accept-Contact")] == [asking]
        core.reply(request, code, reason)
        assert core.final(call_id).status == expected, code
    assert len(instance.stored(recipient)) == 1
    assert core.final(send(core.terminating, away)).status == 202
    assert len(instance.stored(away)) == 1
