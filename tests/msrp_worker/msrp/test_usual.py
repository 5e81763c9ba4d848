"""The chunks of a long message, read with few steps, are what the general way reads, and mean the same to a session."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msrp_worker.msrp.codec import CodecLimits, Parser
from msrp_worker.msrp.frames import Answers, Broken, Chunks, Data, End, Event, Request, Response, encode_response
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import parse_uri
from tests.msrp_worker.msrp.harness import ALICE, BOB, Recorder, Side, responses

PATHS = f"To-Path: {BOB}\r\nFrom-Path: {ALICE}\r\n"


def chunk(
    ident: str,
    where: str,
    body: bytes,
    flag: str = "+",
    *,
    message_id: str = "long0001",
    paths: str = PATHS,
    before: str = "",
    after: str = "",
    kind: str = "text/plain",
) -> bytes:
    head = f"MSRP {ident} SEND\r\n{paths}{before}Message-ID: {message_id}\r\nByte-Range: {where}\r\n{after}"
    return f"{head}Content-Type: {kind}\r\n\r\n".encode() + body + f"\r\n-------{ident}{flag}\r\n".encode()


def parse(pieces: list[bytes], *, usual: bool, limits: CodecLimits | None = None) -> list[Event]:
    """Events with their bodies joined, as a short cut may hand them on in other pieces."""
    parser = Parser(limits, shortcuts=usual)
    joined: list[Event] = []
    for event in (event for piece in pieces for event in parser.feed(piece)):
        if isinstance(event, Data | End):
            last = joined[-1]
            assert isinstance(last, Request)
            if isinstance(event, Data):
                last.body = (last.body or b"") + event.data
            else:
                last.body, last.flag = last.body or b"", event.flag
        elif isinstance(event, Broken):
            joined.append(Broken(""))
        else:
            joined.append(event)
    return joined


def kinds(stream: bytes) -> list[str]:
    return [type(event).__name__ for event in Parser().feed_batches(stream)]


@pytest.mark.requirement("MED-01")
def test_chunks_that_repeat_the_head_of_the_last_one_are_known_by_it() -> None:
    stream = (
        chunk("tid1", "1-5/15", b"first") + chunk("tid2", "6-10/15", b"next!") + chunk("tid3", "11-*/15", b"last!", "$")
    )
    first, others = Parser().feed_batches(stream)
    assert isinstance(first, Request)
    assert isinstance(others, Chunks)
    assert others.rows == [("tid2", 6, 10, b"next!", "+"), ("tid3", 11, None, b"last!", "$")]
    assert others.like.body is None
    assert [first, *others.events] == Parser(shortcuts=False).feed(stream) == Parser().feed(stream)


@pytest.mark.requirement("MED-01")
def test_a_chunk_that_is_cut_begins_and_goes_on() -> None:
    parser = Parser()
    parser.feed(chunk("tid1", "1-5/15", b"first"))
    stream = chunk("tid2", "6-10/15", b"next!") + chunk("tid3", "11-*/15", b"last!", "$")
    (begun,) = parser.feed_batches(stream[:-20])
    assert isinstance(begun, Chunks)
    assert begun.rows == [("tid2", 6, 10, b"next!", "+"), ("tid3", 11, None, b"l", None)]
    assert begun.events[2:] == [Data(b"l")]
    assert parser.feed(stream[-20:]) == [Data(b"ast!"), End("$")]


@pytest.mark.requirement("MED-01")
def test_responses_that_repeat_each_other_come_in_one() -> None:
    stream = b"".join(encode_response(f"tid{n}", 200, BOB, ALICE) for n in range(3)) + encode_response(
        "tid3", 413, BOB, ALICE
    )
    alike, other = Parser().feed_batches(stream)
    assert isinstance(alike, Answers)
    assert isinstance(other, Response)
    assert alike.transaction_ids == ["tid0", "tid1", "tid2"]
    assert [*alike.responses, other] == Parser(shortcuts=False).feed(stream)


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize(
    "other",
    [
        chunk("tid2", "6-10/15", b"next!", message_id="other001"),
        chunk("tid2", "6-10/16", b"next!"),
        chunk("tid2", "06-10/15", b"next!"),
        chunk("tid2", "6-16/15", b"next!"),  # beyond the total
        chunk("tid2", "17-*/15", b"next!"),
        chunk("tid2", "6-4/15", b"next!"),  # ends before it starts
        chunk("tid2", "0-5/15", b"next!"),
        chunk("tid2", "6-10/15", b"next!", kind="text/html"),
        chunk("tid2", "6-10/15", b"next!", paths=PATHS.replace("jsh", "JSH")),
        chunk("tid2", "6-10/15", b"next!", before="X-New: 1\r\n"),
        chunk("tid2", "6-10/15", b"next!", after="Success-Report: yes\r\n"),
        chunk("tid2", "6-10/15", b"").replace(b"\r\n\r\n\r\n--", b"\r\n\r\n--"),  # the empty body's own CRLF is missing
        b"MSRP tid2 SEND\r\n" + PATHS.encode() + b"Message-ID: long0001\r\nByte-Range: 6-10/15\r\n-------tid2+\r\n",
    ],
)
def test_a_head_that_differs_is_read_the_general_way(other: bytes) -> None:
    stream = chunk("tid1", "1-5/15", b"first") + other
    assert "Chunks" not in kinds(stream)
    assert parse([stream], usual=True) == parse([stream], usual=False)


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("extra", [{"before": "X-One: é\r\n"}, {"after": "Content-Disposition: attachment\r\n"}])
def test_any_header_fields_may_be_repeated(extra: dict[str, str]) -> None:
    stream = chunk("tid1", "1-5/*", b"first", **extra) + chunk("tid2", "6-*/*", b"next!", **extra)  # type: ignore[arg-type]
    assert kinds(stream) == ["Request", "Chunks"]
    assert parse([stream], usual=True) == parse([stream], usual=False)


@pytest.mark.requirement("SEC-02")
def test_a_longer_position_may_pass_the_header_limit() -> None:
    first, second = chunk("tid1", "1-5/1000000", b"first"), chunk("tid2", "100001-100005/1000000", b"next!")
    limits = CodecLimits(header_bytes=first.index(b"\r\n\r\n") + 3)
    assert parse([first + second], usual=True, limits=limits) == parse([first + second], usual=False, limits=limits)
    assert isinstance(parse([first + second], usual=True, limits=limits)[-1], Broken)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("total", ["*", "9" * 18])
@pytest.mark.parametrize("last", ["*", None])
@pytest.mark.parametrize("before_end", range(4))
def test_positions_keep_the_limit_of_digits(total: str, last: str | None, before_end: int) -> None:
    stream, start = b"", 10**18 - 10 - before_end
    for n in range(5):
        end = start + 4 if last is None else last
        stream += chunk(f"tid{n}", f"{start}-{end}/{total}", b"12345")
        start += 5
    assert parse([stream], usual=True) == parse([stream], usual=False)


@pytest.mark.requirement("SEC-02")
def test_responses_keep_the_header_limit() -> None:
    stream = encode_response("tid1", 200, BOB, ALICE) * 2
    limits = CodecLimits(header_bytes=stream.index(b"\r\n-------") - 1)
    assert parse([stream], usual=True, limits=limits) == parse([stream], usual=False, limits=limits) == [Broken("")]


@pytest.mark.requirement("MED-01")
def test_nothing_of_a_body_is_kept_for_the_next_chunk() -> None:
    parser = Parser()
    parser.feed(chunk("tid1", "1-100000/200000", bytes(100_000)))
    (event,) = parser.feed_batches(chunk("tid2", "100001-200000/200000", bytes(100_000)))
    assert isinstance(event, Chunks)
    assert event.like.body is None
    assert parser._buffer == b""
    assert parser._head is not None
    parser.feed(chunk("tid3", "200000-200000/200000", b"x", "$"))
    assert parser._head is None


@pytest.mark.requirement("SEC-05")
def test_long_heads_are_not_remembered() -> None:
    stream = chunk("tid1", "1-5/10", b"first", after=f"X-Long: {'x' * 2_000}\r\n")
    parser = Parser()
    parser.feed(stream + stream)
    assert parser._head is None


bodies = st.binary(max_size=30) | st.sampled_from(
    [b"x\r\n-------tid1", b"\r\n-------tid2+", b"-------tid2$\r\n", b"\r\n\r\n", b"\r", b"MSRP tid1 SEND\r\n", b""]
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A chunk of one of two messages, mostly like the one before; or a response."""
    if draw(st.integers(0, 9)) == 0:
        return encode_response("tid9", draw(st.sampled_from([200, 413])), BOB, ALICE)
    start = draw(st.integers(0, 40))
    end = draw(st.just("*") | st.integers(0, 60).map(str))
    where = f"{start}-{end}/{draw(st.sampled_from(['50', '50', '50', '050', '*']))}"
    ident = draw(st.sampled_from(["tid1", "tid2", "tid3"]))
    body = draw(bodies)
    for flag in "+$#":
        if f"\r\n-------{ident}{flag}\r\n".encode() in b"\r\n" + body + b"\r\n":
            body = b""
    return chunk(
        ident,
        where,
        body,
        draw(st.sampled_from("+++++$#")),
        message_id=draw(st.sampled_from(["long0001", "long0001", "long0002"])),
        paths=draw(
            st.sampled_from([PATHS, PATHS, PATHS.replace("To-P", "TO-P"), PATHS.replace("To-Path: ", "To-Path: é")])
        ),
        before=draw(st.sampled_from(["", "", "", "X-A: b\r\n"])),
        after=draw(st.sampled_from(["", "", "", "Failure-Report: no\r\n", "Byte-Range: 1-2/3\r\n"])),
    )


