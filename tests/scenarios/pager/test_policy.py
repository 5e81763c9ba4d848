"""Who may send what to whom: operator policy with exceptions per user, barring, and the recipient's rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, kinds
from tests.scenarios.pager.conftest import Sent

REJECTED_RULES = """<?xml version="1.0" encoding="UTF-8"?>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:im="urn:oma:xml:im:im-rules">
  <rule id="one"><conditions><identity><one id="{}"/></identity></conditions>
    <actions><im:allow-pager-mode-message>reject</im:allow-pager-mode-message></actions></rule>
  <rule id="unnamed"><conditions><anonymous-request xmlns="urn:oma:xml:xdm:common-policy"/></conditions>
    <actions><im:allow-pager-mode-message>reject</im:allow-pager-mode-message></actions></rule>
</ruleset>
"""
EXTERNAL = 'message/external-body;access-type="URL";URL="http://files.example/1"'

Send = Callable[..., Sent]
NewUser = Callable[..., str]

SENDER, RECIPIENT = "sender", "recipient"


REFUSED = [
    # whose setting, the setting, the message, the response
    (SENDER, {"im_allowed": "no"}, {}, (403, "PAG-02", "Originator is not allowed to use IM")),
    (SENDER, {"pager_max_size": "6"}, {}, (403, "PAG-03", "Message body exceeds 6 bytes")),
    (RECIPIENT, {"pager_max_size": "6"}, {}, (403, "PAG-03", "Message body exceeds 6 bytes")),
    (SENDER, {"content_types": "image/*"}, {}, (403, "PAG-03", "Content type text/plain is not allowed")),
    (
        *(RECIPIENT, {"content_types": "text/plain,image/*"}, {"content_type": "Text/HTML; charset=utf-8"}),
        (403, "PAG-03", "Content type text/html is not allowed"),
    ),
    (
        *(RECIPIENT, {"content_types": "text/*"}, {"content_type": EXTERNAL}),
        (403, "PAG-03", "Content type message/external-body is not allowed"),
    ),
    (RECIPIENT, {"pager_barred": "yes"}, {}, (480, "PAG-06", "")),
]


@pytest.mark.requirement("PAG-02", "PAG-03", "PAG-06", "PAG-17")
def test_refused_by_the_setting_of_a_user(instance: Instance, new_user: NewUser, send: Send) -> None:
    """A user's own setting counts, on either side: refused with the reason, nothing stored, nothing sent to the device."""
    refused = []
    for who, setting, message, (code, requirement, text) in REFUSED:
        sender = new_user(**(setting if who == SENDER else {}))
        recipient = new_user(**(setting if who == RECIPIENT else {}))
        with Agent(instance.sip_port, recipient) as agent:
            agent.register()
            sent = send(sender, recipient, **message)
            assert (sent.status, sent.warning) == (code, text), setting
            assert agent.quiet(0.05)
        refused.append((sent.call_id, code, requirement, sender, recipient))
    for call_id, code, requirement, sender, recipient in refused:
        assert_refused(instance, call_id, code, requirement, address(sender), address(recipient))
        assert instance.stored(recipient) == []


@pytest.mark.requirement("PAG-03")
def test_allowed_by_the_setting_of_a_user(instance: Instance, new_user: NewUser, send: Send) -> None:
    """The very size that a user may, and types in any case and with parameters."""
    sender = new_user(pager_max_size="7", content_types="text/plain")
    recipient = new_user(pager_max_size="7", content_types="text/*")
    sent = send(sender, recipient, content_type="Text/Plain; charset=utf-8")
    assert sent.status == 202
    assert [entry["content_type"] for entry in instance.stored(recipient)] == ["Text/Plain; charset=utf-8"]


@pytest.mark.requirement("PAG-07", "IDN-04")
def test_refused_by_the_rules_of_the_recipient(instance: Instance, new_user: NewUser, send: Send, tmp_path: Path) -> None:
    """One sender is rejected and whoever hides, another is not; after the document is gone nobody is."""
    rejected, other, recipient = new_user(), new_user(), new_user()
    document = tmp_path / "rules.xml"
    document.write_text(REJECTED_RULES.format(address(rejected)))
    instance.command("rules", "put", recipient, str(document))
    sent = send(rejected, recipient)
    assert (sent.status, sent.warning) == (403, "Not accepted by the recipient")
    assert_refused(instance, sent.call_id, 403, "PAG-07", address(rejected), address(recipient))
    hidden = send(other, recipient, header_line="Privacy: id")
    assert hidden.status == 403
    assert_refused(instance, hidden.call_id, 403, "PAG-07", "anonymous", address(recipient))
    assert instance.stored(recipient) == []
    allowed = send(other, recipient)
    assert allowed.status == 202
    instance.command("rules", "delete", recipient)
    again = send(rejected, recipient)
    assert again.status == 202
    assert [entry["call_id"] for entry in instance.stored(recipient)] == [allowed.call_id, again.call_id]


@pytest.mark.requirement("PAG-02", "PAG-06", "SET-07", "COR-04")
def test_change_takes_effect_on_the_next_request(instance: Instance, new_user: NewUser) -> None:
    """What the operator sets holds for the next message, though Kamailio remembers what it was told."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()

        def outcome() -> int:
            response = origin.message(recipient)
            assert agent.quiet(0.05)
            return response.status

        def delivered() -> int:
            call_id = origin.begin_message(recipient)
            agent.accept()
            return origin.final(call_id).status

        assert [delivered(), delivered()] == [200, 200]
        for user, setting, expected in (
            (sender, "im_allowed=no", 403),
            (sender, "im_allowed=yes", 200),
            (recipient, "pager_barred=yes", 480),
            (recipient, "pager_barred=no", 200),
            (recipient, "willing=no", 202),
            (recipient, "willing=yes", 200),
        ):
            instance.command("user", "set", user, setting)
            assert (delivered if expected == 200 else outcome)() == expected, setting


@pytest.mark.requirement("PAG-17")
def test_external_body_passes(instance: Instance, new_user: NewUser) -> None:
    """A body that only points at content arrives as it was sent."""
    sender, recipient = new_user(), new_user()
    body = b"Content-Type: image/jpeg\r\nContent-ID: <1@files.example>\r\n\r\n"
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        agent.register()
        call_id = origin.begin_message(recipient, body, content_type=EXTERNAL)
        request = agent.accept()
        assert origin.final(call_id).status == 200
    assert request.value("Content-Type") == EXTERNAL
    assert request.body == body
    assert kinds(instance, call_id, "delivered") == ["received", "delivered"]
