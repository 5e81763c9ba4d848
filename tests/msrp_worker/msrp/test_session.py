"""Sessions without I/O: binding, responses, reports, limits (RFC 4975 sections 5 to 7)."""

import os

import pytest

from msrp_worker.msrp.fingerprint import certificate_matches, fingerprint
from msrp_worker.msrp.frames import Request, Response, encode_request
from msrp_worker.msrp.handler import DEFERRED
from msrp_worker.msrp.inbox import MESSAGE_IDLE_SECONDS
from msrp_worker.msrp.link import MAX_STRAY_REQUESTS
from msrp_worker.msrp.media_types import accept_types
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.outbox import MAX_KEPT_MESSAGES
from msrp_worker.msrp.ranges import ByteRange
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.state import State
from msrp_worker.msrp.transaction import TRANSACTION_SECONDS, idents
from msrp_worker.msrp.uri import parse_path, parse_uri
from tests.msrp_worker.msrp.harness import ALICE, BOB, Pair, Recorder, Side, parse_frames, responses, sends


def chunk(body: bytes | None = b"hi", ident: str = "tid1", flag: str = "$", **fields: str) -> bytes:
    """A SEND from Alice to Bob."""
    values = {"Message-ID": "12345"} | {name.replace("_", "-"): value for name, value in fields.items()}
    content_type = values.pop("Content-Type", "text/plain")
    to_path = values.pop("To-Path", BOB)
    from_path = values.pop("From-Path", ALICE)
    kind = None if body is None else content_type
    return encode_request("SEND", ident, to_path, from_path, values.items(), kind, body, flag)


# --- binding ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("MED-03")
def test_bodiless_send_binds_and_is_answered() -> None:
    """Fault: a bodiless SEND binds the session and is answered 200."""
    bob = Side(BOB, ALICE)
    out = bob.feed(chunk(None))
    assert out == (f"MSRP tid1 200 OK\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------tid1$\r\n".encode())
    assert bob.session.state is State.BOUND
    assert bob.recorder.names() == ["bound"]


@pytest.mark.requirement("MED-03")
def test_first_send_of_the_active_side_has_no_body_even_where_a_message_waits() -> None:
    """Fault: msrplib 0.21 answers a first SEND with a body and then fails on the content, and with it the session."""
    alice = Side(ALICE, BOB)
    handle = alice.session.send(b"early", "text/plain")
    alice.session.bind(alice.link, greet=True)
    alice.take()
    first, second = sends(alice.sent)
    assert (first.body, first.content_type) == (None, None)
    assert (second.body, second.message_id) == (b"early", handle.message_id)
    for request, status in ((first, None), (second, 200)):  # the greeting's answer is not the message's
        ident = request.transaction_id
        alice.feed(f"MSRP {ident} 200 OK\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{ident}$\r\n".encode())
        assert handle.status == status


@pytest.mark.requirement("MED-03")
@pytest.mark.parametrize(
    ("to_path", "code"),
    [
        (BOB, 200),
        (BOB.replace("biloxi", "BILOXI"), 200),
        ("msrp://biloxi.example.com:12763/unknown;tcp", 481),
        (BOB.replace("biloxi", "other"), 481),
        (BOB.replace("12763", "12764"), 481),
        (BOB.replace("msrp:", "msrps:"), 481),
        (BOB.replace("/kjhd37s2s20w2a", ""), 481),
        (f"{BOB} {BOB}", 481),
        ("sip:bob@example.com", 400),
    ],
)
def test_to_path_finds_the_session(to_path: str, code: int) -> None:
    bob = Side(BOB, ALICE)
    assert responses(bob.feed(chunk(**{"To-Path": to_path}))) == [("tid1", code)]
    assert (bob.session.state is State.BOUND) == (code == 200)


@pytest.mark.requirement("MED-03")
def test_session_id_alone_matches_where_configured() -> None:
    bob = Side(BOB, ALICE, SessionOptions(match_session_id_only=True))
    moved = "msrps://sbc.example.net:1/kjhd37s2s20w2a;tcp"
    assert responses(bob.feed(chunk(**{"To-Path": moved}))) == [("tid1", 200)]


