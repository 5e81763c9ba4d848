"""`listen`: register, print each message as it comes, also those that waited and are pushed; de-register at the end."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ..advertising import of_message
from ..client import ImClient
from ..deferred import DeferredMessage
from ..pager import PagerMessage
from .advertise import as_text
from .advertise import as_values as advertised
from .deferred import as_line, as_values
from .options import add_account, add_registration, make_config

Coming: TypeAlias = Coroutine[Any, Any, PagerMessage | DeferredMessage]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("listen", help="register and print incoming messages until Ctrl-C")
    add_account(parser)
    add_registration(parser)
    parser.add_argument("--expires", type=int, default=3600, metavar="SECONDS", help="of the registration")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N messages")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where the content of large messages that are pushed is saved"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line; the body is in base64")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    config = replace(make_config(options), deferred_directory=options.directory)
    async with ImClient(config) as client:
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
    sources: dict[asyncio.Task[PagerMessage | DeferredMessage], Callable[[], Coming]] = {}

    def wait_for(source: Callable[[], Coming]) -> None:
        sources[asyncio.create_task(source())] = source

    wait_for(lambda: client.next_message(seconds=None))
    wait_for(client.messaging.pushed.get)
    try:
        while left is None or left > 0:
            done, _ = await asyncio.wait(sources, return_when=asyncio.FIRST_COMPLETED)
            for task in list(done)[:left]:
                wait_for(sources.pop(task))
                print(_as_json(task.result()) if options.json else _as_line(task.result()), flush=True)
                left = None if left is None else left - 1
    finally:
        for task in sources:
            task.cancel()


def _as_line(message: PagerMessage | DeferredMessage) -> str:
    if isinstance(message, DeferredMessage):
        return as_line(message)
    late = " [expired]" if message.expired else ""
    advertisement = of_message(message)
    if advertisement is not None:
        return f"{_clean(message.sender)}{late} {as_text(advertisement)}"
    if message.content_type.startswith("text/"):
        text = "".join(char if char.isprintable() else " " for char in message.text)
        return f"{_clean(message.sender)}{late}: {text}"
    kind = _clean(message.content_type) or "no type"
    return f"{_clean(message.sender)}{late}: <{len(message.body)} bytes of {kind}>"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _as_json(message: PagerMessage | DeferredMessage) -> str:
    if isinstance(message, DeferredMessage):
        return json.dumps({"deferred": True, **as_values(message)})
    advertisement = of_message(message)
    return json.dumps(
        {
            "from": _clean(message.from_uri),
            "sender": _clean(message.sender),
            "to": _clean(message.to_uri),
            "call_id": _clean(message.call_id),
            "content_type": _clean(message.header("Content-Type") or ""),
            "expired": message.expired,
            "advertisement": None if advertisement is None else advertised(advertisement),
            "headers": {name: [_clean(value) for value in found] for name, found in message.headers.items()},
            "body": base64.b64encode(message.body).decode("ascii"),
        }
    )
