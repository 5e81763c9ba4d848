"""`deferred`: messages stored for a user (DEF-09)."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import msgspec

from msrp_worker.commands.common import (
    CommandError,
    known_user,
    print_json,
    print_table,
    run_with_store,
    shown_time,
)
from msrp_worker.config import Config
from msrp_worker.deferred.payload import Form, payload_of
from msrp_worker.store import DeferredEntry, Store
from msrp_worker.store.deferred import DeferredMessage
from msrp_worker.store.trace import ANONYMOUS

PAGE = 1000
"""Messages read at a time."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("deferred", help="list, show, delete deferred messages")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show a user's messages in order of arrival")
    listing.add_argument("user", metavar="USER")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="write a stored message to standard output, byte for byte")
    show.add_argument("user", metavar="USER")
    show.add_argument("message_id", metavar="MESSAGE-ID")
    show.add_argument("--content", action="store_true", help="of a large message, its content alone")
    show.set_defaults(run=_show)
    delete = actions.add_parser("delete", help="delete messages without delivering them")
    delete.add_argument("user", metavar="USER")
    delete.add_argument("message_ids", metavar="MESSAGE-ID", nargs="+")
    delete.set_defaults(run=_delete)


def _list(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> list[DeferredEntry]:
        user = await known_user(store, config, arguments.user)
        entries: list[DeferredEntry] = []
        while page := await store.deferred.list(user.address, entries[-1].message_id if entries else None, PAGE):
            entries += page
        return entries

    entries = [_without_identity(entry) for entry in run_with_store(config, work)]
    if arguments.json:
        print_json(entries)
        return 0
    print_table(
        ("message-id", "received", "expires", "bytes", "type", "originator", "subject", "call-id"),
        (
            (
                entry.message_id,
                shown_time(entry.received),
                shown_time(entry.expires),
                entry.size,
                entry.content_type,
                entry.originator,
                entry.subject,
                entry.call_id,
            )
            for entry in entries
        ),
    )
    return 0


def _show(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> DeferredMessage:
        user = await known_user(store, config, arguments.user)
        found = await store.deferred.get(user.address, arguments.message_id)
        if found is None:
            raise _unknown(user.address, arguments.message_id)
        return found

    found = run_with_store(config, work)
    if found.content_path is None:
        sys.stdout.buffer.write(found.message)  # DEF-01
    else:
        _show_large(found, config.state_dir / found.content_path, content_alone=arguments.content)
    sys.stdout.buffer.flush()
    return 0


def _show_large(message: DeferredMessage, path: Path, *, content_alone: bool) -> None:
    """A large message as it is delivered (Appendix J, example 2), or what it brings."""
    payload = payload_of(message, Form.SIP)
    try:
        with path.open("rb") as file:
            if not content_alone:
                sys.stdout.buffer.write(payload.head)
            shutil.copyfileobj(file, sys.stdout.buffer)
            if not content_alone:
                sys.stdout.buffer.write(payload.tail)
    except OSError as error:
        raise CommandError(f"the content of {message.message_id} cannot be read: {error}") from None


def _delete(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> tuple[str, int]:
        user = await known_user(store, config, arguments.user)
        for message_id in arguments.message_ids:  # all are known, or nothing is deleted
            if await store.deferred.get(user.address, message_id) is None:
                raise _unknown(user.address, message_id)
        return user.address, await store.deferred.delete(user.address, arguments.message_ids)

    address, count = run_with_store(config, work)
    print(f"Deleted {count} deferred {'message' if count == 1 else 'messages'} of {address}.")
    return 0


def _unknown(address: str, message_id: str) -> CommandError:
    return CommandError(f"{address} has no deferred message {message_id}; `deferred list` shows them")


def _without_identity(entry: DeferredEntry) -> DeferredEntry:
    """Who asked for privacy is not named in a listing (IDN-04)."""
    return msgspec.structs.replace(entry, originator=ANONYMOUS) if entry.private or entry.anonymous else entry
