"""The codec: grammar, framing, limits (RFC 4975 section 9), fed whole and cut anywhere."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msrp_worker.msrp.codec import CodecLimits, Parser
from msrp_worker.msrp.frames import (
    MAX_NON_SEND_BODY,
    Broken,
    Data,
    End,
    Event,
    Malformed,
    Request,
    Response,
    Status,
    check_header,
    encode_request,
    encode_response,
)
from msrp_worker.msrp.ranges import ByteRange

TO = "msrp://biloxi.example.com:12763/kjhd37s2s20w2a;tcp"
FROM = "msrp://atlanta.example.com:7654/jshA7weztas;tcp"
PATHS = f"To-Path: {TO}\r\nFrom-Path: {FROM}\r\n".encode()

SEND = (
    b"MSRP a786hjs2 SEND\r\n" + PATHS + b"Message-ID: 87652491\r\nByte-Range: 1-25/25\r\n"
    b"Content-Type: text/plain\r\n\r\nHey Bob, are you there?\r\n\r\n-------a786hjs2$\r\n"
)
OK = b"MSRP a786hjs2 200 OK\r\n" + PATHS + b"-------a786hjs2$\r\n"


def join(events: Iterable[Event]) -> list[Event]:
    """The same events whichever way the input was cut: bodies joined to their requests."""
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Data | End):
            assert isinstance(last, Request)
            assert last.flag is None
            if isinstance(event, Data):
                assert event.data
                last.body = (last.body or b"") + event.data
            else:
                last.body = last.body or b""
                last.flag = event.flag
        elif isinstance(event, Broken):
            joined.append(Broken(""))
        else:
            joined.append(event)
    return joined


def parse(*pieces: bytes, limits: CodecLimits | None = None, shortcuts: bool = True) -> list[Event]:
    parser = Parser(limits, shortcuts=shortcuts)
    return join([event for piece in pieces for event in parser.feed(piece)])


def send(body: bytes, transaction_id: str = "tid1", flag: str = "$", **headers: str) -> bytes:
    fields = [("Message-ID", "12345"), *((name.replace("_", "-"), text) for name, text in headers.items())]
    return encode_request("SEND", transaction_id, TO, FROM, fields, "text/plain", body, flag)


@pytest.mark.requirement("MED-01")
def test_request_of_the_rfc() -> None:
    for shortcuts in (True, False):
        (event,) = parse(SEND, shortcuts=shortcuts)
        assert isinstance(event, Request)
        assert (event.transaction_id, event.method, event.to_path, event.from_path) == (
            "a786hjs2",
            "SEND",
            TO,
            FROM,
        )
        assert event.headers == [
            ("Message-ID", "87652491"),
            ("Byte-Range", "1-25/25"),
            ("Content-Type", "text/plain"),
        ]
        assert (event.message_id, event.byte_range) == ("87652491", ByteRange(1, 25, 25))
        assert (event.content_type, event.status) == ("text/plain", None)
        assert (event.success_report, event.failure_report) == (False, "yes")
        assert (event.body, event.flag) == (b"Hey Bob, are you there?\r\n", "$")


@pytest.mark.requirement("MED-01")
def test_response_of_the_rfc() -> None:
    assert parse(OK) == [Response("a786hjs2", 200, "OK", TO, FROM, [])]
    assert encode_response("a786hjs2", 200, TO, FROM) == OK
    assert parse(OK.replace(b" OK", b"")) == [Response("a786hjs2", 200, None, TO, FROM, [])]


@pytest.mark.requirement("MED-02")
def test_report_with_status() -> None:
    report = encode_request("REPORT", "dkei38sd", TO, FROM, [("Message-ID", "12339sdqwer"), ("Status", "000 200 OK")])
    (event,) = parse(report)
    assert isinstance(event, Request)
    assert (event.method, event.status, event.has_body) == ("REPORT", Status("000", 200, "OK"), False)


@pytest.mark.requirement("MED-01")
def test_unknown_headers_keep_order_and_spelling() -> None:
    fields = [("X-One", "a: b"), ("Message-ID", "12345"), ("x-ONE", ""), ("Subject", "grüße ☕")]
    (event,) = parse(encode_request("SEND", "tid1", TO, FROM, fields))
    assert isinstance(event, Request)
    assert event.headers == fields


@pytest.mark.requirement("MED-01")
def test_header_names_and_report_values_compare_without_case() -> None:
    frame = send(b"x").replace(b"Message-ID", b"message-id").replace(b"To-Path", b"TO-PATH", 1)
    frame = frame.replace(b"Content-Type", b"Failure-REPORT: Partial\r\nsuccess-report: YES\r\nCONTENT-type")
    (event,) = parse(frame)
    assert isinstance(event, Request)
    assert (event.message_id, event.failure_report, event.success_report) == ("12345", "partial", True)


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("flag", ["+", "$", "#"])
def test_empty_body_is_not_no_body(flag: str) -> None:
    (with_body,) = parse(send(b"", flag=flag, Byte_Range="1-0/0"))
    (without,) = parse(encode_request("SEND", "tid1", TO, FROM, [("Message-ID", "12345")], flag=flag))
    assert isinstance(with_body, Request)
    assert isinstance(without, Request)
    assert (with_body.body, with_body.flag) == (b"", flag)
    assert (without.body, without.flag, without.has_body) == (None, flag, False)


BODIES = [
    b"-------other12$\r\n",
    b"\r\n-------other12$\r\nMSRP other12 SEND\r\n",  # fault: OpenSIPS drops the connection
    b"\r\n-------tid1",
    b"\r\n-------tid1x$\r\n",
    b"\r\n-------tid1*\r\n",
    b"\r\n-------tid1$ \r\n",
    b"\r\n-------tid1$\n",
    b"x-------tid1$\r\n",  # not after CRLF
    b"\r\n------",
    b"\r\r\n-------tid\r\n",
    b"\x00\xff\xfe\x80 not UTF-8 \x00",
    b"\r\n\r\n",
    b"\r",
    b"\r\n",
    bytes(range(256)) * 3,
]


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("body", BODIES)
def test_bodies_of_any_bytes_whole_and_cut_anywhere(body: bytes) -> None:
    """Faults: bodies with end-lines of other transactions, NUL, not UTF-8; frames cut between two reads."""
    stream = send(body) + OK
    expected = parse(stream)
    assert isinstance(expected[0], Request)
    assert (expected[0].body, expected[0].flag) == (body, "$")
    assert len(expected) == 2
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == expected
    assert parse(*(stream[n : n + 1] for n in range(len(stream)))) == expected


@pytest.mark.requirement("MED-01")
def test_end_line_right_after_the_blank_line_is_an_empty_body() -> None:
    """The empty body's own CRLF is missing; the frame ends in the same place however it is cut."""
    stream = b"MSRP tid1 SEND\r\n" + PATHS + b"Message-ID: 12345\r\nContent-Type: a/b\r\n\r\n-------tid1$\r\n" + OK
    whole = parse(stream)
    assert isinstance(whole[0], Request)
    assert (whole[0].body, len(whole)) == (b"", 2)
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == whole


