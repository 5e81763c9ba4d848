"""`deferred list|get|delete`: what the server keeps for this user; fetch it, or delete it unread."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path

from ..advertising import first
from ..client import ImClient
from ..deferred import DeferredMessage
from ..errors import SessionRefusedError, XcapError
from ..message_summary import Summary
from .advertise import as_text
from .options import FAILED, add_account, clean, make_config
from .progress import ProgressBar


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("deferred", help="messages that the server keeps for you")
    actions = parser.add_subparsers(required=True, metavar="list|get|delete")
    listing = actions.add_parser("list", help="what waits (message summary)")
    add_account(listing)
    listing.add_argument("--json", action="store_true", help="one JSON object")
    listing.set_defaults(run=run_list)
    getting = actions.add_parser("get", help="fetch messages, which takes them out of the store")
    add_account(getting)
    getting.add_argument("message_ids", nargs="*", metavar="MESSAGE-ID", help="as listed; without any, all are fetched")
    getting.add_argument("--escaped", action="store_true", help="name a single one in the Request-URI (Appendix K)")
    getting.add_argument(
        "--directory", type=Path, default=Path(), help="where the content of large messages is saved (default: here)"
    )
    getting.add_argument(
        "--json", action="store_true", help="one JSON object per message; the body is in base64, or saved at path"
    )
    getting.set_defaults(run=run_get)
    deleting = actions.add_parser("delete", help="delete messages without fetching them")
    add_account(deleting)
    deleting.add_argument("message_ids", nargs="*", metavar="MESSAGE-ID", help="as listed")
    deleting.add_argument("--all", action="store_true", dest="everything", help="all that waits now")
    deleting.set_defaults(run=run_delete)


async def run_list(options: argparse.Namespace) -> int:
    async with ImClient(make_config(options)) as client:
        try:
            summary = await client.deferred_list()
        except SessionRefusedError as error:
            print(error)
            return FAILED
    print(json.dumps(_summary(summary)) if options.json else _lines(summary))
    return 0


async def run_get(options: argparse.Namespace) -> int:
    if not options.directory.is_dir():
        raise ValueError(f"--directory {options.directory}: no such directory")
    bar = ProgressBar(sys.stderr)
    async with ImClient(make_config(options)) as client:
        try:
            found = await client.deferred_get(
                options.message_ids, escaped=options.escaped, directory=options.directory, progress=bar
            )
        except SessionRefusedError as error:
            print(error)
            return FAILED
        finally:
            bar.end()
    for message in found:
        print(json.dumps(as_values(message)) if options.json else as_line(message))
    return 0


async def run_delete(options: argparse.Namespace) -> int:
    if bool(options.message_ids) == options.everything:
        raise ValueError("name the messages to delete, or give --all")
    failed = False
    async with ImClient(make_config(options)) as client:
        for message_id in options.message_ids or [""]:
            shown = clean(message_id) or "all messages"
            try:
                await client.delete_deferred([message_id] if message_id else (), everything=options.everything)
                print(f"deleted {shown}")
            except XcapError as error:
                print(f"{shown}: {clean(str(error))}")
                failed = True
    return FAILED if failed else 0


def _lines(summary: Summary) -> str:
    counts = [f"{kind}: {count.new} new, {count.old} old" for kind, count in summary.counts]
    lines = [", ".join(counts) or ("messages wait" if summary.waiting else "nothing waits")]
    for one in summary.messages:
        large = (
            f"{one.header('Content-Length')} bytes of {one.header('Content-Type')}" if one.header("Content-Length") else ""
        )
        fields = (one.message_id, one.header("Date"), one.sender, one.header("Subject"), large)
        lines += ["  ".join(clean(value) for value in fields).rstrip()]
    return "\n".join(lines)


def _summary(summary: Summary) -> dict[str, object]:
    return {
        "waiting": summary.waiting,
        "account": clean(summary.account),
        "counts": {kind: {"new": count.new, "old": count.old} for kind, count in summary.counts},
        "messages": [{clean(name): clean(value) for name, value in one.headers} for one in summary.messages],
    }


def as_line(message: DeferredMessage) -> str:
    """One line for a person."""
    when = message.stored.isoformat() if message.stored else "-"
    if message.path is not None:
        return f"{when}  {clean(message.sender)}: {message.size} bytes saved as {clean(str(message.path))}"
    advertisement = first([(message.content_type, message.body)])
    if advertisement is not None:
        return f"{when}  {clean(message.sender)} {as_text(advertisement)}"
    if message.content_type.lower().startswith("text/"):
        return f"{when}  {clean(message.sender)}: {clean(message.text)}"
    return f"{when}  {clean(message.sender)}: <{len(message.body)} bytes of {clean(message.content_type)}>"


def as_values(message: DeferredMessage) -> dict[str, object]:
    """For JSON."""
    return {
        "sender": clean(message.sender),
        "recipient": clean(message.recipient),
        "stored": message.stored.isoformat() if message.stored else None,
        "call_id": clean(message.call_id),
        "message_id": clean(message.message_id),
        "content_type": clean(message.content_type),
        "body": base64.b64encode(message.body).decode("ascii"),
        "path": clean(str(message.path)) if message.path else None,
    }
