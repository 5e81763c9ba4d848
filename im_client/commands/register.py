"""`register`: bind this client, or take the binding back, and say what the registrar granted."""

from __future__ import annotations

import argparse

from ..client import ImClient
from .options import add_account, add_registration, make_config


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("register", help="register once and leave the binding (listen keeps it)")
    add_account(parser)
    add_registration(parser)
    parser.add_argument(
        "--expires", type=int, default=3600, metavar="SECONDS", help="0 removes the binding of --local"
    )
    parser.add_argument("--all", action="store_true", help="remove the bindings of all devices")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    client = ImClient(make_config(options))
    try:
        await client.start()
        if options.all or options.expires == 0:
            response = await client.deregister(everything=options.all)
            print(f"{response.status} {response.reason}: removed")
        else:
            response = await client.register(expires=options.expires)
            print(f"{response.status} {response.reason}: for {client.registration.granted:g} s")
        for contact in response.header_values("Contact"):
            print(f"  {contact}")
    finally:
        await client.close(deregister=False)
    return 0
