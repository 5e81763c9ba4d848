"""Large messages for users who are away are kept by the store as an automaton, and pushed (LRG-04, PFS-16, DEF-04)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from im_client.deferred import decode
from im_client.errors import SessionRefusedError
from im_client.im_invitation import ImInvitation
from im_client.service_settings import ServiceSettings
from tests.scenarios.bed import DOMAIN, Instance, async_until, instance_with
from tests.scenarios.delivery.device import Device
from tests.scenarios.evidence import address

CONTENT = bytes(index % 251 for index in range(300_000))
ONLINE = ServiceSettings(offline_delivery=True)


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """Beside the media, and in their path."""
    settings = {"IM_MEDIA_PATH": request.param, "IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
    with instance_with(tmp_path_factory.mktemp("instance"), settings) as running:
        yield running


def content_files(instance: Instance) -> list[Path]:
    """Files of large messages in the state directory."""
    return sorted((instance.state_dir / "content").glob("*"))


@pytest.mark.requirement("LRG-04", "PFS-16", "DEF-04", "DEF-05")
async def test_kept_and_pushed(instance: Instance, new_user: Callable[..., str]) -> None:
    sender, recipient = new_user(), new_user()
    async with instance.client(sender) as client:
        await client.register()
        sent = await client.send_large(address(recipient), CONTENT, content_type="image/png", success_report=True)
        assert sent.size == len(CONTENT)
        (entry,) = instance.stored(recipient)  # durable when the report came
        assert (entry["size"], entry["content_type"]) == (len(CONTENT), "image/png")
        assert [path.read_bytes() for path in content_files(instance)] == [CONTENT]
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
    (found,) = decode(device.taken[0][0][0], device.bodies[0])
    assert (found.body, found.content_type, found.sender) == (CONTENT, "image/png", address(sender))
    assert found.call_id == entry["call_id"]
    await async_until(lambda: not instance.stored(recipient) and not content_files(instance), "nothing is left")
