"""Replaces (RFC 3891 section 3) with the check of change request D."""

from __future__ import annotations

import pytest
from sipmessage import Request

from im_client.dialog import DialogId
from im_client.replaces import Candidate, Refusal, Replaces, Standing, decide, parse, same_user
from im_client.wire import parse_uri

OURS: DialogId = ("call-1", "local", "remote")
VALUE = "call-1;to-tag=local;from-tag=remote"
BOB, CAROL = "sip:bob@example.com", "sip:carol@example.com"


def invite(*lines: str) -> Request:
    found = Request("INVITE", parse_uri("sip:alice@example.com"))
    for value in lines:
        found.headers.add("Replaces", value)
    return found


ROWS = [
    # the INVITE, how the dialog stands, P-Asserted-Identity, Referred-By, the verdict
    (invite(), Standing.CONFIRMED, BOB, BOB, None),
    (invite(VALUE), Standing.CONFIRMED, BOB, BOB, OURS),
    (invite(VALUE), Standing.CONFIRMED, "sip:friends@example.com", "sip:bob@EXAMPLE.com;user=phone", OURS),
    (invite(VALUE), Standing.CONFIRMED, "", BOB, 403),
    (invite(VALUE), Standing.CONFIRMED, BOB, "", 403),
    (invite(VALUE), Standing.CONFIRMED, CAROL, CAROL, 403),
    (invite(VALUE + ";early-only"), Standing.CONFIRMED, BOB, BOB, 486),
    (invite(VALUE + ";early-only"), Standing.EARLY_OURS, BOB, BOB, OURS),
    (invite(VALUE), Standing.EARLY_THEIRS, BOB, BOB, 481),
    (invite(VALUE), Standing.NO_SESSION, BOB, BOB, 481),
    (invite(VALUE), Standing.TERMINATED, BOB, BOB, 603),
    (invite("call-1;to-tag=remote;from-tag=local"), Standing.CONFIRMED, BOB, BOB, 481),
    (invite("call-2;to-tag=local;from-tag=remote"), Standing.CONFIRMED, BOB, BOB, 481),
    (invite(VALUE, VALUE), Standing.CONFIRMED, BOB, BOB, 400),
    (invite("call-1;to-tag=local"), Standing.CONFIRMED, BOB, BOB, 400),
    (invite(""), Standing.CONFIRMED, BOB, BOB, 400),
]


@pytest.mark.requirement("CLI-04")
@pytest.mark.parametrize(("request_", "standing", "asserted", "referred", "expected"), ROWS)
def test_replaces(
    request_: Request, standing: Standing, asserted: str, referred: str, expected: DialogId | int | None
) -> None:
    found = decide(request_, {OURS: Candidate(standing, BOB)}, asserted=asserted, referred_by=referred)
    assert (found.status if isinstance(found, Refusal) else found) == expected


def test_a_session_whose_other_side_was_never_asserted_is_not_replaced() -> None:
    found = decide(invite(VALUE), {OURS: Candidate(Standing.CONFIRMED)}, asserted=BOB, referred_by=BOB)
    assert isinstance(found, Refusal)


def test_the_value_we_send_reads_back_at_the_other_side() -> None:
    there = parse(str(Replaces(OURS, early_only=True)))
    assert there == Replaces(("call-1", "remote", "local"), early_only=True)


def test_same_user() -> None:
    assert same_user("sip:bob@example.com", "SIP:bob@example.COM;x=y")
    assert not same_user("sip:bob@example.com", "sip:Bob@example.com")
    assert not same_user("sip:bob@example.com", "")
