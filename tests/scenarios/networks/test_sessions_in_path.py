"""Sessions and files between two home networks with the media through the servers (`IM_MEDIA_PATH=always`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.networks.networks import SERVERS, Networks
from tests.scenarios.networks.sessions import converse, keep, not_kept_here, transfer

SETTINGS = {"IM_MEDIA_PATH": "always"}


@pytest.mark.requirement("PFS-02", "PFS-09", "PFS-11", "MED-02")
async def test_conversation(networks: Networks) -> None:
    """Each client has its MSRP connection with a server."""
    assert set(await converse(networks)) <= set(SERVERS)


@pytest.mark.requirement("LRG-01", "LRG-05", "PFS-02")
async def test_file(networks: Networks, tmp_path: Path) -> None:
    """With its name, and every byte of it."""
    await transfer(networks, tmp_path)


@pytest.mark.requirement("LRG-04", "PFS-16")
async def test_a_large_message_for_somebody_away(networks: Networks) -> None:
    """The recipient's home network keeps it."""
    await keep(networks)
    await not_kept_here(networks)