@pytest.mark.requirement("MED-03")
def test_second_connection_is_506() -> None:
    bob = Side(BOB, ALICE)
    bob.feed(chunk(None))
    bob.link = bob.new_link()
    assert responses(bob.feed(chunk())) == [("tid1", 506)]
    assert "message" not in bob.recorder.names()


@pytest.mark.requirement("MED-10")
def test_uri_is_good_for_one_use() -> None:
    bob = Side(BOB, ALICE)
    bob.feed(chunk(None))
    bob.session.close()
    assert responses(bob.feed(chunk(ident="tid2"))) == [("tid2", 481)]
    assert len(bob.registry) == 0


@pytest.mark.requirement("MED-10")
def test_address_is_checked_where_configured() -> None:
    bob = Side(BOB, ALICE, SessionOptions(peer_addresses=frozenset({"192.0.2.9"})))
    assert responses(bob.feed(chunk())) == [("tid1", 403)]
    bob.link = bob.new_link("192.0.2.9")
    assert responses(bob.feed(chunk())) == [("tid1", 200)]


@pytest.mark.requirement("SEC-04")
def test_msrps_session_is_not_bound_without_tls() -> None:
    uri = BOB.replace("msrp:", "msrps:")
    bob = Side(uri, ALICE)
    assert responses(bob.feed(chunk(**{"To-Path": uri}))) == [("tid1", 403)]
    bob.link = bob.new_link(secure=True)
    assert responses(bob.feed(chunk(**{"To-Path": uri}))) == [("tid1", 200)]


@pytest.mark.requirement("MED-04")
def test_certificate_has_to_match_the_offered_fingerprint() -> None:
    good, bad = fingerprint(b"certificate"), fingerprint(b"other")
    for offered, certificate, code in [
        (good, b"certificate", 200),
        (bad, b"certificate", 403),
        (good, None, 403),
    ]:
        bob = Side(BOB, ALICE)
        bob.session.set_remote(parse_path(ALICE), (offered,))
        bob.link.certificate = certificate
        assert responses(bob.feed(chunk())) == [("tid1", code)]
        assert (bob.link.refused_because is None) == (code == 200)


@pytest.mark.requirement("MED-04")
def test_fingerprint_that_comes_after_the_connection_is_checked_then() -> None:
    """RFC 8122 section 6.2: the connection may outrace the answer."""
    bob = Side(BOB, "")
    bob.link.certificate = b"certificate"
    bob.feed(chunk(None))
    bob.session.set_remote(parse_path(ALICE), (fingerprint(b"other"),))
    assert bob.link.refused_because is not None


@pytest.mark.requirement("MED-04")
@pytest.mark.parametrize(
    ("offered", "matches"),
    [
        ([fingerprint(b"c", "sha-256")], True),
        ([fingerprint(b"c", "sha-1")], True),
        ([fingerprint(b"x", "sha-256"), fingerprint(b"c", "sha-256")], True),
        ([fingerprint(b"x", "sha-512"), fingerprint(b"c", "sha-256")], False),  # the preferred hash decides
        ([fingerprint(b"c").lower()], True),
        (["md5 " + "00:" * 15 + "00"], False),
        ([""], False),
    ],
)
def test_fingerprints(offered: list[str], matches: bool) -> None:
    assert certificate_matches(b"c", tuple(offered)) is matches


@pytest.mark.requirement("SEC-02")
def test_connection_that_only_guesses_is_closed() -> None:
    bob = Side(BOB, ALICE)
    for n in range(MAX_STRAY_REQUESTS):
        assert bob.link.refused_because is None
        bob.feed(chunk(ident=f"tid{n}", **{"To-Path": "msrp://biloxi.example.com:12763/guess;tcp"}))
    assert bob.link.refused_because is not None


