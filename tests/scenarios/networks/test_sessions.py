"""Sessions and files between two home networks whose participating functions stay out of the media path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.networks.networks import GATEWAYS, Networks
from tests.scenarios.networks.sessions import converse, keep, not_kept_here, transfer


@pytest.mark.requirement("PFS-03", "PFS-09", "PFS-11")
async def test_conversation(networks: Networks) -> None:
    """The clients talk to each other."""
    assert await converse(networks) == (GATEWAYS[1], GATEWAYS[0])


@pytest.mark.requirement("LRG-01", "LRG-05")
async def test_file(networks: Networks, tmp_path: Path) -> None:
    """With its name, and every byte of it."""
    await transfer(networks, tmp_path)


@pytest.mark.requirement("LRG-04", "PFS-16")
async def test_a_large_message_for_somebody_away(networks: Networks) -> None:
    """The recipient's home network keeps it."""
    await keep(networks)
    await not_kept_here(networks)
