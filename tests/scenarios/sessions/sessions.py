"""What the session scenarios share: two users, one in session with the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from im_client.client import ImClient
from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from tests.scenarios.bed import DOMAIN, Instance

SECONDS = 10.0


@asynccontextmanager
async def session_of(
    instance: Instance, caller: str, callee: str, transport: str = "udp"
) -> AsyncIterator[tuple[ImSession, ImSession, ImClient, ImClient]]:
    """Both register, the caller invites, the callee accepts: both ends, and both clients."""
    ends: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        ends.put_nowait(await invitation.accept())

    async with instance.client(caller, transport=transport) as one, instance.client(callee, transport=transport) as two:
        two.on_invite = accept
        await one.register()
        await two.register()
        outgoing = await one.invite(f"sip:{callee}@{DOMAIN}")
        async with asyncio.timeout(SECONDS):
            incoming = await ends.get()
        yield outgoing, incoming, one, two
