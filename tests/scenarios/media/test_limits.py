"""What strangers may take of the MSRP listener, and that the limits say so (SEC-02)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.media.parties import assert_talking, hang_up, idle, metrics, talk, two_parties
from tests.scenarios.media.wire import MsrpSocket

PER_ADDRESS = 12
IN_ALL = 30
BIND_SECONDS = 2
SETTINGS = {
    "IM_MEDIA_PATH": "always",
    "IM_MSRP_MAX_PER_ADDRESS": str(PER_ADDRESS),
    "IM_MSRP_MAX_CONNECTIONS": str(IN_ALL),
    "IM_MSRP_BIND_SECONDS": str(BIND_SECONDS),
}
NewUser = Callable[..., str]


@pytest.fixture
def port(instance: Instance) -> Iterator[int]:
    """The MSRP port; before and after nobody is connected to it."""
    idle(instance)
    yield instance.deployment.config.msrp_port
    idle(instance)


def open_sockets(stack: ExitStack, port: int, count: int, source: str) -> list[MsrpSocket]:
    return [stack.enter_context(MsrpSocket.to(port, source=source)) for _ in range(count)]


@pytest.mark.requirement("SEC-02")
def test_connections_of_one_address(instance: Instance, new_user: NewUser, port: int) -> None:
    """The one too many is closed at once; others are served, and so is the same address when it has closed some."""
    before = metrics(instance)["im_msrp_over_limit_total"]
    with ExitStack() as stack:
        held = open_sockets(stack, port, PER_ADDRESS, "127.0.0.9")
        wait_until(lambda: metrics(instance)["im_msrp_connections"] == PER_ADDRESS, "all are counted")
        for extra in open_sockets(stack, port, 3, "127.0.0.9"):
            assert extra.closed(1)
        assert metrics(instance)["im_msrp_over_limit_total"] == before + 3
        refused = f"SEC-02 msrp: connection from 127.0.0.9 refused: more than {PER_ADDRESS} connections from this address"
        assert instance.worker_log().count(refused) == 3
        with two_parties(instance, new_user(), new_user()) as (caller, callee):
            talk(caller, callee)
            one, other = caller.bind(), callee.accept()
            for connection in held[:3]:
                connection.close()
            wait_until(lambda: metrics(instance)["im_msrp_connections"] <= PER_ADDRESS - 3 + 2, "they are gone")
            (again,) = open_sockets(stack, port, 1, "127.0.0.9")
            assert not again.closed(0.3)
            assert_talking(one, caller, other, callee)
            hang_up(caller, callee)


@pytest.mark.requirement("SEC-02")
def test_connections_in_all(instance: Instance, port: int) -> None:
    """From many addresses; those who were there stay."""
    with ExitStack() as stack:
        held = []
        for number in range(IN_ALL // 10):
            held += open_sockets(stack, port, 10, f"127.0.1.{number + 1}")
        wait_until(lambda: metrics(instance)["im_msrp_connections"] == IN_ALL, "all are counted")
        (extra,) = open_sockets(stack, port, 1, "127.0.2.1")
        assert extra.closed(1)
        assert f"SEC-02 msrp: connection from 127.0.2.1 refused: more than {IN_ALL} connections" in instance.worker_log()
        assert not held[0].closed(0.1)


@pytest.mark.requirement("SEC-02")
@pytest.mark.parametrize(
    "said",
    [b"", b"MSRP abcd SEND\r\nTo-Path: msrp://h:1/x;tcp\r\n", b"MSRP abcd REPORT\r\n\r\n-------abcd$\r\n"],
    ids=["nothing", "half a request", "what needs no answer"],
)
def test_time_without_a_session(instance: Instance, port: int, said: bytes) -> None:
    """Who names no session is closed when its time is over, whatever it says."""
    before = metrics(instance)["im_msrp_never_bound_total"]
    began = time.monotonic()
    with MsrpSocket.to(port) as silent:
        silent.send(said)
        assert silent.closed(BIND_SECONDS + 5)
    assert time.monotonic() - began >= BIND_SECONDS - 0.2
    assert metrics(instance)["im_msrp_never_bound_total"] == before + 1
    assert f"no session within {BIND_SECONDS} s" in instance.worker_log()


@pytest.mark.requirement("SEC-02")
def test_a_slow_drip_gains_no_time(instance: Instance, port: int) -> None:
    """One header byte after the other keeps nothing open."""
    with MsrpSocket.to(port) as slow:
        slow.send(b"MSRP abcd SEND\r\nX-Header: ")
        deadline = time.monotonic() + BIND_SECONDS + 5
        while time.monotonic() < deadline and not slow.closed(0.2):
            slow.send(b"x")
        assert slow.closed(0.1)


@pytest.mark.requirement("SEC-02")
def test_a_session_keeps_its_connection(instance: Instance, new_user: NewUser, port: int) -> None:
    """The time is for those without a session: an idle one of who has bound stays."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee):
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        assert not one.closed(BIND_SECONDS + 2)
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)


@pytest.mark.requirement("SEC-02", "SEC-05")
def test_a_flood_of_connections_does_not_flood_the_log(instance: Instance, new_user: NewUser, port: int) -> None:
    """Hundreds of refusals in a second are some lines and a count; a session beside them goes on."""
    with two_parties(instance, new_user(), new_user()) as (caller, callee), ExitStack() as stack:
        talk(caller, callee)
        one, other = caller.bind(), callee.accept()
        open_sockets(stack, port, PER_ADDRESS, "127.0.0.9")
        lines = len(instance.worker_log().splitlines())
        before = metrics(instance)["im_msrp_over_limit_total"]
        for extra in open_sockets(stack, port, 400, "127.0.0.9"):
            extra.close()
        wait_until(lambda: metrics(instance)["im_msrp_over_limit_total"] == before + 400, "all are refused")
        assert len(instance.worker_log().splitlines()) - lines < 100
        assert_talking(one, caller, other, callee)
        hang_up(caller, callee)
