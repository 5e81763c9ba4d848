"""Changes of participants, numbered and told (CES-04, CES-06)."""

from __future__ import annotations

import re

import pytest

from msrp_worker.controlling.conference_roster import Roster, Told
from msrp_worker.controlling.conference_state import UserStatus, user_element
from tests.msrp_worker.controlling.sources import Source, anonymous, user

ONE = len(user_element(user("alice")))
"""Bytes of one user, about."""


def told(found: Told) -> list[tuple[str, str]]:
    """The users of a document and their status, `deleted` for those that are."""
    text = found.document.at(1).decode()
    assert ('state="full" version' in text) == ('<users state="full">' in text)
    users = re.findall(r'<user entity="sip:(\w+)@[^"]*" state="(\w+)"(?:/>|.*?<status>(\w+)</status>)', text)
    return [(name, status or state) for name, state, status in users]


def is_full(found: Told) -> bool:
    return b'state="full" version' in found.document.at(1)


@pytest.mark.requirement("CES-04")
def test_changes_merge_per_user() -> None:
    source = Source().add(user("alice"), user("bob", UserStatus.ALERTING))
    known = Roster(source)
    first = known.since(0, 0)
    assert is_full(first)
    assert told(first) == [("alice", "connected"), ("bob", "alerting")]
    source.add(user("bob"), user("carol"))
    known.refresh(source)
    source.add(user("bob", display_text="Bobby"))
    source.remove("alice")
    known.refresh(source)
    second = known.since(first.upto, first.base)
    assert not is_full(second)
    assert told(second) == [("carol", "connected"), ("alice", "disconnected"), ("bob", "connected")]
    assert b"<user-count>2</user-count>" in second.document.tail
    assert told(known.since(known.latest, first.base)) == []
    assert told(known.since(0, 0)) == [("carol", "connected"), ("bob", "connected")]


@pytest.mark.requirement("CES-06")
def test_who_came_and_went_in_between_was_never_there() -> None:
    source = Source().add(user("alice"))
    known = Roster(source)
    before = known.latest
    source.add(user("bob"))
    known.refresh(source)
    between = known.latest
    source.remove("bob")
    known.refresh(source)
    assert told(known.since(before, before)) == []
    assert told(known.since(between, before)) == [("bob", "disconnected")]


@pytest.mark.requirement("CES-04")
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, user("bob", UserStatus.DIALING_OUT), []),
        (None, user("bob", UserStatus.DISCONNECTED, disconnection_method="busy"), [("bob", "disconnected")]),
        (user("bob", UserStatus.PENDING), user("bob", UserStatus.ALERTING), [("bob", "alerting")]),
        (user("bob"), user("bob", UserStatus.PENDING), [("bob", "disconnected")]),
        (user("bob"), user("bob", UserStatus.DISCONNECTED), [("bob", "disconnected")]),
        (user("bob", UserStatus.DISCONNECTED), user("bob"), [("bob", "connected")]),
        (user("bob", UserStatus.DISCONNECTED), None, []),
        (user("bob"), user("bob"), []),
        (user("bob"), user("bob", entity="sip:robert@h"), [("bob", "deleted"), ("robert", "connected")]),
        (user("bob"), anonymous("bob", 1), [("bob", "disconnected"), ("anonymous1", "connected")]),
        (anonymous("bob", 1), user("bob"), [("anonymous1", "disconnected"), ("bob", "connected")]),
    ],
)
def test_one_change(before: object, after: object, expected: list[tuple[str, str]]) -> None:
    source = Source()
    if before:
        source.add(before)  # type: ignore[arg-type]
    known = Roster(source)
    start = known.latest
    source.present.clear()
    if after:
        source.add(after)  # type: ignore[arg-type]
    known.refresh(source)
    assert told(known.since(start, start)) == expected
    if not expected:
        assert known.latest == start
    known.refresh(source)
    assert told(known.since(known.latest, start)) == []


def test_a_subject_is_told_when_it_changes() -> None:
    source = Source().add(user("alice"))
    known = Roster(source)
    start = known.latest
    source.subject = "Dinner"
    known.refresh(source)
    assert b"<subject>Dinner</subject>" in known.since(start, start).document.tail
    assert b"<subject>" not in known.since(known.latest, start).document.tail


@pytest.mark.requirement("CES-04")
def test_more_than_fits_follows_in_partial_documents() -> None:
    source = Source().add(*(user(f"u{number:04}") for number in range(10)))
    known = Roster(source, room=4 * ONE)
    position, seen, documents = (0, 0), [], 0
    while True:
        found = known.since(*position)
        assert is_full(found) == (documents == 0)
        assert b"<user-count>10</user-count>" in found.document.tail
        seen += told(found)
        documents += 1
        position = found.upto, found.base
        if not found.more:
            break
    assert seen == [(f"u{number:04}", "connected") for number in range(10)]
    assert documents == 3
    assert found.upto == known.latest


@pytest.mark.requirement("CES-06")
def test_what_is_forgotten_costs_a_full_document_and_no_more() -> None:
    source = Source().add(*(user(f"u{number:04}") for number in range(10)))
    known = Roster(source, room=4 * ONE, most_gone=20)
    early = known.latest
    for number in range(100):
        source.add(user(f"x{number}"))
        known.refresh(source)
        source.remove(f"x{number}")
        known.refresh(source)
    assert is_full(known.since(early, early)), "it missed who is forgotten"
    first = known.since(0, 0)
    assert first.more
    assert not is_full(known.since(first.upto, first.base)), "a newcomer missed nothing"
    assert len(known._entries) <= 10 + 20 + 1


@pytest.mark.requirement("CES-05", "IDN-08")
def test_the_place_in_the_list_does_not_tell_who_is_anonymous() -> None:
    source = Source().add(anonymous("aaron", 7), user("bob"), anonymous("carol", 3), user("dave"))
    assert told(Roster(source).since(0, 0)) == [
        ("bob", "connected"),
        ("dave", "connected"),
        ("anonymous3", "connected"),
        ("anonymous7", "connected"),
    ]


@pytest.mark.requirement("CES-07")
@pytest.mark.parametrize("cleared", [False, True])
def test_at_the_end_nobody_is_there(cleared: bool) -> None:
    source = Source().add(user("alice"), user("bob", UserStatus.ALERTING))
    known = Roster(source)
    start = known.latest
    if cleared:
        source.present.clear()
    known.end(source)
    last = known.since(start, start)
    assert told(last) == [("alice", "disconnected"), ("bob", "disconnected")]
    assert b"<user-count>0</user-count><active>false</active>" in last.document.tail
    assert told(known.since(0, 0)) == []
    source.add(user("carol"))
    known.refresh(source)
    assert known.latest == last.upto


@pytest.mark.requirement("CES-07")
def test_the_end_of_a_large_session_fits_one_document() -> None:
    source = Source().add(*(user(f"u{number:04}") for number in range(10)))
    known = Roster(source, room=4 * ONE)
    start = known.latest
    known.end(source)
    last = known.since(start, start)
    assert (is_full(last), told(last), last.more) == (True, [], False)


def test_who_came_back_is_there() -> None:
    source = Source().add(user("alice"))
    source.present["old"] = user("alice", UserStatus.DISCONNECTED, key="old")
    assert told(Roster(source).since(0, 0)) == [("alice", "connected")]
