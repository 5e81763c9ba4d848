"""Faults injected between two real endpoints by a proxy: nothing is lost in silence, nothing stays behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from msrp_worker.msrp import MsrpEndpoint, OutgoingMessage, Session, SessionOptions, outcome, parse_path
from msrp_worker.msrp.frames import encode_request
from tests.msrp_worker.msrp.conftest import MakeEndpoint, until
from tests.msrp_worker.msrp.harness import Recorder
from tests.msrp_worker.msrp.proxy import Proxy, proxied

LONG = bytes(range(256)) * 40


@dataclass
class Dialogue:
    """A recorded exchange: what each side sent, and what each received."""

    active: Session
    passive: Session
    ours: Recorder
    theirs: Recorder
    sent: list[OutgoingMessage]


async def dialogue(a: MsrpEndpoint, b: MsrpEndpoint, port: int, options: SessionOptions) -> Dialogue:
    """Both sides send a short and a long message; returns when every outcome is known."""
    ours, theirs = Recorder(), Recorder()
    one, other = a.new_session(ours, options), b.new_session(theirs, options)
    one.set_remote(parse_path(other.local_text))
    other.set_remote(parse_path(one.local_text))
    sent = [
        one.send(b"short", "text/plain", success_report=True),
        one.send(LONG, "a/b", success_report=True),
        other.send(b"reply", "text/plain", success_report=True),
        other.send(LONG, "a/b", success_report=True),
    ]
    try:
        await a.connect(one, ("127.0.0.1", port))
    except OSError:
        other.close("never connected")
    await asyncio.gather(*(asyncio.wait_for(outcome(message), 10) for message in sent))
    return Dialogue(one, other, ours, theirs, sent)


def check_outcomes(done: Dialogue) -> None:
    """A message that counts as delivered has been; no other outcome than that or failure."""
    received = done.ours.bodies | done.theirs.bodies
    for message, body in zip(done.sent, [b"short", LONG, b"reply", LONG], strict=True):
        assert message.status in (200, 408)
        if message.status == 200:
            assert received[message.message_id] == body


OPTIONS = [
    pytest.param(SessionOptions(chunk_size=2_048), id="chunks"),
    pytest.param(SessionOptions(chunk_size=0, collect=0), id="streamed"),
]


@pytest.mark.requirement("MED-01", "MED-02")
@pytest.mark.parametrize("options", OPTIONS)
async def test_cut_at_every_frame_boundary(make_endpoint: MakeEndpoint, options: SessionOptions) -> None:
    a, b = await make_endpoint(linger_seconds=0.0), await make_endpoint()
    assert b.port is not None
    async with proxied(b.port) as proxy:
        undisturbed = await dialogue(a, b, proxy.port, options)
        await until(lambda: all(message.reported for message in undisturbed.sent))
        assert [message.status for message in undisturbed.sent] == [200] * 4
        frames = (proxy.to_target.frames, proxy.to_client.frames)
    undisturbed.active.close()
    undisturbed.passive.close()
    assert min(frames) >= 6
    for which in (0, 1):
        for boundary in range(1, frames[which]):
            limits = (boundary, None) if which == 0 else (None, boundary)

            def prepare(proxy: Proxy, limits: tuple[int | None, int | None] = limits) -> None:
                proxy.cut_after = limits

            async with proxied(b.port, prepare) as proxy:
                done = await dialogue(a, b, proxy.port, options)
                check_outcomes(done)
                await until(lambda done=done: done.ours.log[-1][0] == done.theirs.log[-1][0] == "closed")  # type: ignore[misc]
    await until(lambda: not a.connections and not b.connections)
    assert len(a.registry) == len(b.registry) == 0


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("options", OPTIONS)
async def test_one_byte_at_a_time(make_endpoint: MakeEndpoint, options: SessionOptions) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    assert b.port is not None

    def prepare(proxy: Proxy) -> None:
        proxy.slice = 1

    async with proxied(b.port, prepare) as proxy:
        done = await dialogue(a, b, proxy.port, options)
        assert [message.status for message in done.sent] == [200] * 4
        check_outcomes(done)
        await until(lambda: all(message.reported == 200 for message in done.sent))


@pytest.mark.requirement("MED-01", "MED-02")
async def test_stall_ends_in_time_outs_not_in_silence(make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    assert b.port is not None
    ours, theirs = Recorder(), Recorder()
    one, other = a.new_session(ours), b.new_session(theirs)
    one.set_remote(parse_path(other.local_text))
    other.set_remote(parse_path(one.local_text))
    async with proxied(b.port) as proxy:
        await a.connect(one, ("127.0.0.1", proxy.port))
        assert await outcome(one.send(b"before", "text/plain")) == 200
        proxy.stalled = True
        began = a.now()
        message = one.send(b"lost", "text/plain")
        await until(lambda: message.is_sent)
        later = a.now
        monkeypatch.setattr(a, "now", lambda: later() + 29.0)
        await asyncio.sleep(0.05)
        assert message.status is None
        monkeypatch.setattr(a, "now", lambda: later() + 31.0)
        assert await asyncio.wait_for(outcome(message), 5) == 408
        assert later() - began < 10.0


@pytest.mark.requirement("MED-01")
async def test_stall_that_ends_loses_nothing(make_endpoint: MakeEndpoint) -> None:
    a, b = await make_endpoint(), await make_endpoint()
    assert b.port is not None

    def prepare(proxy: Proxy) -> None:
        proxy.stalled = True

    async with proxied(b.port, prepare) as proxy:
        running = asyncio.create_task(dialogue(a, b, proxy.port, SessionOptions()))
        await asyncio.sleep(0.05)
        assert not running.done()
        proxy.stalled = False
        done = await running
        assert [message.status for message in done.sent] == [200] * 4
        check_outcomes(done)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("where", range(0, 600, 37))
async def test_damaged_bytes_end_in_an_answer_or_an_end(make_endpoint: MakeEndpoint, where: int) -> None:
    """A flipped byte anywhere: the connection ends or goes on, and the endpoint serves the next session."""
    a, b = await make_endpoint(), await make_endpoint(bind_seconds=0.2)
    stream = Recorder()
    session = b.new_session(stream)
    peer = "msrp://127.0.0.1:9/x;tcp"
    session.set_remote(parse_path(peer))
    frames = b"".join(
        encode_request("SEND", f"tid{n}", session.local_text, peer, [("Message-ID", f"id{n:04d}")], "a/b", b"x" * 50)
        for n in range(4)
    )
    damaged = bytearray(frames)
    damaged[where] ^= 0x15
    reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
    writer.write(bytes(damaged))
    await until(lambda: stream.bodies or b.connections == 0 or session.link is None)
    writer.close()
    await until(lambda: b.connections == 0)
    assert reader is not None
    assert b.port is not None
    async with proxied(b.port) as proxy:
        done = await dialogue(a, b, proxy.port, SessionOptions())
        assert [message.status for message in done.sent] == [200] * 4
