"""What the commands share: how they reach the store, name things, print, and fail."""

from __future__ import annotations

import asyncio
import datetime
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from kemi.messages import MAX_PACKET, Settle, encode_question
from msrp_worker.address import user_address
from msrp_worker.config import Config
from msrp_worker.store import Store, User, open_store

T = TypeVar("T")

USAGE_ERROR = 2
"""Exit status: something was named that does not exist, or cannot be."""
SETTLE_SECONDS = 2.0
"""How long a command waits for a worker that is busy."""
FAILURE = 1
"""Exit status: the command was right, but could not be done."""


class NotDone(Exception):  # noqa: N818 - the command was right
    """What the operator asked for could not be done now; the text says why and what to do."""


class CommandError(Exception):
    """What the operator asked for cannot be; the text says why and what to do."""


def run_with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    """Open the store, do the work, close the store. Errors of open_store and of the work."""

    async def run() -> T:
        store = await open_store(config)
        try:
            before = store.database.revision()
            result = await work(store)
            changed = store.database.revision() != before
        finally:
            await store.close()
        if changed:
            settle(config)
        return result

    return asyncio.run(run())


def settle(config: Config) -> None:
    """Have a running worker tell Kamailio of a change before the command returns (SET-07)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(SETTLE_SECONDS)
        try:
            connection.connect(str(config.question_socket))
            connection.send(encode_question(None, Settle()))
            connection.recv(MAX_PACKET)
        except OSError:
            pass  # no worker, or a busy one: it looks for changes itself, twenty times a second


def address_of(config: Config, name: str) -> str:
    """Canonical address of a user of the served domain. CommandError."""
    try:
        address = user_address(name, config.domain)
    except ValueError:
        raise CommandError(f"{name!r} is not a user: give alice, alice@{config.domain} or a sip URI") from None
    if not address.endswith(f"@{config.domain}"):  # COR-04
        raise CommandError(f"{address} is not in the served domain {config.domain} (IM_DOMAIN)")
    return address


async def known_user(store: Store, config: Config, name: str) -> User:
    """The user that an operator names. CommandError when there is none."""
    address = address_of(config, name)
    user = await store.users.get(address)
    if user is None:
        raise CommandError(f"no user {address}; `user list` shows who exists, `user add` creates one")
    return user


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what is in them; control characters of strangers do not reach the terminal."""
    lines = [list(header), *([_printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def shown_time(seconds: float | None) -> str:
    """A time for an operator's eyes, UTC."""
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_error(text: str) -> None:
    """One line on standard error."""
    print(f"error: {text}", file=sys.stderr)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
