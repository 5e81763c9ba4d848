"""Packets of the link: what goes in on one side comes out on the other, and what is not ours is named so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi import messages
from kemi.messages import (
    AbandonedInvites,
    Answer,
    DeferQuestion,
    Deferred,
    EndFacts,
    Failed,
    Focus,
    FocusQuestion,
    Incoming,
    Message,
    Operate,
    PagerFacts,
    PagerQuestion,
    Published,
    PublishQuestion,
    Registered,
    RegisterQuestion,
    SendRequest,
    Settle,
    SipEvent,
    SipRequest,
    TraceBatch,
    decode_answer,
    decode_end,
    decode_question,
    decode_send_request,
    encode_answer,
    encode_command,
    encode_end,
    encode_question,
    encode_send_request,
)
from kemi.shared_facts import decode_shared, encode_shared
from kemi.trace_events import TraceEvent, read_trace_lines, trace_line

TEXT = st.text(max_size=30)  # with NUL, line ends, quotes and everything else that is text
NUMBER = st.integers(0, 2**31 - 1)
TIME = st.floats(0, 2**40, allow_nan=False)
TRANSACTION = st.tuples(NUMBER, NUMBER)
EVENT_KINDS = ("response", "timeout", "ack", "cancelled")
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(PagerQuestion, TEXT, TEXT, TEXT, st.booleans(), st.booleans(), st.booleans(), TEXT, TEXT),
    st.builds(DeferQuestion, TEXT, TEXT, TEXT, st.booleans(), TIME, st.none() | TIME, TEXT, st.booleans()),
    st.builds(RegisterQuestion, TEXT, TEXT, NUMBER, st.booleans()),
    st.builds(FocusQuestion, TEXT, TEXT),
    st.builds(PublishQuestion, TEXT, TEXT, TEXT, st.none() | NUMBER),
    st.builds(SipRequest, TEXT, TEXT, TEXT, TEXT),
    st.builds(SipEvent, TEXT, st.sampled_from(EVENT_KINDS), TEXT, NUMBER, TEXT, TEXT),
    st.just(TraceBatch()),
    st.just(Settle()),
    st.just(Operate()),
    st.just(AbandonedInvites()),
)
ENDS = st.builds(
    EndFacts,
    im_allowed=st.booleans(),
    pager_max_size=st.none() | NUMBER,
    content_types=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    willing=st.booleans(),
    registered=st.booleans(),
)
ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.builds(PagerFacts, st.none() | ENDS, st.none() | ENDS, NUMBER, TEXT),
    st.builds(Deferred, TEXT, st.sampled_from(["", "quota", "unavailable"])),
    st.builds(Registered, st.booleans()),
    st.builds(Focus, TEXT),
    st.builds(Published, TEXT, NUMBER, st.sampled_from(["", "unknown tag", "too brief", "malformed"]), TEXT),
    st.builds(Failed, TEXT),
)


@pytest.mark.requirement("DEF-01", "SEC-05")
@given(st.none() | TRANSACTION, MESSAGES, st.binary(max_size=200))
def test_a_question_arrives_as_it_was_sent(transaction: tuple[int, int] | None, message: Message, content: bytes) -> None:
    packet = encode_question(transaction, message, content, 2.5)
    assert decode_question(packet) == Incoming(transaction, message, content, 2.5)


@pytest.mark.requirement("DEF-01")
@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n{}", bytes(range(256)), b"\xff\xfe\x00", b"x" * 130_000])
def test_content_is_carried_byte_for_byte(content: bytes) -> None:
    message = RegisterQuestion("c", "sip:a@b", 1, True)
    assert decode_question(encode_question((1, 2), message, content)).content == content


def test_a_packet_is_one_line_of_json_before_its_content() -> None:
    packet = encode_question((1, 2), RegisterQuestion("a\nb", "sip:a@b", 60, True), b"\nMESSAGE")
    head, _, content = packet.partition(b"\n")
    assert json.loads(head) == {
        "packet": "third-party-register",
        "id": [1, 2],
        "until": 0.0,
        "call_id": "a\nb",
        "address": "sip:a@b",
        "seconds": 60,
        "capable": True,
    }
    assert content == b"\nMESSAGE"


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\n",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"packet":"pager"}',
        b'{"packet":"unknown","id":null}',
        b'{"packet":[],"id":null}',
        b'{"packet":"pager","id":null}',
        b'{"packet":"pager","id":[1]}',
        b'{"packet":"traces","id":null}',
        b'{"packet":"traces","id":null,"until":"soon","call_id":"-"}',
        b'{"packet":"traces","id":[Infinity,1],"until":0,"call_id":"-"}',
        b"[" * 100_000,
        b'{"packet":"third-party-register","id":["a","b"],"until":0,"call_id":"","address":"","seconds":1,"capable":true}',
        b'{"packet":"third-party-register","id":5,"until":0,"call_id":"","address":"","seconds":1,"capable":true}',
        b'{"packet":"third-party-register","id":null,"until":0,"call_id":"","address":"","seconds":1,"capable":true,"more":1}',
    ],
)
def test_what_is_no_question_is_a_value_error(packet: bytes) -> None:
    with pytest.raises(ValueError):
        decode_question(packet)


@given(st.binary(max_size=100))
def test_no_packet_breaks_the_reader(packet: bytes) -> None:
    try:
        decode_question(packet)
    except ValueError:
        pass


@given(TRANSACTION, ANSWERS)
def test_an_answer_arrives_as_it_was_sent(transaction: tuple[int, int], answer: Answer) -> None:
    command = json.loads(encode_answer(transaction, answer))
    assert command["do"] == messages.ANSWER
    assert decode_answer(command) == (transaction, answer)
    assert decode_answer(command) == (transaction, answer), "reading leaves the command as it is"


END = {"im_allowed": True, "content_types": None}


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"id": [1, 2]},
        {"id": [1, 2], "of": "unknown"},
        {"id": [1, 2], "of": ["pager"]},
        {"id": [1, 2], "of": "pager"},
        {"id": [1, 2], "of": "pager", "originator": "text", "recipient": None},
        {"id": [1, 2], "of": "pager", "originator": [], "recipient": None},
        {"id": [1, 2], "of": "pager", "originator": {}, "recipient": None},
        {"id": [1, 2], "of": "pager", "originator": {**END, "more": 1}, "recipient": None},
        {"id": [1, 2], "of": "pager", "originator": {**END, "content_types": 5}, "recipient": None},
        {"id": [1, 2], "of": "defer", "message_id": "m"},
        {"id": [1], "of": "failed", "detail": ""},
        {"id": None, "of": "failed", "detail": ""},
        {"id": ["x", "y"], "of": "failed", "detail": ""},
    ],
)
def test_what_is_no_answer_is_a_value_error(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        decode_answer(values)


@pytest.mark.requirement("SEC-06", "SET-07")
@pytest.mark.parametrize("name", [messages.BEAT, messages.RELOAD_SUBSCRIPTIONS])
def test_a_command_is_its_name_and_the_revision_of_the_store(name: str) -> None:
    assert json.loads(encode_command(name, 7)) == {"do": name, "revision": 7}
    assert json.loads(encode_command(name)) == {"do": name, "revision": -1}


@given(st.builds(SendRequest, TEXT, TEXT, TEXT, TEXT, TEXT))
def test_a_request_to_send_arrives_as_it_was_built(request: SendRequest) -> None:
    assert decode_send_request(json.loads(encode_send_request(request))) == request


@pytest.mark.requirement("SEC-05")
def test_a_request_to_send_that_lacks_a_part_is_a_value_error() -> None:
    values = json.loads(encode_send_request(SendRequest("BYE", "sip:a@b", "", "")))
    for name in ("method", "request_uri", "next_hop", "headers", "body"):
        with pytest.raises(ValueError, match=name):
            decode_send_request({key: value for key, value in values.items() if key != name})


@given(ENDS)
def test_facts_are_shared_as_text(facts: EndFacts) -> None:
    assert decode_end(encode_end(facts)) == facts


@pytest.mark.parametrize(
    "text", ["", "null", "5", "[]", "{}", '"text"', '{"content_types":null,"more":1}', '{"content_types":5}']
)
def test_what_is_no_facts_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode_end(text)


# What may stand in a line: the adapter makes everything else printable first.
WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)
EVENTS = st.builds(
    TraceEvent,
    call_id=WORDS,
    kind=st.sampled_from(["refused", "delivered", "failed", "forwarded", "deferring"]),
    originator=WORDS,
    recipient=WORDS,
    status=st.integers(0, 699),
    requirement=WORDS,
    detail=WORDS,
    time=st.integers(0, 2**31).map(float),
    received=st.integers(0, 2**31).map(float),
)


@given(st.lists(EVENTS, max_size=5))
def test_a_batch_of_traces_arrives_in_order(events: list[TraceEvent]) -> None:
    content = "\n".join(map(trace_line, events)).encode()
    assert read_trace_lines(content) == events


@pytest.mark.requirement("SEC-05")
def test_a_value_cannot_pass_for_several() -> None:
    event = TraceEvent("call\t1", "refused", "a\nb", "sip:bob@example.com", 403, "IDN-01", "why\tso")
    (read,) = read_trace_lines(trace_line(event).encode())
    assert (read.call_id, read.originator, read.recipient, read.detail) == ("call 1", "a b", event.recipient, "why so")


def test_the_lines_of_the_native_routes_are_read() -> None:
    line = b"1795219200.123456\tdelivered\t200\t\tcall-1\t1795219200\tanonymous\tsip:bob@example.com\t"
    event = TraceEvent(
        "call-1", "delivered", "anonymous", "sip:bob@example.com", 200, "", "", 1795219200.123456, 1795219200.0
    )
    assert read_trace_lines(line) == [event]


@pytest.mark.requirement("SEC-05")
def test_a_line_that_is_no_trace_is_left_out() -> None:
    good = TraceEvent("c", "failed", "a", "b", 480)
    bad = ["", "x", "x\tfailed\t1\t\tc\t0\ta\tb\t", "0\tfailed\tmany\t\tc\t0\ta\tb\t", "\t" * 7]
    content = "\n".join([*bad, trace_line(good), *bad]).encode() + b"\n\xff\xfe"
    assert read_trace_lines(content) == [good]


@given(ENDS, NUMBER)
def test_shared_facts_come_back(facts: EndFacts, revision: int) -> None:
    assert decode_shared(encode_shared(revision, facts)) == facts


@pytest.mark.requirement("SEC-05", "SET-07")
def test_a_torn_reading_of_shared_facts_is_none() -> None:
    """Any mixture of two values, as a reader without a lock may see it, is not taken for either."""
    one = encode_shared(7, EndFacts(pager_barred=True))
    other = encode_shared(8, EndFacts(im_allowed=False))
    for cut in range(1, min(len(one), len(other))):
        mixed = other[:cut] + one[cut:]
        assert mixed in (one, other) or decode_shared(mixed) is None
    assert decode_shared("7") is None
    assert decode_shared("") is None
