"""`send`.

One message in pager mode; prints the final response. Exit status 0 for 2xx, 1 for anything else.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import sys
from pathlib import Path

from ..client import ImClient
from ..exchange import ReceivedResponse
from ..pager import Outgoing, SessionType
from .options import FAILED, add_account, make_config

TEXT_TYPE = "text/plain;charset=UTF-8"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("send", help="send one message")
    add_account(parser)
    parser.add_argument("to", help="SIP URI of a user, a group or a session")
    parser.add_argument("text", nargs="?", help="the message; without it and --file, standard input is sent")
    parser.add_argument("--file", type=Path, help="send the bytes of this file")
    parser.add_argument("--type", help="content type (default: text/plain, or by the name of the file)")
    parser.add_argument("--anonymous", action="store_true", help="hide the identity (Privacy: id)")
    parser.add_argument(
        "--expires", type=int, metavar="SECONDS", help="how long the message is worth reading"
    )
    parser.add_argument(
        "--session",
        choices=[kind.value for kind in SessionType],
        help="the session parameter of the Request-URI",
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="add or replace a header field"
    )
    parser.add_argument("--json", action="store_true", help="print the response as one JSON object")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    message = _message(options)
    async with ImClient(make_config(options)) as client:
        response = await client.send_message(message)
    print(_as_json(response) if options.json else _as_line(response))
    return 0 if response.ok else FAILED


def _message(options: argparse.Namespace) -> Outgoing:
    if options.text is not None and options.file is not None:
        raise ValueError("give the text or --file, not both")
    kind = TEXT_TYPE
    if options.text is not None:
        body = options.text.encode("utf-8", "surrogateescape")
    elif options.file is not None:
        body = options.file.read_bytes()
        kind = mimetypes.guess_type(options.file)[0] or "application/octet-stream"
    else:
        body = sys.stdin.buffer.read()
    return Outgoing(
        to=options.to,
        body=body,
        content_type=options.type or kind,
        session_type=SessionType(options.session) if options.session else None,
        anonymous=options.anonymous,
        expires=options.expires,
        headers=tuple(_header(text) for text in options.header),
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"--header {text!r}: expected 'Name: value'")
    return name.strip(), value.strip()


def _as_line(response: ReceivedResponse) -> str:
    return f"{response.status} {response.reason}{response.warning_text}"


def _as_json(response: ReceivedResponse) -> str:
    return json.dumps(
        {"status": response.status, "reason": response.reason, "warning": response.warning or None}
    )