@pytest.mark.requirement("MED-01", "SEC-05")
@settings(max_examples=400)
@given(st.lists(frames(), min_size=2, max_size=6), st.data())
def test_both_ways_read_the_same(sequence: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(sequence))
    for _ in range(data.draw(st.integers(0, 2))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(
            st.sampled_from(b"\r\n:- $+0x/*") | st.integers(0, 255)
        )
    whole = bytes(stream)
    expected = parse([whole], usual=False)
    assert parse([whole], usual=True) == expected
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5))), len(whole)]
    pieces = [whole[low:high] for low, high in itertools.pairwise(cuts)]
    assert parse(pieces, usual=True) == parse(pieces, usual=False)


def arrive(pieces: list[bytes], options: SessionOptions, refusing: str, *, usual: bool) -> tuple[object, ...]:
    """What a session makes of the bytes: the calls to its handler, what it writes, what it keeps."""
    side = Side(BOB, ALICE, options, **({refusing: 413} if refusing else {}))
    side.link._parser = Parser(shortcuts=usual)
    for piece in pieces:
        side.feed(piece)
    incoming = side.session.inbox._incoming or {}
    kept = [(one.message_id, one.position, one.size, one.progress, one.transaction_id) for one in incoming.values()]
    side.link.lost("gone")
    return side.recorder.log, side.recorder.bodies, side.sent, kept


