"""Two legs back to back: content, outcomes, policy, back-pressure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrp_worker.msrp.frames import Request, Response
from msrp_worker.msrp.handler import DEFERRED
from msrp_worker.msrp.hop import OLDER_CLIENT_CHUNK, RCS_CLIENT_CHUNK, Hop, HopPolicy, leg_options
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.msrp.link import Link
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.uri import parse_path, parse_uri
from tests.msrp_worker.msrp.harness import Shell, parse_frames, sends
from tests.msrp_worker.msrp.wiring import Client, Net

LEG = leg_options()
OLD_CLIENT = leg_options(OLDER_CLIENT_CHUNK)
RCS_CLIENT = leg_options(RCS_CLIENT_CHUNK)
WHOLE = SessionOptions(chunk_size=0)
KEEP = SessionOptions(collect=10_000_000)


class Watch(HopPolicy):
    """Writes down what passes, and refuses as told."""

    def __init__(self, **refuse: int) -> None:
        self.refuse = refuse
        self.seen: list[object] = []
        self.content = b""

    def begin(self, hop: Hop, sender: Session, message: IncomingMessage) -> int | None:
        self.seen.append("begin")
        return self.refuse.get("begin")

    def data(self, hop: Hop, sender: Session, message: IncomingMessage, data: bytes) -> int | None:
        self.content += data
        return self.refuse.get("data") if len(self.content) > 5_000 or len(self.content) < 100 else None

    def end(self, hop: Hop, sender: Session, message: IncomingMessage) -> int | None:
        self.seen.append("end")
        return self.refuse.get("end")

    def outcome(self, hop: Hop, sender: Session, message: IncomingMessage, code: int) -> None:
        self.seen.append(code)


def joined(
    policy: HopPolicy | None = None,
    alice: SessionOptions = LEG,
    bob: SessionOptions = LEG,
    sender: SessionOptions = WHOLE,
    confirms: bool = False,
    **bob_replies: int,
) -> tuple[Net, Hop, Client, Client]:
    net = Net()
    one = net.client("alice", alice, sender)
    other = net.client("bob", bob, KEEP, **bob_replies)
    hop = Hop(policy, confirms=confirms)
    hop.join(one.leg, other.leg)
    return net, hop, one, other


def reports_to(client: Client) -> list[tuple[str | None, int]]:
    return [
        (event.message_id, event.status.code)
        for event in parse_frames(client.wire.down)
        if isinstance(event, Request) and event.method == "REPORT" and event.status is not None
    ]


@pytest.mark.requirement("PFS-02")
def test_short_message_passes_with_its_headers_and_both_paths_are_the_hops() -> None:
    net, _, alice, bob = joined()
    handle = alice.session.send(
        b"hi\x00\xff",
        "text/plain",
        headers=[("Content-Disposition", 'attachment; filename="a"'), ("X-Other", "y")],
        message_id="m123",
    )
    net.settle()
    (copy,) = sends(bob.wire.down)
    assert (copy.body, copy.content_type, copy.message_id) == (b"hi\x00\xff", "text/plain", "m123")
    assert ("Content-Disposition", 'attachment; filename="a"') in copy.headers  # LRG-07
    assert ("X-Other", "y") in copy.headers
    assert copy.to_path == "msrp://bob.example.com:7000/bob-own;tcp"
    assert copy.from_path == "msrp://server.example.com:2855/bob-leg;tcp"
    assert b"alice" not in bob.wire.down
    assert handle.status == 200
    assert reports_to(alice) == []


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize(("leg", "limit"), [(OLD_CLIENT, 2_048), (RCS_CLIENT, 10_240)])
def test_chunks_are_cut_to_what_the_other_side_takes(leg: SessionOptions, limit: int) -> None:
    net, _, alice, bob = joined(bob=leg)
    body = bytes(range(256)) * 200
    handle = alice.session.send(body, "a/b")
    net.settle()
    assert bob.recorder.bodies[handle.message_id] == body
    assert len(sends(alice.wire.up)) == 1
    chunks = sends(bob.wire.down)
    assert len(chunks) > 4
    assert all(len(chunk.body or b"") <= limit for chunk in chunks)


@pytest.mark.requirement("MED-02")
@pytest.mark.parametrize("size", [10, 50_000])
def test_success_report_passes_once_per_message(size: int) -> None:
    net, _, alice, bob = joined()
    handle = alice.session.send(b"x" * size, "a/b", success_report=True)
    net.settle()
    assert reports_to(alice) == [(handle.message_id, 200)]
    assert handle.reported == 200
    assert bob.recorder.bodies[handle.message_id] == b"x" * size


@pytest.mark.requirement("MED-02")
def test_no_report_that_was_not_asked_for() -> None:
    net, _, alice, bob = joined(message=415)
    alice.session.send(b"x", "a/b", failure_report="no")
    net.settle()
    assert reports_to(alice) == []
    (copy,) = sends(bob.wire.down)
    assert copy.failure_report == "no"


@pytest.mark.requirement("MED-02")
@pytest.mark.parametrize("failure_report", ["yes", "partial"])
def test_refusal_of_the_receiver_is_reported(failure_report: str) -> None:
    net, _, alice, _ = joined(message=415)
    handle = alice.session.send(b"x", "a/b", failure_report=failure_report)
    net.settle()
    assert reports_to(alice) == [(handle.message_id, 415)]


@pytest.mark.requirement("MED-02")
@pytest.mark.parametrize("failure_report", ["yes", "partial"])
def test_receiver_gone_after_our_200_is_reported(failure_report: str) -> None:
    """Kamailio's sample configuration loses it: never silence."""
    net, hop, alice, bob = joined()
    closed = []
    hop.on_leg_closed = lambda _, leg, reason: closed.append((leg, reason))
    bob.wire.client_reads = False
    handle = alice.session.send(b"x", "a/b", failure_report=failure_report)
    net.settle()
    assert handle.status == (200 if failure_report == "yes" else None)
    net.lose(bob)
    net.settle()
    assert reports_to(alice) == [(handle.message_id, 408)]
    assert closed == [(bob.leg, "connection lost")]
    late = alice.session.send(b"y", "a/b")
    net.settle()
    assert late.status == 408


