"""Which requests go to the Deferred Messaging Function, and who may not (DEF-07, DEF-08)."""

from __future__ import annotations

from typing import Any

import pytest

from kemi import pager_originating, pager_terminating
from kemi.actions import Action, Refuse, ToWorker
from kemi.deferred_uri import is_deferred_uri
from kemi.messages import PagerFacts
from kemi.trace_events import read_registered_lines
from tests.kemi.builders import FACTS, POLICY, request, user

ALICE = "sip:alice@example.com"
DEFERRED = "sip:deferred@example.com"
MESSAGE_ID = "sip:7%40example.com@example.com"
SUMMARY = "message-summary"


def asked(method: str, recipient: str, event: str = "") -> dict[str, Any]:
    return {"method": method, "recipient": recipient, "request_uri": recipient, "event": event}


def status(action: Action) -> int | str:
    if isinstance(action, Refuse):
        return action.status
    return action.function if isinstance(action, ToWorker) else type(action).__name__


@pytest.mark.requirement("DEF-07", "DEF-08")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (asked("INVITE", DEFERRED), "deferred"),
        (asked("INVITE", MESSAGE_ID), "deferred"),
        (asked("SUBSCRIBE", ALICE, SUMMARY), "deferred"),
        (asked("SUBSCRIBE", ALICE, "Message-Summary ; id=1"), "deferred"),
        (asked("SUBSCRIBE", DEFERRED, "presence"), "deferred"),
        (asked("SUBSCRIBE", ALICE, "presence"), "ToCore"),
        (asked("SUBSCRIBE", "sip:bob@example.com", SUMMARY), "ToCore"),
        (asked("INVITE", "sip:bob@example.com"), "ToCore"),
        (asked("INVITE", "sip:deferred@example.org"), "ToCore"),
        (asked("MESSAGE", DEFERRED), "ToCore"),
        (asked("REFER", DEFERRED), "ToCore"),
    ],
)
def test_requests_of_a_served_user(changes: dict[str, Any], expected: str) -> None:
    assert status(pager_originating.decide(request(**changes), FACTS, POLICY)) == expected


@pytest.mark.requirement("DEF-07", "PAG-02")
def test_who_may_not_use_im_gets_nothing() -> None:
    facts = PagerFacts(user(im_allowed=False), None)
    assert status(pager_originating.decide(request(**asked("INVITE", DEFERRED)), facts, POLICY)) == 403


@pytest.mark.requirement("DEF-07", "DEF-08")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (asked("INVITE", DEFERRED), 403),
        (asked("INVITE", MESSAGE_ID), 403),
        (asked("SUBSCRIBE", DEFERRED, SUMMARY), 403),
        (asked("SUBSCRIBE", "sip:bob@example.com", SUMMARY), 403),
        (asked("SUBSCRIBE", "sip:bob@example.com", "presence"), "ToRecipient"),
        (asked("INVITE", "sip:bob@example.com"), "ToRecipient"),
    ],
)
def test_requests_of_somebody_else(changes: dict[str, Any], expected: int | str) -> None:
    assert status(pager_terminating.decide(request(**changes), FACTS, POLICY)) == expected


@pytest.mark.requirement("DEF-07")
@pytest.mark.parametrize(
    ("address", "domain", "expected"),
    [
        (DEFERRED, "Example.com", True),
        ("sip:Deferred@example.com", "example.com", True),
        (MESSAGE_ID, "example.com", True),
        ("sip:deferred1@example.com", "example.com", False),
        ("", "example.com", False),
    ],
)
def test_addresses(address: str, domain: str, expected: bool) -> None:
    assert is_deferred_uri(address, domain) is expected


@pytest.mark.requirement("COR-09")
def test_registrations_travel_with_the_traces() -> None:
    lines = (
        b"1.0\tdelivered\t200\t\tc\t1\ta\tb\t\nregistered\tsip:a@x\nregistered\tsip:b@x\nregistered\tsip:a@x\nregistered"
    )
    assert read_registered_lines(lines) == ["sip:a@x", "sip:b@x"]
