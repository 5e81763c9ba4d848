"""Reliable provisional responses (RFC 3262), offers that cross, repetition until confirmed."""

from __future__ import annotations

import pytest
from sipmessage import Request, Response

from im_client import glare, reliable, repetition
from im_client.glare import Exchange, Refusal
from im_client.reliable import Sent
from im_client.repetition import Due
from im_client.timers import BaseTimers
from im_client.wire import parse_uri

URI = parse_uri("sip:bob@example.com")


def response(status: int, require: str, rseq: str) -> Response:
    found = Response(status, "R")
    for name, value in (("Require", require), ("RSeq", rseq), ("CSeq", "5 INVITE")):
        if value:
            found.headers.add(name, value)
    return found


def prack(rack: str) -> Request:
    found = Request("PRACK", URI)
    found.headers.add("RAck", rack)
    return found


@pytest.mark.requirement("PFS-15")
def test_numbers_grow_by_one_and_only_the_matching_prack_counts() -> None:
    sent, fields = reliable.number(Sent(5, 776))
    assert fields == [("Require", "100rel"), ("RSeq", "777")]
    for wrong in ("776 5 INVITE", "777 6 INVITE", "777 5 MESSAGE", "777 5", "", "x 5 INVITE"):
        assert reliable.acknowledge(sent, prack(wrong)) is None
    after = reliable.acknowledge(sent, prack("777 5 INVITE"))
    assert after == Sent(5, 777, True)
    assert reliable.acknowledge(after, prack("777 5 INVITE")) is None  # once
    assert reliable.number(after)[1][1] == ("RSeq", "778")


@pytest.mark.requirement("PFS-15")
@pytest.mark.parametrize(
    ("last", "found", "expected"),
    [
        (None, response(183, "100rel", "1"), (1, "1 5 INVITE")),
        (None, response(180, "foo, 100rel", "4711"), (4711, "4711 5 INVITE")),
        (4711, response(180, "100rel", "4712"), (4712, "4712 5 INVITE")),
        (4711, response(180, "100rel", "4711"), (4711, "")),  # repeated: PRACK is repeated by itself
        (4711, response(180, "100rel", "4714"), (4711, "")),  # one is missing before it
        (None, response(100, "100rel", "1"), (None, "")),
        (None, response(180, "", "1"), (None, "")),
        (None, response(180, "100rel", ""), (None, "")),
        (None, response(200, "100rel", "1"), (None, "")),
    ],
)
def test_when_a_prack_is_due(last: int | None, found: Response, expected: tuple[int | None, str]) -> None:
    assert reliable.rack(last, found) == expected


def times(repeated: repetition.Repetition) -> tuple[list[float], float]:
    found = []
    while True:
        now = repeated.deadline
        repeated, due = repetition.fire(repeated, now)
        if due is Due.GIVE_UP:
            return found, now
        found.append(round(now, 3))


def test_a_2xx_is_repeated_up_to_t2_for_64_t1() -> None:
    found, end = times(repetition.of_success(BaseTimers(), 0.0))
    assert found == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert end == 32.0


@pytest.mark.requirement("PFS-15")
def test_a_reliable_provisional_is_repeated_without_longest_interval() -> None:
    found, end = times(repetition.of_provisional(BaseTimers(), 0.0))
    assert found == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert end == 32.0
    assert repetition.fire(repetition.of_provisional(BaseTimers(), 0.0), 0.4)[1] is Due.NOTHING


@pytest.mark.requirement("CLI-04")
@pytest.mark.parametrize(
    ("exchange", "invite", "update", "offering_update"),
    [
        (Exchange(), None, None, None),
        (Exchange(inviting=True), Refusal(491), None, None),
        (Exchange(inviting=True, offering=True), Refusal(491), None, Refusal(491)),
        (Exchange(offering=True), Refusal(491), None, Refusal(491)),
        (Exchange(invited=True), Refusal(500, True), None, Refusal(500, True)),
        (Exchange(updating=True), None, Refusal(500, True), Refusal(500, True)),
    ],
)
def test_offers_that_cross(
    exchange: Exchange, invite: Refusal | None, update: Refusal | None, offering_update: Refusal | None
) -> None:
    assert glare.on_invite(exchange) == invite
    assert glare.on_update(exchange, offer=False) == update
    assert glare.on_update(exchange, offer=True) == offering_update


def test_how_long_to_wait_after_491() -> None:
    assert (glare.retry_seconds(owner=True, fraction=0.0), glare.retry_seconds(owner=True, fraction=0.999)) == (2.1, 4.0)
    assert (glare.retry_seconds(owner=False, fraction=0.0), glare.retry_seconds(owner=False, fraction=0.5)) == (0.0, 1.0)