@pytest.mark.requirement("MED-03")
def test_several_sessions_on_one_connection() -> None:
    bob = Side(BOB, ALICE)
    second = "msrp://biloxi.example.com:12763/second;tcp"
    recorder = Recorder()
    session = Session(parse_uri(second), recorder, bob.idents)
    bob.registry.add(session)
    bob.feed(chunk(b"one") + chunk(b"two", "tid2", **{"To-Path": second}) + chunk(b"three", "tid3"))
    assert [entry[2] for entry in bob.recorder.log if entry[0] == "message"] == [b"one", b"three"]
    assert [entry[2] for entry in recorder.log if entry[0] == "message"] == [b"two"]
    bob.session.close()
    assert responses(bob.feed(chunk(b"4", "tid4") + chunk(b"5", "tid5", **{"To-Path": second}))) == [
        ("tid4", 481),
        ("tid5", 200),
    ]


# --- responses and reports --------------------------------------------------------------------------------


@pytest.mark.requirement("MED-02")
@pytest.mark.parametrize(
    ("failure_report", "success_report", "code", "response", "report"),
    [
        ("yes", "no", 200, 200, None),
        ("yes", "yes", 200, 200, 200),
        ("yes", "yes", 413, 413, None),
        ("partial", "no", 200, None, None),
        ("partial", "yes", 200, None, 200),
        ("partial", "no", 413, 413, None),
        ("no", "no", 200, None, None),
        ("no", "yes", 200, None, 200),
        ("no", "yes", 413, None, None),
    ],
)
def test_response_and_report_as_asked_for(
    failure_report: str, success_report: str, code: int, response: int | None, report: int | None
) -> None:
    """Fault: `Failure-Report: no` gets no 200, `partial` only errors."""
    bob = Side(BOB, ALICE, message=code)
    out = parse_frames(bob.feed(chunk(Failure_Report=failure_report, Success_Report=success_report)))
    assert [event.code for event in out if isinstance(event, Response)] == ([response] if response else [])
    reports = [event for event in out if isinstance(event, Request)]
    assert [event.status.code for event in reports if event.status] == ([report] if report else [])


@pytest.mark.requirement("MED-02")
def test_success_report_of_the_rfc() -> None:
    bob = Side(BOB, ALICE)
    out = bob.feed(chunk(b"x" * 25, Success_Report="yes", Byte_Range="1-25/25", Failure_Report="no"))
    assert (
        out
        == (
            f"MSRP id0001 REPORT\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\nMessage-ID: 12345\r\n"
            "Byte-Range: 1-25/25\r\nStatus: 000 200 OK\r\n-------id0001$\r\n"
        ).encode()
    )


@pytest.mark.requirement("MED-02")
def test_one_success_report_per_message_not_per_chunk() -> None:
    """Fault: msrplib sends 30 for 10 messages."""
    bob = Side(BOB, ALICE)
    for n in range(10):
        bob.feed(
            chunk(b"abcd", "tid1", "+", Byte_Range="1-4/12", Success_Report="yes", Message_ID=f"id{n:04d}")
            + chunk(b"efgh", "tid2", "+", Byte_Range="5-8/12", Success_Report="yes", Message_ID=f"id{n:04d}")
            + chunk(b"ijkl", "tid3", "$", Byte_Range="9-12/12", Success_Report="yes", Message_ID=f"id{n:04d}")
        )
    reports = [event for event in bob.frames() if isinstance(event, Request)]
    assert len(reports) == 10
    assert {event.byte_range for event in reports} == {ByteRange(1, 12, 12)}
    assert set(bob.recorder.bodies.values()) == {b"abcdefghijkl"}


@pytest.mark.requirement("MED-02", "MED-06")
def test_report_takes_the_whole_path_back_and_response_only_the_last_hop() -> None:
    bob = Side(BOB, ALICE)
    relay = "msrps://relay.example.net:9000/abc;tcp"
    out = parse_frames(bob.feed(chunk(From_Path=f"{relay} {ALICE}", Success_Report="yes")))
    assert [event.to_path for event in out if isinstance(event, Response)] == [relay]
    assert [event.to_path for event in out if isinstance(event, Request)] == [f"{relay} {ALICE}"]