@pytest.mark.requirement("MED-01")
def test_fault_cut_between_transaction_id_and_flag() -> None:
    """msrplib loses the flag when the read ends between them."""
    for flag in "+$#":
        frame = send(b"hello", flag=flag)
        (event,) = parse(frame[:-3], frame[-3:])
        assert isinstance(event, Request)
        assert (event.body, event.flag) == (b"hello", flag)


@pytest.mark.requirement("MED-01")
def test_fault_several_frames_in_one_read() -> None:
    """msrprelay dies on the second frame of a read."""
    assert len(parse(SEND + OK + SEND + SEND + OK)) == 5


@pytest.mark.requirement("MED-01")
def test_content_is_handed_on_before_the_chunk_ends() -> None:
    parser = Parser()
    head, _body = SEND.split(b"\r\n\r\n", 1)
    assert parser.feed(head) == []
    (begin,) = parser.feed(b"\r\n\r\n")
    assert isinstance(begin, Request)
    assert (begin.flag, begin.body, begin.has_body) == (None, None, True)
    assert parser.feed(b"Hey") == [Data(b"Hey")]
    assert parser.feed(b" Bob\r") == [Data(b" Bob")]  # the CR may begin the end-line
    assert parser.feed(b"!") == [Data(b"\r!")]
    assert parser.in_frame
    assert parser.feed(b"\r\n-------a786hjs2#\r\n") == [End("#")]
    assert not parser.in_frame


