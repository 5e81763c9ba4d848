"""The fixture of the scenarios between two home networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.networks.networks import Networks, networks_with


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Networks]:
    """Two home networks, with the module's SETTINGS on both sides if it has any, shared by the tests of a file."""
    settings = getattr(request.module, "SETTINGS", {})
    with networks_with(tmp_path_factory.mktemp("networks"), settings) as running:
        yield running
