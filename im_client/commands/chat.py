"""`chat`: a session on the terminal.

Lines typed are sent; `talk` has the commands. Invited to a conference, it shows who is there.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ..client import ImClient
from ..conference import Conference
from ..errors import ImClientError, SessionRefusedError
from ..exchange import ReceivedResponse
from ..im_invitation import ImInvitation
from ..im_session import ImSession
from ..msrp_peer import FileMismatchError
from ..negotiation import NotAcceptableError
from .options import FAILED, add_account, clean, make_config
from .talk import say, show, talk


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
                say(f"{options.identity} waits to be invited")
                session = await waiting.get()
            else:
                session = await client.invite(
                    options.to, subject=options.subject, anonymous=options.anonymous, on_progress=_on_progress
                )
        except SessionRefusedError as error:
            say(str(error))
            return FAILED
        say(f"talking with {clean(session.peer.uri)}; /quit leaves")
        conference = Conference(client.calls.layer, session) if session.peer.focus else None
        await talk(client, session, conference)
        say(f"over: {clean(session.why)}")
    return 0


async def _on_invite(invitation: ImInvitation, waiting: asyncio.Queue[ImSession], directory: Path) -> None:
    sender = clean(invitation.sender)
    file = invitation.file
    try:
        if file is not None and file.selector.name is not None:
            say(f"{sender} sends {clean(file.selector.name)}, {file.selector.size} bytes")
            for found in await invitation.accept_files(directory):
                say(f"{sender} sent {found.path}")
        elif file is not None:
            session = await invitation.accept()
            async for message in session.messages():
                show(session, message)
        elif waiting.empty():
            await invitation.ring()
            waiting.put_nowait(await invitation.accept())
        else:
            invitation.reject(486)
    except (ImClientError, NotAcceptableError, FileMismatchError, OSError) as error:
        say(f"the invitation of {sender} came to nothing: {clean(str(error))}")


def _on_progress(response: ReceivedResponse) -> None:
    say(f"{response.status} {clean(response.reason)}")