@pytest.mark.requirement("MED-01", "MED-02", "MED-12")
@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.binary(max_size=6), st.sampled_from("+++++++$#")), min_size=2, max_size=9),
    st.lists(st.sampled_from(["long0001", "long0001", "long0001", "long0002"]), min_size=9, max_size=9),
    st.lists(st.integers(0, 7), max_size=3),
    st.sampled_from(["", "", "data", "begin", "end"]),
    st.sampled_from(["", "Success-Report: yes\r\n", "Failure-Report: no\r\n", "Failure-Report: partial\r\n"]),
    st.sampled_from([SessionOptions(collect=0), SessionOptions(collect=8), SessionOptions(collect=0, max_size=6)]),
    st.sampled_from(["30", "*"]),
    st.integers(1, 400),
)
def test_both_ways_mean_the_same_to_a_session(
    steps: list[tuple[int, bytes, str]],
    messages: list[str],
    swaps: list[int],
    refusing: str,
    reports: str,
    options: SessionOptions,
    total: str,
    size: int,
) -> None:
    """Chunks in order, and out of it: again, too early, too late, of another message, after the end."""
    positions = dict.fromkeys(messages, 0)
    sequence = []
    for number, (shift, body, flag) in enumerate(steps):
        message_id = messages[number]
        start = max(0, positions[message_id] + (shift if number % 3 == 2 else 0))
        end = start + len(body)
        where = f"{start + 1}-{end}/{total}"
        sequence.append(chunk(f"tid{number}", where, body, flag, message_id=message_id, after=reports))
        positions[message_id] = end
    for at in swaps:
        if at + 1 < len(sequence):
            sequence[at], sequence[at + 1] = sequence[at + 1], sequence[at]
    stream = b"".join(sequence)
    for pieces in ([stream], [stream[at : at + size] for at in range(0, len(stream), size)]):
        assert arrive(pieces, options, refusing, usual=True) == arrive(pieces, options, refusing, usual=False)


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("usual", [True, False])
def test_the_last_missing_chunk_completes_a_message_whose_end_came_early(usual: bool) -> None:
    side = Side(BOB, ALICE, SessionOptions(collect=0))
    side.link._parser = Parser(shortcuts=usual)
    side.feed(chunk("tid1", "1-5/10", b"first") + chunk("tid3", "11-10/10", b"", "$"))
    side.feed(chunk("tid2", "6-10/10", b"next!"))
    assert side.recorder.names() == ["bound", "begin", "data", "data", "end"]


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("usual", [True, False])
def test_a_handler_that_closes_the_session_in_the_middle_of_a_chunk(usual: bool) -> None:
    side = Side(BOB, ALICE, SessionOptions(collect=0))
    side.link._parser = Parser(shortcuts=usual)
    seen: list[bytes] = []

    def data(session: object, message: object, piece: bytes) -> None:
        seen.append(piece)
        if len(seen) == 2:
            side.session.close()

    side.recorder.data = data  # type: ignore[method-assign, assignment]
    side.feed(b"".join(chunk(f"tid{n}", f"{5 * n + 1}-{5 * n + 5}/20", b"12345") for n in range(4)))
    assert seen == [b"12345"] * 2
    assert side.recorder.names() == ["bound", "begin", "aborted", "closed"]


