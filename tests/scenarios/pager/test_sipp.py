"""Pager mode with SIPp on both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, free_port, header, messages, status

HERE = Path(__file__).parent


@pytest.mark.requirement("PAG-05", "PAG-09", "COR-01", "COR-02", "COR-07", "HDR-02", "IDN-02")
def test_two_users_exchange_messages(instance: Instance, new_user: Callable[..., str]) -> None:
    """Both register, each sends to the other, each receives with the asserted identity of the other."""
    users = [new_user(), new_user()]
    ports = [free_port(), free_port()]
    for user, port in zip(users, ports, strict=True):
        instance.sipp(HERE / "register.xml", user=user, port=port, keys={"expires": "600"}).wait()
    for sender, recipient, port in ((users[0], users[1], ports[1]), (users[1], users[0], ports[0])):
        receiving = instance.sipp(HERE / "receive.xml", port=port)
        sent = instance.sipp(HERE / "send.xml", user=sender, service=recipient).wait()
        assert status(messages(sent)[-1]) == 200
        (received, _) = messages(receiving.wait())
        assert header(received, "P-Asserted-Identity") == [f"<sip:{sender}@example.com>"]
        assert header(received, "Contact") == ["<sip:example.com>;+g.oma.sip-im"]
        assert header(received, "Proxy-Authorization") == []


@pytest.mark.requirement("PAG-08", "DEF-01", "DEF-02")
def test_message_to_an_absent_user_is_kept(instance: Instance, new_user: Callable[..., str]) -> None:
    """202, and the message stands in the store with a Message-ID and every byte of its body."""
    sender, recipient = new_user(), new_user()
    trace = instance.sipp(HERE / "send.xml", user=sender, service=recipient).wait()
    assert status(messages(trace)[-1]) == 202
    (entry,) = instance.stored(recipient)
    kept = instance.stored_bytes(recipient, entry["message_id"])
    assert kept.endswith(b"\r\n\r\nHello from SIPp\r\n")
    assert b"Proxy-Authorization" not in kept
    assert entry["message_id"].endswith("@example.com")
    call_id = header(messages(trace)[0], "Call-ID")[0]
    assert [step["kind"] for step in instance.trace(call_id)] == ["received", "deferred"]
