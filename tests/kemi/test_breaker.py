"""The socket to the worker: never waits long, finds the worker again."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi import breaker as module
from kemi.breaker import BREAKER_OPEN, RETRY_CONNECT, Breaker
from tests.kemi.bench import Clock

PACKET = b"x" * 50_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that stands still."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the worker listens."""
    return tmp_path / "question.sock"


def listen(path: Path) -> socket.socket:
    """Start a worker."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    """A worker that accepts when asked to."""
    with listen(path) as made:
        yield made


def fill(breaker: Breaker) -> int:
    """Send until the queue is full, without waiting; how many fitted."""
    count = 0
    while breaker.send(PACKET, 0.0):
        count += 1
    return count


@pytest.mark.requirement("SEC-06")
def test_packets_arrive_whole_and_in_order(clock: Clock, path: Path, listener: socket.socket) -> None:
    breaker = Breaker(path)
    assert breaker.alive()
    assert breaker.send(b"one", 0.0) and breaker.send(b"two\n" + bytes(range(256)), 0.0)
    with listener.accept()[0] as worker:
        assert worker.recv(1 << 20) == b"one"
        assert worker.recv(1 << 20) == b"two\n" + bytes(range(256))


@pytest.mark.requirement("SEC-06")
def test_without_a_worker_it_refuses_at_once_and_tries_again_later(clock: Clock, path: Path) -> None:
    breaker = Breaker(path)
    assert not breaker.alive() and not breaker.send(b"x", 0.1)
    with listen(path):
        assert not breaker.alive(), "not every request tries to connect"
        clock.now += RETRY_CONNECT
        assert breaker.alive() and breaker.send(b"x", 0.1)


@pytest.mark.requirement("SEC-06")
def test_a_dead_worker_is_seen_at_once_and_the_next_one_found(clock: Clock, path: Path, listener: socket.socket) -> None:
    breaker = Breaker(path)
    assert breaker.alive()
    listener.accept()[0].close()
    listener.close()
    assert not breaker.alive()
    with listen(path) as second:
        clock.now += RETRY_CONNECT
        assert breaker.send(b"again", 0.0)
        with second.accept()[0] as worker:
            assert worker.recv(100) == b"again"


@pytest.mark.requirement("SEC-06")
def test_a_worker_that_restarts_between_two_packets_loses_none(clock: Clock, path: Path, listener: socket.socket) -> None:
    breaker = Breaker(path)
    assert breaker.send(b"one", 0.0)
    listener.accept()[0].close()
    listener.close()
    with listen(path) as second:
        assert breaker.send(b"two", 0.0)
        with second.accept()[0] as worker:
            assert worker.recv(100) == b"two"


@pytest.mark.requirement("SEC-06")
def test_it_opens_on_a_worker_that_does_not_read_and_closes_again(
    clock: Clock, path: Path, listener: socket.socket
) -> None:
    breaker = Breaker(path)
    fitted = fill(breaker)
    assert fitted > 0
    assert breaker.alive(), "a full queue alone does not open it: an event is dropped, a question may wait"
    assert not breaker.send(PACKET, 0.01)
    with listener.accept()[0] as worker:
        for _packet in range(fitted):
            assert worker.recv(1 << 20) == PACKET
        clock.now += BREAKER_OPEN - 0.01
        assert not breaker.alive() and not breaker.send(b"x", 0.01), "still open"
        clock.now += 0.01
        assert breaker.alive() and breaker.send(b"x", 0.01)
        assert worker.recv(100) == b"x"


@pytest.mark.requirement("SEC-06")
def test_a_question_waits_for_room(
    clock: Clock, path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = Breaker(path)
    fitted = fill(breaker)
    with listener.accept()[0] as worker:

        def reading_meanwhile(*_arguments: object) -> tuple[list[object], list[object], list[object]]:
            for _ in range(fitted):
                worker.recv(1 << 20)
            return [], [worker], []

        monkeypatch.setattr(select, "select", reading_meanwhile)
        assert breaker.send(b"late", 0.1)
        assert worker.recv(100) == b"late"


@pytest.mark.requirement("SEC-05")
def test_a_packet_too_large_for_the_socket_is_refused_and_harmless(
    clock: Clock, path: Path, listener: socket.socket
) -> None:
    breaker = Breaker(path)
    assert not breaker.send(b"x" * (1 << 24), 0.0)
    assert breaker.send(b"x", 0.0)
