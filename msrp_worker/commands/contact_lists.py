"""`list`: lists of contacts, which groups and rules refer to (XDM-04)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from msrp_worker.commands.common import (
    CommandError,
    address_of,
    known_user,
    print_json,
    print_table,
    run_with_store,
    shown_time,
)
from msrp_worker.config import Config
from msrp_worker.list_references import DocumentKey, anchor_of
from msrp_worker.resource_lists import USUAL_NAME, ListsError, parse_lists
from msrp_worker.store import Store
from msrp_worker.store.lists import ListsDocument


class Listed(msgspec.Struct, frozen=True):
    """A document as `list list --json` shows it; `lists` is empty for a damaged one."""

    owner: str
    name: str
    lists: tuple[str, ...]
    entries: int
    """Entries and references, all lists together."""
    etag: str
    changed_at: float


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("list", help="put, get, list, delete the lists of contacts that groups and rules refer to")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    put = actions.add_parser("put", help="store a document, new or in place of another; running sessions follow it")
    put.add_argument("user", metavar="USER")
    put.add_argument("file", metavar="FILE", help="an XML file, - for standard input")
    put.set_defaults(run=_put)
    get = actions.add_parser("get", help="write the document to standard output as it was put")
    get.add_argument("user", metavar="USER")
    get.set_defaults(run=_get)
    listing = actions.add_parser("list", help="show all documents")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    delete = actions.add_parser("delete", help="delete a document; nobody is on its lists then")
    delete.add_argument("user", metavar="USER")
    delete.set_defaults(run=_delete)
    for one in (put, get, delete):
        one.add_argument("--name", default=USUAL_NAME, help=f"of the document, default {USUAL_NAME}")


def _put(arguments: argparse.Namespace, config: Config) -> int:
    try:
        document = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
        found = parse_lists(document)
    except OSError as error:
        raise CommandError(f"{arguments.file}: {error.strerror}") from None
    except ListsError as error:
        raise CommandError(f"{arguments.file}: {error}") from None
    names = [one.name for one in found.lists if one.name is not None]

    async def work(store: Store) -> tuple[str, bool, str, list[str]]:
        owner = (await known_user(store, config, arguments.user)).address
        is_new = await store.lists.document(owner, arguments.name) is None
        try:
            etag = await store.lists.put(owner, arguments.name, document)
        except ListsError as error:
            raise CommandError(f"{arguments.name}: {error}") from None
        key = DocumentKey(owner, arguments.name)
        return owner, is_new, etag, await _described(store, [anchor_of(config.xcap_roots[0], key, one) for one in names])

    owner, is_new, etag, described = run_with_store(config, work)
    verb = "Created" if is_new else "Replaced"
    lists = f"{len(found.lists)} lists" if len(found.lists) != 1 else "1 list"
    print(f"{verb} the document {arguments.name} of {owner}: {lists}, {len(document)} bytes, etag {etag}.")
    for line in described:
        print(line)
    return 0


async def _described(store: Store, anchors: list[str]) -> list[str]:
    """How to refer to each list, how many are on it, and what it refers to in vain."""
    lines = []
    for anchor, found in (await store.lists.look_up(anchors)).items():
        count = f"{len(found.members)} addresses" if len(found.members) != 1 else "1 address"
        lines.append(f"{anchor}: {count}")
        lines += [f"Note: {problem}" for problem in found.problems]
    return lines


async def notes_on_lists(store: Store, anchors: tuple[str, ...]) -> list[str]:
    """What is wrong with the lists that a group or a user's rules refer to, for who puts it."""
    found = await store.lists.look_up(anchors)
    return [f"Note: nobody is on the list {problem}." for one in found.values() for problem in one.problems]


def _get(arguments: argparse.Namespace, config: Config) -> int:
    owner = address_of(config, arguments.user)

    async def work(store: Store) -> bytes:
        found = await store.lists.document(owner, arguments.name)
        if found is None:
            raise _no_document(owner, arguments.name)
        return found.document

    document = run_with_store(config, work)
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


def _list(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> list[Listed]:
        found: list[Listed] = []
        while page := await store.lists.list(after=(found[-1].owner, found[-1].name) if found else ("", "")):
            found += map(_listed, page)
        return found

    documents = run_with_store(config, work)
    if arguments.json:
        print_json(documents)
        return 0
    print_table(
        ("owner", "document", "entries", "changed", "lists"),
        ((one.owner, one.name, one.entries, shown_time(one.changed_at), ", ".join(one.lists)) for one in documents),
    )
    return 0


def _delete(arguments: argparse.Namespace, config: Config) -> int:
    owner = address_of(config, arguments.user)

    async def work(store: Store) -> None:
        if not await store.lists.delete(owner, arguments.name):
            raise _no_document(owner, arguments.name)

    run_with_store(config, work)
    print(f"Deleted the document {arguments.name} of {owner}.")
    return 0


def _listed(found: ListsDocument) -> Listed:
    try:
        document = parse_lists(found.document)
    except ListsError:
        return Listed(found.owner, found.name, (), 0, found.etag, found.changed_at)
    names = tuple(one.name or "" for one in document.lists)
    return Listed(found.owner, found.name, names, document.count(), found.etag, found.changed_at)


def _no_document(owner: str, name: str) -> CommandError:
    return CommandError(f"{owner} has no document {name}; `list list` shows which exist, `list put` creates one")
