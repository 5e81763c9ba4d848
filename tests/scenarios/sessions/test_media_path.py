"""One-to-one sessions with the participating function in the media path: a B2BUA with an MSRP hop (6.2.3.2-2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.msrp_peer import MessageFailedError
from msrp_worker.sdp_msrp import Direction
from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.delivery.device import Device
from tests.scenarios.sessions.sessions import session_of

SETTINGS = {"IM_MEDIA_PATH": "always"}


@pytest.mark.requirement("PFS-02", "PFS-09", "PFS-12", "MED-02")
async def test_messages_go_through_the_server(instance: Instance, new_user: Callable[..., str]) -> None:
    """Both ends see the server as their MSRP peer; messages pass both ways with success reports; BYE ends both."""
    caller, callee = new_user(), new_user()
    async with session_of(instance, caller, callee) as (outgoing, incoming, _, _):
        port = f":{instance.deployment.config.msrp_port}/"
        assert port in outgoing.line.peer.session.remote[0].__str__()
        assert port in incoming.line.peer.session.remote[0].__str__()
        await outgoing.send("hello", success_report=True)
        assert (await incoming.receive()).text == "hello"
        large = "x" * 100_000
        await incoming.send(large, success_report=True)
        assert (await outgoing.receive()).text == large
        await outgoing.close()
        async with asyncio.timeout(10):
            await incoming.ended


@pytest.mark.requirement("LRG-01", "SEC-06")
async def test_the_receiver_acknowledges_a_large_message(instance: Instance, new_user: Callable[..., str]) -> None:
    """Its sender leaves with the last acknowledgement: the server gives none of its own, and a receiver that is lost before
    it has the whole is no success."""
    caller, callee = new_user(), new_user()
    async with instance.client(caller) as one, Device(instance, callee, limit=0) as device:
        await one.register()
        await device.register()
        sending = asyncio.create_task(one.send_large(f"sip:{callee}@{DOMAIN}", b"x" * 5_000))
        await device.until(lambda: device.seen)
        assert not sending.done()
        device.cut()
        with pytest.raises(MessageFailedError):
            await sending


@pytest.mark.requirement("PFS-09", "SEC-06")
async def test_the_last_words_arrive_before_the_end(instance: Instance, new_user: Callable[..., str]) -> None:
    """The server has acknowledged a message to a caller who leaves then: the callee is released when it has the message."""
    caller, callee = new_user(), new_user()
    async with instance.client(caller) as one, Device(instance, callee, limit=0) as device:
        await one.register()
        await device.register()
        ours = await one.invite(f"sip:{callee}@{DOMAIN}")
        await ours.send("the last words")
        await device.until(lambda: device.seen)
        await ours.close()
        with pytest.raises(TimeoutError):
            await device.until(lambda: device.ended, 0.5)
        device.acknowledge()
        await device.until(lambda: device.ended)


@pytest.mark.requirement("PFS-09")
async def test_the_callee_leaves(instance: Instance, new_user: Callable[..., str]) -> None:
    """BYE of the other side."""
    async with session_of(instance, new_user(), new_user()) as (outgoing, incoming, _, _):
        await incoming.close()
        async with asyncio.timeout(10):
            await outgoing.ended


@pytest.mark.requirement("PFS-04", "PFS-16")
async def test_refusals_come_back(instance: Instance, new_user: Callable[..., str]) -> None:
    """The callee's refusal, and nobody there."""
    caller, callee, absent = new_user(), new_user(), new_user()
    async with instance.client(caller) as one, instance.client(callee) as two:
        await one.register()
        await two.register()  # its client refuses with 480: nobody decides about invitations
        with pytest.raises(SessionRefusedError) as refused:
            await one.invite(f"sip:{callee}@{DOMAIN}")
        assert refused.value.status == 480
        with pytest.raises(SessionRefusedError) as refused:
            await one.invite(f"sip:{absent}@{DOMAIN}")
        assert refused.value.status == 480


@pytest.mark.requirement("PFS-08")
async def test_cancel_reaches_the_callee(instance: Instance, new_user: Callable[..., str]) -> None:
    """The caller gives up while the callee's device rings: its invitation is cancelled."""
    caller, callee = new_user(), new_user()
    ringing: asyncio.Queue[ImInvitation] = asyncio.Queue()
    async with instance.client(caller) as one, instance.client(callee) as two:

        async def ring(invitation: ImInvitation) -> None:
            await invitation.ring()
            await ringing.put(invitation)
            await asyncio.Event().wait()

        two.on_invite = ring
        await one.register()
        await two.register()
        calling = asyncio.create_task(one.invite(f"sip:{callee}@{DOMAIN}"))
        async with asyncio.timeout(10):
            invitation = await ringing.get()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        async with asyncio.timeout(10):
            await invitation.call.cancelled.wait()


@pytest.mark.requirement("LRG-01", "LRG-06", "PFS-02", "LRG-05")
async def test_a_file_through_the_server(instance: Instance, new_user: Callable[..., str], tmp_path: Path) -> None:
    """The same file transfer with the server between, which passes the description of the file on."""
    source = tmp_path / "picture.bin"
    source.write_bytes(bytes(index % 251 for index in range(2_000_000)))
    target = tmp_path / "in"
    target.mkdir()
    caller, callee = new_user(), new_user()
    files: asyncio.Queue[ReceivedFile] = asyncio.Queue()

    async def take(invitation: ImInvitation) -> None:
        files.put_nowait(await invitation.accept_file(target))

    async with instance.client(caller) as one, instance.client(callee) as two:
        two.on_invite = take
        await one.register()
        await two.register()
        await one.send_file(f"sip:{callee}@{DOMAIN}", source)
        async with asyncio.timeout(10):
            received = await files.get()
    assert received.path.read_bytes() == source.read_bytes()
    assert received.selector.name == "picture.bin"


@pytest.mark.requirement("PFS-05", "MED-02")
@pytest.mark.parametrize("by_callee", [False, True])
async def test_hold_and_resume_with_media(instance: Instance, new_user: Callable[..., str], *, by_callee: bool) -> None:
    """A new direction and back, by either side: the other side learns it, and messages pass afterwards as before."""
    async with session_of(instance, new_user(), new_user()) as (outgoing, incoming, _, _):
        one, other = (incoming, outgoing) if by_callee else (outgoing, incoming)
        await one.send("before", success_report=True)
        assert (await other.receive()).text == "before"
        links = {one.line.peer.session.local_text, other.line.peer.session.local_text}
        assert (await one.modify(Direction.SENDONLY)).ok
        assert other.line.negotiated is not None
        assert other.line.negotiated.remote.direction is Direction.SENDONLY
        await one.send("held", success_report=True)
        assert (await other.receive()).text == "held"
        assert (await one.modify(Direction.SENDRECV)).ok
        await other.send("after", success_report=True)
        assert (await one.receive()).text == "after"
        assert links == {one.line.peer.session.local_text, other.line.peer.session.local_text}


@pytest.mark.requirement("PFS-05", "PFS-12")
async def test_refreshes_pass_nothing_on(instance: Instance, new_user: Callable[..., str]) -> None:
    """UPDATE without an offer and a re-INVITE with the same one, by both sides, while messages pass."""
    async with session_of(instance, new_user(), new_user()) as (outgoing, incoming, _, _):
        for one, other in ((outgoing, incoming), (incoming, outgoing)):
            assert (await one.refresh()).ok
            assert (await one.session.modify(method="INVITE")).ok
            await other.send("still here", success_report=True)
            assert (await one.receive()).text == "still here"