@pytest.mark.requirement("MED-01")
def test_large_body_is_not_copied_between_the_ends() -> None:
    parser = Parser()
    frame = send(b"", flag="+")
    parser.feed(frame[: frame.index(b"\r\n\r\n") + 5])
    piece = bytes(range(65, 91)) * 10_000
    parser.feed(b"start")
    (event,) = parser.feed(piece)
    assert isinstance(event, Data)
    assert event.data is piece


BAD_FRAMES = [
    (b"X: y\r\n" + PATHS, "To-Path is not the first"),
    (PATHS.replace(b"From-Path", b"X-Path"), "From-Path is not the second"),
    (PATHS + PATHS, "two To-Path"),
    (PATHS + b"Message-ID: 1\r\n", "bad Message-ID"),
    (PATHS + b"Message-ID: 12345\r\nMessage-ID: 12345\r\n", "bad Message-ID"),
    (PATHS + b"Message-ID: 12345\r\nByte-Range: 0-1/1\r\n", "bad Byte-Range"),
    (PATHS + b"Message-ID: 12345\r\nFailure-Report: maybe\r\n", "bad Failure-Report"),
    (PATHS + b"Message-ID: 12345\r\nSuccess-Report: partial\r\n", "bad Success-Report"),
    (PATHS + b"Message-ID: 12345\r\nStatus: 0 1\r\n", "bad Status"),
    (PATHS + b"Message-ID: 12345\r\nno colon\r\n", "not a header field"),
    (PATHS + b"Message-ID: 12345\r\nb[d: x\r\n", "bad header name"),
    (PATHS + b"Message-ID: 12345\r\nX: \x00\r\n", "control character"),
    (PATHS + b"Message-ID: 12345\r\nX: a\rb\r\n", "control character"),
    (PATHS + b"Message-ID: 12345\r\nX: a\nY: b\r\n", "control character"),
    (PATHS + b"Message-ID: 12345\r\nX: \xff\r\n", "not UTF-8"),
    (PATHS + b"Message-ID: 12345\r\nContent-Type: text/plain\r\n", "Content-Type without a body"),
    (PATHS + b"Message-ID: 12345\r\nContent-Type: text\r\n\r\nx\r\n", "bad Content-Type"),
    (PATHS + b"Message-ID: 12345\r\n\r\nx\r\n", "body without Content-Type"),
    (PATHS + b"Content-Type: text/plain\r\n\r\nx\r\n", "SEND without Message-ID"),
    (PATHS + b"Message-ID: 12345\r\n" + b"X: y\r\n" * 70, "more than 64"),
    (b"", "no To-Path"),
]


@pytest.mark.requirement("MED-01", "SEC-05")
@pytest.mark.parametrize(("headers", "reason"), BAD_FRAMES)
def test_malformed_frame_is_told_and_skipped(headers: bytes, reason: str) -> None:
    stream = b"MSRP tid1 SEND\r\n" + headers + b"-------tid1$\r\n" + OK
    events = parse(stream)
    assert len(events) == 2
    assert isinstance(events[0], Malformed)
    assert reason in events[0].reason
    assert (events[0].method, events[0].status) == ("SEND", 400)
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == events


