"""A Kamailio that is an MSRP relay and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

CONFIG = Path(__file__).with_name("kamailio_relay.cfg")
SECONDS = 10.0
"""Longest wait for the other process."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[int]:
    """A Kamailio that is an MSRP relay; its port."""
    port = free_port()
    program = shutil.which("kamailio") or "/usr/sbin/kamailio"
    arguments = [
        "-DD",
        "-f",
        str(CONFIG),
        "-A",
        f"RELAY_PORT={port}",
        "-m",
        "16",
        "-M",
        "4",
        "-Y",
        str(tmp_path),
    ]
    with (tmp_path / "kamailio.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, (tmp_path / "kamailio.log").read_text()
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