@pytest.mark.requirement("MED-02")
def test_reports_are_never_answered_and_unknown_ones_ignored() -> None:
    bob = Side(BOB, ALICE)
    report = encode_request("REPORT", "tid1", BOB, ALICE, [("Message-ID", "nobody-knows"), ("Status", "000 200 OK")])
    assert bob.feed(report) == b""
    assert bob.recorder.log[-1] == ("report", 200, False)
    stray = report.replace(b"kjhd37s2s20w2a", b"unknown")
    assert bob.feed(stray) == b""


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("method", ["NICKNAME", "AUTH", "FOO"])
def test_unknown_methods_are_answered_501(method: str) -> None:
    """Fault: NICKNAME and unknown methods are answered, never ignored."""
    bob = Side(BOB, ALICE)
    path = f"msrp://relay.example.net:1/a;tcp {ALICE}"
    out = bob.feed(encode_request(method, "tid1", BOB, path, [("Use-Nickname", '"Bob"')]))
    (event,) = parse_frames(out)
    assert isinstance(event, Response)
    assert (event.code, event.to_path) == (501, path)


@pytest.mark.requirement("MED-01", "SEC-05")
def test_malformed_request_is_answered_400() -> None:
    bob = Side(BOB, ALICE)
    assert responses(bob.feed(chunk(Byte_Range="x"))) == [("tid1", 400)]
    assert bob.feed(chunk(Byte_Range="x", Failure_Report="no")) == b""
    bad_from = chunk(From_Path="nobody", Byte_Range="x")
    assert bob.feed(bad_from) == b""
    assert responses(bob.feed(chunk())) == [("tid1", 200)]


@pytest.mark.requirement("MED-01")
def test_answer_may_be_deferred() -> None:
    bob = Side(BOB, ALICE, message=DEFERRED)
    assert bob.feed(chunk(Success_Report="yes")) == b""
    bob.session.answer(bob.recorder.messages[0], 200)
    frames = parse_frames(bob.take())
    assert [type(event) for event in frames] == [Response, Request]


@pytest.mark.requirement("MED-02")
def test_reports_are_left_to_the_user_where_configured() -> None:
    bob = Side(BOB, ALICE, SessionOptions(auto_report=False))
    assert len(parse_frames(bob.feed(chunk(Success_Report="yes")))) == 1
    bob.session.report(bob.recorder.messages[0], 403, "not today", ByteRange(1, 2, 2))
    (event,) = parse_frames(bob.take())
    assert isinstance(event, Request)
    assert event.status is not None
    assert (event.status.code, event.status.comment, event.byte_range) == (
        403,
        "not today",
        ByteRange(1, 2, 2),
    )


# --- content ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("MED-12")
@pytest.mark.parametrize(
    ("accepted", "wrapped", "content_type", "body", "code"),
    [
        (("*",), (), "application/x-any", b"x", 200),
        (("text/plain",), (), "TEXT/Plain;charset=utf-8", b"x", 200),
        (("text/*",), (), "text/html", b"x", 200),
        (("text/*",), (), "image/png", b"x", 415),
        (("message/cpim",), ("text/plain",), "text/plain", b"x", 415),
        (
            ("message/cpim",),
            ("text/plain",),
            "Message/CPIM",
            b"From: <a>\r\n\r\nContent-type: text/plain\r\n\r\nx",
            200,
        ),
        (
            ("message/cpim",),
            ("text/plain",),
            "message/cpim",
            b"From: <a>\r\n\r\nContent-Type: image/png\r\n\r\nx",
            415,
        ),
        (
            ("message/cpim",),
            ("*",),
            "message/cpim",
            b"From: <a>\r\n\r\nContent-Type: image/png\r\n\r\nx",
            200,
        ),
    ],
)
def test_content_types(
    accepted: tuple[str, ...], wrapped: tuple[str, ...], content_type: str, body: bytes, code: int
) -> None:
    for collect in (10_000, 0):
        bob = Side(BOB, ALICE, SessionOptions(accept=accept_types(accepted, wrapped), collect=collect))
        assert responses(bob.feed(chunk(body, Content_Type=content_type))) == [("tid1", code)]
        frame = chunk(body, "tid2", Content_Type=content_type)
        pieces = [frame[n : n + 40] for n in range(0, len(frame), 40)]
        assert responses(b"".join(bob.feed(piece) for piece in pieces)) == [("tid2", code)]