@pytest.mark.requirement("MED-01")
def test_malformed_says_whom_to_answer() -> None:
    (event,) = parse(b"MSRP tid1 SEND\r\n" + PATHS + b"Failure-Report: no\r\nByte-Range: x\r\n-------tid1$\r\n")
    assert isinstance(event, Malformed)
    assert (event.to_path, event.from_path, event.failure_report) == (TO, FROM, "no")


@pytest.mark.requirement("MED-01", "SEC-05")
@pytest.mark.parametrize("header", [b"X: \xff\xfe", b"\r\n".join(b"X-%d: y" % number for number in range(70))])
def test_malformed_says_whom_to_answer_where_the_paths_were_not_read(header: bytes) -> None:
    """What fails before any header field is looked at: no UTF-8, too many fields."""
    frame = b"MSRP tid1 SEND\r\nTo-Path: msrp://h:1/a;tcp\r\nFrom-Path: msrp://h:2/b;tcp\r\n" + header
    (event,) = parse(frame + b"\r\n-------tid1$\r\n")
    assert isinstance(event, Malformed)
    assert (event.to_path, event.from_path) == ("msrp://h:1/a;tcp", "msrp://h:2/b;tcp")


@pytest.mark.requirement("MED-01")
def test_malformed_response_has_no_method() -> None:
    (event,) = parse(b"MSRP tid1 200 OK\r\n" + PATHS + b"bad\r\n-------tid1$\r\n")
    assert isinstance(event, Malformed)
    assert event.method is None


@pytest.mark.requirement("SEC-02", "SEC-05")
@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",  # a TLS hello on the plain port
        b"MSRP  SEND\r\n",
        b"MSRP abc SEND\r\n",  # ident has at least four characters
        b"MSRP " + b"a" * 33 + b" SEND\r\n",
        b"MSRP tid1 send\r\n",
        b"MSRP tid1 SEND \r\n",
        b"MSRP tid1 20 OK\r\n",
        b"msrp tid1 SEND\r\n",
        b"MSRP " + b"a" * 400,
        b"\r\n\r\n",
        b"MSRP tid1 SEND\r\nTo-Path: " + b"a" * 20_000,
        b"MSRP tid1 SEND\r\nTo-Path: " + b"a" * 20_000 + b"\r\n-------tid1$\r\n",
        b"MSRP tid1 SEND\r\nTo-Path: " + b"a" * 20_000 + b"\r\n\r\nbody\r\n-------tid1$\r\n",
        encode_request("REPORT", "tid1", TO, FROM, [], "a/b", b"x" * (MAX_NON_SEND_BODY + 1)),
    ],
)
def test_lost_framing_breaks_the_stream_for_good(stream: bytes) -> None:
    assert parse(OK + stream) == [*parse(OK), Broken("")]
    assert parse(*(stream[n : n + 1] for n in range(len(stream)))) == [Broken("")]
    parser = Parser()
    parser.feed(stream)
    assert parser.broken
    assert parser.feed(OK) == []


@pytest.mark.requirement("SEC-02")
def test_header_limit_is_the_configured_one() -> None:
    limits = CodecLimits(header_bytes=SEND.index(b"\r\n\r\n"))
    tighter = CodecLimits(header_bytes=SEND.index(b"\r\n\r\n") - 1)
    for shortcuts in (True, False):
        assert isinstance(parse(SEND, limits=limits, shortcuts=shortcuts)[0], Request)
        assert isinstance(parse(SEND, limits=tighter, shortcuts=shortcuts)[0], Broken)


