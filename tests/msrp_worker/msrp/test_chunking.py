"""Chunks, turns, interruption (RFC 4975 sections 5.1 and 7.1.1)."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msrp_worker.msrp.frames import Request, encode_request
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.output import TURN_BYTES
from msrp_worker.msrp.uri import parse_path
from tests.msrp_worker.msrp.harness import ALICE, BOB, Pair, Side, parse_frames, sends


def bound(options: SessionOptions) -> Side:
    side = Side(ALICE, BOB, options)
    side.session.bind(side.link)
    return side


def drain(side: Side, now: float = 0.0) -> bytes:
    out = b""
    while piece := side.take(now):
        out += piece
    return out


def shape(data: bytes) -> list[tuple[str, int, str | None]]:
    """Byte-Range, body length and flag of each SEND."""
    return [(str(frame.byte_range), len(frame.body or b""), frame.flag) for frame in sends(data)]


@pytest.mark.requirement("MED-01")
def test_whole_message_byte_for_byte() -> None:
    alice = bound(SessionOptions())
    alice.session.send(
        b"Hey Bob",
        "text/plain; charset=utf-8",
        headers=[("Content-Disposition", "render")],
        message_id="87652491",
        success_report=True,
        failure_report="partial",
    )
    ident = "id0001"
    assert (
        drain(alice)
        == (
            f"MSRP {ident} SEND\r\nTo-Path: {BOB}\r\nFrom-Path: {ALICE}\r\nMessage-ID: 87652491\r\n"
            "Byte-Range: 1-7/7\r\nSuccess-Report: yes\r\nFailure-Report: partial\r\n"
            "Content-Disposition: render\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\n\r\nHey Bob\r\n-------{ident}$\r\n"
        ).encode()
    )


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize(
    ("chunk_size", "length", "expected"),
    [
        (2048, 0, [("1-0/0", 0, "$")]),
        (2048, 2048, [("1-2048/2048", 2048, "$")]),
        (2048, 2049, [("1-2048/2049", 2048, "+"), ("2049-2049/2049", 1, "$")]),
        (0, 2048, [("1-2048/2048", 2048, "$")]),
        (0, 2049, [("1-*/2049", 2049, "$")]),  # over 2,048 octets: interruptible, so range-end is "*"
        (0, 100_000, [("1-*/100000", 100_000, "$")]),  # as few chunks as possible
        (10_240, 10_240, [("1-*/10240", 10_240, "$")]),
        (10_240, 12_000, [("1-*/12000", 10_240, "+"), ("10241-12000/12000", 1_760, "$")]),
    ],
)
def test_chunks_of_a_known_message(chunk_size: int, length: int, expected: list[object]) -> None:
    alice = bound(SessionOptions(chunk_size=chunk_size))
    alice.session.send(bytes(length), "text/plain")
    assert shape(drain(alice)) == expected


@pytest.mark.requirement("MED-01")
def test_unknown_total_is_a_star_until_the_end() -> None:
    alice = bound(SessionOptions(chunk_size=4))
    message = alice.session.open("text/plain")
    for piece in (b"abcd", b"e", b"fghi"):
        message.write(piece)
        drain(alice)
    message.finish()
    drain(alice)
    assert shape(alice.sent) == [("1-4/*", 4, "+"), ("5-8/*", 4, "+"), ("9-9/9", 1, "$")]


@pytest.mark.requirement("MED-01")
def test_content_goes_out_as_it_comes_in_one_chunk() -> None:
    alice = bound(SessionOptions(chunk_size=0))
    message = alice.session.open("text/plain")
    message.write(b"abc")
    first = drain(alice)
    assert first.endswith(b"\r\n\r\nabc")
    message.write(b"def")
    assert drain(alice) == b"def"
    message.finish()
    assert drain(alice).endswith(b"$\r\n")
    assert shape(alice.sent) == [("1-*/*", 6, "$")]


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("chunk_size", [0, 2_048, 10_240])
def test_long_message_does_not_block_a_short_one(chunk_size: int) -> None:
    pair = Pair(alice=SessionOptions(chunk_size=chunk_size, window=10_000), bob=SessionOptions(collect=0))
    long = pair.alice.session.send(bytes(1_000_000), "application/octet-stream")
    pair.step()
    pair.step()
    short = pair.alice.session.send(b"hi", "text/plain")
    steps = 0
    while short.status is None:
        assert pair.step()
        steps += 1
    assert steps <= 3
    assert long.status is None
    pair.settle()
    assert long.status == 200
    assert pair.bob.recorder.bodies[long.message_id] == bytes(1_000_000)


@pytest.mark.requirement("MED-01")
def test_long_messages_take_turns() -> None:
    alice = bound(SessionOptions(chunk_size=0))
    for ident in ("one1", "two2", "three3"):
        alice.session.send(bytes(5 * TURN_BYTES), "a/b", message_id=ident)
    order = [frame.message_id for frame in sends(drain(alice))]
    assert order[:6] == ["one1", "two2", "three3"] * 2
    assert {len(frame.body or b"") for frame in sends(alice.sent)[:6]} == {TURN_BYTES}


@pytest.mark.requirement("MED-01")
def test_response_interrupts_a_long_chunk_of_a_decent_size() -> None:
    """SEND requests larger than 2,048 octets MUST be interrupted for pending responses."""
    alice = bound(SessionOptions(chunk_size=0))
    message = alice.session.open("text/plain", total=100_000)
    message.write(b"a" * 100)
    drain(alice)
    message.write(b"b" * 5_000)
    bobs = encode_request("SEND", "tid1", ALICE, BOB, [("Message-ID", "12345")], "text/plain", b"hi")
    alice.feed(bobs)
    kinds = [type(frame).__name__ for frame in parse_frames(alice.sent + b"\r\n-------id0004+\r\n")][:2]
    assert kinds == ["Request", "Response"]
    first = sends(alice.sent[: alice.sent.index(b"MSRP tid1 200")])[0]
    assert (len(first.body or b""), first.flag) == (2_048, "+")


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("chunk_size", [0, 2_048])
def test_abort_ends_with_a_hash(chunk_size: int) -> None:
    pair = Pair(alice=SessionOptions(chunk_size=chunk_size), bob=SessionOptions(collect=0))
    message = pair.alice.session.open("text/plain", total=100_000)
    message.write(bytes(50_000))
    pair.step()
    message.abort()
    pair.settle()
    assert sends(pair.alice.sent)[-1].flag == "#"
    assert pair.bob.recorder.names()[-1] == "aborted"
    assert message.status == 413
    assert pair.alice.session.queued == 0
    before = pair.alice.sent
    unsent = pair.alice.session.open("text/plain")
    unsent.abort()
    pair.settle()
    assert pair.alice.sent == before


@pytest.mark.requirement("MED-01")
def test_end_line_in_the_content_gets_another_transaction() -> None:
    alice = bound(SessionOptions())
    alice.session.send(b"\r\n-------id0002$\r\n", "text/plain", message_id="first1")
    alice.session.send(b"\r\n-------id0002$\r\n" * 9, "text/plain", message_id="second2")
    frames = sends(drain(alice))
    assert [frame.transaction_id for frame in frames] == ["id0001", "id0003"]
    assert frames[1].body == b"\r\n-------id0002$\r\n" * 9


@pytest.mark.requirement("MED-01", "SEC-05")
@pytest.mark.parametrize("cut", range(1, 17))
def test_end_line_in_streamed_content_ends_the_chunk_before_it(cut: int) -> None:
    """Even where it is spread over two writes, as somebody who watches the wire could arrange."""
    alice = bound(SessionOptions(chunk_size=0))
    message = alice.session.open("text/plain")
    message.write(b"start")
    drain(alice)
    line = b"\r\n-------id0002$\r\n"
    message.write(line[:cut])
    drain(alice)
    message.write(line[cut:])
    message.finish()
    frames = sends(drain(alice) and alice.sent)
    assert b"".join(frame.body or b"" for frame in frames) == b"start" + line
    position = 0
    for frame in frames:
        assert frame.byte_range is not None
        assert frame.byte_range.start == position + 1
        position += len(frame.body or b"")


@pytest.mark.requirement("SEC-05")
def test_window_bounds_what_is_unanswered() -> None:
    alice = bound(SessionOptions(chunk_size=10, window=5))
    message = alice.session.send(bytes(200), "a/b")
    assert len(sends(drain(alice))) == 5
    assert drain(alice) == b""
    ident = sends(alice.sent)[0].transaction_id
    alice.feed(f"MSRP {ident} 200 OK\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{ident}$\r\n".encode())
    assert len(sends(alice.sent)) == 6
    assert message.status is None


@pytest.mark.requirement("SEC-05", "MED-02")
def test_partial_failure_reports_need_no_window_and_no_memory() -> None:
    """Nothing is answered while all goes well, so nothing may wait for it."""
    alice = bound(SessionOptions(chunk_size=10, window=5))
    message = alice.session.send(bytes(1_000), "a/b", failure_report="partial")
    assert len(sends(drain(alice))) == 100
    assert len(alice.link.output._transactions) == 5
    ident = sends(alice.sent)[-1].transaction_id
    alice.feed(f"MSRP {ident} 413 X\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{ident}$\r\n".encode())
    assert message.status == 413


@pytest.mark.requirement("SEC-05", "MED-08")
def test_queue_is_bounded_and_says_so() -> None:
    alice = bound(SessionOptions(congested_bytes=1_000, queue_bytes=3_000))
    alice.link.output.writable = False
    message = alice.session.open("a/b")
    assert message.write(bytes(900))
    assert not message.write(bytes(200))
    assert alice.session.congested
    handles = [alice.session.send(bytes(1_000), "a/b") for _ in range(4)]
    assert [handle.status for handle in handles] == [None, None, 408, 408]
    assert handles[2].comment == "queue is full"
    alice.link.output.writable = True
    message.finish()
    drain(alice)
    assert not alice.session.congested
    assert alice.recorder.names()[-1] == "writable"


@pytest.mark.requirement("MED-08")
@pytest.mark.parametrize("how", ["abort", "refused"])
def test_message_that_is_given_up_makes_room(how: str) -> None:
    alice = bound(SessionOptions(congested_bytes=10_000, window=1, chunk_size=100))
    message = alice.session.open("a/b")
    assert not message.write(bytes(20_000))
    (first,) = sends(drain(alice))
    told: list[str] = []
    alice.session.outbox.when_writable(lambda: told.append("writable"))
    if how == "abort":
        message.abort()
    else:
        ident = first.transaction_id
        alice.feed(f"MSRP {ident} 413 X\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{ident}$\r\n".encode())
    assert told == ["writable"]
    assert alice.recorder.names().count("writable") == 1
    assert not alice.session.congested


@pytest.mark.requirement("MED-11")
def test_single_frame_transports_get_whole_frames() -> None:
    alice = Side(ALICE, BOB, SessionOptions(chunk_size=0))
    alice.link = alice.new_link(single_frames=True)
    alice.session.bind(alice.link)
    alice.session.send(bytes(5_000), "a/b")
    frames = []
    while pieces := alice.link.take(0.0):
        frames += pieces
    assert [entry[1] for frame in frames for entry in shape(frame)] == [2048, 2048, 904]
    assert len(frames) == 3


@pytest.mark.requirement("MED-06")
def test_requests_take_the_whole_path_of_the_peer() -> None:
    alice = Side(ALICE, "")
    alice.session.bind(alice.link)
    path = f"msrps://relay.example.net:9000/x;tcp {BOB}"
    alice.session.send(b"early", "text/plain")
    assert drain(alice) == b""  # nobody to send it to yet
    alice.session.set_remote(parse_path(path))
    (frame,) = sends(drain(alice))
    assert (frame.to_path, frame.from_path, frame.body) == (path, ALICE, b"early")


@pytest.mark.parametrize(
    "arguments",
    [
        {"content_type": "text"},
        {"content_type": "text/plain\r\nX: y"},
        {"content_type": "text/plain", "headers": [("X", "a\r\nb: c")]},
        {"content_type": "text/plain", "message_id": "a b"},
        {"content_type": "text/plain", "failure_report": "maybe"},
    ],
)
@pytest.mark.requirement("SEC-05")
def test_text_that_would_break_the_frame_is_refused(arguments: dict[str, object]) -> None:
    alice = bound(SessionOptions())
    with pytest.raises(ValueError, match="not a"):
        alice.session.send(b"x", **arguments)  # type: ignore[arg-type]


def test_writing_more_or_less_than_announced_is_an_error() -> None:
    alice = bound(SessionOptions())
    message = alice.session.open("a/b", total=4)
    message.write(b"abc")
    with pytest.raises(ValueError, match="3 of 4"):
        message.finish()
    with pytest.raises(ValueError, match="more than"):
        message.write(b"de")
    message.write(b"d")
    with pytest.raises(ValueError, match="finished"):
        message.write(b"")


@pytest.mark.requirement("MED-01", "MED-02")
@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40_000), min_size=1, max_size=5),
    chunk_size=st.sampled_from([0, 100, 2_048, 10_240]),
    collect=st.sampled_from([0, 1_000, 100_000]),
    cuts=st.lists(st.integers(1, 9_000), min_size=1, max_size=8),
    streamed=st.booleans(),
)
def test_every_byte_arrives_once_in_order(
    lengths: list[int],
    chunk_size: int,
    collect: int,
    cuts: list[int],
    streamed: bool,
) -> None:
    """Messages in both directions at once, cut into any chunks, the connection cutting where it likes."""
    options = SessionOptions(chunk_size=chunk_size, collect=collect, congested_bytes=10**9, queue_bytes=10**9)
    pair = Pair(options, options)
    sent: dict[str, bytes] = {}
    for number, length in enumerate(lengths):
        side = (pair.alice, pair.bob)[number % 2]
        body = bytes((number + at) % 251 for at in range(length))
        if streamed:
            message = side.session.open("a/b", success_report=True)
            for at in range(0, length, 7_000):
                message.write(body[at : at + 7_000])
            message.finish()
        else:
            message = side.session.send(body, "a/b", success_report=True)
        sent[message.message_id] = body
    sizes = itertools.cycle(cuts)
    wires: dict[Side, bytes] = {pair.alice: b"", pair.bob: b""}
    while True:
        wires[pair.bob] += pair.alice.take()
        wires[pair.alice] += pair.bob.take()
        if not any(wires.values()):
            break
        for side in wires:
            size = next(sizes)
            piece, wires[side] = wires[side][:size], wires[side][size:]
            side.link.receive(piece, 0.0)
    assert pair.alice.recorder.bodies | pair.bob.recorder.bodies == sent
    outcomes = pair.alice.recorder.outcomes | pair.bob.recorder.outcomes
    assert {outcome for outcome, _ in outcomes.values()} == {200}
    reports = [
        frame
        for frame in pair.alice.frames() + pair.bob.frames()
        if isinstance(frame, Request) and frame.method == "REPORT"
    ]
    assert sorted(frame.message_id or "" for frame in reports) == sorted(sent)
