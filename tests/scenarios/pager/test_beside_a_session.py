"""Pager mode and a session of the same two users, through the same proxies, at the same time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, kinds

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=message 9 TCP/MSRP *\r\na=accept-types:*\r\n"
)


@pytest.mark.requirement("PAG-18", "COR-01", "COR-02")
def test_messages_while_a_session_is_up(instance: Instance, new_user: Callable[..., str]) -> None:
    """An INVITE dialog stands, messages go both ways, the dialog still takes its BYE."""
    caller, callee = new_user(), new_user()
    with Agent(instance.sip_port, caller) as first, Agent(instance.sip_port, callee) as second:
        assert first.register().status == 200
        assert second.register().status == 200
        own = f"Contact: <{first.contact}>;+g.oma.sip-im"
        dialog = first.begin("INVITE", address(callee), ACCEPT_CONTACT, own, "Content-Type: application/sdp", body=SDP)
        invite = second.receive("INVITE")
        assert invite.uri == second.contact
        assert invite.values("P-Asserted-Identity") == [f"<{address(caller)}>"]
        second.reply(invite, 200, "OK", f"Contact: <{second.contact}>", "Content-Type: application/sdp", body=SDP)
        answer = first.final(dialog)
        assert answer.status == 200
        first.send(first.within(answer, "ACK"))
        assert second.receive("ACK").value("Call-ID") == dialog

        for origin, target, user in ((first, second, callee), (second, first, caller)):
            call_id = origin.begin_message(user, b"beside the session")
            assert target.accept("MESSAGE").body == b"beside the session"
            assert origin.final(call_id).status == 200
            assert kinds(instance, call_id, "delivered") == ["received", "delivered"]

        first.send(first.within(answer, "BYE"))
        bye = second.accept("BYE")
        assert bye.value("Call-ID") == dialog
        assert first.final(dialog).status == 200
    assert instance.stored(caller) == instance.stored(callee) == []
