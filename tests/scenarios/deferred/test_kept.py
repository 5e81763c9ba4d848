"""What is stored is what was sent, in order, once, and still there whatever happens next (DEF-01, DEF-02)."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from tests.scenarios.bed import Instance, RawSip, async_until
from tests.scenarios.raw import RawTcp
from tests.scenarios.traffic import FEATURE_TAG, Peer, Sip, address, im_message, unique

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0"}
EVERY_BYTE = bytes(range(256))
REPETITIONS = 12


def as_forwarded(sent: bytes) -> bytes:
    """What a proxy may change: it has counted this hop (RFC 3261 section 16.6)."""
    forwarded, count = re.subn(rb"(?im)^(Max-Forwards: *)70\r$", rb"\g<1>69\r", sent, count=1)
    assert count == 1
    return forwarded


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


def strange_message(sender: str, recipient: str, host: str, port: int, transport: str, body: bytes) -> bytes:
    """A MESSAGE with headers that a careless store would change."""
    head = (
        f"MESSAGE {address(recipient)} SIP/2.0",
        f"Via: SIP/2.0/{transport} {host}:{port};branch={unique('z9hG4bK')};rport",
        "max-forwards:    70",
        f"f: \xc3\x9c \xe9 <{address(sender)}>;tag={unique('t')}",
        f"TO : <{address(recipient)}>",
        f"i: {unique('call')}",
        "CSeq: 4711 MESSAGE",
        f"P-Asserted-Identity: <{address(sender)}>",
        FEATURE_TAG,
        "Subject: first line",
        "\t and a folded one,",
        "   and another: \xff\xfe",
        "X-Long: " + "0123456789" * 60,
        "X-Empty:",
        "X-Latin: caf\xe9 \xa0\xad",
        'X-UTF-8: \xe2\x9c\x93 "\xf0\x9f\x98\x80"',
        "X-Space: trailing   ",
        "X-Twice: 1",
        "x-twice: 2",
        "c: application/octet-stream",
        f"l: {len(body)}",
    )
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


@pytest.mark.requirement("DEF-01", "PAG-08")
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize(
    "body",
    [b"", EVERY_BYTE, b"\r\n\r\n", b"\n", b"\0" * 100, b"\xff" * 100, b"no line end", EVERY_BYTE[::-1] + b"\r\n.\r\n"],
    ids=lambda body: repr(body[:6]),
)
def test_every_byte_is_kept(
    instance: Instance, new_user: Callable[..., str], peer: Peer, transport: str, body: bytes
) -> None:
    """Compact and folded headers, UTF-8 and Latin-1, all 256 byte values in the body: `deferred show` gives them back."""
    sender, recipient = "alice", new_user()
    if transport == "TCP":
        body *= 30000 // max(1, len(body))  # as large as a MESSAGE may be
        with RawTcp(instance.sip_port) as tcp:
            sent = strange_message(sender, recipient, tcp.host, tcp.port, transport, body)
            tcp.send(sent)
            assert tcp.final().startswith(b"SIP/2.0 202 ")
    else:
        raw = RawSip(instance.sip_port)
        sent = strange_message(sender, recipient, raw.address, raw.port, transport, body[:200])
        raw.send(sent)
        assert raw.final().startswith(b"SIP/2.0 202 ")
        raw.close()
    (entry,) = instance.stored(recipient)
    assert instance.stored_bytes(recipient, entry["message_id"]) == as_forwarded(sent)
    assert entry["size"] == len(sent)
    assert entry["subject"].startswith("first line and a folded one, and another: ")
    assert (entry["cseq"], entry["originator"]) == (4711, address(sender))
    assert entry["content_type"] == "application/octet-stream"


@pytest.mark.requirement("DEF-02", "DEF-09", "DEF-01")
async def test_list_show_delete(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """Listed in order of arrival; deleted are those that were named, and nobody else's can be named."""
    recipient, other = new_user(), new_user()
    sent = [im_message("alice", recipient, f"message {n}".encode()) for n in range(5)]
    for request in sent:
        assert (await peer.ask(request)).status == 202
    assert (await peer.ask(im_message("alice", other))).status == 202
    entries = instance.stored(recipient)
    assert [entry["call_id"] for entry in entries] == [request.call_id for request in sent]
    ids = [entry["message_id"] for entry in entries]
    assert len(set(ids)) == 5
    assert all(message_id.partition("@")[2] == "example.com" for message_id in ids)
    (foreign,) = (entry["message_id"] for entry in instance.stored(other))
    for command in (("show", recipient, foreign), ("delete", recipient, ids[0], foreign), ("show", recipient, "1@x")):
        assert instance.deployment.command("deferred", *command).returncode != 0, command
    assert len(instance.stored(recipient)) == 5
    assert "Deleted 2" in instance.command("deferred", "delete", recipient, ids[1], ids[3])
    assert [entry["message_id"] for entry in instance.stored(recipient)] == [ids[0], ids[2], ids[4]]
    assert instance.deployment.command("deferred", "show", recipient, ids[1]).returncode != 0
    kinds = [step["kind"] for step in instance.trace(sent[1].call_id)]
    assert kinds == ["received", "deferred", "deleted"]
    assert (await peer.ask(im_message("alice", recipient))).status == 202
    assert instance.stored(recipient)[-1]["message_id"] not in ids


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_worker_is_killed_the_moment_after_the_202(
    instance: Instance, new_user: Callable[..., str], peer: Peer
) -> None:
    """Many times over: what was acknowledged is listed when the worker is back, with every byte."""
    recipient = new_user()
    accepted: list[Sip] = []
    for _ in range(REPETITIONS):
        request = im_message("alice", recipient, EVERY_BYTE)
        reply = await peer.ask(request)
        instance.deployment.worker.send(signal.SIGKILL)
        assert reply.status == 202
        accepted.append(request)
        await async_until(lambda: not instance.deployment.worker.running(), "the worker is dead")
        await asyncio.to_thread(instance.deployment.start_worker)
        accepted.append(await accepted_again(peer, recipient))
    entries = instance.stored(recipient)
    assert [entry["call_id"] for entry in entries] == [request.call_id for request in accepted]
    for entry, request in list(zip(entries, accepted, strict=True))[::5]:
        message = instance.stored_bytes(recipient, entry["message_id"])
        assert message == as_forwarded(request.bytes(peer.host, peer.port))