@pytest.mark.requirement("MED-02")
def test_silent_receiver_is_reported_after_the_transaction_time_out() -> None:
    net, _, alice, bob = joined(message=DEFERRED)
    handle = alice.session.send(b"x", "a/b")
    net.settle()
    net.now = 31.0
    bob.wire.server.tick(net.now)
    net.settle()
    assert reports_to(alice) == [(handle.message_id, 408)]


@pytest.mark.requirement("LRG-01", "SEC-06")
@pytest.mark.parametrize("size", [10, 50_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_last_send_is_answered_when_the_receiver_has_answered(size: int, chunked: bool) -> None:
    sender = SessionOptions(chunk_size=2_048) if chunked else WHOLE
    net, _, alice, bob = joined(confirms=True, sender=sender, message=DEFERRED)
    handle = alice.session.send(b"x" * size, "a/b")
    net.settle()
    (received,) = bob.recorder.messages
    assert handle.status is None
    bob.session.answer(received, 200)
    net.settle()
    assert handle.status == 200
    assert reports_to(alice) == []


@pytest.mark.requirement("LRG-01", "MED-02")
@pytest.mark.parametrize("size", [10, 50_000])
def test_what_the_receiver_refuses_at_its_end_is_the_answer_and_no_report(size: int) -> None:
    net, _, alice, _ = joined(confirms=True, message=415)
    handle = alice.session.send(b"x" * size, "a/b")
    net.settle()
    assert handle.status == 415
    assert reports_to(alice) == []


@pytest.mark.requirement("LRG-01", "MED-02")
def test_a_receiver_gone_before_it_answered_is_the_answer() -> None:
    net, _, alice, bob = joined(confirms=True)
    bob.wire.client_reads = False
    handle = alice.session.send(b"x", "a/b")
    net.settle()
    assert handle.status is None
    net.lose(bob)
    net.settle()
    assert handle.status == 408
    assert reports_to(alice) == []


@pytest.mark.requirement("LRG-01", "MED-02")
def test_success_is_reported_all_the_same() -> None:
    net, _, alice, _ = joined(confirms=True)
    handle = alice.session.send(b"x" * 50_000, "a/b", success_report=True)
    net.settle()
    assert (handle.status, handle.reported) == (200, 200)
    assert reports_to(alice) == [(handle.message_id, 200)]


@pytest.mark.requirement("MED-02")
def test_nothing_is_held_back_for_who_wants_no_answer() -> None:
    net, _, alice, _ = joined(confirms=True, message=415)
    alice.session.send(b"x", "a/b", failure_report="partial", message_id="m123")
    net.settle()
    assert reports_to(alice) == [("m123", 415)]


def test_a_leg_that_ends_before_there_is_another() -> None:
    net = Net()
    leg = net.client("alice", LEG, WHOLE).leg
    hop = Hop()
    closed: list[str] = []
    hop.on_leg_closed = lambda _, __, reason: closed.append(reason)
    leg.handler = hop
    leg.close("endpoint stopped")
    assert closed == ["endpoint stopped"]


@pytest.mark.requirement("MED-02")
def test_late_failure_report_passes_though_the_message_is_forgotten() -> None:
    net, _, alice, bob = joined()
    alice.session.send(b"x", "a/b", message_id="m123")
    net.settle()
    (received,) = bob.recorder.messages
    bob.session.report(received, 413, "disk full")
    net.settle()
    (report,) = [
        event for event in parse_frames(alice.wire.down) if isinstance(event, Request) and event.method == "REPORT"
    ]
    assert report.message_id == "m123"
    assert report.status is not None
    assert (report.status.code, report.status.comment) == (413, "disk full")
    assert report.to_path == "msrp://alice.example.com:7000/alice-own;tcp"
    assert report.from_path == "msrp://server.example.com:2855/alice-leg;tcp"


@pytest.mark.requirement("MED-01")
def test_abort_passes() -> None:
    net, _, alice, bob = joined()
    handle = alice.session.open("a/b", total=100_000)
    handle.write(b"x" * 50_000)
    net.settle()
    handle.abort()
    net.settle()
    assert sends(bob.wire.down)[-1].flag == "#"
    assert reports_to(alice) == []


def test_sender_lost_in_the_middle_aborts_the_copy() -> None:
    net, _, alice, bob = joined()
    alice.session.open("a/b", total=100_000).write(b"x" * 50_000)
    net.settle()
    net.lose(alice)
    net.settle()
    assert sends(bob.wire.down)[-1].flag == "#"


def test_receiver_refuses_in_the_middle() -> None:
    net, _, alice, _ = joined()
    net.clients[1].recorder.replies["begin"] = 413
    net.clients[1].session.options = SessionOptions(collect=0)
    handle = alice.session.open("a/b", total=100_000)
    handle.write(b"x" * 50_000)
    net.settle()
    assert handle.status == 413


@pytest.mark.requirement("MED-12")
@pytest.mark.parametrize("size", [50, 20_000])
@pytest.mark.parametrize(("where", "code"), [("begin", 403), ("data", 413), ("end", 415)])
def test_policy_refuses(where: str, code: int, size: int) -> None:
    watch = Watch(**{where: code})
    net, _, alice, bob = joined(watch)
    handle = alice.session.send(b"x" * size, "a/b")
    net.settle()
    assert handle.status == code
    assert bob.recorder.names().count("message") == 0
    assert all(copy.flag in ("+", "#") for copy in sends(bob.wire.down))
    assert reports_to(alice) == []  # the response has said it
    assert watch.seen.count(code) == (0 if where == "begin" else 1)


def test_policy_sees_everything_once() -> None:
    watch = Watch()
    net, _, alice, bob = joined(watch)
    alice.session.send(b"x" * 300, "a/b")
    bob.session.send(b"y" * 30_000, "a/b")
    net.settle()
    assert watch.content == b"x" * 300 + b"y" * 30_000
    assert [watch.seen.count(what) for what in ("begin", "end", 200)] == [2, 2, 2]


@pytest.mark.requirement("MED-08", "LRG-06")
def test_slow_reader_stops_the_reading_of_its_sender() -> None:
    net, _, alice, bob = joined()
    bob.wire.client_reads = False
    handle = alice.session.open("a/b", total=10_000_000)
    for _ in range(100):
        handle.write(b"x" * 100_000)
    net.settle()
    assert alice.wire.held
    assert bob.leg.queued < 2 * LEG.congested_bytes
    assert len(alice.wire.up) < 2 * LEG.congested_bytes
    bob.wire.client_reads = True
    net.settle()
    assert not alice.wire.held
    assert len(bob.recorder.bodies[handle.message_id]) == 10_000_000


@pytest.mark.requirement("MED-08")
def test_many_short_messages_to_a_slow_reader_are_all_delivered() -> None:
    net, _, alice, bob = joined()
    bob.wire.client_reads = False
    for _ in range(1_000):
        alice.session.send(b"x" * 500, "a/b")
    net.settle()
    assert alice.wire.held
    bob.wire.client_reads = True
    net.settle()
    assert len(bob.recorder.messages) == 1_000
    assert reports_to(alice) == []


def test_pause_ends_with_the_slow_leg() -> None:
    net, _, alice, bob = joined()
    bob.wire.client_reads = False
    for _ in range(1_000):
        alice.session.send(b"x" * 500, "a/b")
    net.settle()
    net.lose(bob)
    assert not alice.wire.held


@pytest.mark.parametrize("announced", [30_000, 60_000])
def test_announced_length_must_hold(announced: int) -> None:
    net, _, alice, bob = joined()
    frame = (
        b"MSRP tr01 SEND\r\nTo-Path: msrp://server.example.com:2855/alice-leg;tcp\r\n"
        b"From-Path: msrp://alice.example.com:7000/alice-own;tcp\r\nMessage-ID: m123\r\n"
        b"Byte-Range: 1-*/%d\r\nContent-Type: a/b\r\n\r\n%b\r\n-------tr01$\r\n"
    ) % (announced, b"x" * 50_000)
    for start in range(0, len(frame), 10_000):
        alice.wire.server.receive(frame[start : start + 10_000], 0.0)
        net.settle()
    assert b"MSRP tr01 400" in alice.wire.down
    assert sends(bob.wire.down)[-1].flag == "#"


def test_replacing_a_leg() -> None:
    net, hop, alice, bob = joined()
    carol = net.client("carol", LEG)
    hop.join(alice.leg, carol.leg)
    alice.session.send(b"x", "a/b")
    net.settle()
    assert carol.recorder.names().count("message") == 1
    assert bob.recorder.names().count("message") == 0
    hop.close()
    net.settle()


@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.sampled_from([0, 1, 500, 2_048, 10_240]),
    st.sampled_from([0, 1_000, 2_048, 10_240]),
)
def test_any_conversation_arrives(messages: list[tuple[int, bool, bool]], chunk_in: int, chunk_out: int) -> None:
    options = leg_options(chunk_out)
    sender = SessionOptions(chunk_size=chunk_in if chunk_in != 1 else 100)
    net, _, alice, bob = joined(bob=options, sender=sender)
    handles = []
    for size, report, settle in messages:
        handles.append((alice.session.send(bytes(size), "a/b", success_report=report), size, report))
        if settle:
            net.settle()
    net.settle()
    for handle, size, report in handles:
        assert handle.status == 200
        assert bob.recorder.bodies[handle.message_id] == bytes(size)
        assert handle.reported == (200 if report else None)


@pytest.mark.requirement("MED-07")
def test_nickname_passes_and_its_answer_comes_back() -> None:
    net, hop, alice, bob = joined(request=425)
    answers: list[Response] = []
    assert alice.session.request("NICKNAME", [("Use-Nickname", '"Al"')], answers.append)
    net.settle()
    assert [answer.code for answer in answers] == [425]
    (passed,) = [
        event for event in parse_frames(bob.wire.down) if isinstance(event, Request) and event.method == "NICKNAME"
    ]
    assert passed.headers == [("Use-Nickname", '"Al"')]
    assert passed.from_path == "msrp://server.example.com:2855/bob-leg;tcp"
    alice.session.request("WAVE", [], answers.append)
    net.settle()
    assert answers[1].code == 501
    hop.other(alice.leg).close()
    alice.session.request("NICKNAME", [("Use-Nickname", '"Al"')], answers.append)
    net.settle()
    assert answers[2].code == 408


@pytest.mark.requirement("MED-07")
@pytest.mark.parametrize("lost", [True, False])
def test_nickname_without_an_answer(lost: bool) -> None:
    net, _, alice, bob = joined()
    bob.wire.client_reads = False
    answers: list[Response] = []
    alice.session.request("NICKNAME", [("Use-Nickname", '"Al"')], answers.append)
    alice.wire.move(0.0)
    bob.wire.server.take(0.0)  # written, and never read
    if lost:
        net.lose(bob)
    else:
        assert bob.wire.server.needs_tick
        bob.wire.server.tick(31.0)
    net.settle()
    assert [(answer.code, answer.comment) for answer in answers] == [(408, "no response")]


def test_request_of_a_session_without_connection_or_with_a_line_break() -> None:
    _, _, alice, _ = joined()
    with pytest.raises(ValueError, match="header"):
        alice.session.request("NICKNAME", [("Use-Nickname", "a\r\nb: c")], lambda *_: None)
    alice.session.close()
    assert not alice.session.request("NICKNAME", [], lambda *_: None)


@pytest.mark.requirement("PFS-02")
def test_what_comes_before_the_other_side_is_connected_waits() -> None:
    net = Net()
    alice = net.client("alice", LEG, WHOLE)
    leg = Session(parse_uri("msrp://server.example.com:2855/late;tcp"), Hop(), net.idents, LEG)
    Hop().join(alice.leg, leg)
    handles = [alice.session.send(b"x" * size, "a/b") for size in (10, 50_000, 20)]
    net.settle()
    assert [handle.status for handle in handles] == [200, 200, 200]
    leg.set_remote(parse_path("msrp://bob.example.com:7000/b;tcp"))
    link = Link(net.registry, net.idents, Shell())
    leg.bind(link)
    written = b""
    while pieces := link.take(0.0):
        written += b"".join(pieces)
    sizes: dict[str | None, int] = {}
    for copy in sends(written):
        sizes[copy.message_id] = sizes.get(copy.message_id, 0) + len(copy.body or b"")
    assert sizes == {handle.message_id: size for handle, size in zip(handles, (10, 50_000, 20), strict=True)}