@pytest.mark.requirement("MED-12")
@pytest.mark.parametrize("total", ["9", "*"])
def test_413_stops_the_sender_in_the_middle(total: str) -> None:
    bob = Side(BOB, ALICE, SessionOptions(max_size=8, collect=0))
    frame = chunk(b"123456789", "tid1", "+", Byte_Range=f"1-*/{total}")
    cut = frame.index(b"\r\n-------")
    assert responses(bob.feed(frame[:cut])) == [("tid1", 413)]  # before the chunk ended
    assert bob.feed(frame[cut:]) == b""
    assert responses(bob.feed(chunk(b"abc", "tid2", "+", Byte_Range="10-*/*"))) == [("tid2", 413)]
    assert responses(bob.feed(chunk(b"abc", "tid3", "#", Byte_Range="10-*/*"))) == [("tid3", 413)]
    assert responses(bob.feed(chunk(b"12345678", "tid4"))) == [("tid4", 200)]  # a new one


@pytest.mark.requirement("MED-01")
def test_handler_may_refuse_in_the_middle() -> None:
    pair = Pair(bob=SessionOptions(collect=0), bob_replies={"data": 403})
    message = pair.alice.session.send(b"x" * 100_000, "text/plain")
    pair.settle()
    assert (message.status, message.comment) == (403, "Forbidden")
    assert len(sends(pair.alice.sent)) < 100
    assert pair.bob.recorder.names() == ["bound", "begin", "data", "aborted"]


@pytest.mark.requirement("MED-01", "MED-12")
def test_handler_may_refuse_at_the_beginning() -> None:
    """What never began is not aborted either."""
    bob = Side(BOB, ALICE, SessionOptions(collect=0), begin=415)
    assert responses(bob.feed(chunk(b"abc", flag="+", Byte_Range="1-*/9"))) == [("tid1", 415)]
    assert responses(bob.feed(chunk(b"def", "tid2", "#", Byte_Range="4-*/9"))) == [("tid2", 415)]
    assert bob.recorder.names() == ["bound", "begin"]
    assert not bob.link.needs_tick


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("collect", [0, 100])
def test_chunks_out_of_order_overlapping_and_interleaved(collect: int) -> None:
    bob = Side(BOB, ALICE, SessionOptions(collect=collect))
    for start, body, flag, ident in [
        (9, b"ijkl", "$", "one"),
        (1, b"ABCD", "+", "two"),
        (1, b"abcd", "+", "one"),
        (3, b"CDEFG", "+", "two"),
        (3, b"cdefgh", "+", "one"),
        (8, b"H", "$", "two"),
    ]:
        bob.feed(chunk(body, "tid1", flag, Byte_Range=f"{start}-*/*", Message_ID=f"id-{ident}"))
    assert bob.recorder.bodies == {"id-one": b"abcdefghijkl", "id-two": b"ABCDEFGH"}
    assert bob.recorder.names().count("end" if collect == 0 else "message") == 2
    assert {code for _, code in responses(bob.sent)} == {200}


@pytest.mark.requirement("MED-01")
def test_later_chunk_without_byte_range_is_refused() -> None:
    bob = Side(BOB, ALICE)
    assert responses(bob.feed(chunk(b"abc", "tid1", "+"))) == [("tid1", 200)]  # the first one only SHOULD
    assert responses(bob.feed(chunk(b"def", "tid2", "$"))) == [("tid2", 400)]
    assert responses(bob.feed(chunk(b"whole", "tid3", "$"))) == [("tid3", 200)]
    assert bob.recorder.bodies == {"12345": b"whole"}


@pytest.mark.requirement("SEC-05")
def test_bytes_held_out_of_order_are_bounded() -> None:
    bob = Side(BOB, ALICE, SessionOptions(collect=0))
    codes = []
    for n in range(40):
        start = 1_000_000 + 10_000 * n
        codes += responses(bob.feed(chunk(b"x" * 10_000, flag="+", Byte_Range=f"{start}-*/*")))
    assert codes[0] == ("tid1", 200)
    assert codes[-1] == ("tid1", 413)


