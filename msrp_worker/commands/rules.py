"""`rules`: a user's IM rules document (XDM-03)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from msrp_worker.commands.common import CommandError, known_user, run_with_store
from msrp_worker.commands.contact_lists import notes_on_lists
from msrp_worker.common_policy import RulesError, parse_rules
from msrp_worker.config import Config
from msrp_worker.store import Store


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("rules", help="put, get, delete the IM rules of a user")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    put = actions.add_parser("put", help="store a document")
    put.add_argument("user", metavar="USER")
    put.add_argument("file", metavar="FILE", help="an XML file, - for standard input")
    put.set_defaults(run=_put)
    get = actions.add_parser("get", help="write the document to standard output as it was put")
    get.add_argument("user", metavar="USER")
    get.set_defaults(run=_get)
    delete = actions.add_parser("delete", help="delete the document; everyone is allowed then")
    delete.add_argument("user", metavar="USER")
    delete.set_defaults(run=_delete)


def _put(arguments: argparse.Namespace, config: Config) -> int:
    try:
        document = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    except OSError as error:
        raise CommandError(f"{arguments.file}: {error.strerror}") from None

    async def work(store: Store) -> tuple[str, str, list[str]]:
        user = await known_user(store, config, arguments.user)
        try:
            etag = await store.rules.put(user.address, document)
        except RulesError as error:
            raise CommandError(f"{arguments.file}: {error}") from None
        return user.address, etag, await notes_on_lists(store, parse_rules(document).external_lists)

    address, etag, notes = run_with_store(config, work)
    print(f"Stored the IM rules of {address}: {len(document)} bytes, etag {etag}.")
    for note in notes:
        print(note)
    return 0


def _get(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> bytes:
        user = await known_user(store, config, arguments.user)
        found = await store.rules.get(user.address)
        if found is None:
            raise CommandError(f"{user.address} has no IM rules; `rules put` stores some")
        return found.document

    document = run_with_store(config, work)
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


def _delete(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> str:
        user = await known_user(store, config, arguments.user)
        if not await store.rules.delete(user.address):
            raise CommandError(f"{user.address} has no IM rules")
        return user.address

    print(f"Deleted the IM rules of {run_with_store(config, work)}.")
    return 0