async def accepted_again(peer: Peer, recipient: str) -> Sip:
    """Send until the worker is back; the message that it took."""
    while True:
        request = im_message("alice", recipient, b"again?")
        if (await peer.ask(request)).status == 202:
            return request


@pytest.mark.requirement("DEF-01", "SEC-06")
async def test_worker_restarts(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """An orderly restart keeps everything, and Message-IDs are not used again."""
    recipient = new_user()
    for _ in range(3):
        assert (await peer.ask(im_message("alice", recipient))).status == 202
    before = instance.stored(recipient)
    await asyncio.to_thread(instance.deployment.worker.stop)
    assert instance.stored(recipient) == before  # the operator's commands work without the worker
    await asyncio.to_thread(instance.deployment.start_worker)
    await accepted_again(peer, recipient)
    after = instance.stored(recipient)
    assert after[:3] == before
    assert len(after) == 4


@pytest.mark.requirement("DEF-01", "PAG-08")
async def test_a_repeated_message_is_stored_once(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """The same datagram again, and the same message on a new branch (a proxy that gave up on its first try)."""
    recipient = new_user()
    request = im_message("alice", recipient, b"once")
    first = await peer.ask(request)
    for _ in range(5):
        peer.send(request.bytes(peer.host, peer.port))
    again = Sip(
        **{name: getattr(request, name) for name in ("method", "uri", "sender", "headers", "body", "call_id", "tag")}
    )
    replies = [first, await peer.ask(request), await peer.ask(again)]
    assert [reply.status for reply in replies] == [202] * 3
    assert len(instance.stored(recipient)) == 1
    other_tag = im_message("alice", recipient, b"twice", call_id=request.call_id)
    next_cseq = im_message("alice", recipient, b"thrice", call_id=request.call_id, tag=request.tag, cseq=2)
    for different in (other_tag, next_cseq):
        assert (await peer.ask(different)).status == 202
    bodies = [instance.stored_bytes(recipient, entry["message_id"])[-6:] for entry in instance.stored(recipient)]
    assert [body.rpartition(b"\n")[2] for body in bodies] == [b"once", b"twice", b"thrice"]
