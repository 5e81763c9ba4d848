"""`settings`: a user's service settings as they hold now, and where each comes from (SET-06, SET-07)."""

from __future__ import annotations

import argparse

from msrp_worker.commands.common import known_user, print_json, print_table, run_with_store, shown_time
from msrp_worker.config import Config
from msrp_worker.store import Effective, Store


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("settings", help="show the service settings of a user")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    get = actions.add_parser("get", help="show each setting and where it comes from")
    get.add_argument("user", metavar="USER")
    get.add_argument("--json", action="store_true")
    get.set_defaults(run=_get)


def _get(arguments: argparse.Namespace, config: Config) -> int:
    async def work(store: Store) -> list[Effective]:
        user = await known_user(store, config, arguments.user)
        return await store.settings.effective(user.address)

    settings = run_with_store(config, work)
    if arguments.json:
        print_json(settings)
        return 0
    print_table(
        ("setting", "value", "source", "device", "until"),
        (
            (one.setting, "yes" if one.value else "no", one.source, one.entity or "-", shown_time(one.expires_at))
            for one in settings
        ),
    )
    return 0
