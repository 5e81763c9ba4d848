"""One-to-one sessions with the participating function out of the media path: a record-routing proxy (6.2.3.2-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation, ReceivedFile
from tests.scenarios.bed import DOMAIN, Instance
from tests.scenarios.sessions.sessions import session_of


@pytest.mark.requirement("PFS-03", "PFS-09", "COR-01", "COR-02")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_peers_meet_directly(instance: Instance, new_user: Callable[..., str], transport: str) -> None:
    """The media passes beside the server, the dialog through it: BYE comes along the recorded route."""
    async with session_of(instance, new_user(), new_user(), transport) as (outgoing, incoming, _, _):
        port = f":{instance.deployment.config.msrp_port}/"
        assert port not in str(outgoing.line.peer.session.remote[0])
        assert str(instance.sip_port) in "".join(str(uri) for uri in outgoing.session.leg.dialog.route)
        await outgoing.send("hello", success_report=True)
        assert (await incoming.receive()).text == "hello"
        await incoming.send("hello yourself")
        assert (await outgoing.receive()).text == "hello yourself"
        await incoming.close()
        async with asyncio.timeout(10):
            await outgoing.ended


@pytest.mark.requirement("PFS-13")
async def test_session_barring_rings_nowhere(instance: Instance, new_user: Callable[..., str]) -> None:
    """Session barring: refused, and the callee's device hears nothing."""
    caller, callee = new_user(), new_user(session_barred="yes")
    heard: list[ImInvitation] = []

    async def note(invitation: ImInvitation) -> None:
        heard.append(invitation)

    async with instance.client(caller) as one, instance.client(callee) as two:
        two.on_invite = note
        await one.register()
        await two.register()
        with pytest.raises(SessionRefusedError) as refused:
            await one.invite(f"sip:{callee}@{DOMAIN}")
        assert refused.value.status == 480
        assert heard == []


@pytest.mark.requirement("LRG-01", "LRG-05", "LRG-07", "PFS-01")
@pytest.mark.parametrize("size", [1, 2_048, 3_000_000])
async def test_a_file_arrives_whole(instance: Instance, new_user: Callable[..., str], tmp_path: Path, size: int) -> None:
    """A file with its name, size and hash; the session ends after its last byte."""
    source = tmp_path / "picture.bin"
    source.write_bytes(bytes(index % 251 for index in range(size)))
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