@pytest.mark.requirement("SEC-05")
def test_open_messages_are_bounded_and_expire() -> None:
    bob = Side(BOB, ALICE, SessionOptions(open_messages=3))
    for n in range(4):
        bob.feed(chunk(b"x", f"tid{n}", "+", Byte_Range="1-*/*", Message_ID=f"id{n:04d}"), now=float(n))
    assert responses(bob.sent)[-2:] == [("tid2", 200), ("tid3", 413)]
    assert bob.link.needs_tick
    bob.link.tick(MESSAGE_IDLE_SECONDS + 10)
    assert not bob.link.needs_tick


@pytest.mark.requirement("MED-01")
def test_body_arrives_incrementally() -> None:
    bob = Side(BOB, ALICE, SessionOptions(collect=0))
    frame = chunk(b"hello world", Byte_Range="1-*/11")
    at = frame.index(b"world")
    bob.feed(frame[:at])
    assert bob.recorder.log[1:] == [("begin", "text/plain"), ("data", 6)]
    bob.feed(frame[at:])
    assert bob.recorder.log[3:] == [("data", 5), ("end",)]


@pytest.mark.requirement("MED-01")
def test_sender_aborts() -> None:
    bob = Side(BOB, ALICE, SessionOptions(collect=0))
    bob.feed(chunk(b"abc", flag="+", Byte_Range="1-*/9") + chunk(b"d", "tid2", "#", Byte_Range="4-*/9"))
    assert bob.recorder.names()[-1] == "aborted"
    bob.feed(chunk(b"abc", flag="+", Byte_Range="1-*/9") + chunk(None, "tid2", "#", Byte_Range="4-*/9"))
    assert bob.recorder.names()[-1] == "aborted"
    assert not bob.link.needs_tick


@pytest.mark.requirement("MED-01")
def test_short_messages_in_parts_are_handed_over_whole() -> None:
    bob = Side(BOB, ALICE, SessionOptions(collect=8))
    frame = chunk(b"abcdefgh")
    for n in range(len(frame)):
        bob.feed(frame[n : n + 1])
    assert bob.recorder.names() == ["bound", "message"]
    bob.feed(chunk(b"abcdefgh", flag="+", Byte_Range="1-*/*"))
    bob.feed(chunk(b"i", "tid2", Byte_Range="9-*/*"))
    assert bob.recorder.names()[2:] == ["begin", "data", "data", "end"]
    assert bob.recorder.bodies["12345"] == b"abcdefghi"


# --- time and end -----------------------------------------------------------------------------------------


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize(("failure_report", "status"), [("yes", 408), ("partial", 200), ("no", 200)])
def test_no_response_within_30_seconds(failure_report: str, status: int) -> None:
    alice = Side(ALICE, BOB)
    alice.session.bind(alice.link)
    message = alice.session.send(b"hi", "text/plain", failure_report=failure_report)
    alice.take(100.0)
    assert message.status == (200 if failure_report == "no" else None)
    assert alice.link.needs_tick == (failure_report != "no")
    alice.link.tick(100.0 + TRANSACTION_SECONDS - 0.1)
    alice.link.tick(100.0 + TRANSACTION_SECONDS)
    assert message.status == status
    assert not alice.link.needs_tick
    assert alice.recorder.names().count("done") == 1


@pytest.mark.requirement("MED-01")
def test_timer_runs_from_the_last_byte_of_a_long_chunk() -> None:
    alice = Side(ALICE, BOB, SessionOptions(chunk_size=0))
    alice.session.bind(alice.link)
    message = alice.session.open("text/plain", total=10_000)
    message.write(b"x" * 5_000)
    alice.take(0.0)
    alice.link.tick(1_000.0)
    assert message.status is None
    message.write(b"x" * 5_000)
    alice.take(1_000.0)
    alice.link.tick(1_029.0)
    assert message.status is None
    alice.link.tick(1_030.0)
    assert message.status == 408


