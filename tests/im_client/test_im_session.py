"""IM sessions between two clients, with their media: chat, files, large messages, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from im_client.errors import MediaFailedError, SessionEndedError, SessionRefusedError
from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.im_session import ImSession
from im_client.invitation import Invite
from im_client.msrp_peer import FileMismatchError, MessageFailedError
from im_client.multipart import split
from im_client.negotiation import NotAcceptableError
from im_client.pager import SessionType
from im_client.recipients import parse_list
from im_client.replaces import Replaces
from msrp_worker.sdp_msrp import Direction, Purpose
from tests.im_client.relay import ALICE, BOB, PATIENCE, Pair, Passing, open_pair


class Bob:
    """Holds invitations for the test to decide about."""

    def __init__(self, pair: Pair) -> None:
        self.invitations: asyncio.Queue[ImInvitation] = asyncio.Queue()
        pair.bob.messaging.calls.on_call = pair.bob.messaging._on_call
        pair.bob.on_invite = self.hold

    async def hold(self, invitation: ImInvitation) -> None:
        self.invitations.put_nowait(invitation)
        await asyncio.Event().wait()

    async def next(self) -> ImInvitation:
        async with asyncio.timeout(PATIENCE):
            return await self.invitations.get()


@pytest.fixture
async def pair(transport: str) -> AsyncIterator[Pair]:
    async with open_pair(transport) as found:
        yield found


@pytest.fixture
def bob(pair: Pair) -> Bob:
    return Bob(pair)


async def chat(pair: Pair, bob: Bob, **options: Any) -> tuple[ImSession, ImSession]:
    calling = asyncio.ensure_future(pair.alice.invite(BOB, **options))
    theirs = await (await bob.next()).accept()
    async with asyncio.timeout(PATIENCE):
        return await calling, theirs


@pytest.mark.requirement("CLI-02", "CLI-04")
async def test_chat(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob, subject="Lunch")
    await ours.send("Hello Bob")
    assert (await theirs.receive()).text == "Hello Bob"
    await theirs.send(b"\x00\xff", "application/octet-stream", success_report=True)
    found = await ours.receive()
    assert (found.content_type, found.body) == ("application/octet-stream", b"\x00\xff")
    assert ours.peer.uri == BOB
    await ours.close()
    async with asyncio.timeout(PATIENCE):
        assert await theirs.ended == "released by the peer"
    with pytest.raises(SessionEndedError):
        await theirs.send("too late")
    with pytest.raises(EOFError):
        await theirs.receive()
    assert pair.relay.log[0].header("Subject") == "Lunch"


async def test_what_came_before_the_end_can_still_be_read(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob)
    for number in range(50):
        await ours.send(f"{number}")
    await ours.close()
    async with asyncio.timeout(PATIENCE):
        assert [message.text async for message in theirs.messages()] == [f"{number}" for number in range(50)]


@pytest.mark.requirement("CLI-05", "LRG-01")
async def test_a_large_message_whose_ack_was_lost_can_be_read(pair: Pair, bob: Bob) -> None:
    """Its last SEND has its 200 and the BYE has come, before any ACK: the sender takes it for delivered."""
    pair.relay.filter = lambda passing: passing.what != "ACK"
    sending = asyncio.ensure_future(pair.alice.send_large(BOB, b"x" * 50_000))
    theirs = await (await bob.next()).accept()
    await sending
    async with asyncio.timeout(PATIENCE):
        assert [len(message.body) async for message in theirs.messages()] == [50_000]
    assert not theirs.alive


@pytest.mark.requirement("CLI-05")
async def test_what_comes_confirms_a_session_whose_ack_is_lost(pair: Pair, bob: Bob) -> None:
    """A message at the address in our 200 shows that the caller has it: the session need not wait for the ACK."""
    pair.relay.filter = lambda passing: passing.what != "ACK"
    calling = asyncio.ensure_future(pair.alice.invite(BOB))
    accepting = asyncio.ensure_future((await bob.next()).accept())
    ours = await calling
    await ours.send("Hello Bob")
    async with asyncio.timeout(PATIENCE):
        theirs = await accepting
    assert (await theirs.receive()).text == "Hello Bob"
    assert theirs.alive
    await theirs.close()
    async with asyncio.timeout(PATIENCE):
        assert await ours.ended == "released by the peer"


@pytest.mark.requirement("CLI-05", "LRG-05")
async def test_a_file_whose_ack_was_lost_is_kept(pair: Pair, bob: Bob, tmp_path: Path) -> None:
    pair.relay.filter = lambda passing: passing.what != "ACK"
    source, inbox = tmp_path / "cat.jpg", tmp_path / "inbox"
    source.write_bytes(b"x" * 50_000)
    inbox.mkdir()
    sending = asyncio.ensure_future(pair.alice.send_file(BOB, source))
    received = await (await bob.next()).accept_file(inbox)
    await sending
    assert received.path.read_bytes() == source.read_bytes()


@pytest.mark.requirement("CLI-04")
async def test_the_invitation_tells_who_and_what(pair: Pair, bob: Bob) -> None:
    calling = asyncio.ensure_future(pair.alice.invite(BOB, subject="Lunch"))
    invitation = await bob.next()
    assert (invitation.sender, invitation.subject, invitation.purpose) == (ALICE, "Lunch", Purpose.SESSION)
    assert invitation.file is None
    await invitation.ring()
    invitation.reject(603)
    with pytest.raises(SessionRefusedError, match="603"):
        await calling


async def test_without_handler_invitations_are_refused(pair: Pair) -> None:
    pair.bob.calls.on_call = pair.bob.messaging._on_call
    with pytest.raises(SessionRefusedError, match="480"):
        await pair.alice.invite(BOB)


@pytest.mark.requirement("CLI-03")
async def test_composing(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob)
    ours.typing()
    ours.typing()
    async with asyncio.timeout(PATIENCE):
        await theirs.composing_changed.wait()
    assert theirs.composing == [ALICE]
    await ours.send("done")
    await theirs.receive()
    assert theirs.composing == []
    theirs.composing_changed.clear()
    ours.typing()  # what was sent has ended the composing: this is told anew
    async with asyncio.timeout(PATIENCE):
        await theirs.composing_changed.wait()


@pytest.mark.requirement("CLI-02", "CLI-04")
async def test_hold_and_resume(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob)
    assert (await ours.modify(Direction.INACTIVE)).ok
    assert theirs.line.negotiated is not None
    assert theirs.line.negotiated.local.direction is Direction.INACTIVE
    assert (await ours.modify()).ok
    assert (await ours.refresh()).ok
    await ours.send("still here")
    assert (await theirs.receive()).text == "still here"


async def test_cancelling_the_task_cancels_the_invitation(pair: Pair, bob: Bob) -> None:
    calling = asyncio.ensure_future(pair.alice.invite(BOB))
    invitation = await bob.next()
    await invitation.ring()
    calling.cancel()
    async with asyncio.timeout(PATIENCE):
        await invitation.call.cancelled.wait()
    with pytest.raises(SessionEndedError):
        await invitation.accept()


async def test_nobody_answers_for_too_long(transport: str) -> None:
    async with open_pair(transport, ring_seconds=0.5) as pair:
        bob = Bob(pair)
        calling = asyncio.ensure_future(pair.alice.invite(BOB))
        invitation = await bob.next()
        await invitation.ring()
        with pytest.raises(MediaFailedError, match="cancelled"):
            await calling
        async with asyncio.timeout(PATIENCE):
            await invitation.call.cancelled.wait()


@pytest.mark.requirement("CLI-04")
async def test_a_session_is_replaced(pair: Pair, bob: Bob) -> None:
    """Change request D: the session goes on in the one that replaces it, if Alice is who referred."""
    ours, theirs = await chat(pair, bob)
    fields = [("Replaces", str(Replaces(ours.session.leg.dialog.id))), ("Require", "replaces")]
    with pytest.raises(SessionRefusedError, match="403"):
        await pair.alice.invite(BOB, headers=[*fields, ("Referred-By", "<sip:mallory@example.com>")])
    assert theirs.alive
    successor, other = await chat(pair, bob, headers=[*fields, ("Referred-By", f"<{ALICE}>")])
    async with asyncio.timeout(PATIENCE):
        assert await theirs.ended == "replaced"
        assert await ours.ended == "released by the peer"
    await successor.send("here now")
    assert (await other.receive()).text == "here now"


@pytest.mark.requirement("CLI-02", "CLI-03", "IDN-04")
async def test_an_anonymous_session(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob, anonymous=True, nickname="Fox", session_type=SessionType.ONE_TO_ONE)
    await ours.close()
    async with asyncio.timeout(PATIENCE):
        await theirs.ended
    invite, bye = pair.relay.log[0], await pair.relay.seen("alice BYE")
    assert str(invite.message.uri) == f"{BOB};session=1-1"
    assert (invite.header("From") or "").startswith('"Fox" <sip:anonymous@anonymous.invalid>')
    assert [invite.header("Privacy"), bye.header("Privacy")] == ["id", "id"]
    assert (bye.header("From") or "") == (invite.header("From") or "")


@pytest.mark.requirement("LRG-01", "CLI-05")
async def test_a_large_message_to_several_goes_to_the_factory_with_a_list(pair: Pair) -> None:
    sending = asyncio.ensure_future(pair.alice.send_large([BOB, "sip:carol@example.com"], b"news"))
    with pytest.raises(SessionRefusedError):
        await sending  # Bob is no factory
    invite = pair.relay.log[0]
    assert str(invite.message.uri) == "sip:conference-factory@example.com;session=adhoc"
    assert invite.header("Require") == "recipient-list-invite"
    description, listing = split(invite.header("Content-Type") or "", invite.message.body)
    assert description.content_type == "application/sdp"
    assert [entry.uri for entry in parse_list(listing.body)] == [BOB, "sip:carol@example.com"]


# --- the media fails


async def test_a_callee_whose_media_cannot_be_reached_is_released(pair: Pair, bob: Bob) -> None:
    def spoil(passing: Passing) -> bool:
        if passing.what == "200 INVITE":
            body = passing.message.body
            port = theirs_port(body)
            bad = body.replace(b":" + port + b"/", b":1/").replace(b"m=message " + port, b"m=message 1")
            pair.relay.send_on(Passing("bob", resized(passing.data, body, bad)))
            return False
        return True

    pair.relay.filter = spoil
    calling = asyncio.ensure_future(pair.alice.invite(BOB))
    accepting = asyncio.ensure_future((await bob.next()).accept())
    with pytest.raises(MediaFailedError, match="no MSRP connection"):
        await calling
    await pair.relay.seen("alice BYE")
    with pytest.raises((MediaFailedError, SessionEndedError)):
        async with asyncio.timeout(PATIENCE):
            await accepting


async def test_a_caller_that_never_connects_is_released() -> None:
    async with open_pair("udp", media_seconds=0.3) as pair:
        bob = Bob(pair)
        line = pair.alice.messaging.line()
        calling = pair.alice.calls.outgoing(_invite(line))
        running = asyncio.ensure_future(calling.run())
        with pytest.raises(MediaFailedError, match="within"):
            await (await bob.next()).accept()
        session, _ = await running
        async with asyncio.timeout(PATIENCE):
            assert await session.ended == "released by the peer"
        line.close()


async def test_the_end_of_the_media_ends_the_session(pair: Pair, bob: Bob) -> None:
    ours, theirs = await chat(pair, bob)
    theirs.line.peer.close()
    async with asyncio.timeout(PATIENCE):
        assert "media has ended" in await _any_end(ours, theirs)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"m=message", b"m=audio"), 488),
        ((b"TCP/MSRP", b"TCP/XXXX"), 488),
        ((b"TCP/MSRP", b"TCP/TLS/MSRP"), 488),
        ((b"a=path:", b"a=psth:"), 488),
        ((b"a=path:msrp:", b"a=path:http:"), 488),
        ((b"a=accept-types:", b"a=accept-typos:"), 488),
        ((b"v=0", b"v=1"), 488),
        ((b"v=0\r\n", b""), 488),
    ],
)
@pytest.mark.requirement("CLI-04")
async def test_offers_that_cannot_be_accepted(pair: Pair, bob: Bob, change: tuple[bytes, bytes], status: int) -> None:
    line = pair.alice.messaging.line()
    invite = _invite(line)
    body = type(invite.body)(invite.body.content_type, invite.body.data.replace(*change))
    running = asyncio.ensure_future(pair.alice.calls.outgoing(type(invite)(to=BOB, body=body)).run())
    with pytest.raises(NotAcceptableError):
        await (await bob.next()).accept()
    with pytest.raises(SessionRefusedError) as caught:
        await running
    assert caught.value.status == status
    line.close()


async def test_an_invitation_without_offer_gets_one(pair: Pair, bob: Bob) -> None:
    call = pair.alice.calls.outgoing(Invite(to=BOB))
    running = asyncio.ensure_future(call.run())
    accepting = asyncio.ensure_future((await bob.next()).accept())
    session, response = await running
    assert b"m=message" in response.message.body
    await session.close()
    with pytest.raises((SessionEndedError, MediaFailedError)):
        async with asyncio.timeout(PATIENCE):
            await accepting


# --- large messages and files


@pytest.mark.requirement("LRG-01", "CLI-05")
async def test_large_message(pair: Pair, bob: Bob) -> None:
    progress: list[tuple[int, int]] = []
    text = "Größe " * 50_000
    sending = asyncio.ensure_future(
        pair.alice.send_large(BOB, text.encode(), progress=lambda done, total: progress.append((done, total)))
    )
    invitation = await bob.next()
    assert invitation.purpose is Purpose.LARGE_MESSAGE
    assert invitation.file is not None
    assert (invitation.file.selector.name, invitation.file.selector.size) == (None, len(text.encode()))
    theirs = await invitation.accept()
    assert (await theirs.receive()).text == text
    sent = await sending
    assert (sent.size, sent.focus) == (len(text.encode()), False)
    assert progress[-1] == (len(text.encode()), len(text.encode()))
    assert b"a=sendonly" in pair.relay.log[0].message.body
    assert pair.relay.whats("BYE") == ["alice BYE"]


@pytest.mark.requirement("LRG-01", "LRG-05", "CLI-05")
async def test_file(pair: Pair, bob: Bob, tmp_path: Path) -> None:
    source = tmp_path / "cat picture.jpg"
    source.write_bytes(bytes(range(256)) * 1000)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    sending = asyncio.ensure_future(pair.alice.send_file(BOB, source, content_type="image/jpeg", success_report=True))
    invitation = await bob.next()
    assert invitation.file is not None
    assert invitation.file.selector.name == "cat picture.jpg"
    received = await invitation.accept_file(inbox)
    assert isinstance(received, ReceivedFile)
    assert received.path == inbox / "cat picture.jpg"
    assert received.path.read_bytes() == source.read_bytes()
    await sending
    assert pair.relay.whats("BYE") == ["alice BYE"]


@pytest.mark.requirement("LRG-05")
async def test_a_file_that_is_not_the_one_announced_is_not_kept(pair: Pair, bob: Bob, tmp_path: Path) -> None:
    source = tmp_path / "cat.jpg"
    source.write_bytes(b"a cat" * 1000)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    sending = asyncio.ensure_future(pair.alice.send_file(BOB, source))
    invitation = await bob.next()
    source.write_bytes(b"a dog" * 1000)  # changed after it was described
    with pytest.raises(FileMismatchError):
        await invitation.accept_file(inbox)
    assert list(inbox.iterdir()) == []
    with contextlib.suppress(MessageFailedError):
        await sending


@pytest.mark.requirement("LRG-01")
async def test_a_refused_file_is_not_sent(pair: Pair, bob: Bob, tmp_path: Path) -> None:
    source = tmp_path / "cat.jpg"
    source.write_bytes(b"a cat")
    sending = asyncio.ensure_future(pair.alice.send_file(BOB, source))
    (await bob.next()).reject(603)
    with pytest.raises(SessionRefusedError, match="603"):
        await sending


@pytest.mark.requirement("LRG-01")
async def test_a_recipient_that_leaves_in_the_middle(pair: Pair, bob: Bob) -> None:
    sending = asyncio.ensure_future(pair.alice.send_large(BOB, b"x" * 20_000_000))
    theirs = await (await bob.next()).accept()
    await theirs.close()
    with pytest.raises(MessageFailedError):
        async with asyncio.timeout(PATIENCE):
            await sending


async def test_nothing_is_left_behind(pair: Pair, bob: Bob) -> None:
    for _ in range(3):
        ours, theirs = await chat(pair, bob)
        await ours.close()
        async with asyncio.timeout(PATIENCE):
            await theirs.ended
        calling = asyncio.ensure_future(pair.alice.invite(BOB))
        (await bob.next()).reject()
        with pytest.raises(SessionRefusedError):
            await calling
    pair.bob.on_invite = None
    with pytest.raises(SessionRefusedError):
        await pair.alice.invite(BOB)
    for client in (pair.alice, pair.bob):
        endpoint = client.messaging.endpoints.named
        assert endpoint is not None
        async with asyncio.timeout(PATIENCE):
            while client.endpoint.live_transactions or list(endpoint.registry) or len(client.calls.layer):
                await asyncio.sleep(0.02)
        assert not client.calls._peers


# --- helpers


def _invite(line: Any) -> Any:
    return Invite(to=BOB, body=line.offer())


async def _any_end(*sessions: ImSession) -> str:
    ends = [await session.ended for session in sessions]
    return " ".join(ends)


def theirs_port(body: bytes) -> bytes:
    """The port of the m= line."""
    return body.partition(b"m=message ")[2].split()[0]


def resized(data: bytes, old: bytes, new: bytes) -> bytes:
    """A message with another body and its length."""
    length = f"Content-Length: {len(old)}".encode()
    return data.replace(old, new).replace(length, f"Content-Length: {len(new)}".encode())
