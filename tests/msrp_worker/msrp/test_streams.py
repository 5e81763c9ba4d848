"""Messages for coroutines, on links wired in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from msrp_worker.msrp import (
    MessageAborted,
    MessageStream,
    Session,
    SessionOptions,
    outcome,
    reported,
    send_from,
)
from msrp_worker.msrp.streams import BUFFER_BYTES
from tests.msrp_worker.msrp.harness import Pair


def pair(**options: int) -> tuple[Pair, Session, MessageStream]:
    """Alice's session, and the stream of what Bob receives."""
    wired = Pair(SessionOptions(**options), SessionOptions(collect=0))  # type: ignore[arg-type]
    stream = MessageStream()
    wired.bob.session.handler = stream
    return wired, wired.alice.session, stream


@pytest.mark.requirement("MED-01")
async def test_content_can_be_read_before_the_message_ends() -> None:
    wired, alice, stream = pair(chunk_size=0)
    message = alice.open("text/plain; charset=utf-8", headers=[("X-Extra", "1")])
    message.write(b"first")
    wired.settle()
    received = await anext(aiter(stream))
    assert received.content_type == "text/plain; charset=utf-8"
    assert received.message.extra_headers == [("X-Extra", "1")]
    pieces = aiter(received)
    assert await anext(pieces) == b"first"
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    message.write(b"second")
    message.finish()
    wired.settle()
    assert await waiting == b"second"
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert await outcome(message) == 200


@pytest.mark.requirement("MED-01")
@pytest.mark.parametrize("how", ["abort", "lost"])
async def test_unfinished_message_raises(how: str) -> None:
    wired, alice, stream = pair(chunk_size=0)
    message = alice.open("text/plain")
    message.write(b"first")
    wired.settle()
    if how == "abort":
        message.abort()
        wired.settle()
    else:
        wired.bob.link.lost("gone")
    received = await anext(aiter(stream))
    with pytest.raises(MessageAborted):
        await received.read()


@pytest.mark.requirement("MED-01", "MED-12")
async def test_reader_may_refuse_in_the_middle() -> None:
    wired, alice, stream = pair(chunk_size=0)
    message = alice.open("text/plain", total=1_000_000)
    message.write(bytes(10_000))
    wired.settle()
    received = await anext(aiter(stream))
    with pytest.raises(ValueError, match="more than 5000"):
        await received.read(limit=5_000)
    message.write(bytes(10_000))
    wired.settle()
    assert await outcome(message) == 413


@pytest.mark.requirement("MED-08")
async def test_reader_that_waits_holds_the_sender() -> None:
    wired, alice, stream = pair(chunk_size=0, queue_bytes=10_000_000)
    alice.send(bytes(BUFFER_BYTES + 1), "a/b")
    wired.settle()
    assert wired.bob.session.on_hold
    assert wired.bob.shell.held
    assert len(await (await anext(aiter(stream))).read()) == BUFFER_BYTES + 1
    assert not wired.bob.session.on_hold
    assert not wired.bob.shell.held


@pytest.mark.requirement("MED-01", "MED-02")
async def test_send_from_waits_for_room_and_reports() -> None:
    wired, alice, stream = pair(chunk_size=0, congested_bytes=10_000)

    async def source() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(5_000)

    sending = asyncio.ensure_future(send_from(alice, source(), "a/b", success_report=True))
    reading = asyncio.ensure_future(anext(aiter(stream)))
    for _ in range(1_000):
        await asyncio.sleep(0)
        assert alice.queued <= 15_000
        wired.settle()
    message = await sending
    assert len(await (await reading).read()) == 500_000
    assert (await outcome(message), await reported(message)) == (200, 200)


async def test_source_that_fails_aborts_the_message() -> None:
    wired, alice, stream = pair(chunk_size=0)

    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        wired.settle()
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        await send_from(alice, source(), "a/b")
    wired.settle()
    with pytest.raises(MessageAborted):
        await (await anext(aiter(stream))).read()


async def test_sender_that_waits_is_woken_by_the_end() -> None:
    wired, alice, _ = pair(congested_bytes=10)
    wired.alice.link.output.writable = False

    async def source() -> AsyncIterator[bytes]:
        yield bytes(100)
        yield bytes(100)

    sending = asyncio.ensure_future(send_from(alice, source(), "a/b"))
    await asyncio.sleep(0)
    assert not sending.done()
    wired.alice.link.lost("gone")
    message = await sending
    assert (await outcome(message), await reported(message)) == (408, 408)


async def test_waiting_for_a_session_that_ends() -> None:
    wired, _, stream = pair()
    waiting = asyncio.ensure_future(stream.wait_bound())
    await asyncio.sleep(0)
    wired.bob.session.close("no answer")
    with pytest.raises(ConnectionError, match="no answer"):
        await waiting
    assert [message async for message in stream] == []
