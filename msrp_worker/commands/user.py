"""`user`: served users and what is set for them."""

from __future__ import annotations

import argparse
import secrets

from msrp_worker.commands.common import (
    CommandError,
    address_of,
    known_user,
    print_json,
    print_table,
    run_with_store,
)
from msrp_worker.config import Config
from msrp_worker.store import AddressTaken, Conflict, Store, User
from msrp_worker.store.users import SETTABLE, SETTABLE_OR_DEFAULT, account

PASSWORD_BYTES = 12
"""Randomness of a password that is made up: 96 bits."""
WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
KEYS = (*SETTABLE, *SETTABLE_OR_DEFAULT, "password")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("user", help="add, set, list, delete served users")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser("add", help="create a user")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--password", metavar="P", help="made up and printed when it is not given")
    add.set_defaults(run=_add)
    change = actions.add_parser(
        "set",
        help="change a user",
        description=f"Keys: {', '.join(KEYS)}. Values: yes, no, a number, default.",
    )
    change.add_argument("name", metavar="NAME")
    change.add_argument("assignments", metavar="KEY=VALUE", nargs="+")
    change.set_defaults(run=_set)
    listing = actions.add_parser("list", help="show all users")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    delete = actions.add_parser("delete", help="delete a user with rules and deferred messages")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)


def _add(arguments: argparse.Namespace, config: Config) -> int:
    address = address_of(config, arguments.name)
    password = secrets.token_urlsafe(PASSWORD_BYTES) if arguments.password is None else arguments.password

    async def work(store: Store) -> None:
        try:
            account(address)
            await store.users.add(address, password)
        except AddressTaken as error:
            raise CommandError(f"{error}; `group delete` frees it") from None
        except Conflict:
            raise CommandError(f"{address} exists already; `user set` changes it") from None
        except ValueError as error:
            raise CommandError(str(error)) from None

    run_with_store(config, work)
    made_up = f" with password {password}" if arguments.password is None else ""
    print(f"Added {address}{made_up}.")
    return 0


def _set(arguments: argparse.Namespace, config: Config) -> int:
    values = dict(map(_assignment, arguments.assignments))

    async def work(store: Store) -> User:
        user = await known_user(store, config, arguments.name)
        password = values.pop("password", None)
        try:
            if isinstance(password, str):
                await store.users.set_password(user.address, password)
            return await store.users.set(user.address, **values)
        except ValueError as error:
            raise CommandError(str(error)) from None

    user = run_with_store(config, work)
    for assignment in arguments.assignments:
        key = assignment.partition("=")[0]
        value = "changed" if key == "password" else _shown(getattr(user, key))
        print(f"{user.address}: {key} = {value}")
    return 0


def _list(arguments: argparse.Namespace, config: Config) -> int:
    users = run_with_store(config, lambda store: store.users.list())
    if arguments.json:
        print_json(users)
        return 0
    keys = (*SETTABLE, *SETTABLE_OR_DEFAULT)
    print_table(("address", *keys), ((user.address, *(_shown(getattr(user, key)) for key in keys)) for user in users))
    return 0


def _delete(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> tuple[str, int]:
        user = await known_user(store, config, arguments.name)
        return user.address, await store.users.delete(user.address)

    address, messages = run_with_store(config, work)
    print(f"Deleted {address} with {messages} deferred messages.")
    return 0


def _assignment(text: str) -> tuple[str, bool | int | str | None]:
    """Key and value of KEY=VALUE. CommandError."""
    key, equals, value = text.partition("=")
    if not equals or key not in KEYS:
        raise CommandError(f"{text!r} is not KEY=VALUE with a key of {', '.join(KEYS)}")
    if key in SETTABLE:
        if value.lower() == "default":
            return key, getattr(User(address=""), key)
        if value.lower() not in WORDS:
            raise CommandError(f"{key} is yes, no or default, not {value!r}")
        return key, WORDS[value.lower()]
    if key == "password":
        return key, value
    if value.lower() == "default":
        return key, None
    if key == "content_types":
        return key, value
    if not value.isascii() or not value.isdigit():
        raise CommandError(f"{key} is a number of bytes or default, not {value!r}")
    return key, int(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "default" if value is None else str(value)
