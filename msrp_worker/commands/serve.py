"""`serve`: the worker itself."""

from __future__ import annotations

import argparse
import importlib

from msrp_worker.config import Config


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    commands.add_parser("serve", help="run the worker until it is told to stop").set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace, config: Config) -> int:
    # Imported here, so that a command does not load the whole worker.
    return importlib.import_module("msrp_worker.serve").main(config) or 0