@pytest.mark.requirement("MED-01", "MED-03")
@pytest.mark.parametrize("usual", [True, False])
def test_sessions_of_one_connection_that_name_their_messages_alike(usual: bool) -> None:
    side = Side(BOB, ALICE, SessionOptions(collect=0))
    side.link._parser = Parser(shortcuts=usual)
    second = Recorder()
    uri = BOB.replace("kjhd", "KJHD")
    side.registry.add(Session(parse_uri(uri), second, side.idents, SessionOptions(collect=0)))
    other = PATHS.replace(BOB, uri)
    bare = f"MSRP tid9 SEND\r\n{other}Message-ID: bare0001\r\n-------tid9$\r\n".encode()
    side.feed(chunk("tid1", "1-5/15", b"First", paths=other) + chunk("tid2", "1-5/15", b"first"))
    side.feed(bare + chunk("tid3", "6-10/15", b"next!") + chunk("tid4", "6-10/15", b"Next!", paths=other))
    side.feed(chunk("tid5", "11-15/15", b"LAST!", "$", paths=other) + chunk("tid6", "11-15/15", b"last!", "$"))
    assert side.recorder.bodies == {"long0001": b"firstnext!last!"}
    assert second.bodies == {"long0001": b"FirstNext!LAST!"}


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("usual", [True, False])
def test_nothing_more_is_taken_from_a_connection_that_is_refused(usual: bool) -> None:
    side = Side(BOB, ALICE, SessionOptions(collect=0))
    side.link._parser = Parser(shortcuts=usual)
    seen: list[bytes] = []

    def data(session: object, message: object, piece: bytes) -> None:
        seen.append(piece)
        if len(seen) == 2:
            side.link.refuse("enough")

    side.recorder.data = data  # type: ignore[method-assign, assignment]
    side.feed(b"".join(chunk(f"tid{n}", f"{5 * n + 1}-{5 * n + 5}/20", b"12345") for n in range(4)))
    assert seen == [b"12345"] * 2


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("usual", [True, False])
def test_a_handler_that_fails_takes_its_session_with_it_and_no_other(usual: bool) -> None:
    side = Side(BOB, ALICE, SessionOptions(collect=0))
    side.link._parser = Parser(shortcuts=usual)
    second = Recorder()
    uri = BOB.replace("kjhd", "KJHD")
    side.registry.add(Session(parse_uri(uri), second, side.idents, SessionOptions(collect=0)))
    seen: list[bytes] = []

    def data(session: object, message: object, piece: bytes) -> None:
        seen.append(piece)
        if len(seen) == 2:
            raise RuntimeError("a bug")

    side.recorder.data = data  # type: ignore[method-assign, assignment]
    stream = b"".join(chunk(f"tid{n}", f"{5 * n + 1}-{5 * n + 5}/20", b"12345") for n in range(4))
    side.feed(stream + stream.replace(BOB.encode(), uri.encode()))
    assert seen == [b"12345"] * 2
    assert second.bodies == {"long0001": b"12345" * 4}
    assert [code for _, code in responses(side.sent)] == [200, 481, 481, 200, 200, 200, 200]
