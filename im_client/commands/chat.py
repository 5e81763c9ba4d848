"""`chat`: a session on the terminal.

Lines typed are sent; `/file PATH` sends a file, `/quit` or the end of input leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from ..client import ImClient
from ..errors import ImClientError, SessionRefusedError
from ..exchange import ReceivedResponse
from ..im_invitation import ImInvitation
from ..im_session import ImSession
from ..msrp_peer import ChatMessage, FileMismatchError, MessageFailedError
from ..negotiation import NotAcceptableError
from .options import FAILED, add_account, clean, make_config


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("chat", help="talk in a session: invite somebody, or wait to be invited")
    add_account(parser)
    parser.add_argument("to", nargs="?", help="SIP URI of who is invited; without it, register and wait")
    parser.add_argument("--subject", default="", help="of the invitation")
    parser.add_argument("--anonymous", action="store_true", help="hide the identity (Privacy: id)")
    parser.add_argument("--directory", type=Path, default=Path(), help="where files offered by others are put")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    waiting: asyncio.Queue[ImSession] = asyncio.Queue()
    async with ImClient(make_config(options)) as client:

        async def invited(invitation: ImInvitation) -> None:
            await _on_invite(invitation, waiting, options.directory)

        client.on_invite = invited
        await client.register()
        try:
            if options.to is None:
                _say(f"{options.identity} waits to be invited")
                session = await waiting.get()
            else:
                session = await client.invite(
                    options.to, subject=options.subject, anonymous=options.anonymous, on_progress=_on_progress
                )
        except SessionRefusedError as error:
            _say(str(error))
            return FAILED
        _say(f"talking with {clean(session.peer.uri)}; /quit leaves")
        await _talk(client, session)
        _say(f"over: {clean(session.why)}")
    return 0


async def _on_invite(invitation: ImInvitation, waiting: asyncio.Queue[ImSession], directory: Path) -> None:
    sender = clean(invitation.sender)
    file = invitation.file
    try:
        if file is not None and file.selector.name is not None:
            _say(f"{sender} sends {clean(file.selector.name)}, {file.selector.size} bytes")
            for found in await invitation.accept_files(directory):
                _say(f"{sender} sent {found.path}")
        elif file is not None:
            session = await invitation.accept()
            async for message in session.messages():
                _show(session, message)
        elif waiting.empty():
            await invitation.ring()
            waiting.put_nowait(await invitation.accept())
        else:
            invitation.reject(486)
    except (ImClientError, NotAcceptableError, FileMismatchError, OSError) as error:
        _say(f"the invitation of {sender} came to nothing: {clean(str(error))}")


async def _talk(client: ImClient, session: ImSession) -> None:
    reading = asyncio.ensure_future(_print_messages(session))
    typing = asyncio.ensure_future(_send_lines(client, session))
    await asyncio.wait({reading, typing}, return_when=asyncio.FIRST_COMPLETED)
    await session.close()
    for task in (reading, typing):
        task.cancel()
    await asyncio.gather(reading, typing, return_exceptions=True)


async def _print_messages(session: ImSession) -> None:
    async for message in session.messages():
        _show(session, message)


async def _send_lines(client: ImClient, session: ImSession) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text == "/quit":
            return
        try:
            if text.startswith("/file "):
                sent = await client.send_file(session.peer.uri, Path(text.removeprefix("/file ").strip()))
                _say(f"sent {sent.size} bytes")
            elif text:
                await session.send(text)
        except (ImClientError, MessageFailedError, OSError) as error:
            _say(f"not sent: {clean(str(error))}")


def _on_progress(response: ReceivedResponse) -> None:
    _say(f"{response.status} {clean(response.reason)}")


def _show(session: ImSession, message: ChatMessage) -> None:
    sender = session.peer.uri
    if message.envelope is not None and message.envelope.sender is not None:
        sender = message.envelope.sender.name or message.envelope.sender.uri
    if message.content_type.lower().startswith("text/"):
        _say(f"{clean(sender)}: {clean(message.text)}")
    else:
        _say(f"{clean(sender)}: <{len(message.body)} bytes of {clean(message.content_type)}>")


def _say(text: str) -> None:
    print(text, flush=True)
