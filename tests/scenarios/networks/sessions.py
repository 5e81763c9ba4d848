"""What both session scenarios do: a conversation, and a file, from one home network to the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation, ReceivedFile
from im_client.im_session import ImSession
from tests.scenarios.networks.networks import Networks

SECONDS = 10.0


async def converse(networks: Networks) -> tuple[str, str]:
    """A session with messages both ways; the hosts that caller and callee have their MSRP connections with."""
    here, there = networks.one, networks.two
    alice, bob = here.new_user(), there.new_user()
    accepted: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        assert invitation.sender == here.uri(alice)
        accepted.put_nowait(await invitation.accept())

    async with here.client(alice) as one, there.client(bob) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        ours = await one.invite(there.uri(bob))
        async with asyncio.timeout(SECONDS):
            theirs = await accepted.get()
        await ours.send("hello", success_report=True)
        assert (await theirs.receive()).text == "hello"
        large = "x" * 100_000
        await theirs.send(large, success_report=True)
        assert (await ours.receive()).text == large
        assert (await ours.refresh()).ok
        hosts = ours.line.peer.session.remote[0].host, theirs.line.peer.session.remote[0].host
        await theirs.close()
        async with asyncio.timeout(SECONDS):
            await ours.ended
        return hosts


async def transfer(networks: Networks, directory: Path) -> None:
    """A file of one megabyte from the second network to the first."""
    here, there = networks.two, networks.one
    alice, bob = here.new_user(), there.new_user()
    source, inbox = directory / "cat.jpg", directory / "inbox"
    source.write_bytes(bytes(range(256)) * 4_096)
    inbox.mkdir()
    received: asyncio.Queue[ReceivedFile] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        received.put_nowait(await invitation.accept_file(inbox))

    async with here.client(alice) as one, there.client(bob) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        await one.send_file(there.uri(bob), source, success_report=True)
        async with asyncio.timeout(SECONDS):
            file = await received.get()
        assert file.path.read_bytes() == source.read_bytes()
        assert file.selector.name == "cat.jpg"
        assert file.sender == here.uri(alice)


async def keep(networks: Networks) -> None:
    """A large message for somebody of the other network who is away: kept there, fetched there; not kept for a stranger."""
    here, there = networks.one, networks.two
    alice, bob = here.new_user(), there.new_user()
    content = bytes(range(256)) * 1_000
    async with here.client(alice) as one:
        await one.register()
        with pytest.raises(SessionRefusedError) as refused:
            await one.send_large(there.uri("nobody"), content, content_type="image/png")
        assert refused.value.status == 404
        await one.send_large(there.uri(bob), content, content_type="image/png", success_report=True)
    async with there.client(bob) as two:
        (found,) = await two.deferred_get()
        assert (found.body, found.sender) == (content, here.uri(alice))


async def not_kept_here(networks: Networks) -> None:
    """The other network's refusal comes back to the sender as it is: its own server keeps nothing for others."""
    here, there = networks.one, networks.two
    alice, bob = here.new_user(), there.new_user(session_barred="yes")
    async with here.client(alice) as one:
        await one.register()
        with pytest.raises(SessionRefusedError) as refused:
            await one.send_large(there.uri(bob), b"x", content_type="image/png")
        assert refused.value.status == 480
