"""One-to-one sessions of two reference clients through the core and both participating functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from im_client.client import ImClient
from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address

PATIENCE = 10.0


class Two:
    """A caller and a callee, registered; `invitations` are those of the callee."""

    def __init__(self, caller: ImClient, callee: ImClient, to: str) -> None:
        self.caller, self.callee, self.to = caller, callee, to
        self.invitations: asyncio.Queue[ImInvitation] = asyncio.Queue()
        callee.on_invite = self._hold

    async def _hold(self, invitation: ImInvitation) -> None:
        self.invitations.put_nowait(invitation)
        await asyncio.Event().wait()

    async def invited(self) -> ImInvitation:
        async with asyncio.timeout(PATIENCE):
            return await self.invitations.get()

    async def talk(self) -> tuple[ImSession, ImSession]:
        calling = asyncio.ensure_future(self.caller.invite(self.to))
        invitation = await self.invited()
        await invitation.ring()
        theirs = await invitation.accept()
        async with asyncio.timeout(PATIENCE):
            return await calling, theirs


@pytest.fixture(params=["udp", "tcp"])
async def two(request: pytest.FixtureRequest, instance: Instance, new_user: Callable[..., str]) -> AsyncIterator[Two]:
    caller, callee = new_user(), new_user()
    async with (
        instance.client(caller, transport=request.param) as first,
        instance.client(callee, transport=request.param) as second,
    ):
        await first.register()
        await second.register()
        yield Two(first, second, address(callee))


@pytest.mark.scenario
@pytest.mark.requirement("CLI-02", "CLI-03", "CLI-04", "PFS-15")
async def test_ring_talk_modify_refresh_release(two: Two) -> None:
    """The ringing is reliable, both sides refresh, the callee releases; every request takes the recorded route."""
    ours, theirs = await two.talk()
    assert ours.session.leg.dialog.route  # a participating function stays in the path
    await ours.send("hello", success_report=True)
    assert (await theirs.receive()).text == "hello"
    await theirs.send("you too")
    assert (await ours.receive()).text == "you too"
    assert (await ours.refresh()).ok
    assert (await theirs.refresh()).ok
    assert (await theirs.session.modify(method="INVITE")).ok
    await theirs.close()
    async with asyncio.timeout(PATIENCE):
        assert await ours.ended == "released by the peer"


@pytest.mark.scenario
@pytest.mark.requirement("LRG-01", "CLI-05")
async def test_file(two: Two, tmp_path: Path) -> None:
    source, inbox = tmp_path / "cat.jpg", tmp_path / "inbox"
    source.write_bytes(bytes(range(256)) * 4_000)
    inbox.mkdir()
    sending = asyncio.ensure_future(two.caller.send_file(two.to, source, success_report=True))
    received = await (await two.invited()).accept_file(inbox)
    assert received.path.read_bytes() == source.read_bytes()
    await sending


@pytest.mark.scenario
@pytest.mark.requirement("CLI-03", "CLI-04")
async def test_cancel(two: Two) -> None:
    calling = asyncio.ensure_future(two.caller.invite(two.to))
    invitation = await two.invited()
    await invitation.ring()
    calling.cancel()
    async with asyncio.timeout(PATIENCE):
        await invitation.call.cancelled.wait()


@pytest.mark.scenario
@pytest.mark.requirement("CLI-04")
@pytest.mark.parametrize("status", [486, 603])
async def test_refusal(two: Two, status: int) -> None:
    calling = asyncio.ensure_future(two.caller.invite(two.to))
    (await two.invited()).reject(status)
    with pytest.raises(SessionRefusedError) as caught:
        await calling
    assert caught.value.status == status
