"""Registration as a separate core tells it."""

from __future__ import annotations

import pytest

from kemi.actions import Ask, Refuse, Respond
from kemi.messages import Answer, Deferred, Failed, Registered, RegisterQuestion
from kemi.third_party_register import MAX_EXPIRES, STAGE, capable, decide, screen
from tests.kemi.builders import POLICY

ALICE = "sip:alice@example.com"


@pytest.mark.requirement("COR-06", "COR-08")
@pytest.mark.parametrize(("expires", "seconds"), [("3600", 3600), ("0", 0), ("007", 7), (str(MAX_EXPIRES), MAX_EXPIRES)])
@pytest.mark.parametrize("capable", [True, False])
def test_a_good_register_is_asked_about(expires: str, seconds: int, capable: bool) -> None:
    assert screen("c1", ALICE, expires, capable) == Ask(RegisterQuestion("c1", ALICE, seconds, capable), STAGE)


@pytest.mark.requirement("COR-06", "SEC-05")
@pytest.mark.parametrize(
    ("address", "expires"),
    [
        ("", "3600"),
        (ALICE, ""),
        (ALICE, "soon"),
        (ALICE, "-1"),
        (ALICE, "+1"),
        (ALICE, "1_0"),
        (ALICE, "٣"),
        (ALICE, "3600;x"),
        (ALICE, str(MAX_EXPIRES + 1)),
        (ALICE, "9" * 5000),
        (ALICE, "0" * 5000),
    ],
    ids=lambda value: value[:24],
)
def test_a_bad_register_is_a_bad_request(address: str, expires: str) -> None:
    action = screen("c1", address, expires, True)
    assert isinstance(action, Refuse) and (action.status, action.requirement) == (400, "COR-06")


CORE = "<sip:scscf.example.com>"


@pytest.mark.requirement("COR-06", "COR-07", "COR-08")
@pytest.mark.parametrize(
    ("contact", "content", "expected"),
    [
        (CORE, "", True),
        (f"{CORE};expires=60", "", True),
        (f"{CORE};+g.oma.sip-im", "", True),
        (f"{CORE};+g.3gpp.smsip", "", False),
        (CORE, "Contact: <sip:a@h>;+g.oma.sip-im\r\nExpires: 60\r\n", True),
        (CORE, "m: <sip:a@h>;+g.oma.sip-im;expires=60\r\n", True),
        (CORE, "CONTACT : <sip:a@h>\r\n\t;+g.oma.sip-im\r\n", True),
        (CORE, "Contact: <sip:a@h>;+g.3gpp.smsip\r\nContact: <sip:b@h>;+g.oma.sip-im\r\n", True),
        (CORE, 'From: "odd <sip:a@h>;tag=1\r\nContact: <sip:a@h>;+g.oma.sip-im\r\n', True),
        (CORE, "--b\r\nContent-Type: message/sip\r\n\r\nm: <sip:a@h>;+g.oma.sip-im\r\n\r\n--b--", True),
        (CORE, "Contact: <sip:a@h>;+g.3gpp.smsip\r\n", False),
        (CORE, "Contact: <sip:a@h>;expires=60\r\n", False),
        (CORE, "Subject: ;+g.oma.sip-im\r\nContact: <sip:a@h>;+g.3gpp.smsip\r\n", False),
        (CORE, 'Contact: "+g.oma.sip-im" <sip:a@h>;+g.3gpp.smsip\r\n', False),
        ("", "", True),
    ],
)
def test_the_clients_own_register_tells_what_it_is_for(contact: str, content: str, expected: bool) -> None:
    assert capable(contact, content) is expected


@pytest.mark.requirement("COR-06")
def test_a_stored_register_gets_the_same_expires() -> None:
    assert decide(Registered(True), "3600", POLICY) == Respond(200, "OK", ("Expires: 3600",))


@pytest.mark.requirement("COR-06")
@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [(Registered(False), 404, None), (Failed("busy"), 503, 5), (Deferred("m"), 503, 5)],
)
def test_what_was_not_stored_is_not_ok(answer: Answer, status: int, retry_after: int | None) -> None:
    action = decide(answer, "3600", POLICY)
    assert isinstance(action, Refuse) and (action.status, action.retry_after) == (status, retry_after)
