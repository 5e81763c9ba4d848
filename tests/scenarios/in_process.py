"""Operators' commands run in this process: a scenario asks often, and to start a Python takes longer than all else."""

from __future__ import annotations

import contextlib
import io
import threading

from msrp_worker.commands.common import CommandError
from msrp_worker.commands.main import build_parser
from msrp_worker.config import Config
from msrp_worker.store import StoreError, UnknownUser

_one_at_a_time = threading.Lock()
"""Standard output is that of the process."""


def output_of(config: Config, *arguments: str) -> bytes:
    """What a command prints; AssertionError when it does not succeed. Not for a thread that runs an event loop."""
    parsed = build_parser().parse_args(arguments)
    written = io.BytesIO()
    text = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with _one_at_a_time, contextlib.redirect_stdout(text):
        try:
            status = parsed.run(parsed, config)
        except (CommandError, StoreError, UnknownUser) as error:
            raise AssertionError(f"{arguments}: {error}") from error
    assert status == 0, arguments
    return written.getvalue()
