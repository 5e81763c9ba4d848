"""`group`: group documents (XDM-02)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from msrp_worker.address import user_address
from msrp_worker.commands.common import CommandError, print_json, print_table, run_with_store, shown_time
from msrp_worker.commands.contact_lists import notes_on_lists
from msrp_worker.config import Config
from msrp_worker.group import Group, GroupError, check_address, parse_group
from msrp_worker.store import AddressTaken, GroupDocument, Store

UNREADABLE = "unreadable"
"""In place of what a damaged document would say."""


class Listed(msgspec.Struct, frozen=True):
    """A group as `group list --json` shows it; the fields of a damaged document are empty but for its address."""

    uri: str
    kind: str
    display_name: str
    members: int
    """With those of the lists that it refers to."""
    invite_members: bool
    max_participants: int | None
    etag: str
    changed_at: float


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("group", help="put, get, list, delete group documents")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    put = actions.add_parser("put", help="store a document, new or in place of another; running sessions follow it")
    put.add_argument("file", metavar="FILE", help="an XML file, - for standard input")
    put.set_defaults(run=_put)
    get = actions.add_parser("get", help="write the document to standard output as it was put")
    get.add_argument("uri", metavar="URI")
    get.set_defaults(run=_get)
    listing = actions.add_parser("list", help="show all groups")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    delete = actions.add_parser("delete", help="delete a group; its running session ends")
    delete.add_argument("uri", metavar="URI")
    delete.set_defaults(run=_delete)


def _put(arguments: argparse.Namespace, config: Config) -> int:
    try:
        document = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
        group = parse_group(document)
        check_address(group.uri, config.domain)
    except OSError as error:
        raise CommandError(f"{arguments.file}: {error.strerror}") from None
    except GroupError as error:
        raise CommandError(f"{arguments.file}: {error}") from None

    async def work(store: Store) -> tuple[str, bool, int, list[str]]:
        is_new = await store.groups.document(group.uri) is None
        try:
            etag = await store.groups.put(group.uri, document)
        except AddressTaken as error:
            raise CommandError(f"{error}; `user delete` frees it") from None
        strangers = await _strangers(store, group, config.domain)
        notes = [f"Note: the member {uri} is no user yet; `user add` creates one." for uri in strangers]
        notes += await notes_on_lists(store, group.external_lists)
        return etag, is_new, len((await store.groups.complete(group)).members), notes

    etag, is_new, count, notes = run_with_store(config, work)
    verb = "Created" if is_new else "Replaced"
    members = f"{count} members" if count != 1 else "1 member"
    print(f"{verb} the {group.kind.value} group {group.uri}: {members}, {len(document)} bytes, etag {etag}.")
    for note in notes:
        print(note)
    return 0


async def _strangers(store: Store, group: Group, domain: str) -> list[str]:
    """Members of the served domain that nobody has created: most likely mistyped."""
    users = {user.address for user in await store.users.list()}
    return [one.uri for one in group.members if one.uri.endswith(f"@{domain}") and one.uri not in users]


def _get(arguments: argparse.Namespace, config: Config) -> int:
    uri = _address(config, arguments.uri)

    async def work(store: Store) -> bytes:
        found = await store.groups.document(uri)
        if found is None:
            raise _no_group(uri)
        return found.document

    document = run_with_store(config, work)
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


def _list(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> list[Listed]:
        found: list[Listed] = []
        while page := await store.groups.list(after=found[-1].uri if found else ""):
            found += [await _listed(store, document) for document in page]
        return found

    groups = run_with_store(config, work)
    if arguments.json:
        print_json(groups)
        return 0
    print_table(
        ("address", "kind", "members", "invites", "at most", "changed", "name"),
        (
            (
                group.uri,
                group.kind,
                group.members,
                "yes" if group.invite_members else "no",
                "-" if group.max_participants is None else group.max_participants,
                shown_time(group.changed_at),
                group.display_name,
            )
            for group in groups
        ),
    )
    return 0


def _delete(arguments: argparse.Namespace, config: Config) -> int:
    uri = _address(config, arguments.uri)

    async def work(store: Store) -> None:
        if not await store.groups.delete(uri):
            raise _no_group(uri)

    run_with_store(config, work)
    print(f"Deleted the group {uri}.")
    return 0


async def _listed(store: Store, found: GroupDocument) -> Listed:
    try:
        group = await store.groups.complete(parse_group(found.document))
    except GroupError:
        return Listed(found.uri, UNREADABLE, "", 0, False, None, found.etag, found.changed_at)
    return Listed(
        uri=group.uri,
        kind=group.kind.value,
        display_name=group.display_name,
        members=len(group.members),
        invite_members=group.invite_members,
        max_participants=group.max_participants,
        etag=found.etag,
        changed_at=found.changed_at,
    )


def _address(config: Config, name: str) -> str:
    """Canonical address of a group that an operator names. CommandError."""
    try:
        return user_address(name, config.domain)
    except ValueError:
        raise CommandError(f"{name!r} is not a group: give friends, friends@{config.domain} or a sip URI") from None


def _no_group(uri: str) -> CommandError:
    return CommandError(f"no group {uri}; `group list` shows which exist, `group put` creates one")
