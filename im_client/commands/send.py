"""`send`.

One message in pager mode; prints the final response. With `--file` a file, or with `--large` a text of any size,
through an MSRP session with a progress bar. Exit status 0 for what was taken, 1 for anything else.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import sys
import time
from pathlib import Path

from ..client import ImClient
from ..errors import SessionRefusedError
from ..exchange import ReceivedResponse
from ..msrp_peer import MessageFailedError
from ..pager import Outgoing, SessionType
from .options import FAILED, add_account, make_config
from .progress import ProgressBar

TEXT_TYPE = "text/plain;charset=UTF-8"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("send", help="send one message")
    add_account(parser)
    parser.add_argument("to", help="SIP URI of a user, a group or a session")
    parser.add_argument("text", nargs="?", help="the message; without it and --file, standard input is sent")
    parser.add_argument(
        "--file", type=Path, action="append", help="send this file; given more than once, all of them in one session"
    )
    parser.add_argument("--pager", action="store_true", help="send the bytes of --file as one MESSAGE instead")
    parser.add_argument("--large", action="store_true", help="send the text as a large message (in a session)")
    parser.add_argument("--report", action="store_true", help="wait until the recipient reports a file or large message")
    parser.add_argument("--type", help="content type (default: text/plain, or by the name of the file)")
    parser.add_argument("--anonymous", action="store_true", help="hide the identity (Privacy: id)")
    parser.add_argument("--expires", type=int, metavar="SECONDS", help="how long the message is worth reading")
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
    files = options.file or []
    options.file = files[0] if files else None
    if len(files) > 1:
        return await _send_files(options, files)
    if options.large or (options.file is not None and not options.pager):
        return await _send_in_session(options)
    message = _message(options)
    async with ImClient(make_config(options)) as client:
        response = await client.send_message(message)
    print(_as_json(response) if options.json else _as_line(response))
    return 0 if response.ok else FAILED


async def _send_in_session(options: argparse.Namespace) -> int:
    if options.text is not None and options.file is not None:
        raise ValueError("give the text or --file, not both")
    bar = ProgressBar(sys.stderr)
    more = {"progress": bar, "success_report": options.report}
    started = time.monotonic()
    try:
        async with ImClient(make_config(options)) as client:
            if options.file is not None:
                kind = options.type or mimetypes.guess_type(options.file)[0] or "application/octet-stream"
                if options.large:
                    sent = await client.send_large(options.to, options.file, content_type=kind, **more)
                else:
                    sent = await client.send_file(options.to, options.file, content_type=kind, **more)
            else:
                text = sys.stdin.buffer.read() if options.text is None else options.text.encode("utf-8", "surrogateescape")
                sent = await client.send_large(options.to, text, content_type=options.type or TEXT_TYPE, **more)
    except (MessageFailedError, SessionRefusedError) as error:
        bar.end()
        print(json.dumps({"status": error.status, "reason": str(error)}) if options.json else error)
        return FAILED
    bar.end()
    seconds = round(time.monotonic() - started, 2)
    line = f"sent {sent.size} bytes in {seconds:g} s"
    print(json.dumps({"status": 200, "size": sent.size, "seconds": seconds}) if options.json else line)
    return 0


async def _send_files(options: argparse.Namespace, files: list[Path]) -> int:
    if options.text is not None or options.pager or options.large or options.type:
        raise ValueError(
            "several files are sent as files, each with the type of its name: no text, --pager, --large, --type"
        )
    bar = ProgressBar(sys.stderr)
    started = time.monotonic()
    try:
        async with ImClient(make_config(options)) as client:
            done = await client.send_files(options.to, files, progress=bar, success_report=options.report)
    except (MessageFailedError, SessionRefusedError) as error:
        print(json.dumps({"status": error.status, "reason": str(error)}) if options.json else error)
        return FAILED
    finally:
        bar.end()
    seconds = round(time.monotonic() - started, 2)
    refused = [str(path) for path in done.refused]
    if options.json:
        print(json.dumps({"status": 200, "size": done.size, "seconds": seconds, "refused": refused}))
    else:
        print(f"sent {len(done.sent)} files, {done.size} bytes in {seconds:g} s")
        for path in refused:
            print(f"not wanted: {path}")
    return FAILED if refused else 0


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
    return json.dumps({"status": response.status, "reason": response.reason, "warning": response.warning or None})
