"""`conference`: start one, join one, add and remove users, see who is there.

`start` and `join` talk on the terminal, as `chat` does; `add`, `remove` and `list` ask the focus from outside.
"""

from __future__ import annotations

import argparse
import json

from .. import conference
from ..client import ImClient
from ..conference import Conference
from ..errors import ImClientError, SessionRefusedError, SubscriptionError
from ..exchange import ReceivedResponse
from .options import FAILED, add_account, clean, make_config
from .talk import say, talk

ACTIONS = {
    "start": "invite users to a new conference and talk",
    "join": "join a group, or a session by its identity, and talk",
    "add": "ask the focus of a session to invite users",
    "remove": "ask the focus of a session to release users",
    "list": "who is in a session or group now",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("conference", help="talk with several: start, join, add, remove, list")
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text)
        add_account(action)
        if name != "start":
            action.add_argument("conference", help="SIP URI of the group, or the IM Session Identity")
        if name in ("start", "add", "remove"):
            action.add_argument("users", nargs="+", metavar="URI", help="SIP URI of a user")
        if name in ("start", "join"):
            action.add_argument("--subject", default="", help="of the conference")
            action.add_argument("--anonymous", action="store_true", help="hide the identity (Privacy: id)")
        if name == "start":
            action.add_argument("--most", type=int, metavar="N", help="MAX-ADHOC-GROUP-SIZE, where it is known")
        if name == "list":
            action.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    async with ImClient(make_config(options)) as client:
        try:
            if options.action in ("start", "join"):
                return await _talk(client, options)
            if options.action == "list":
                return await _list(client, options)
            return await _refer(client, options)
        except (SessionRefusedError, SubscriptionError, ImClientError, TimeoutError) as error:
            say(clean(str(error)))
            return FAILED


async def _talk(client: ImClient, options: argparse.Namespace) -> int:
    await client.register()
    common = {"subject": options.subject, "anonymous": options.anonymous, "on_progress": _on_progress}
    if options.action == "start":
        found = await client.start_conference(options.users, most=options.most, **common)
    else:
        found = await client.join_conference(options.conference, **common)
    _welcome(found)
    await talk(client, found.session, found)
    say(f"over: {clean(found.session.why)}")
    return 0


async def _refer(client: ImClient, options: argparse.Namespace) -> int:
    removing = options.action == "remove"
    referring = await conference.refer(client.calls, options.conference, options.users, remove=removing)
    if len(options.users) > 1:
        say("asked for")
        return 0
    outcome = await referring.outcome()
    if outcome is None:
        say("asked for")
        return 0
    say(f"{outcome.status} {clean(outcome.reason)}")
    return 0 if outcome.status < 300 else FAILED


async def _list(client: ImClient, options: argparse.Namespace) -> int:
    state = await conference.fetch(client.calls, options.conference)
    if options.json:
        users = [{"uri": user.entity, "name": user.name, "status": dict(user.status)} for user in state.users.values()]
        print(json.dumps({"entity": state.entity, "active": state.active, "subject": state.subject, "users": users}))
        return 0
    say(f"{clean(state.entity)}: {'running' if state.active else 'no session'}")
    for user in state.users.values():
        status = ", ".join(sorted(set(user.status.values())))
        say(f"  {clean(user.name or user.entity)} <{clean(user.entity)}> {clean(status)}")
    return 0


def _welcome(found: Conference) -> None:
    say(f"in conference {clean(found.identity)}; /who, /add URI, /msg URI TEXT, /quit leaves")


def _on_progress(response: ReceivedResponse) -> None:
    say(f"{response.status} {clean(response.reason)}")
