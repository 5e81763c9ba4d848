"""The service settings procedure: its checks in their order, and the response to each outcome."""

from __future__ import annotations

from typing import Any

import pytest

from kemi.actions import Action, Ask, Refuse, Respond
from kemi.messages import LARGEST_SETTINGS, Answer, Deferred, Failed, Published, PublishQuestion
from kemi.service_settings import LONGEST_TAG, STAGE, decide, screen
from tests.kemi.bench import ALICE, BOB, CALL_ID, Bench, sip
from tests.kemi.builders import POLICY, request

TYPE = "application/poc-settings+xml"
GOOD = {
    "method": "PUBLISH",
    "request_uri": ALICE,
    "recipient": ALICE,
    "content_type": TYPE,
    "content_length": 700,
    "message_length": 1400,
}
EVENT = "poc-settings"


def screened(event: str = EVENT, if_match: str = "", **changes: Any) -> Action:
    """What becomes of the good PUBLISH with some fields changed."""
    return screen(request(**{**GOOD, **changes}), event, if_match, POLICY)


@pytest.mark.requirement("SET-04")
@pytest.mark.parametrize(
    ("changes", "tag", "seconds"),
    [
        ({}, "", None),
        ({"expires": "600"}, "", 600),
        ({"expires": "0"}, "", 0),
        ({"expires": "9" * 50}, "", 2**32 - 1),
        ({"if_match": " abc-.!%*_+`'~9 "}, "abc-.!%*_+`'~9", None),
        ({"if_match": "abc", "content_length": 0, "content_type": ""}, "abc", None),
        ({"if_match": "abc", "content_length": 0, "content_type": "text/plain", "expires": "0"}, "abc", 0),
        ({"event": "POC-settings ;id=1"}, "", None),
        ({"content_type": "Application/POC-Settings+XML;charset=utf-8"}, "", None),
        ({"content_length": LARGEST_SETTINGS, "message_length": LARGEST_SETTINGS + 700}, "", None),
    ],
)
def test_a_good_publication_is_asked_about_with_its_document(
    changes: dict[str, Any], tag: str, seconds: int | None
) -> None:
    assert screened(**changes) == Ask(PublishQuestion("call-1", ALICE, tag, seconds), STAGE, with_body=True)


NOTHING_RIGHT = {
    "accept_contact": "*;+g.poc.talkburst",
    "event": "presence",
    "originator": BOB,
    "if_match": "a b",
    "expires": "soon",
    "content_type": "text/xml",
    "content_length": LARGEST_SETTINGS + 1,
    "message_length": LARGEST_SETTINGS + 100_000,
}
"""A PUBLISH with every fault, which are mended one after the other."""
ORDER = (
    (("accept_contact",), 403, "SET-01"),
    (("event",), 489, "SET-02"),
    (("originator",), 403, "SET-03"),
    (("message_length",), 513, "SEC-05"),
    (("if_match",), 400, "SET-04"),
    (("expires",), 400, "SET-04"),
    (("content_type",), 415, "SET-05"),
    (("content_length",), 413, "SEC-05"),
)


@pytest.mark.requirement("SET-01", "SET-02", "SET-03", "SET-04", "SET-05")
def test_the_checks_stand_in_the_order_of_the_specification() -> None:
    faults = dict(NOTHING_RIGHT)
    for (fault,), status, requirement in ORDER:
        action = screened(**faults)
        assert isinstance(action, Refuse) and (action.status, action.requirement) == (status, requirement), fault
        del faults[fault]
    assert isinstance(screened(**faults), Ask)


@pytest.mark.requirement("SET-02")
@pytest.mark.parametrize("event", ["", "presence", "poc-settings-2", "presence, poc-settings", "presence;x=poc-settings"])
def test_another_event_is_refused_and_ours_is_named(event: str) -> None:
    action = screened(event)
    assert isinstance(action, Refuse)
    assert (action.status, action.reason, action.headers) == (489, "Bad Event", ("Allow-Events: poc-settings",))


@pytest.mark.requirement("SET-03")
@pytest.mark.parametrize(("originator", "recipient"), [("", ALICE), (BOB, ALICE), ("", ""), (ALICE, "")])
def test_nobody_publishes_for_somebody_else(originator: str, recipient: str) -> None:
    action = screened(originator=originator, recipient=recipient)
    assert isinstance(action, Refuse) and (action.status, action.requirement) == (403, "SET-03")


