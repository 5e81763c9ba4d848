"""Which requests the focus gets, and what is refused on the way to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from kemi.actions import Action, Refuse, ToWorker
from kemi.controlling import is_factory, is_session_identity
from kemi.messages import EndFacts, PagerFacts
from kemi.pager_originating import decide as originating
from kemi.pager_terminating import decide as terminating
from tests.kemi.builders import FACTS, POLICY, policy, request

FACTORY = "sip:conference-factory@example.com"
SESSION = "sip:im-session-0k3v@example.com"
FRIENDS = "sip:friends@example.com"
GROUP = EndFacts(group=True)


def outcome(action: Action) -> str:
    if isinstance(action, Refuse):
        return f"{action.status} {action.requirement}"
    return action.function if isinstance(action, ToWorker) else type(action).__name__


def facts(recipient: EndFacts | None) -> PagerFacts:
    return dataclasses.replace(FACTS, recipient=recipient)


ROWS = [
    ("INVITE", FACTORY, None, "controlling"),  # CNF-01
    ("INVITE", SESSION, None, "controlling"),  # CNF-20
    ("INVITE", FRIENDS, GROUP, "controlling"),  # CNF-12
    ("MESSAGE", FACTORY, None, "controlling"),  # PAG-11
    ("MESSAGE", SESSION, None, "controlling"),  # PAG-13
    ("MESSAGE", FRIENDS, GROUP, "controlling"),  # PAG-12
    ("SUBSCRIBE", FACTORY, None, "404 CES-01"),
    ("SUBSCRIBE", SESSION, None, "controlling"),
    ("SUBSCRIBE", FRIENDS, GROUP, "controlling"),
    ("REFER", FACTORY, None, "404 CNF-22"),
    ("REFER", SESSION, None, "controlling"),
    ("REFER", FRIENDS, GROUP, "controlling"),
]


@pytest.mark.requirement("CNF-01", "CNF-12", "CNF-20", "CES-01", "PAG-11", "PAG-12", "PAG-13")
@pytest.mark.parametrize(("method", "uri", "recipient", "expected"), ROWS)
@pytest.mark.parametrize("side", [originating, terminating])
def test_the_focus_gets_what_is_for_it(
    side: Callable[..., Action], method: str, uri: str, recipient: EndFacts | None, expected: str
) -> None:
    asked = request(method=method, request_uri=uri, recipient=uri, serves_recipient=True)
    assert outcome(side(asked, facts(recipient), POLICY)) == expected


@pytest.mark.requirement("CNF-12")
def test_an_address_that_is_nobody_s_is_no_conference() -> None:
    asked = request(method="INVITE", request_uri=FRIENDS, recipient=FRIENDS, serves_recipient=True)
    assert outcome(terminating(asked, facts(None), POLICY)) == "404 COR-04"


@pytest.mark.requirement("CNF-13")
@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("<sip:conf@192.0.2.9>;isfocus;+g.oma.sip-im", "403 CNF-13"),
        ('<sip:conf@192.0.2.9>;+g.oma.sip-im;ISFOCUS="TRUE"', "403 CNF-13"),
        ('<sip:alice@192.0.2.9>;isfocus="FALSE"', "controlling"),
        ("<sip:isfocus@192.0.2.9>;+g.oma.sip-im", "controlling"),
    ],
)
def test_a_focus_is_not_let_into_a_focus(contact: str, expected: str) -> None:
    asked = request(method="INVITE", request_uri=FRIENDS, recipient=FRIENDS, contact=contact, serves_recipient=True)
    assert outcome(originating(asked, facts(GROUP), POLICY)) == expected


@pytest.mark.requirement("CNF-20")
def test_the_session_of_another_server_is_reached_through_the_core() -> None:
    uri = "sip:im-session-0k3v@192.0.2.9"
    asked = request(method="INVITE", request_uri=uri, recipient=uri, serves_recipient=False)
    assert outcome(originating(asked, facts(None), POLICY)) == "ToCore"


@pytest.mark.requirement("IDN-05", "PAG-03", "PAG-04")
@pytest.mark.parametrize(
    ("changes", "rules", "expected"),
    [
        ({"privacy": "id"}, {"anonymity": False}, "403 IDN-05"),
        ({"content_length": 40_000}, {}, "403 PAG-03"),
        ({"expires": "0"}, {}, "403 PAG-04"),
        ({}, {}, "controlling"),
    ],
)
def test_who_comes_from_elsewhere_meets_the_policy_of_this_server(
    changes: dict[str, Any], rules: dict[str, Any], expected: str
) -> None:
    asked = request(recipient=FACTORY, request_uri=FACTORY, serves_recipient=True, **changes)
    assert outcome(terminating(asked, facts(None), policy(**rules))) == expected


@pytest.mark.parametrize(
    ("address", "factory", "session"),
    [
        (FACTORY, True, False),
        ("sip:Conference-Factory@example.com", True, False),
        ("sip:conference-factory@example.org", False, False),
        ("sip:conference-factory2@example.com", False, False),
        (SESSION, False, True),
        ("sip:im-sessions@example.com", False, False),
        ("sip:alice@example.com", False, False),
    ],
)
def test_addresses_of_the_focus(address: str, factory: bool, session: bool) -> None:
    assert (is_factory(address, "Example.COM"), is_session_identity(address)) == (factory, session)
