"""A session on the terminal: lines typed are sent, what others say is shown, and in a conference who is there.

/who                who is there
/add URI …          ask the focus to invite
/remove URI …       ask the focus to release
/msg URI TEXT       to one participant alone
/nick NAME          be known by a nickname, without NAME by none
/file PATH          send a file to the other side, in a session of its own
/quit               leave, as the end of input does
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from msrp_worker.cpim import Address

from ..client import ImClient
from ..conference import Change, Conference, names
from ..errors import ImClientError, SubscriptionError
from ..im_session import ImSession
from ..msrp_peer import ChatMessage, FileMismatchError, MessageFailedError
from ..negotiation import NotAcceptableError
from .options import clean

WORDS = {
    Change.RINGS: "is invited",
    Change.JOINED: "is here",
    Change.LEFT: "has left",
    Change.RENAMED: "has another name now",
}
FAILURES = (
    ImClientError,
    MessageFailedError,
    FileMismatchError,
    NotAcceptableError,
    OSError,
    ValueError,
    TimeoutError,
)
"""What goes wrong with one line typed; the session goes on."""


async def talk(client: ImClient, session: ImSession, conference: Conference | None = None) -> None:
    """Until the session ends, `/quit` or the end of input."""
    talking = _Talk(client, session, conference)
    await talking.run()


def say(text: str) -> None:
    """One line on the terminal, at once."""
    print(text, flush=True)


def show(session: ImSession, message: ChatMessage) -> None:
    """What somebody said."""
    sender = session.peer.uri
    if message.envelope is not None and message.envelope.sender is not None:
        sender = message.envelope.sender.name or message.envelope.sender.uri
    if message.content_type.lower().startswith("text/"):
        say(f"{clean(sender)}: {clean(message.text)}")
    else:
        say(f"{clean(sender)}: <{len(message.body)} bytes of {clean(message.content_type)}>")


class _Talk:
    def __init__(self, client: ImClient, session: ImSession, conference: Conference | None) -> None:
        self._client = client
        self._session = session
        self._conference = conference

    async def run(self) -> None:
        if self._conference is not None:
            try:
                await self._conference.watch()
            except (SubscriptionError, ImClientError) as error:
                say(f"who is there is not told: {clean(str(error))}")
        ends = [asyncio.ensure_future(self._show_messages()), asyncio.ensure_future(self._send_lines())]
        others = [asyncio.ensure_future(self._show_typing())]
        if self._conference is not None:
            others.append(asyncio.ensure_future(self._show_changes(self._conference)))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await (self._session.close() if self._conference is None else self._conference.leave())
        for task in (*ends, *others):
            task.cancel()
        await asyncio.gather(*ends, *others, return_exceptions=True)

    async def _show_messages(self) -> None:
        async for message in self._session.messages():
            show(self._session, message)

    async def _show_typing(self) -> None:
        shown: set[str] = set()
        while True:
            await self._session.composing_changed.wait()
            self._session.composing_changed.clear()
            now = set(self._session.composing)
            for uri in sorted(now - shown):
                say(f"{clean(uri.removeprefix('sip:'))} is typing")
            shown = now

    @staticmethod
    async def _show_changes(conference: Conference) -> None:
        async for seen in conference.changes():
            (name,) = names([seen.user])
            say(f"* {clean(name)} {WORDS[seen.change]}")

    async def _send_lines(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if text == "/quit":
                return
            try:
                await self._take(text)
            except FAILURES as error:
                say(f"not done: {clean(str(error))}")

    async def _take(self, text: str) -> None:
        command, _, rest = text.partition(" ")
        words = rest.split()
        match command:
            case "/who":
                self._who()
            case "/add" | "/remove" if words:
                await self._refer(words, remove=command == "/remove")
            case "/msg" if len(words) > 1:
                await self._session.send(rest.split(None, 1)[1], to=Address(words[0]))
            case "/nick":
                status = await self._session.line.peer.nickname(rest.strip())
                say("you are known by it now" if status == 200 else f"not taken: {status}")
            case "/file" if rest:
                sent = await self._client.send_file(self._session.peer.uri, Path(rest.strip()))
                say(f"sent {sent.size} bytes")
            case _ if command.startswith("/") and command[1:].isalpha():
                say("commands: /who, /add URI, /remove URI, /msg URI TEXT, /nick NAME, /file PATH, /quit")
            case _ if text:
                await self._session.send(text)

    def _who(self) -> None:
        if self._conference is None:
            say(clean(self._session.peer.uri))
            return
        for user in self._conference.present:
            state = ", ".join(sorted(set(user.status.values())))
            say(f"  {clean(user.name or user.entity)} <{clean(user.entity)}> {clean(state)}")

    async def _refer(self, users: list[str], *, remove: bool) -> None:
        referring = await self._session.add(users, remove=remove)
        if len(users) > 1:
            say("asked for")  # of several nobody reports (clause 7.1.1.7-4c): the roster shows them
            return
        outcome = await referring.outcome()
        if outcome is not None:
            say(f"{clean(users[0])}: {outcome.status} {clean(outcome.reason)}")