@pytest.mark.requirement("SET-04", "SET-05")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"if_match": "a, b"}, 400),
        ({"if_match": '"a"'}, 400),
        ({"if_match": "x" * (LONGEST_TAG + 1)}, 400),
        ({"expires": "-1"}, 400),
        ({"expires": "1.5"}, 400),
        ({"expires": "٣"}, 400),
        ({"content_length": 0, "content_type": ""}, 400),
        ({"content_length": 0, "content_type": "", "expires": "0"}, 400),
        ({"content_type": ""}, 415),
        ({"content_type": "application/pidf+xml"}, 415),
        ({"content_length": LARGEST_SETTINGS + 1, "message_length": LARGEST_SETTINGS + 700}, 413),
    ],
)
def test_what_needs_no_state_is_refused_at_once(changes: dict[str, Any], status: int) -> None:
    action = screened(**changes)
    assert isinstance(action, Refuse) and action.status == status
    if status == 415:
        assert action.headers == (f"Accept: {TYPE}",)


@pytest.mark.requirement("SET-04", "SET-05")
@pytest.mark.parametrize(
    ("answer", "status", "headers", "retry_after"),
    [
        (Published(refusal="unknown user"), 404, (), None),
        (Published(refusal="unknown tag"), 412, (), None),
        (Published(refusal="too brief", seconds=60), 423, ("Min-Expires: 60",), None),
        (Published(refusal="malformed", detail="no"), 400, (), None),
        (Published(refusal="unavailable"), 503, (), 5),
        (Failed("bug"), 503, (), 5),
        (Deferred("m"), 503, (), 5),
    ],
)
def test_what_was_not_taken_is_not_ok(
    answer: Answer, status: int, headers: tuple[str, ...], retry_after: int | None
) -> None:
    action = decide(answer, POLICY)
    assert isinstance(action, Refuse)
    assert (action.status, action.headers, action.retry_after) == (status, headers, retry_after)


@pytest.mark.requirement("SET-04")
def test_what_was_taken_gets_its_entity_tag_and_time() -> None:
    assert decide(Published("abc", 600), POLICY) == Respond(200, "OK", ("SIP-ETag: abc", "Expires: 600"))


# ---- Through the hooks ----------------------------------------------------------------------------------------------


def received(bench: Bench, *headers: str, content: bytes = b"<poc-settings/>") -> None:
    """Alice publishes."""
    raw = sip("PUBLISH", "Event: poc-settings", *headers, uri=ALICE, content=content, content_type=TYPE)
    bench.receive(raw, to=ALICE)


@pytest.mark.requirement("SET-04")
def test_the_worker_gets_the_body_byte_for_byte_and_its_answer_is_told(working: Bench) -> None:
    body = b"<poc-settings>caf\xe9\x00\r\n\r\n</poc-settings>\n"
    received(working, "SIP-If-Match: old", "Expires: 600", content=body)
    assert working.hook("im_publish") == "done"
    asked = working.question()
    assert asked.message == PublishQuestion(CALL_ID, ALICE, "old", 600)
    assert asked.content == body
    assert working.statuses == [], "nothing is said before it is durable"
    assert working.answer(asked, Published("new", 600)) == "done"
    (reply,) = working.kamailio.replies
    assert (reply.status, reply.headers) == (200, ("SIP-ETag: new\r\n", "Expires: 600\r\n"))


@pytest.mark.requirement("SET-05", "SEC-05")
def test_what_is_wrong_with_a_document_cannot_break_the_warning(working: Bench) -> None:
    received(working)
    working.hook("im_publish")
    working.answer(working.question(), Published(refusal="malformed", detail='active is "\\\r\nX: y'))
    (reply,) = working.kamailio.replies
    assert (reply.status, reply.headers) == (400, ('Warning: 399 example.com "active is \\"\\\\??X: y"\r\n',))


@pytest.mark.requirement("SEC-06")
def test_without_the_worker_the_answer_is_503(bench: Bench) -> None:
    received(bench)
    bench.hook("im_publish")
    assert bench.statuses == [503]
