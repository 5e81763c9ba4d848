"""Checks that both sides share, each at its limit and one beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from kemi.participating import is_composing, refuse_content, refuse_expired, refuse_oversized, refuse_unidentified
from kemi.policy import PAGER_DATAGRAM_LIMIT
from tests.kemi.builders import DATE, NOW, policy, request, user


@pytest.mark.requirement("PAG-01", "IDN-01")
@pytest.mark.parametrize(
    ("changes", "requirement"),
    [
        ({}, ""),
        ({"accept_contact": ""}, "PAG-01"),
        ({"accept_contact": "*;audio"}, "PAG-01"),
        ({"originator": ""}, "IDN-01"),
        ({"accept_contact": "", "originator": ""}, "PAG-01"),
    ],
)
def test_tag_then_originator(changes: dict[str, Any], requirement: str) -> None:
    refusal = refuse_unidentified(request(**changes))
    assert (refusal is None) is (requirement == "")
    if refusal is not None:
        assert (refusal.status, refusal.requirement) == (403, requirement)


@pytest.mark.requirement("PAG-10", "SEC-05")
@pytest.mark.parametrize(
    ("changes", "requirement"),
    [
        ({"content_length": 900, "message_length": PAGER_DATAGRAM_LIMIT}, ""),
        ({"content_length": 900, "message_length": PAGER_DATAGRAM_LIMIT + 1}, "PAG-10"),
        ({"content_length": 900, "message_length": PAGER_DATAGRAM_LIMIT + 1, "reliable_transport": True}, ""),
        ({"content_length": 900, "message_length": PAGER_DATAGRAM_LIMIT + 1, "from_trusted_peer": True}, ""),
        ({"content_length": 900, "message_length": PAGER_DATAGRAM_LIMIT + 1, "method": "INVITE"}, ""),
        ({"message_length": 2000, "content_length": 1000, "reliable_transport": True}, ""),
        ({"message_length": 2001, "content_length": 1000, "reliable_transport": True}, "SEC-05"),
        ({"message_length": 2001, "content_length": 1000}, "SEC-05"),
        ({"message_length": 2001, "content_length": 1000, "method": "INVITE", "from_trusted_peer": True}, "SEC-05"),
    ],
)
def test_sizes_that_need_no_facts(changes: dict[str, Any], requirement: str) -> None:
    refusal = refuse_oversized(request(**changes), policy(header_max_size=1000))
    assert (refusal is None) is (requirement == "")
    if refusal is not None:
        assert (refusal.status, refusal.requirement) == (513, requirement)
        assert refusal.warning


@pytest.mark.requirement("PAG-03", "PAG-17")
@pytest.mark.parametrize(
    ("changes", "facts", "refused"),
    [
        ({"content_length": 100}, {}, False),
        ({"content_length": 101}, {}, True),
        ({"content_length": 101}, {"pager_max_size": 200}, False),
        ({"content_length": 51}, {"pager_max_size": 50}, True),
        ({"content_length": 1}, {"pager_max_size": 0}, True),
        ({"content_type": "image/png"}, {}, True),
        ({"content_type": "image/png"}, {"content_types": ("image/*",)}, False),
        ({"content_type": "text/plain"}, {"content_types": ("image/*",)}, True),
        ({"content_type": "text/plain"}, {"content_types": ()}, True),
        ({"content_type": 'message/external-body; access-type="URL"'}, {}, True),
    ],
)
def test_size_and_type_of_the_service_or_of_the_user(changes: dict[str, Any], facts: dict[str, Any], refused: bool) -> None:
    refusal = refuse_content(request(**changes), user(**facts), policy(pager_max_size=100, content_types=("text/*",)))
    assert (refusal is not None) is refused
    if refusal is not None:
        assert (refusal.status, refusal.requirement) == (403, "PAG-03")


@pytest.mark.requirement("PAG-04", "DEF-10")
@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, False),
        ({"expires": "1"}, False),
        ({"expires": "0"}, True),
        ({"expires": "60", "date": DATE}, False),
        ({"expires": "60", "date": "Fri, 20 Nov 2026 23:59:01 GMT"}, False),
        ({"expires": "60", "date": "Fri, 20 Nov 2026 23:59:00 GMT"}, True),
        ({"expires": "60", "date": "not a date"}, False),
        ({"expires": "not a number"}, False),
    ],
)
def test_an_expired_message_is_refused(changes: dict[str, Any], refused: bool) -> None:
    refusal = refuse_expired(request(received=NOW, **changes), "PAG-04")
    assert (refusal is not None) is refused


@pytest.mark.requirement("PAG-20")
@pytest.mark.parametrize(
    ("content_type", "composing"),
    [
        ("application/im-iscomposing+xml", True),
        ("Application/IM-IsComposing+XML; charset=utf-8", True),
        ("application/im-iscomposing", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_composing_is_known_by_its_type(content_type: str, composing: bool) -> None:
    assert is_composing(request(content_type=content_type)) is composing
