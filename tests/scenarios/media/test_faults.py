"""Peers that go wrong in the middle: both SIP legs end, the sender is told, nothing is left behind (PFS-09, MED-02)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.health import Whole
from tests.scenarios.media.parties import assert_talking, hang_up, idle, metrics, nothing_left, talk, two_parties
from tests.scenarios.media.wire import MsrpSocket, text_message

PEER_SECONDS = 2
STALL_SECONDS = 2
SETTINGS = {
    "IM_MEDIA_PATH": "always",
    "IM_MSRP_PEER_SECONDS": str(PEER_SECONDS),
    "IM_MSRP_STALL_SECONDS": str(STALL_SECONDS),
}
NewUser = Callable[..., str]
MESSAGE = 4_000_000
"""Bytes: more than all buffers between the two take."""


@pytest.fixture(scope="module", autouse=True)
def whole(instance: Instance) -> Iterator[None]:
    """At the end there is nothing left of any of these, and no bug in a log."""
    with Whole(instance):
        yield
        nothing_left(instance)
    assert "Traceback" not in instance.worker_log()
    assert "internal error" not in instance.worker_log()


def chunks(to: str, sender: str, ident: str, size: int, piece: int = 50_000) -> Iterator[bytes]:
    """A message in chunks of 50,000 bytes."""
    for start in range(0, size, piece):
        flag = "$" if start + piece >= size else "+"
        byte_range = f"{start + 1}-{start + piece}/{size}"
        yield text_message(to, sender, b"x" * piece, message_id=ident, byte_range=byte_range, flag=flag)


def failed(connection: MsrpSocket, ident: str, seconds: float = 10.0) -> int:
    """The status that the sender of a message is told: of a response other than 200, or of a REPORT."""
    while True:
        answer = connection.frame(seconds)
        if answer.method == "REPORT" and answer.value("Message-ID") == ident:
            return answer.status
        if not answer.method and answer.status != 200:
            return answer.status


@pytest.mark.requirement("PFS-09", "MED-02", "MED-03", "SEC-02")
def test_the_callee_answers_and_never_connects(instance: Instance, new_user: NewUser) -> None:
    """Its time over, both are released; who has sent something to it meanwhile is told that it did not arrive."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee, answer=callee.describe(setup="active"))
        one = caller.bind()
        assert one.ask(text_message(caller.server, caller.path, message_id="lost")) == 200
        assert failed(one, "lost") == 408
        assert "did not connect" in instance.worker_log()
        caller.released()
        callee.released()
        assert one.closed()
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-03", "SEC-02")
def test_the_caller_invites_and_never_connects(instance: Instance, new_user: NewUser) -> None:
    """The same on the other side."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        other = callee.accept()
        caller.released()
        callee.released()
        assert other.closed()
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-02", "MED-08")
def test_the_callee_connects_and_never_reads(instance: Instance, new_user: NewUser) -> None:
    """The sender is held back, then told; a session beside it goes on all the while."""
    before = metrics(instance)["im_msrp_stalled_total"]
    with (
        two_parties(instance, new_user(), new_user()) as (caller, callee),
        two_parties(instance, new_user(), new_user()) as (carol, dave),
    ):
        talk(carol, dave)
        beside, them = carol.bind(), dave.accept()
        callee.listener.narrow()
        talk(caller, callee)
        one = caller.bind()
        silent = callee.listener.accept()  # and nothing more
        one.socket.settimeout(1)
        sent = 0
        try:
            for chunk in chunks(caller.server, caller.path, "stalled", 60_000_000):
                one.socket.sendall(chunk)
                sent += len(chunk)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        assert sent < 60_000_000
        assert_talking(beside, carol, them, dave)
        assert failed(one, "stalled") == 408
        caller.released()
        callee.released()
        assert metrics(instance)["im_msrp_stalled_total"] == before + 1
        assert_talking(beside, carol, them, dave)
        silent.close()
        hang_up(carol, dave)
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-02")
@pytest.mark.parametrize("death", ["close", "reset"])
def test_the_callee_reads_half_and_dies(instance: Instance, new_user: NewUser, death: str) -> None:
    """The sender gets 408, by a response or a REPORT, before its own connection ends."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        pieces = list(chunks(caller.server, caller.path, "half", MESSAGE))
        for piece in pieces[: len(pieces) // 2]:
            one.send(piece)
        read = 0
        while read < MESSAGE // 4:
            chunk = other.frame()
            other.answer(chunk)
            read += len(chunk.body)
        other.close() if death == "close" else other.reset()
        assert failed(one, "half") == 408
        caller.released()
        callee.released()
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-02")
def test_the_callee_dies_after_a_message_was_taken(instance: Instance, new_user: NewUser) -> None:
    """The worker had answered 200 for itself, the callee never did: a REPORT, not silence."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        assert one.ask(text_message(caller.server, caller.path, message_id="taken")) == 200
        assert other.frame().body == b"hello"
        other.reset()
        assert failed(one, "taken") == 408
        caller.released()
        callee.released()
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-01", "MED-02")
@pytest.mark.parametrize("death", ["close", "reset"])
@pytest.mark.parametrize("where", ["between two chunks", "within a chunk", "within a header"])
def test_the_sender_dies_in_the_middle(instance: Instance, new_user: NewUser, death: str, where: str) -> None:
    """The receiver sees that the message is not whole: its last chunk has the flag `#`."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        first, second, *_ = chunks(caller.server, caller.path, "cut1", 200_000)
        one.send(first)
        one.send({"between two chunks": b"", "within a chunk": second[:30_000], "within a header": second[:60]}[where])
        content, chunk = b"", other.frame()
        other.answer(chunk)
        while len(content) + len(chunk.body) < 49_152:  # what fills chunks of 2,048 bytes
            content += chunk.body
            chunk = other.frame()
            other.answer(chunk)
        one.close() if death == "close" else one.reset()
        while chunk.flag == "+":
            chunk = other.frame()
            other.answer(chunk)
        assert chunk.flag == "#"
        assert other.closed()
        caller.released()
        callee.released()
    idle(instance)


@pytest.mark.requirement("PFS-09", "MED-02", "SEC-06")
def test_both_die_at_once(instance: Instance, new_user: NewUser) -> None:
    """Without a BYE from anybody; the worker says its own, nobody answers it, and nothing is kept for that."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        one.send(next(chunks(caller.server, caller.path, "both", 200_000))[:1000])
        one.reset()
        other.reset()
        caller.released()
        callee.released()
    wait_until(lambda: metrics(instance)["im_msrp_sessions"] == 0, "no session")
    idle(instance)


@pytest.mark.requirement("MED-02")
def test_the_callee_reads_and_never_answers(instance: Instance, new_user: NewUser) -> None:
    """After the 30 seconds of RFC 4975 section 7.1.1 the sender is told 408; the session stays."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        assert one.ask(text_message(caller.server, caller.path, message_id="silent")) == 200
        assert other.frame().body == b"hello"
        assert failed(one, "silent", 40) == 408
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
    idle(instance)
