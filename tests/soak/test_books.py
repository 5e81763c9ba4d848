"""The judgement of a soak: every way to break the promise is seen, and what may happen is no breach."""

from __future__ import annotations

import pytest

from tests.soak.books import Books, Outcome, Trouble, Way, content, read

Row = tuple[Outcome, list[tuple[Way, str, float]], list[str], list[Trouble], str]
"""Outcome; arrivals as way, key and time; keys of stored copies; troubles; text of the breach, empty for none.

The message is sent from 100.0 to 101.0.
"""
CUT = Trouble("cut", 99.0, 103.0)
LATE = Trouble("cut", 150.0, 160.0)
PAGER, PUSH = (Way.PAGER, "call", 100.5), (Way.PUSH, "call", 130.0)

ROWS: dict[str, Row] = {
    "delivered": (Outcome.ACCEPTED, [PAGER], [], [], ""),
    "stored": (Outcome.ACCEPTED, [], ["call"], [], ""),
    "stored, a large one": (Outcome.ACCEPTED, [], [""], [], ""),
    "lost": (Outcome.ACCEPTED, [], [], [CUT], "accepted, and lost"),
    "refused": (Outcome.REFUSED, [], [], [], ""),
    "refused, but delivered": (Outcome.REFUSED, [PAGER], [], [], "refused, but delivered or stored"),
    "refused, but stored": (Outcome.REFUSED, [], ["call"], [LATE], "refused, but delivered or stored"),
    "refused in trouble, but delivered": (Outcome.REFUSED, [PAGER], [], [CUT], ""),
    "unknown": (Outcome.UNKNOWN, [], [], [CUT], ""),
    "unknown, but delivered": (Outcome.UNKNOWN, [PAGER], [], [CUT], ""),
    "twice in trouble": (Outcome.ACCEPTED, [PAGER, PUSH], [], [CUT], ""),
    "twice without cause": (Outcome.ACCEPTED, [PAGER, PUSH], [], [LATE], "though nothing was broken"),
    "twice, and the recipient cannot tell": (
        *(Outcome.ACCEPTED, [PAGER, (Way.PUSH, "other", 130.0)], [], [CUT]),
        "the recipient cannot tell: pager call, push other",
    ),
    "delivered in trouble, a copy still stored": (Outcome.ACCEPTED, [PAGER], ["call"], [CUT], ""),
    "delivered, a copy still stored": (Outcome.ACCEPTED, [PAGER], ["call"], [], "though nothing was broken"),
    "stored twice": (Outcome.ACCEPTED, [], ["call", "call"], [LATE], "stored 2 times"),
    "stored twice in trouble": (Outcome.ACCEPTED, [], ["call", "call"], [CUT], ""),
    "stored twice, and the recipient cannot tell": (
        *(Outcome.ACCEPTED, [], ["call", "other"], [CUT]),
        "the recipient cannot tell: stored call, stored other",
    ),
    "twice, sent in trouble": (Outcome.ACCEPTED, [(Way.PUSH, "call", 200.0), (Way.PUSH, "call", 200.1)], [], [CUT], ""),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_judgement(row: Row) -> None:
    outcome, arrivals, copies, troubles, breach = row
    books = Books(troubles=troubles)
    sending = books.send("7-1", "alice", "bob", 10, False, 100.0)
    sending.outcome, sending.ended = outcome, 101.0
    for way, key, time in arrivals:
        books.arrive("bob", way, key, content("7-1", 10), time)
    verdict = books.judge([("7-1", "bob", key) for key in copies])
    assert len(verdict.breaches) == bool(breach), verdict.breaches
    assert all(breach in found for found in verdict.breaches)


def test_what_nobody_sent_and_what_went_elsewhere() -> None:
    books = Books()
    books.send("7-1", "alice", "bob", 10, False, 1.0).outcome = Outcome.ACCEPTED
    books.arrive("carol", Way.PAGER, "call", content("7-1", 10), 1.5)
    books.arrive("bob", Way.PAGER, "call", content("7-2", 10), 1.5)
    books.arrive("bob", Way.PAGER, "call", b"hello", 1.5)
    found = books.judge([("7-3", "bob", "call")]).breaches
    assert [text.partition(":")[0] for text in found[1:3]] == ["7-2", "7-3"]
    assert "what nobody sent" in found[0]
    assert "it went to carol" in found[3]


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_content_is_known_again_whole_and_unchanged_only(size: int) -> None:
    body = content("7-1", size)
    assert read(body) == "7-1"
    assert read(body + b"x") is None
    assert read(body[:-1]) is None
    assert read(body.replace(b"7-1", b"7-2")) is None or not size
    assert read(b"") is None