@pytest.mark.requirement("MED-02")
def test_lost_connection_fails_everything_once() -> None:
    """Fault: receiver gone; never silence."""
    pair = Pair(bob=SessionOptions(collect=0))
    pair.settle()
    confirmed = pair.alice.session.send(b"1", "text/plain")
    pair.settle()
    waiting = pair.alice.session.send(b"2", "text/plain")
    partial = pair.alice.session.send(b"3", "text/plain", failure_report="partial")
    pair.bob.link.receive(pair.alice.take(), 0.0)
    queued = pair.alice.session.send(b"4", "text/plain")
    pair.bob.link.receive(chunk(b"abc", flag="+", Byte_Range="1-*/9"), 0.0)
    pair.alice.link.lost("reset by peer")
    pair.bob.link.lost("reset by peer")
    assert (confirmed.status, waiting.status, partial.status, queued.status) == (200, 408, 200, 408)
    assert pair.alice.recorder.log[-1] == ("closed", "reset by peer")
    assert pair.bob.recorder.names()[-2:] == ["aborted", "closed"]
    late = pair.alice.session.send(b"5", "text/plain")
    assert (late.status, late.comment) == (408, "session is closed")


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("code", [481, 506])
def test_peer_that_does_not_know_the_session_ends_it(code: int) -> None:
    alice = Side(ALICE, BOB)
    alice.session.bind(alice.link)
    message = alice.session.send(b"hi", "text/plain")
    alice.take()
    answer = f"MSRP aaaa0001 {code} X\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------aaaa0001$\r\n"
    alice.feed(answer.replace("aaaa0001", sends(alice.sent)[0].transaction_id).encode())
    assert message.status == code
    assert alice.session.state is State.CLOSED


@pytest.mark.requirement("MED-02")
def test_success_reports_are_matched_by_range() -> None:
    pair = Pair(alice=SessionOptions(chunk_size=4), bob=SessionOptions(auto_report=False))
    message = pair.alice.session.send(b"abcdefgh", "text/plain", success_report=True)
    pair.settle()
    assert (message.status, message.reported) == (200, None)
    received = pair.bob.recorder.messages[0]
    pair.bob.session.report(received, 200, byte_range=ByteRange(5, 8, 8))
    pair.settle()
    assert message.reported is None
    pair.bob.session.report(received, 200, byte_range=ByteRange(1, 4, 8))
    pair.settle()
    assert message.reported == 200


@pytest.mark.requirement("MED-02")
def test_failure_report_stops_a_message_under_way() -> None:
    alice = Side(ALICE, BOB)
    alice.session.bind(alice.link)
    message = alice.session.open("text/plain")
    message.write(b"x" * 3_000)
    alice.take()
    report = encode_request(
        "REPORT",
        "tid9",
        ALICE,
        BOB,
        [("Message-ID", message.message_id), ("Byte-Range", "1-2048/*"), ("Status", "000 413 Stop")],
    )
    alice.feed(report)
    assert (message.status, message.comment, message.reported) == (413, "Stop", 413)
    before = len(sends(alice.sent))
    assert not message.write(b"more" * 1_000)
    alice.take()
    assert len(sends(alice.sent)) == before


@pytest.mark.requirement("SEC-05")
def test_messages_kept_for_reports_are_bounded() -> None:
    pair = Pair(bob=SessionOptions(auto_report=False))
    for _ in range(MAX_KEPT_MESSAGES + 10):
        pair.alice.session.send(b"x", "text/plain", success_report=True)
        pair.settle()
    assert len(pair.alice.session.outbox._messages or {}) == MAX_KEPT_MESSAGES


def test_bug_in_a_handler_ends_its_session_only() -> None:
    bob = Side(BOB, ALICE)
    bob.recorder.bodies = None  # type: ignore[assignment]
    bob.feed(chunk())
    assert bob.recorder.log[-1] == ("closed", "internal error")
    assert bob.link.refused_because is None


def test_idents_are_distinct_and_valid() -> None:
    source = idents(os.urandom)
    some = [next(source) for _ in range(2_000)]
    assert len(set(some)) == 2_000
    assert all(len(ident) == 16 for ident in some)