@pytest.mark.requirement("SEC-05")
def test_parser_memory_is_bounded_while_a_chunk_streams() -> None:
    parser = Parser()
    frame = send(b"")
    parser.feed(frame[: frame.index(b"\r\n\r\n") + 5])
    for _ in range(100):
        parser.feed(b"\r\n-------tid" * 100)
        assert len(parser._buffer) < 64


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nY: b"), ("X", "a\nb"), ("X Y", "a"), ("", "a"), ("X", "\x00")])
@pytest.mark.requirement("SEC-05")
def test_check_header_refuses_injection(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a header field"):
        check_header(name, value)


ident = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+%=-]{3,31}", fullmatch=True)
text = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", codec="utf-8"), max_size=20)
extra = st.lists(st.tuples(st.from_regex(r"X-[A-Za-z0-9-]{1,10}", fullmatch=True), text), max_size=3)
near_miss = st.lists(
    st.sampled_from([b"\r\n", b"-------", b"tid1", b"$", b"+", b"\r", b"\n", b"x", b"MSRP ", b"\x00", b"\xff"]),
    max_size=12,
).map(b"".join)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One well-formed frame of any kind."""
    transaction_id = draw(st.just("tid1") | ident)
    kind = draw(st.sampled_from(["SEND", "SEND", "SEND", "REPORT", "NICKNAME", "response", "bare"]))
    if kind == "response":
        comment = draw(st.just("OK") | st.text("abc é", max_size=10))
        return encode_response(transaction_id, draw(st.integers(100, 999)), TO, FROM, comment)
    fields = [("Message-ID", draw(ident)), *draw(extra)]
    if kind == "REPORT":
        fields.append(("Status", "000 200 OK"))
    if kind == "bare":
        return encode_request("SEND", transaction_id, TO, FROM, fields)
    if draw(st.booleans()):
        fields.insert(1, ("Byte-Range", "1-*/*"))
    reports = st.sampled_from(["Success-Report", "Failure-Report"])
    fields += draw(st.lists(st.tuples(reports, st.sampled_from(["yes", "no"])), max_size=2))
    body = draw(st.binary(max_size=40) | near_miss)
    for flag in "+$#":
        if f"\r\n-------{transaction_id}{flag}\r\n".encode() in b"\r\n" + body + b"\r\n":
            body = b""
    flag = draw(st.sampled_from("+$#"))
    return encode_request(kind, transaction_id, TO, FROM, fields, "text/plain", body, flag)


@pytest.mark.requirement("MED-01")
@settings(max_examples=300)
@given(st.lists(frames(), min_size=1, max_size=4), st.data())
def test_any_split_parses_to_the_same_events(sequence: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(sequence)
    whole = parse(stream)
    assert len(whole) == len(sequence)
    assert not any(isinstance(event, Malformed | Broken) for event in whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[low:high] for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*pieces) == whole
    assert parse(stream, shortcuts=False) == whole


@pytest.mark.requirement("SEC-05")
@settings(max_examples=300)
@given(st.lists(frames(), min_size=1, max_size=3), st.data())
def test_damaged_streams_parse_alike_however_cut(sequence: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(sequence))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255) | st.sampled_from(b"\r\n:- $"))
    whole = parse(bytes(stream))
    cut = data.draw(st.integers(0, len(stream)))
    assert parse(bytes(stream[:cut]), bytes(stream[cut:])) == whole
    assert parse(bytes(stream), shortcuts=False) == whole


@pytest.mark.requirement("MED-01")
@given(frames())
def test_encoding_what_was_parsed_gives_the_same_bytes(frame: bytes) -> None:
    (event,) = parse(frame)
    if isinstance(event, Response):
        comment = event.comment or ""
        again = encode_response(event.transaction_id, event.code, event.to_path, event.from_path, comment)
    else:
        assert isinstance(event, Request)
        fields = [field for field in event.headers if field[0] != "Content-Type"]
        again = encode_request(
            event.method,
            event.transaction_id,
            event.to_path,
            event.from_path,
            fields,
            event.content_type,
            event.body,
            event.flag,
        )
    assert again == frame
