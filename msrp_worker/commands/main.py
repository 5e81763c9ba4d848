"""The command line as a whole."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from msrp_worker.commands import (
    check_config,
    contact_lists,
    deferred,
    doctor,
    group,
    init,
    rules,
    serve,
    session,
    settings,
    trace,
    user,
)
from msrp_worker.commands.common import FAILURE, USAGE_ERROR, CommandError, NotDone, print_error
from msrp_worker.config import Config, ConfigError
from msrp_worker.store import SchemaError, StoreError, UnknownUser


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, called with the arguments and the configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m msrp_worker", description="The worker of the IM server, and its operator's commands."
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file, instead of the one in IM_CONFIG")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        serve,
        init,
        user,
        group,
        contact_lists,
        rules,
        settings,
        deferred,
        session,
        trace,
        check_config,
        doctor,
    ):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 could not be done, 2 asked for something that cannot be."""
    arguments = build_parser().parse_args(argv)
    try:
        config = Config.load(os.environ, arguments.config)
        return int(arguments.run(arguments, config))
    except (CommandError, ConfigError, UnknownUser) as error:
        print_error(str(error))
        return USAGE_ERROR
    except (NotDone, SchemaError) as error:
        print_error(str(error))
        return FAILURE
    except StoreError as error:
        print_error(f"the store: {error}; `doctor` looks for the reason")
        return FAILURE
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
