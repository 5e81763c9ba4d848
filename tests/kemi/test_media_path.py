"""Which sessions go through this server, and what is for a focus elsewhere (6.2.3.2, 6.2.3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from kemi import focus_uri, pager_originating, pager_terminating
from kemi.actions import Ask, Refuse, ToCore, ToFocus, ToRecipient, ToWorker
from kemi.messages import EndFacts, Failed, Focus, FocusQuestion, PagerFacts
from tests.kemi.builders import POLICY, policy, request, user

KEEPS = user(session_history=True)
PLAIN = user()
LEG = "sip:im-leg-0123@example.com"


@pytest.mark.requirement("PFS-02", "PFS-03", "PFS-14")
@pytest.mark.parametrize(
    ("media_path", "originator", "recipient", "expected"),
    [
        ("always", PLAIN, PLAIN, ToWorker("participating")),
        ("always", KEEPS, PLAIN, ToWorker("participating", records_originator=True)),
        ("auto", PLAIN, PLAIN, ToRecipient("sip:bob@example.com")),
        ("auto", KEEPS, PLAIN, ToWorker("participating", records_originator=True)),
        ("auto", PLAIN, KEEPS, ToWorker("participating", records_recipient=True)),
        ("auto", KEEPS, KEEPS, ToWorker("participating", records_originator=True, records_recipient=True)),
        ("auto", None, KEEPS, ToWorker("participating", records_recipient=True)),
        ("never", KEEPS, KEEPS, ToRecipient("sip:bob@example.com")),
    ],
)
def test_who_stays_on_the_terminating_side(
    media_path: str, originator: EndFacts | None, recipient: EndFacts, expected: ToWorker | ToRecipient
) -> None:
    facts = PagerFacts(originator, recipient)
    assert pager_terminating.decide(request(method="INVITE"), facts, policy(media_path=media_path)) == expected


@pytest.mark.requirement("PFS-02")
def test_the_media_of_our_own_focus_are_here_already() -> None:
    facts = PagerFacts(None, KEEPS)
    action = pager_terminating.decide(request(method="INVITE", own=True), facts, policy(media_path="always"))
    assert isinstance(action, ToRecipient)


@pytest.mark.requirement("PFS-02", "PFS-03", "PFS-14", "COR-05")
@pytest.mark.parametrize(
    ("media_at", "recipient", "expected"),
    [
        ("", PLAIN, ToWorker("participating")),
        ("participating", PLAIN, ToRecipient("sip:bob@example.com")),
        ("participating", KEEPS, ToWorker("participating", records_recipient=True)),
        ("im-session", KEEPS, ToRecipient("sip:bob@example.com")),
        ("deferred", KEEPS, ToRecipient("sip:bob@example.com")),
    ],
)
def test_what_a_separate_core_brings_back(media_at: str, recipient: EndFacts, expected: ToWorker | ToRecipient) -> None:
    """An INVITE of the worker has its media here; only the history of a recipient asks for a hop of its own."""
    facts = PagerFacts(None, recipient, media_at=media_at)
    asked = request(method="INVITE", separate_core=True)
    assert pager_terminating.decide(asked, facts, policy(media_path="always")) == expected


@pytest.mark.requirement("PFS-02", "PFS-03", "MED-11")
@pytest.mark.parametrize(
    ("changes", "media_path", "originator", "expected"),
    [
        ({"websocket": True}, "auto", PLAIN, ToWorker("participating")),
        ({"websocket": True}, "never", PLAIN, ToCore("sip:bob@example.com")),
        ({"websocket": True, "serves_recipient": True}, "auto", PLAIN, ToCore("sip:bob@example.com")),
        ({}, "always", PLAIN, ToWorker("participating")),
        ({}, "auto", KEEPS, ToWorker("participating", records_originator=True)),
        ({}, "auto", PLAIN, ToCore("sip:bob@example.com")),
        ({}, "never", KEEPS, ToCore("sip:bob@example.com")),
        ({"serves_recipient": True}, "always", KEEPS, ToCore("sip:bob@example.com")),
        ({"separate_core": True}, "always", KEEPS, ToWorker("participating", records_originator=True)),
        ({"separate_core": True}, "auto", KEEPS, ToWorker("participating", records_originator=True)),
        ({"separate_core": True}, "auto", PLAIN, ToCore("sip:bob@example.com")),
        ({"separate_core": True}, "never", KEEPS, ToCore("sip:bob@example.com")),
        ({"separate_core": True, "websocket": True}, "auto", PLAIN, ToWorker("participating")),
        ({"method": "SUBSCRIBE"}, "always", KEEPS, ToCore("sip:bob@example.com")),
        ({"method": "MESSAGE"}, "always", KEEPS, ToCore("sip:bob@example.com")),
    ],
)
def test_who_stays_on_the_originating_side(
    changes: dict[str, Any], media_path: str, originator: EndFacts, expected: ToWorker | ToCore
) -> None:
    """To somebody served elsewhere; where both are served here, the terminating side decides."""
    asked = request(**{"method": "INVITE", **changes})
    assert pager_originating.decide(asked, PagerFacts(originator), policy(media_path=media_path)) == expected


@pytest.mark.requirement("PFS-06", "PFS-11")
@pytest.mark.parametrize(
    ("recipient", "serves", "expected"),
    [
        (LEG, True, True),
        (LEG, False, False),
        ("sip:bob@example.com", True, False),
        ("sip:bob.im-leg-1@example.com", True, False),
    ],
)
def test_what_is_for_a_contact_of_ours(recipient: str, *, serves: bool, expected: bool) -> None:
    assert focus_uri.is_for_leg(request(method="SUBSCRIBE", recipient=recipient, serves_recipient=serves)) is expected


@pytest.mark.requirement("PFS-06", "IDN-01")
def test_the_question_which_focus_is_meant() -> None:
    """After the checks that every request meets first."""
    asked = request(method="SUBSCRIBE", recipient=LEG)
    ask = focus_uri.screen(asked, POLICY)
    assert ask == Ask(FocusQuestion("call-1", "im-leg-0123"), focus_uri.STAGE)
    for spoilt in ({"accept_contact": ""}, {"originator": ""}):
        refusal = focus_uri.screen(request(method="SUBSCRIBE", recipient=LEG, **spoilt), POLICY)
        assert isinstance(refusal, Refuse) and refusal.status == 403


@pytest.mark.requirement("PFS-06", "SEC-06")
@pytest.mark.parametrize(
    ("answer", "outcome"), [(Focus("sip:room@example.org"), "sip:room@example.org"), (Focus(""), 404), (Failed(), 503)]
)
def test_on_to_the_focus(answer: Any, outcome: str | int) -> None:
    action = focus_uri.decide(answer, POLICY)
    assert action == ToFocus(outcome) if isinstance(outcome, str) else action.status == outcome  # type: ignore[union-attr]
