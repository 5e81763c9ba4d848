"""Two endpoints that have nothing of each other but SDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from msrp_worker import sdp
from msrp_worker.media_session import accepted_session, new_session_id, offered_session, settle, to_path
from msrp_worker.msrp import EndpointConfig, MessageStream, MsrpEndpoint, format_path, outcome
from msrp_worker.offer_answer import (
    Answer,
    LocalEndpoint,
    LocalPolicy,
    Refusal,
    answer,
    conclude,
    offer,
    offered_line,
)
from msrp_worker.sdp import Origin
from tests.msrp_worker.msrp.conftest import Certificate


def policy(served: MsrpEndpoint, **choices: object) -> LocalPolicy:
    origin = Origin("-", "1", 1, "127.0.0.1")
    base = LocalPolicy(LocalEndpoint("127.0.0.1", served.port), origin, (new_session_id(), new_session_id()))
    return replace(base, **choices)  # type: ignore[arg-type]


@pytest.fixture
async def endpoints() -> AsyncIterator[tuple[MsrpEndpoint, MsrpEndpoint]]:
    made = MsrpEndpoint(EndpointConfig(port=0)), MsrpEndpoint(EndpointConfig(port=0))
    for endpoint in made:
        await endpoint.start()
    async with asyncio.timeout(10):
        yield made
    for endpoint in made:
        await endpoint.stop()


@pytest.mark.requirement("MED-05", "MED-10", "MED-12")
@pytest.mark.parametrize("answerer_connects", [False, True])
async def test_from_offer_to_message(endpoints: tuple[MsrpEndpoint, MsrpEndpoint], answerer_connects: bool) -> None:
    caller, callee = endpoints
    ours = policy(caller, accept_types=("text/*",), max_size=100)
    media = offered_line(ours, new_session_id())
    heard = MessageStream()
    session = offered_session(caller, media, heard)
    offered = offer(ours.origin, "127.0.0.1", [media])

    reply = answer(sdp.parse(offered.build()), policy(callee, behind_nat=answerer_connects))
    assert isinstance(reply, Answer)
    (line,) = reply.lines
    other = accepted_session(callee, line, MessageStream())

    (agreed,) = lines(conclude(offered, sdp.parse(reply.description.build()), ours))
    settle(session, agreed)
    assert (line.active, agreed.active) == (answerer_connects, not answerer_connects)
    if agreed.active:
        await caller.connect(session, agreed.connect_to)
    else:
        await callee.connect(other, line.connect_to)

    assert await outcome(other.send(b"hello", "text/plain")) == 200
    received = await anext(aiter(heard))
    assert await received.read() == b"hello"
    assert await outcome(other.send(b"x" * 101, "text/plain")) == 413
    assert await outcome(other.send(b"x", "image/png")) == 415


def lines(result: object) -> tuple:  # type: ignore[type-arg]
    assert isinstance(result, tuple), result
    return result


@pytest.mark.requirement("MED-06")
def test_way_out_leads_through_our_relays_and_theirs() -> None:
    endpoint = MsrpEndpoint(EndpointConfig(port=0))
    c, b = "msrp://c.example.com:1/c;tcp", "msrp://b.example.com:1/b;tcp"
    ours = policy(endpoint, endpoint=LocalEndpoint("192.0.2.1", 2855, relay_path=(c, b)), cema=False)
    theirs = policy(endpoint, endpoint=LocalEndpoint("192.0.2.2", 2855, relay_path=("msrp://d.example.com:1/d;tcp",)))
    media = offered_line(theirs, "f1")
    reply = answer(offer(theirs.origin, "192.0.2.2", [media]), ours)
    assert not isinstance(reply, Refusal)
    assert format_path(to_path(reply.lines[0])) == f"{b} {c} msrp://d.example.com:1/d;tcp {media.path[-1]}"


def test_names_are_unguessable_and_used_once() -> None:
    names = {new_session_id() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) >= 22 for name in names)


@pytest.mark.requirement("MED-04")
@pytest.mark.parametrize("forged", [False, True])
async def test_certificates_are_those_of_the_descriptions(
    certificates: tuple[Certificate, Certificate], forged: bool
) -> None:
    made = []
    for files in certificates:
        config = EndpointConfig(port=None, tls_port=0, tls_certificate=files.certificate, tls_key=files.key)
        made.append(MsrpEndpoint(config))
        await made[-1].start()
    caller, callee = made
    announced = [files.fingerprint for files in certificates]
    if forged:
        announced.reverse()
    ours, theirs = (
        policy(served, endpoint=LocalEndpoint("127.0.0.1", None, served.tls_port, fingerprints=(one,)))
        for served, one in zip(made, announced, strict=True)
    )
    media = offered_line(ours, new_session_id(), secure=True)
    session = offered_session(caller, media, MessageStream())
    offered = offer(ours.origin, "127.0.0.1", [media])
    reply = answer(sdp.parse(offered.build()), theirs)
    assert isinstance(reply, Answer)
    other = MessageStream()
    accepted_session(callee, reply.lines[0], other)
    (agreed,) = lines(conclude(offered, sdp.parse(reply.description.build()), ours))
    settle(session, agreed)
    async with asyncio.timeout(10):
        if forged:
            with pytest.raises(OSError, match="fingerprint"):
                await caller.connect(session, agreed.connect_to)
        else:
            await caller.connect(session, agreed.connect_to)
            assert await outcome(session.send(b"hello", "text/plain")) == 200
            assert await (await anext(aiter(other))).read() == b"hello"
    for endpoint in made:
        await endpoint.stop()
