"""The originating side. Each check alone, and every pair that is violated at once: the earlier one answers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from kemi.actions import Ask, Refuse, ToCore
from kemi.messages import PagerFacts, PagerQuestion
from kemi.pager_originating import STAGE, decide, screen
from tests.kemi.builders import FACTS, POLICY, policy, request, user

SCREENED: dict[str, dict[str, Any]] = {
    "PAG-01": {"accept_contact": "*;audio"},
    "IDN-01": {"originator": ""},
    "SEC-05": {"message_length": 1_000_000, "reliable_transport": True},
}
"""What a request needs to violate each check that comes before the facts, in order."""


@pytest.mark.requirement("PAG-01", "IDN-01", "SEC-05")
@pytest.mark.parametrize("requirement", SCREENED)
def test_each_screening_check_alone(requirement: str) -> None:
    action = screen(request(**SCREENED[requirement]), POLICY)
    assert isinstance(action, Refuse) and action.requirement == requirement


@pytest.mark.requirement("PAG-01", "IDN-01", "SEC-05")
@pytest.mark.parametrize(("earlier", "later"), list(combinations(SCREENED, 2)))
def test_the_earlier_of_two_screening_checks_answers(earlier: str, later: str) -> None:
    action = screen(request(**SCREENED[later] | SCREENED[earlier]), POLICY)
    assert isinstance(action, Refuse) and action.requirement == earlier


@pytest.mark.requirement("PAG-10")
def test_a_large_datagram_is_told_what_to_do() -> None:
    action = screen(request(message_length=1301, content_length=900), POLICY)
    assert isinstance(action, Refuse)
    assert (action.status, action.requirement) == (513, "PAG-10")
    assert "TCP" in action.warning


@pytest.mark.requirement("PAG-02")
@pytest.mark.parametrize(
    ("changes", "serves_recipient"),
    [
        ({"serves_recipient": True}, True),
        ({"recipient": "sip:bob@elsewhere.org"}, False),
        ({"separate_core": True}, False),
    ],
)
def test_one_question_covers_both_ends_where_both_are_served(changes: dict[str, Any], serves_recipient: bool) -> None:
    message = request(privacy="id", **changes)
    action = screen(message, POLICY)
    question = PagerQuestion(
        call_id="call-1",
        originator="sip:alice@example.com",
        recipient=message.recipient,
        anonymous=True,
        serves_originator=True,
        serves_recipient=serves_recipient,
    )
    assert action == Ask(question, STAGE, with_message=False)


# The checks of 6.2.2.1 (2, 3) and then those of 6.2.4.1 (2, 3), as changes of request, facts and policy.
DECIDED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "PAG-02": ({}, {"im_allowed": False}, {}),
    "PAG-03": ({"content_length": 40_000}, {}, {}),
    "IDN-05": ({"privacy": "id"}, {}, {"anonymity": False}),
    "PAG-04": ({"expires": "0"}, {}, {}),
}


def decide_with(*violations: str, **changes: Any) -> Refuse | ToCore:
    """The decision on a message that violates the named checks."""
    facts: dict[str, Any] = {}
    rules: dict[str, Any] = {}
    for name in violations:
        of_request, of_facts, of_policy = DECIDED[name]
        changes |= of_request
        facts |= of_facts
        rules |= of_policy
    return decide(request(**changes), PagerFacts(user(**facts), user()), policy(**rules))


@pytest.mark.requirement("PAG-02", "PAG-03", "IDN-05", "PAG-04")
@pytest.mark.parametrize("requirement", DECIDED)
def test_each_check_alone(requirement: str) -> None:
    action = decide_with(requirement)
    assert isinstance(action, Refuse)
    assert (action.status, action.requirement) == (403, requirement)


@pytest.mark.requirement("PAG-02", "PAG-03", "IDN-05", "PAG-04")
@pytest.mark.parametrize(("earlier", "later"), list(combinations(DECIDED, 2)))
def test_the_earlier_of_two_checks_answers(earlier: str, later: str) -> None:
    action = decide_with(earlier, later)
    assert isinstance(action, Refuse) and action.requirement == earlier


@pytest.mark.requirement("PAG-02")
def test_a_user_the_store_does_not_know_is_not_allowed() -> None:
    action = decide(request(), PagerFacts(None, user()), POLICY)
    assert isinstance(action, Refuse) and action.requirement == "PAG-02"


@pytest.mark.requirement("PAG-05", "PAG-16", "PAG-17", "PAG-18", "PAG-20")
@pytest.mark.parametrize(
    ("changes", "uri"),
    [
        ({}, "sip:bob@example.com"),
        ({"request_uri": "sip:bob@example.com;session=1-1;transport=tcp"}, "sip:bob@example.com;transport=tcp"),
        ({"request_uri": "sip:bob@example.com;sessiontype=chat"}, "sip:bob@example.com"),
        ({"privacy": "id"}, "sip:bob@example.com"),
        ({"content_type": "message/external-body"}, "sip:bob@example.com"),
        ({"content_type": "application/im-iscomposing+xml"}, "sip:bob@example.com"),
        ({"content_length": 0, "content_type": ""}, "sip:bob@example.com"),
        ({"expires": "60"}, "sip:bob@example.com"),
    ],
)
def test_a_good_message_goes_to_the_core(changes: dict[str, Any], uri: str) -> None:
    assert decide(request(**changes), FACTS, POLICY) == ToCore(uri)


@pytest.mark.requirement("PAG-02", "IDN-05", "COR-01")
@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
@pytest.mark.parametrize(
    ("violation", "refused"), [("PAG-02", True), ("PAG-03", False), ("IDN-05", True), ("PAG-04", False)]
)
def test_other_methods_get_the_general_checks_alone(method: str, violation: str, refused: bool) -> None:
    assert isinstance(decide_with(violation, method=method), Refuse) is refused


ASKING = "*;+g.oma.sip-im;+g.poc.groupad;require;explicit"
DOCUMENT = "application/vnd.IM.group-advertisement+xml; charset=utf-8"


@pytest.mark.requirement("ADV-01")
@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"content_type": DOCUMENT}, False),
        ({"content_type": DOCUMENT, "privacy": "id"}, True),
        ({"accept_contact": ASKING, "privacy": "header;id"}, True),
        ({"accept_contact": ASKING, "privacy": "none"}, False),
        ({"privacy": "id"}, False),
        ({"accept_contact": ASKING, "privacy": "id", "method": "INVITE"}, False),
        (
            {"content_type": DOCUMENT, "privacy": "id", "recipient": "sip:group@elsewhere.org", "serves_recipient": False},
            True,
        ),
    ],
)
def test_a_group_advertisement_is_not_anonymous(changes: dict[str, Any], refused: bool) -> None:
    """Wherever the group is (6.2.3.8): the first of its checks is that of the originator's own server."""
    action = decide(request(**changes), FACTS, POLICY)
    assert isinstance(action, Refuse) is refused
    if isinstance(action, Refuse):
        assert (action.status, action.requirement) == (403, "ADV-01")
