"""The command line of the reference client: `python -m im_client COMMAND`; `--help` lists the commands."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from .commands import advertise, chat, conference, deferred, listen, register, send, settings
from .commands.options import FAILED, fail
from .errors import ImClientError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="im_client", description="Reference client of the IM service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (register, send, advertise, listen, chat, conference, deferred, settings):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=options.log.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        status: int = asyncio.run(options.run(options))
    except (ImClientError, ValueError, OSError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
