"""Sessions that wait for the peer to connect, and a peer that never does."""

from __future__ import annotations

import asyncio

import pytest

from msrp_worker.cpim import Address
from msrp_worker.msrp import MessageStream, Session, SessionHandler, SessionOptions, State, parse_path
from msrp_worker.msrp.frames import encode_request
from msrp_worker.msrp.hop import Hop, leg_options
from msrp_worker.msrp.registry import Registry
from msrp_worker.msrp.room import Participant, RoomObserver
from msrp_worker.msrp.switch import Switch
from msrp_worker.msrp.uri import parse_uri
from tests.msrp_worker.msrp.conftest import MakeEndpoint, until
from tests.msrp_worker.msrp.harness import counting

PEER = parse_path("msrp://127.0.0.1:9/peer;tcp")


def waiting(registry: Registry, name: str) -> Session:
    session = Session(parse_uri(f"msrp://127.0.0.1:2855/{name}xxxxxxxx;tcp"), SessionHandler(), counting("t"))
    registry.add(session)
    return session


@pytest.mark.requirement("MED-03", "SEC-02")
def test_the_time_runs_from_when_the_peer_is_known() -> None:
    registry = Registry()
    session = waiting(registry, "a")
    assert registry.overdue(0.0, 30.0) == []
    assert registry.overdue(1_000.0, 30.0) == []  # an offer that rings
    session.set_remote(PEER)
    assert registry.overdue(1_001.0, 30.0) == []
    assert registry.overdue(1_030.9, 30.0) == []
    assert registry.overdue(1_031.0, 30.0) == [session]
    assert registry.overdue(1_032.0, 30.0) == []  # told once


@pytest.mark.requirement("MED-03")
def test_a_new_path_of_the_peer_begins_anew() -> None:
    registry = Registry()
    session = waiting(registry, "a")
    session.set_remote(PEER)
    assert registry.overdue(0.0, 30.0) == []
    session.set_remote(parse_path("msrp://127.0.0.1:9/other;tcp"))
    assert registry.overdue(29.0, 30.0) == []
    assert registry.overdue(58.0, 30.0) == []
    assert registry.overdue(59.0, 30.0) == [session]


@pytest.mark.requirement("MED-03")
def test_neither_bound_nor_closed_sessions_are_awaited_and_none_is_kept() -> None:
    registry = Registry()
    ended, late = waiting(registry, "a"), waiting(registry, "b")
    for session in (ended, late):
        session.set_remote(PEER)
    ended.close()
    assert registry.overdue(0.0, 30.0) == []
    assert list(registry._awaited) == [late]
    late.state = State.BOUND
    assert registry.overdue(100.0, 30.0) == []
    assert not registry._awaited


@pytest.mark.requirement("MED-03", "SEC-02")
async def test_owner_is_told_that_nobody_came(make_endpoint: MakeEndpoint) -> None:
    endpoint = await make_endpoint(peer_seconds=0.05)
    stream = MessageStream()
    session = endpoint.new_session(stream)
    message = session.send(b"hello", "text/plain")
    session.set_remote(PEER)
    with pytest.raises(ConnectionError, match="did not connect within"):
        await stream.wait_bound()
    assert (session.state, message.status, len(endpoint.registry)) == (State.CLOSED, 408, 0)


@pytest.mark.requirement("MED-03")
async def test_a_session_with_its_peer_stays(make_endpoint: MakeEndpoint) -> None:
    endpoint = await make_endpoint(peer_seconds=0.1)
    session, other = endpoint.new_session(MessageStream()), endpoint.new_session(MessageStream())
    session.set_remote(PEER)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(encode_request("SEND", "tid1", session.local_text, str(PEER[0]), [("Message-ID", "12345")]))
    assert b" 200 OK\r\n" in await reader.readuntil(b"$\r\n")
    other.set_remote(PEER)
    await until(lambda: other.state is State.CLOSED)
    assert session.state is State.BOUND
    writer.close()


@pytest.mark.requirement("MED-03")
async def test_a_handler_that_fails_does_not_save_the_others(make_endpoint: MakeEndpoint) -> None:
    class Failing(SessionHandler):
        def closed(self, session: Session, reason: str) -> None:
            raise RuntimeError("a bug")

    endpoint = await make_endpoint(peer_seconds=0.05)
    one, other = endpoint.new_session(Failing()), endpoint.new_session(SessionHandler())
    for session in (one, other):
        session.set_remote(PEER)
    await until(lambda: other.state is State.CLOSED)
    later = endpoint.new_session(SessionHandler())
    later.set_remote(PEER)
    await until(lambda: later.state is State.CLOSED)


@pytest.mark.requirement("PFS-09", "MED-03")
async def test_hop_tells_its_owner_which_leg_nobody_came_to(make_endpoint: MakeEndpoint) -> None:
    """The participating function then says BYE on both sides."""
    endpoint = await make_endpoint(peer_seconds=0.05)
    told: list[tuple[Session, str]] = []
    hop = Hop()
    hop.on_leg_closed = lambda _, leg, reason: told.append((leg, reason))
    caller, callee = (endpoint.new_session(hop, leg_options()) for _ in range(2))
    hop.join(caller, callee)
    callee.set_remote(PEER)
    await until(lambda: told)
    assert [(leg, reason) for leg, reason in told] == [(callee, "peer did not connect within 0.05 s")]
    assert caller.state is State.WAITING


@pytest.mark.requirement("MED-03", "SEC-02")
async def test_switch_tells_its_observer_who_never_came(make_endpoint: MakeEndpoint) -> None:
    left: list[tuple[str, str, bool]] = []

    class Observer(RoomObserver):
        def left(self, participant: Participant, reason: str, *, cut: bool) -> None:
            left.append((participant.address.uri, reason, cut))

    endpoint = await make_endpoint(peer_seconds=0.05)
    switch = Switch(("sip:room@example.com",), observer=Observer())
    session = endpoint.new_session(switch, SessionOptions())
    switch.join(Participant(session, Address("sip:bob@example.com")))
    session.set_remote(PEER)
    await until(lambda: session.state is State.CLOSED)
    assert not switch.participants
    assert left == [("sip:bob@example.com", "peer did not connect within 0.05 s", False)]


@pytest.mark.requirement("MED-03")
async def test_no_limit_where_none_is_wanted(make_endpoint: MakeEndpoint) -> None:
    endpoint = await make_endpoint(peer_seconds=0.0)
    session = endpoint.new_session(SessionHandler())
    session.set_remote(PEER)
    endpoint._end_overdue(0.0)
    endpoint._end_overdue(1e9)
    assert session.state is State.WAITING
