"""The end of a session that waits for what is under way."""

from __future__ import annotations

import pytest

from msrp_worker.msrp.handler import DEFERRED
from msrp_worker.msrp.options import SessionOptions
from msrp_worker.msrp.session import Session
from msrp_worker.msrp.state import State
from msrp_worker.msrp.uri import parse_uri
from tests.msrp_worker.msrp.harness import Recorder, counting
from tests.msrp_worker.msrp.wiring import Client, Net


def one(**replies: int) -> tuple[Net, Client]:
    net = Net()
    return net, net.client("alice", client=SessionOptions(collect=1_000_000), **replies)


def test_with_nothing_under_way_it_is_at_once() -> None:
    net, alice = one()
    alice.leg.send(b"hello", "a/b")
    net.settle()
    alice.leg.finish("left")
    assert alice.leg.state is State.CLOSED


@pytest.mark.requirement("PFS-09")
@pytest.mark.parametrize("size", [5, 100_000])
def test_what_is_under_way_arrives_first(size: int) -> None:
    net, alice = one(message=DEFERRED)
    sent = alice.leg.send(b"x" * size, "a/b", message_id="m123")
    alice.leg.finish("left")
    net.settle()
    assert alice.leg.state is not State.CLOSED
    (received,) = alice.recorder.messages
    alice.session.answer(received, 200)
    net.settle()
    assert (sent.status, alice.leg.state) == (200, State.CLOSED)
    assert alice.recorder.bodies["m123"] == b"x" * size


@pytest.mark.requirement("PFS-09")
def test_a_refusal_and_a_lost_connection_end_it_too() -> None:
    net, alice = one(message=415)
    alice.leg.send(b"x", "a/b")
    alice.leg.finish("left")
    net.settle()
    assert alice.leg.state is State.CLOSED
    net, alice = one(message=DEFERRED)
    alice.leg.send(b"x", "a/b")
    alice.leg.finish("left")
    net.settle()
    net.lose(alice)
    assert alice.leg.state is State.CLOSED


@pytest.mark.requirement("PFS-09")
def test_a_silent_peer_ends_it_with_its_transaction() -> None:
    net, alice = one(message=DEFERRED)
    alice.leg.send(b"x", "a/b")
    alice.leg.finish("left")
    net.settle()
    net.now = 31.0
    alice.wire.server.tick(net.now)
    assert alice.leg.state is State.CLOSED


def test_without_a_connection_nothing_is_waited_for() -> None:
    session = Session(parse_uri("msrp://server.example.com:2855/x;tcp"), Recorder(), counting("t"))
    session.send(b"x", "a/b")
    session.finish("left")
    assert session.state is State.CLOSED
