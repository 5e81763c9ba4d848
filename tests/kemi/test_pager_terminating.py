"""The terminating side. Each check alone, and every pair that is violated at once: the earlier one answers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from kemi import pager_originating as originating
from kemi.actions import Action, Ask, Refuse, Respond, ToRecipient, ToWorker
from kemi.large_message import LargeMessage
from kemi.messages import INACCESSIBLE, DeferQuestion, Deferred, Failed, PagerFacts, PagerQuestion, Registered
from kemi.pager_terminating import DEFER_STAGE, STAGE, decide, decide_bridged, deferred, delivery_failed, screen
from tests.kemi.builders import FACTS, NOW, POLICY, policy, request, user

COMPOSING = {"content_type": "application/im-iscomposing+xml"}


@pytest.mark.requirement("PAG-01", "IDN-01", "SEC-05")
@pytest.mark.parametrize(
    ("changes", "requirement"),
    [
        ({"accept_contact": "", "originator": "", "message_length": 1_000_000}, "PAG-01"),
        ({"originator": "", "message_length": 1_000_000}, "IDN-01"),
        ({"message_length": 1_000_000}, "SEC-05"),
    ],
)
def test_the_screening_checks_in_their_order(changes: dict[str, Any], requirement: str) -> None:
    action = screen(request(**changes), POLICY)
    assert isinstance(action, Refuse) and action.requirement == requirement


@pytest.mark.requirement("PAG-08")
def test_the_question_asks_for_the_recipient_alone() -> None:
    question = PagerQuestion("call-1", "sip:alice@example.com", "sip:bob@example.com", False, False, True, "INVITE")
    assert screen(request(method="INVITE"), POLICY) == Ask(question, STAGE)


# The checks of 6.2.6.1, 1 to 6, as changes of request and facts.
CHECKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "PAG-06": ({}, {"pager_barred": True}),
    "PAG-07": ({}, {"originator_rejected": True}),
    "PAG-03": ({"content_length": 40_000}, {}),
    "DEF-10": ({"expires": "0"}, {}),
    "not registered": ({"available": False}, {}),
    "not willing": ({}, {"willing": False}),
}


def outcome(action: Action) -> str:
    """Requirement of a refusal, reason of a deferral."""
    if isinstance(action, Refuse):
        return action.requirement
    assert isinstance(action, Ask) and isinstance(action.question, DeferQuestion)
    return action.question.reason


def decide_with(*violations: str, **changes: Any) -> Action:
    """The decision on a message that violates the named checks."""
    facts: dict[str, Any] = {}
    for name in violations:
        of_request, of_facts = CHECKS[name]
        changes |= of_request
        facts |= of_facts
    return decide(request(**changes), PagerFacts(user(), user(**facts)), POLICY)


@pytest.mark.requirement("PAG-03", "PAG-06", "PAG-07", "PAG-08", "DEF-10", "DEF-12")
@pytest.mark.parametrize("check", CHECKS)
def test_each_check_alone(check: str) -> None:
    assert outcome(decide_with(check)) == check


@pytest.mark.requirement("PAG-03", "PAG-06", "PAG-07", "PAG-08", "DEF-10", "DEF-12")
@pytest.mark.parametrize(("earlier", "later"), list(combinations(CHECKS, 2)))
def test_the_earlier_of_two_checks_answers(earlier: str, later: str) -> None:
    assert outcome(decide_with(earlier, later)) == earlier


@pytest.mark.requirement("COR-04")
def test_an_unknown_recipient_is_not_found() -> None:
    action = decide(request(available=False, content_length=40_000), PagerFacts(user(), None), POLICY)
    assert isinstance(action, Refuse) and (action.status, action.requirement) == (404, "COR-04")


@pytest.mark.requirement("PAG-06")
@pytest.mark.parametrize(("status", "reason"), [(480, "Temporarily Unavailable"), (403, "Refused"), (603, "Refused")])
def test_barring_answers_as_configured(status: int, reason: str) -> None:
    action = decide(request(), PagerFacts(user(), user(pager_barred=True)), policy(barred_response=status))
    assert isinstance(action, Refuse) and (action.status, action.reason) == (status, reason)


@pytest.mark.requirement("PAG-09", "PAG-16", "PAG-18", "PAG-20")
@pytest.mark.parametrize(
    ("changes", "uri"),
    [
        ({}, "sip:bob@example.com"),
        ({"request_uri": "sip:bob@example.com;session=1-1"}, "sip:bob@example.com"),
        (COMPOSING, "sip:bob@example.com"),
        ({"expires": "1"}, "sip:bob@example.com"),
    ],
)
def test_a_good_message_goes_to_the_recipient(changes: dict[str, Any], uri: str) -> None:
    assert decide(request(**changes), FACTS, POLICY) == ToRecipient(uri)


@pytest.mark.requirement("COR-05", "PAG-08")
@pytest.mark.parametrize(
    ("separate_core", "available", "registered", "delivered"),
    [
        (False, True, False, True),
        (False, False, True, False),
        (True, False, True, True),
        (True, True, False, False),
    ],
)
def test_availability_is_the_registrars_or_the_cores(
    separate_core: bool, available: bool, registered: bool, delivered: bool
) -> None:
    message = request(separate_core=separate_core, available=available)
    action = decide(message, PagerFacts(None, user(registered=registered)), POLICY)
    assert isinstance(action, ToRecipient) is delivered


@pytest.mark.requirement("PAG-08", "DEF-01")
def test_a_deferral_carries_the_message_itself() -> None:
    message = request(available=False, privacy="id", expires="60")
    question = DeferQuestion(
        call_id="call-1",
        originator="sip:alice@example.com",
        recipient="sip:bob@example.com",
        anonymous=True,
        received=NOW,
        expires=NOW + 60,
        reason="not registered",
    )
    assert decide(message, FACTS, POLICY) == Ask(question, DEFER_STAGE, with_message=True)


@pytest.mark.requirement("PAG-20")
@pytest.mark.parametrize(
    ("changes", "facts"), [({"available": False}, {}), ({}, {"willing": False}), ({"available": False}, {"willing": False})]
)
def test_composing_is_refused_where_a_message_would_be_kept(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    action = decide(request(**COMPOSING, **changes), PagerFacts(user(), user(**facts)), POLICY)
    assert isinstance(action, Refuse) and (action.status, action.requirement) == (480, "PAG-20")


@pytest.mark.requirement("PAG-08")
def test_a_failed_delivery_is_deferred_where_nobody_was_reached() -> None:
    actions = {status: delivery_failed(request(), status, POLICY) for status in range(300, 700)}
    outcomes = {status: outcome(action) for status, action in actions.items() if action is not None}
    inaccessible = (404, 408, 410, 430, 477, 480, 500, 503, 504)
    assert outcomes == {status: f"delivery failed with {status}" for status in inaccessible}


@pytest.mark.requirement("PAG-08", "PAG-20", "PFS-04")
@pytest.mark.parametrize("changes", [{"method": "INVITE"}, {"method": "REFER"}, COMPOSING])
@pytest.mark.parametrize("status", sorted(INACCESSIBLE))
def test_what_is_never_kept_passes_the_failure_on(changes: dict[str, Any], status: int) -> None:
    assert delivery_failed(request(**changes), status, POLICY) is None


@pytest.mark.requirement("DEF-01", "DEF-11", "PAG-08")
@pytest.mark.parametrize(
    ("answer", "status", "requirement", "retry_after"),
    [
        (Deferred("m1@example.com"), 202, "", None),
        (Deferred(refusal="quota"), 480, "DEF-11", None),
        (Deferred(refusal="unavailable"), 503, "DEF-01", 5),
        (Failed("a bug"), 503, "DEF-01", 5),
        (Registered(True), 503, "DEF-01", 5),
        (FACTS, 503, "DEF-01", 5),
    ],
)
def test_202_only_for_what_is_durable(answer: Any, status: int, requirement: str, retry_after: int | None) -> None:
    action = deferred(answer, POLICY)
    assert action.status == status
    if isinstance(action, Refuse):
        assert (action.requirement, action.retry_after) == (requirement, retry_after)
    else:
        assert isinstance(action, Respond)


@pytest.mark.requirement("PFS-13", "PFS-16", "COR-02")
@pytest.mark.parametrize(
    ("method", "changes", "facts", "requirement"),
    [
        ("INVITE", {}, {}, ""),
        ("INVITE", {}, {"session_barred": True}, "PFS-13"),
        ("INVITE", {}, {"session_originator_rejected": True}, "PFS-13"),
        ("INVITE", {}, {"pager_barred": True, "originator_rejected": True}, ""),
        ("INVITE", {"available": False}, {}, "PFS-16"),
        ("INVITE", {"available": False}, {"session_barred": True}, "PFS-13"),
        ("SUBSCRIBE", {}, {"session_barred": True, "session_originator_rejected": True}, ""),
        ("REFER", {}, {"session_barred": True, "session_originator_rejected": True}, ""),
        ("SUBSCRIBE", {"available": False}, {}, "PFS-16"),
        ("MESSAGE", {}, {"session_barred": True, "session_originator_rejected": True}, ""),
    ],
)
def test_sessions_and_messages_are_barred_apart(
    method: str, changes: dict[str, Any], facts: dict[str, Any], requirement: str
) -> None:
    action = decide(request(method=method, **changes), PagerFacts(None, user(**facts)), POLICY)
    if requirement:
        assert isinstance(action, Refuse) and action.requirement == requirement
    else:
        assert action == ToRecipient("sip:bob@example.com")


LARGE = {"method": "INVITE", "large_message": LargeMessage()}
PUSH = {**LARGE, "originator": "sip:deferred@example.com"}


@pytest.mark.requirement("PFS-16", "LRG-04", "DEF-12", "PFS-13")
@pytest.mark.parametrize(
    ("changes", "facts", "outcome"),
    [
        (LARGE, {}, ToRecipient("sip:bob@example.com")),
        ({**LARGE, "available": False}, {}, ToWorker("deferring")),
        (LARGE, {"willing": False}, ToWorker("deferring")),
        ({"method": "INVITE"}, {"willing": False}, ToRecipient("sip:bob@example.com")),
        ({**PUSH, "available": False}, {}, 480),
        (PUSH, {"willing": False}, ToRecipient("sip:bob@example.com")),
        ({**LARGE, "available": False}, {"session_barred": True}, 480),
        ({**LARGE, "available": False}, {"session_originator_rejected": True}, 403),
    ],
)
@pytest.mark.parametrize("media_path", ["auto", "always"])
def test_a_large_message_for_somebody_away_goes_to_the_store(
    changes: dict[str, Any], facts: dict[str, Any], outcome: Any, media_path: str
) -> None:
    action = decide(request(**changes), PagerFacts(None, user(**facts)), policy(media_path=media_path))
    if isinstance(action, Refuse):
        assert action.status == outcome
    elif media_path == "always" and isinstance(outcome, ToRecipient):
        assert action == ToWorker("participating")
    else:
        assert action == outcome


@pytest.mark.requirement("PFS-16", "PFS-04")
def test_a_large_message_that_reached_nobody_goes_to_the_store() -> None:
    for status in range(300, 700):
        expected = ToWorker("deferring") if status in INACCESSIBLE else None
        assert delivery_failed(request(**LARGE), status, POLICY) == expected
    assert delivery_failed(request(**LARGE, from_server=True), 408, POLICY) is None  # its sender hears of it and decides
    assert delivery_failed(request(**PUSH), 408, POLICY) is None


@pytest.mark.requirement("LRG-06", "PAG-03")
@pytest.mark.parametrize(
    ("declared", "facts", "requirement"),
    [
        (LargeMessage((100, 101)), {"large_max_size": 100}, "LRG-06"),
        (LargeMessage((100, 1)), {"large_max_size": 100}, ""),
        (LargeMessage((101,)), {}, ""),
        (LargeMessage((), ("text/plain", "image/png")), {"content_types": ("text/*",)}, "PAG-03"),
        (LargeMessage((), ("TEXT/html",)), {"content_types": ("text/*",)}, ""),
        (LargeMessage((101,)), {"large_max_size": 100, "willing": False}, "LRG-06"),
        (LargeMessage((101,)), {"large_max_size": 100, "session_barred": True}, "PFS-13"),
    ],
)
def test_what_an_offer_declares_is_held_against_the_policy(
    declared: LargeMessage, facts: dict[str, Any], requirement: str
) -> None:
    action = decide(request(method="INVITE", large_message=declared), PagerFacts(None, user(**facts)), POLICY)
    assert requirement == (action.requirement if isinstance(action, Refuse) else "")
    if "session_barred" not in facts:
        sent = originating.decide(request(method="INVITE", large_message=declared), PagerFacts(user(**facts), None), POLICY)
        assert requirement == (sent.requirement if isinstance(sent, Refuse) else "")


ADVERTISEMENT = {"accept_contact": "*;+g.oma.sip-im;+g.poc.groupad;require;explicit"}


@pytest.mark.requirement("ADV-03")
@pytest.mark.parametrize(
    ("changes", "facts", "expected"),
    [
        ({}, {}, "delivered"),
        ({"available": False, "unmatched": True}, {}, "ADV-03"),
        ({"available": False, "unmatched": True}, {"willing": False}, "ADV-03"),
        ({"available": False, "unmatched": True}, {"pager_barred": True}, "PAG-06"),
        ({"available": False}, {}, "not registered"),
        ({}, {"willing": False}, "not willing"),
        ({"separate_core": True, "available": False}, {}, "delivered"),
        ({"separate_core": True, "available": False}, {"registered": False}, "not registered"),
    ],
)
def test_an_advertisement_is_for_devices_that_take_it(
    changes: dict[str, Any], facts: dict[str, Any], expected: str
) -> None:
    """Kept for who is away; nobody's where the user is there with other devices alone (RFC 3841 section 7.2.4)."""
    action = decide(request(**ADVERTISEMENT, **changes), PagerFacts(None, user(**facts)), POLICY)
    if expected == "delivered":
        assert action == ToRecipient("sip:bob@example.com")
    else:
        assert outcome(action) == expected
    if isinstance(action, Refuse):
        assert action.status == 480
    if isinstance(action, Ask) and isinstance(action.question, DeferQuestion):
        assert action.question.advertisement


@pytest.mark.requirement("ADV-03")
@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE"])
def test_sessions_that_ask_for_such_devices_find_none_either(method: str) -> None:
    nobody = request(**ADVERTISEMENT, method=method, available=False, unmatched=True, large_message=LargeMessage())
    for action in (decide(nobody, FACTS, POLICY), decide_bridged(nobody)):
        assert isinstance(action, Refuse) and (action.status, action.requirement) == (480, "ADV-03")


@pytest.mark.requirement("ADV-03", "PAG-08")
@pytest.mark.parametrize(
    ("changes", "status", "deferred_"),
    [
        ({**ADVERTISEMENT, "separate_core": True}, 480, False),
        ({**ADVERTISEMENT, "separate_core": True}, 408, True),
        (ADVERTISEMENT, 480, True),  # of the device itself: it is not there now
        ({"separate_core": True}, 480, True),
    ],
)
def test_the_480_of_a_core_that_knows_the_tags(changes: dict[str, Any], status: int, deferred_: bool) -> None:
    assert (delivery_failed(request(**changes), status, POLICY) is not None) is deferred_
