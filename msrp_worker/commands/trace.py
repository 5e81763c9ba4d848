"""`trace`: what happened to a message."""

from __future__ import annotations

import argparse

from msrp_worker.commands.common import CommandError, print_json, print_table, run_with_store, settle, shown_time
from msrp_worker.config import Config


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("trace", help="show what happened to the message with a Call-ID")
    parser.add_argument("call_id", metavar="CALL-ID")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_trace)


def _trace(arguments: argparse.Namespace, config: Config) -> int:
    settle(config)
    events = run_with_store(config, lambda store: store.trace.read(arguments.call_id))
    if not events:
        raise CommandError(
            f"nothing is known about Call-ID {arguments.call_id}; events are kept for "
            f"{config.trace_days} days (IM_TRACE_DAYS)"
        )
    if arguments.json:
        print_json(events)
        return 0
    print_table(
        ("time", "event", "status", "requirement", "originator", "recipient", "detail"),
        (
            (
                shown_time(event.time),
                event.kind,
                event.status or "-",
                event.requirement,
                event.originator,
                event.recipient,
                event.detail,
            )
            for event in events
        ),
    )
    return 0
