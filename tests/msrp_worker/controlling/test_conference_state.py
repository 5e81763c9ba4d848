"""Conference documents (CES-03, CES-04, CES-05, RFC 4575)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from im_client.conference_info import Conference, update
from msrp_worker.controlling.conference_state import (
    LONGEST_TEXT,
    Document,
    UserStatus,
    full_document,
    partial_document,
    user_element,
)
from tests.msrp_worker.controlling.sources import Source, anonymous, roster, user

ORDER = {
    "conference-info": ("conference-description", "conference-state", "users"),
    "conference-description": ("display-text", "subject", "maximum-user-count"),
    "conference-state": ("user-count", "active"),
    "users": ("user",),
    "user": ("display-text", "endpoint"),
    "endpoint": ("status", "joining-method", "disconnection-method"),
}
"""The elements that are used, in the order of the schema (RFC 4575 section 6)."""

GOLDEN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n'
    b'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:friends@example.com"'
    b' state="full" version="1">'
    b"<conference-description><display-text>Lunch</display-text><subject>Lunch</subject>"
    b"<maximum-user-count>50</maximum-user-count></conference-description>"
    b"<conference-state><user-count>1</user-count><active>true</active></conference-state>"
    b'<users state="full"><user entity="sip:alice@example.com" state="full"><display-text>Alice</display-text>'
    b'<endpoint entity="sip:alice@example.com" state="full"><status>connected</status>'
    b"<joining-method>dialed-in</joining-method></endpoint></user>"
    b'<user entity="sip:bob@example.com" state="full"><display-text>Bob</display-text>'
    b'<endpoint entity="sip:bob@example.com" state="full"><status>alerting</status></endpoint></user>'
    b"</users></conference-info>\r\n"
)


def check(document: bytes) -> None:
    """Fail unless the elements are those of the schema, in its order."""
    for element in etree.fromstring(document).iter():
        name = etree.QName(element)
        assert name.namespace == "urn:ietf:params:xml:ns:conference-info"
        children = [etree.QName(child).localname for child in element]
        order = ORDER.get(name.localname, ())
        assert children == sorted(children, key=order.index), children
        assert not set(element.attrib) - {"entity", "state", "version"}


@pytest.mark.requirement("CES-03", "CNF-33")
def test_a_full_document() -> None:
    source = Source(maximum_users=50).add(
        user("alice", joining_method="dialed-in"),
        user("bob", UserStatus.ALERTING),
        user("carol", UserStatus.DIALING_OUT),
        user("dave", UserStatus.DISCONNECTED, disconnection_method="departed"),
    )
    assert full_document(source, 1) == GOLDEN
    check(GOLDEN)


@pytest.mark.requirement("CES-04")
@pytest.mark.parametrize(
    ("changed", "inside"),
    [
        (user("bob"), b"<status>connected</status></endpoint>"),
        (user("bob", UserStatus.ALERTING), b"<status>alerting</status></endpoint>"),
        (
            user("bob", UserStatus.DISCONNECTED, disconnection_method="busy"),
            b"<status>disconnected</status><disconnection-method>busy</disconnection-method></endpoint>",
        ),
        (user("bob", UserStatus.DISCONNECTED, disconnection_method="<x>"), b"<status>disconnected</status></endpoint>"),
        (user("bob", joining_method="dialed-out"), b"<joining-method>dialed-out</joining-method></endpoint>"),
    ],
)
def test_a_partial_document(changed: object, inside: bytes) -> None:
    source = Source().add(user("alice"))
    document = partial_document(source, [changed], 7)  # type: ignore[list-item]
    check(document)
    assert b'state="partial" version="7"' in document
    assert inside in document
    assert b"conference-description" not in document
    assert document.count(b"<user ") == document.count(b"<endpoint ") == 1


@pytest.mark.requirement("CES-01")
def test_a_group_without_a_session_is_not_active() -> None:
    known = update(Conference(), full_document(Source(), 1))
    assert known is not None
    assert (known.active, known.present, known.entity) == (False, [], "sip:friends@example.com")


@pytest.mark.requirement("CES-05", "IDN-08")
@pytest.mark.parametrize(
    "hidden",
    [
        anonymous("victor", 1),
        anonymous("victor", 2, endpoint="sip:victor@192.0.2.1;transport=tcp"),
        anonymous("victor", 3, display_text="victor"),
        anonymous("victor", 4, display_text="It is VICTOR@Example.com"),
        anonymous("victor", 5, entity="sip:x9@Anonymous.INVALID;user=phone", display_text="Victor himself"),
    ],
)
def test_an_anonymous_user_stays_so(hidden: object) -> None:
    element = user_element(hidden).lower()  # type: ignore[arg-type]
    assert b"victor" not in element
    assert b"192.0.2" not in element
    assert element.count(b"invalid") == 2


@pytest.mark.requirement("CES-05")
def test_an_anonymous_user_may_have_a_name() -> None:
    assert b"<display-text>The Fox</display-text>" in user_element(anonymous("victor", 1, display_text="The Fox"))


@pytest.mark.requirement("CES-03")
@given(st.text(), st.text(alphabet=st.characters(), min_size=1), st.text())
def test_any_text_makes_a_document_that_can_be_read(name: str, entity: str, subject: str) -> None:
    source = Source(entity=f"sip:{entity}@h", subject=subject).add(user("alice", display_text=name, entity=f"sip:{entity}"))
    document = full_document(source, 1)
    check(document)
    known = update(Conference(), document)
    assert known is not None
    assert len(known.subject) <= LONGEST_TEXT
    assert len(known.present) == 1


@pytest.mark.requirement("CES-03")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&\"'", "<b>&\"'"),
        ("two\r\nlines\tand\x00 more", "two lines and\ufffd more"),
        ("\ud800", "\ufffd"),
        ("\U0001f600 ü", "\U0001f600 ü"),
        ("x" * 999, "x" * LONGEST_TEXT),
    ],
)
def test_names_as_they_are_read(text: str, shown: str) -> None:
    source = Source().add(user("alice", display_text=text))
    known = update(Conference(), full_document(source, 1))
    assert known is not None
    assert roster(known) == {"sip:alice@example.com": (shown, "connected")}


@pytest.mark.requirement("CES-04")
def test_the_version_is_put_in_without_rendering() -> None:
    document = Document(b'version="', b'">')
    assert document.at(4294967295) == b'version="4294967295">'
    assert len(document) == 11
