"""A hop takes runs of chunks and of responses in one; it writes what it would write had they come one by one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msrp_worker.msrp.chunks import encode_chunks
from msrp_worker.msrp.codec import Parser
from msrp_worker.msrp.frames import Chunks, encode_response
from msrp_worker.msrp.handler import SessionHandler
from msrp_worker.msrp.hop import Hop, HopPolicy, leg_options
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.msrp.link import Link
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.registry import Registry
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import parse_path, parse_uri
from tests.msrp_worker.msrp.harness import ALICE, BOB, Shell, Side, counting, parse_frames, responses, sends

URIS = {"alice": "msrp://hop.example.com:2855/towards-alice;tcp", "bob": "msrp://hop.example.com:2855/towards-bob;tcp"}
PATHS = f"To-Path: {URIS['alice']}\r\nFrom-Path: {ALICE}\r\n"


def chunk(number: int, start: int, end: int | str, total: object, body: bytes, flag: str, reports: str = "") -> bytes:
    ident = f"tid{number}"
    head = f"MSRP {ident} SEND\r\n{PATHS}Message-ID: long0001\r\nByte-Range: {start}-{end}/{total}\r\n{reports}"
    return f"{head}Content-Type: a/b\r\n\r\n".encode() + body + f"\r\n-------{ident}{flag}\r\n".encode()


class Joined:
    """A hop whose clients are the test itself."""

    def __init__(self, leg: SessionOptions, policy: HopPolicy | None = None, *, usual: bool = True) -> None:
        registry, idents = Registry(), counting("id")
        self.legs: list[Session] = []
        self.links: list[Link] = []
        self.shells = [Shell(), Shell()]
        self.written = [b"", b""]
        for name, peer, shell in zip(URIS, (ALICE, BOB), self.shells, strict=True):
            leg_session = Session(parse_uri(URIS[name]), SessionHandler(), idents, leg)
            registry.add(leg_session)
            leg_session.set_remote(parse_path(peer))
            link = Link(registry, idents, shell)
            link._parser = Parser(shortcuts=usual)
            leg_session.bind(link)
            self.legs.append(leg_session)
            self.links.append(link)
        self.hop = Hop(policy)
        self.hop.join(*self.legs)

    def feed(self, side: int, data: bytes) -> bytes:
        """Bytes of Alice (0) or Bob (1); returns what is written to Bob then."""
        self.links[side].receive(data, 0.0)
        before = len(self.written[1])
        while any(pieces := [b"".join(link.take(0.0)) for link in self.links]):
            self.written = [known + new for known, new in zip(self.written, pieces, strict=True)]
        return self.written[1][before:]


def pass_on(
    pieces: list[bytes], leg: SessionOptions, codes: list[int], policy: HopPolicy | None = None, *, usual: bool
) -> tuple[list[bytes], list[bool], list[tuple[int, int]]]:
    """What a hop writes for these bytes of Alice, if Bob answers with these codes what each of them has brought; who
    is held; what is left to be sent."""
    joined = Joined(leg, policy, usual=usual)
    code = itertools.cycle(codes)
    unparsed = b""
    for piece in pieces:
        unparsed += joined.feed(0, piece)
        if unparsed.endswith((b"+\r\n", b"$\r\n", b"#\r\n")):
            asked = [frame for frame in sends(unparsed) if frame.failure_report != "no"]
            unparsed = b""
            joined.feed(1, b"".join(encode_response(ask.transaction_id, next(code), URIS["bob"], BOB) for ask in asked))
    return (
        joined.written,
        [shell.held for shell in joined.shells],
        [(leg.queued, leg.outbox.window_left) for leg in joined.legs],
    )


@pytest.mark.requirement("MED-01", "MED-02", "PFS-02")
@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from([2_048, 2_048, 2_048, 2_048, 700, 0, 5_000]), st.sampled_from("++++++++++$#")),
        min_size=3,
        max_size=12,
    ),
    st.sampled_from(["announced", "announced", "*", "less"]),
    st.sampled_from(["", "Failure-Report: no\r\n", "Failure-Report: partial\r\n", "Success-Report: yes\r\n"]),
    st.sampled_from([2_048, 2_048, 700, 3_000, 0]),
    st.sampled_from([(512, 262_144), (3, 262_144), (512, 5_000)]),
    st.lists(st.sampled_from([200, 200, 200, 200, 413, 481]), min_size=1, max_size=5),
    st.sampled_from([100_000, 9_001, 2_500]),
    st.booleans(),
)
def test_a_hop_writes_the_same_for_runs_and_for_single_frames(
    steps: list[tuple[int, str]],
    announced: str,
    reports: str,
    chunk_size: int,
    limits: tuple[int, int],
    codes: list[int],
    cut: int,
    interruptible: bool,
) -> None:
    window, congested = limits
    leg = SessionOptions(
        collect=0, auto_report=False, chunk_size=chunk_size, window=window, congested_bytes=congested, max_size=30_000
    )
    total = {"announced": sum(size for size, _ in steps), "*": "*", "less": 7_000}[announced]
    stream, start = b"", 1
    for number, (size, flag) in enumerate(steps):
        end = "*" if interruptible else start + size - 1
        stream += chunk(number, start, end, total, bytes([65 + number]) * size, flag, reports)
        start += size
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    expected = pass_on(pieces, leg, codes, usual=False)
    assert pass_on(pieces, leg, codes, usual=True) == expected
    assert pass_on(pieces, leg, codes, HopPolicy(), usual=True) == expected


@pytest.mark.requirement("MED-01")
def test_a_run_is_handed_on_in_one() -> None:
    calls: list[tuple[str, int]] = []

    class Watched(Hop):
        def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
            calls.append(("data", 1))
            return super().data(session, message, data)

        def pieces(self, session: Session, message: IncomingMessage, pieces: object) -> bool:
            assert isinstance(pieces, list)
            calls.append(("pieces", len(pieces)))
            return super().pieces(session, message, pieces)

    joined = Joined(leg_options(2_048))
    joined.hop = Watched()
    joined.hop.join(*joined.legs)
    body = bytes(2_048)
    stream = [chunk(n, 2_048 * n + 1, 2_048 * n + 2_048, 20_480, body, "+$"[n == 9]) for n in range(10)]
    written = joined.feed(0, b"".join(stream))
    assert calls == [("data", 1), ("pieces", 8), ("data", 1)]
    assert b"".join(frame.body or b"" for frame in sends(written)) == body * 10
    assert responses(joined.written[0]) == [(f"tid{n}", 200) for n in range(10)]


@pytest.mark.requirement("MED-08")
def test_a_run_that_a_slow_receiver_does_not_take_holds_its_sender() -> None:
    joined = Joined(SessionOptions(collect=0, chunk_size=2_048, congested_bytes=10_000))
    joined.links[1].output.writable = False
    stream = [chunk(n, 2_048 * n + 1, 2_048 * n + 2_048, 40_960, bytes(2_048), "+") for n in range(10)]
    joined.feed(0, b"".join(stream[:3]))
    assert [shell.held for shell in joined.shells] == [False, False]
    joined.feed(0, b"".join(stream[3:]))
    assert [shell.held for shell in joined.shells] == [True, False]
    joined.links[1].output.writable = True
    assert sends(joined.feed(1, b""))
    assert [shell.held for shell in joined.shells] == [False, False]


@pytest.mark.requirement("MED-01", "MED-12")
def test_a_run_that_brings_more_than_was_announced_is_refused_where_it_does() -> None:
    leg = SessionOptions(collect=0, auto_report=False, chunk_size=2_048)
    stream = b"".join(chunk(n, 2_048 * n + 1, "*", 7_000, bytes(2_048), "+") for n in range(4))
    expected = pass_on([stream], leg, [200], usual=False)
    assert [code for _, code in responses(expected[0][0])] == [200, 200, 200, 400]
    assert pass_on([stream], leg, [200], usual=True) == expected


@pytest.mark.requirement("MED-01", "SEC-05")
@pytest.mark.parametrize("ident", [b"t_d4", b"t\xe94", b"t.d4", b"4", b"tid-4"])
def test_a_transaction_id_unlike_the_ones_before_is_looked_at(ident: bytes) -> None:
    """In a run of chunks and in one of responses; not all of these are transaction ids."""
    chunks = b"".join(chunk(n, 5 * n + 1, 5 * n + 5, "*", b"12345", "+") for n in range(6)).replace(b"tid4", ident)
    answers = b"".join(encode_response(f"tid{n}", 200, BOB, ALICE) for n in range(6)).replace(b"tid4", ident)
    for stream in (chunks, answers):
        events = Parser().feed(stream)
        expected = Parser(shortcuts=False).feed(stream)
        assert [type(event) for event in events] == [type(event) for event in expected]
        assert events[:4] == expected[:4]


@pytest.mark.requirement("MED-01")
def test_a_handler_that_takes_no_runs_gets_each_chunk() -> None:
    side = Side(URIS["alice"], ALICE, SessionOptions(collect=0))
    side.feed(b"".join(chunk(n, 5 * n + 1, 5 * n + 5, 20, b"12345", "+$"[n == 3]) for n in range(4)))
    assert side.recorder.names() == ["bound", "begin", "data", "data", "data", "data", "end"]


@pytest.mark.requirement("MED-01")
def test_chunks_that_follow_each_other_are_known_beforehand_until_one_is_not() -> None:
    body = bytes(10)
    rows = [(1, 10, body, "+"), (11, 20, body, "+"), (21, 30, body, "+"), (31, 40, b"short", "+"), (36, 45, body, "+")]
    rows += [(46, 55, body, "+"), (90, 99, body, "+"), (100, 109, body, "$")]
    stream = b"".join(chunk(n, first, last, "*", piece, flag) for n, (first, last, piece, flag) in enumerate(rows))
    _, run = Parser().feed_batches(stream)
    assert isinstance(run, Chunks)
    assert run.rows == [(f"tid{n}", *row) for n, row in enumerate(rows)][1:]
    assert Parser().feed(stream) == Parser(shortcuts=False).feed(stream)


@pytest.mark.requirement("MED-01")
def test_what_lies_between_two_bodies_is_one_piece() -> None:
    side = Side(ALICE, BOB, SessionOptions(chunk_size=3_000))
    message = side.session.open("a/b", total=6_000, message_id="long0001")
    bodies = [b"x" * 3_000, b"y" * 3_000]
    sent, pieces = encode_chunks(message, bodies, 0, "+", counting("t"), single_frames=False)
    assert sent == ["t0001", "t0002"]
    assert len(pieces) == 5
    assert (pieces[1], pieces[3]) == tuple(bodies)
    first, second = parse_frames(b"".join(pieces))
    whole = encode_chunks(message, bodies, 0, "+", counting("t"), single_frames=True)[1]
    assert [parse_frames(frame) for frame in whole] == [[first], [second]]


@pytest.mark.requirement("MED-01")
def test_a_transaction_id_whose_end_line_is_in_the_body_is_not_taken() -> None:
    side = Side(ALICE, BOB)
    message = side.session.open("a/b", message_id="long0001")
    sent, pieces = encode_chunks(message, [b"-------t0001", b"-------t0002"], 0, "+", counting("t"), single_frames=False)
    assert sent == ["t0002", "t0003"]
    assert len(parse_frames(b"".join(pieces))) == 2


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("sizes", [[2_048] * 5, [5_000, 2_048, 2_048, 2_048], [100, 100, 4_000, 2_048, 2_048], [10_240]])
def test_equal_chunks_are_taken_out_however_the_content_was_written(sizes: list[int]) -> None:
    side = Side(ALICE, BOB)
    one, other = side.session.open("a/b"), side.session.open("a/b")
    content = bytes(range(256)) * 50
    ends = list(itertools.accumulate(sizes, initial=0))
    pieces = [content[low:high] for low, high in itertools.pairwise(ends)]
    for piece in pieces:
        one.write(piece)
    other.write_pieces(pieces)
    assert (one.pieces, one.queued, side.session.queued) == (other.pieces, other.queued, 2 * one.queued)
    count = one.queued // 2_048
    assert one.consume_chunks(2_048, count) == [content[2_048 * n :][:2_048] for n in range(count)]
    assert (one.position, one.queued) == (2_048 * count, sum(sizes) - 2_048 * count)


@pytest.mark.requirement("MED-01")
def test_pieces_beyond_the_announced_length_are_refused() -> None:
    message = Side(ALICE, BOB).session.open("a/b", total=5_000)
    with pytest.raises(ValueError, match="more than the announced"):
        message.write_pieces([bytes(3_000), bytes(3_000)])
