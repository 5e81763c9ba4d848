"""What the conference scenarios share: users with clients, who invites whom, and messages in message/cpim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from im_client.client import ImClient
from im_client.exchange import ReceivedResponse
from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from im_client.msrp_peer import ChatMessage
from im_client.multipart import Part
from im_client.recipients import RESOURCE_LISTS, CopyControl, Recipient, build_list
from msrp_worker.cpim import Address
from tests.scenarios.bed import DOMAIN, Instance

PATIENCE = 10.0
READY = "ready:"
FACTORY = f"sip:conference-factory@{DOMAIN}"
REQUIRE_LIST = ("Require", "recipient-list-invite")
LIST_DISPOSITION = ("Content-Disposition", "recipient-list")


def address(name: str) -> str:
    """The IM address of a user of the bed."""
    return f"sip:{name}@{DOMAIN}"


def list_part(names: Sequence[str], control: CopyControl | None = None) -> Part:
    """A recipient-list of users of the bed."""
    return Part(RESOURCE_LISTS, build_list([Recipient(address(name), control) for name in names]), (LIST_DISPOSITION,))


class User:
    """A registered user; `invitations` are what its client was offered and has not decided."""

    def __init__(self, name: str, client: ImClient) -> None:
        self.name = name
        self.client = client
        self.sessions: asyncio.Queue[ImSession] = asyncio.Queue()
        self.invitations: asyncio.Queue[ImInvitation] = asyncio.Queue()
        self.accepts: bool | int = True
        """True: accept at once; False: leave it to the test; a number: refuse with it."""
        self.answer_headers: list[tuple[str, str]] = []
        client.on_invite = self._decide

    async def _decide(self, invitation: ImInvitation) -> None:
        if self.accepts is True:
            self.invitations.put_nowait(invitation)
            self.sessions.put_nowait(in_room(await invitation.accept(self.answer_headers)))
        elif self.accepts is False:
            self.invitations.put_nowait(invitation)
            await invitation.call.cancelled.wait()
        else:
            self.invitations.put_nowait(invitation)
            invitation.reject(self.accepts)

    async def invited(self) -> ImInvitation:
        """The next invitation."""
        async with asyncio.timeout(PATIENCE):
            return await self.invitations.get()

    async def joined(self) -> ImSession:
        """The session of the next invitation that was accepted at once."""
        async with asyncio.timeout(PATIENCE):
            return await self.sessions.get()

    async def accept(self, invitation: ImInvitation) -> ImSession:
        """Accept an invitation that was left to the test."""
        return in_room(await invitation.accept(self.answer_headers))

    async def create(self, names: Sequence[str], **options: Any) -> ImSession:
        """Set up an ad-hoc session with these users."""
        part = options.pop("part", None) or list_part(names)
        headers = [REQUIRE_LIST, *options.pop("headers", ())]
        factory = str(self.client.config.factory_uri)
        return in_room(await self.client.invite(factory, extra=[part], headers=headers, **options))

    async def join(self, uri: str, **options: Any) -> ImSession:
        """Come into the session at a URI."""
        return in_room(await self.client.invite(uri, **options))


def in_room(session: ImSession) -> ImSession:
    """Let a session send message/cpim to its room."""
    session.line.peer.conversation = Address(session.peer.identity)
    return session


@asynccontextmanager
async def users(
    instance: Instance, names: Sequence[str], *, register: bool = True, **options: Any
) -> AsyncIterator[list[User]]:
    """A client for each name."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            client = await stack.enter_async_context(instance.client(name, **options))
            if register:
                await client.register()
            found.append(User(name, client))
        yield found


@asynccontextmanager
async def new_users(instance: Instance, new_user: Callable[..., str], count: int) -> AsyncIterator[list[User]]:
    """So many users of the test's own, registered."""
    async with users(instance, [new_user() for _ in range(count)]) as found:
        yield found


async def message_of(session: ImSession) -> ChatMessage:
    """The next message that is not one of `all_in`."""
    while True:
        message = await session.receive()
        if not message.text.startswith(READY):
            return message


async def text_of(session: ImSession) -> str:
    """The text of the next message."""
    return (await message_of(session)).text


async def all_in(first: ImSession, *others: ImSession) -> None:
    """Wait until the focus knows of every answer: what somebody says is passed on once it does. Only from then on does
    everybody get what is said."""
    for number, other in enumerate(others):
        await other.send(f"{READY}{number}")
    for _ in others:
        assert (await first.receive()).text.startswith(READY)


async def over(session: ImSession) -> str:
    """Why a session has ended, once it has."""
    async with asyncio.timeout(PATIENCE):
        return await session.ended


class Progress:
    """Provisional responses that a caller sees."""

    def __init__(self) -> None:
        self.responses: list[ReceivedResponse] = []
        self.came = asyncio.Event()

    def __call__(self, response: ReceivedResponse) -> None:
        self.responses.append(response)
        self.came.set()

    @property
    def statuses(self) -> list[int]:
        """Their status codes."""
        return [response.status for response in self.responses]
