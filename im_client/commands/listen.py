"""`listen`: register, print each message as it comes, de-register at the end."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal

from ..client import ImClient
from ..pager import PagerMessage
from .options import add_account, add_registration, make_config


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("listen", help="register and print incoming messages until Ctrl-C")
    add_account(parser)
    add_registration(parser)
    parser.add_argument("--expires", type=int, default=3600, metavar="SECONDS", help="of the registration")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N messages")
    parser.add_argument("--json", action="store_true", help="one JSON object per line; the body is in base64")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    async with ImClient(make_config(options)) as client:
        response = await client.register(expires=options.expires)
        if not options.json:
            print(f"{response.status} {response.reason}: {options.identity} listens", flush=True)
        printing = asyncio.current_task()
        assert printing is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):  # leave by the door: with de-registration
            loop.add_signal_handler(number, printing.cancel)
        try:
            await _print_messages(client, options)
        except asyncio.CancelledError:
            printing.uncancel()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
    return 0


async def _print_messages(client: ImClient, options: argparse.Namespace) -> None:
    left = options.count
    while left is None or left > 0:
        message = await client.next_message(seconds=None)
        print(_as_json(message) if options.json else _as_line(message), flush=True)
        left = None if left is None else left - 1


def _as_line(message: PagerMessage) -> str:
    late = " [expired]" if message.expired else ""
    if message.content_type.startswith("text/"):
        text = "".join(char if char.isprintable() else " " for char in message.text)
        return f"{_clean(message.sender)}{late}: {text}"
    kind = _clean(message.content_type) or "no type"
    return f"{_clean(message.sender)}{late}: <{len(message.body)} bytes of {kind}>"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _as_json(message: PagerMessage) -> str:
    return json.dumps(
        {
            "from": _clean(message.from_uri),
            "sender": _clean(message.sender),
            "to": _clean(message.to_uri),
            "call_id": _clean(message.call_id),
            "content_type": _clean(message.header("Content-Type") or ""),
            "expired": message.expired,
            "headers": {name: [_clean(value) for value in found] for name, found in message.headers.items()},
            "body": base64.b64encode(message.body).decode("ascii"),
        }
    )
