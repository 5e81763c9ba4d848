"""`check-config`: every effective value and where it came from."""

from __future__ import annotations

import argparse
import os

from msrp_worker.commands.common import print_json, print_table
from msrp_worker.config import Config, effective


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("check-config", help="show all settings and where each came from")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_check_config)


def _check_config(arguments: argparse.Namespace, config: Config) -> int:
    rows = effective(config)
    if arguments.json:
        print_json([{"setting": name, "value": value, "source": source} for name, value, source in rows])
        return 0
    print_table(("setting", "value", "source"), rows)
    known = {name for name, _, _ in rows} | {"IM_CONFIG"}
    for name in sorted(os.environ):
        if name.startswith("IM_") and name not in known:
            print(f"note: {name} in the environment is not a setting of the worker")
    return 0
