"""`advertise`: tell the members of a group, or a user, of a group; prints the final response."""

from __future__ import annotations

import argparse

from msrp_worker.group_advertisement import TYPES, AdvertisedGroup, Advertisement

from ..advertising import outgoing
from ..client import ImClient
from .options import FAILED, add_account, clean, make_config


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("advertise", help="tell the members of a group, or a user, of groups")
    add_account(parser)
    parser.add_argument("to", help="SIP URI of a group or a user")
    parser.add_argument("group", nargs="+", metavar="GROUP", help="SIP URI of a group that is advertised")
    parser.add_argument("--name", default="", help="how the group is called (of a single one)")
    parser.add_argument("--kind", default="", choices=("", *sorted(TYPES)), help="dialed-in: a chat room that is joined")
    parser.add_argument("--note", default="", metavar="TEXT", help="what is to be said about it")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    if options.name and len(options.group) > 1:
        raise ValueError("--name is for one group")
    groups = tuple(AdvertisedGroup((uri,), options.name, options.kind) for uri in options.group)
    message = outgoing(options.to, Advertisement(groups, options.note))
    async with ImClient(make_config(options)) as client:
        response = await client.send_message(message)
    print(f"{response.status} {response.reason}{response.warning_text}")
    return 0 if response.ok else FAILED


def as_text(advertisement: Advertisement) -> str:
    """One line for a person: the groups and the note."""
    groups = [
        " ".join(
            filter(None, (clean(group.name), *(f"<{clean(uri)}>" for uri in group.uris), group.kind and f"({group.kind})"))
        )
        for group in advertisement.groups
    ]
    note = f" - {clean(' '.join(advertisement.note.split()))}" if advertisement.note else ""
    return f"advertises {', '.join(groups)}{note}"


def as_values(advertisement: Advertisement) -> dict[str, object]:
    """For JSON."""
    groups = [
        {"name": clean(group.name), "type": group.kind, "uris": [clean(uri) for uri in group.uris]}
        for group in advertisement.groups
    ]
    return {"note": clean(advertisement.note), "groups": groups}
