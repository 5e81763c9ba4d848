"""Behind a real core, with the server in the media path and beside it: what users do works alike (COR-05, PFS-02, PFS-03).

Most are the scenarios of the deployment in the core itself, which run here again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from im_client.deferred import decode
from tests.scenarios.bed import async_until
from tests.scenarios.conference.test_ad_hoc import test_three_talk_and_leave as test_conference
from tests.scenarios.delivery.device import Device
from tests.scenarios.evidence import address
from tests.scenarios.group_messages.test_lists import test_each_on_the_list_gets_a_copy as test_message_to_a_list
from tests.scenarios.large.test_kept import test_a_device_that_does_not_take_it as test_large_message_nobody_takes
from tests.scenarios.separate_core.behind import Behind, behind_with
from tests.scenarios.sessions.sessions import session_of
from tests.scenarios.sessions.test_focus_here import test_an_invited_user_meets_the_focus_itself as test_own_focus
from tests.scenarios.sessions.test_media_path import test_a_file_through_the_server as test_file
from tests.scenarios.sessions.test_media_path import test_cancel_reaches_the_callee as test_cancel
from tests.scenarios.sessions.test_media_path import test_hold_and_resume_with_media as test_hold_and_resume
from tests.scenarios.sessions.test_media_path import test_refreshes_pass_nothing_on as test_refreshes
from tests.scenarios.sessions.test_media_path import test_refusals_come_back as test_refusals
from tests.scenarios.sessions.test_media_path import test_the_callee_leaves as test_callee_leaves

__all__ = [
    "test_callee_leaves",
    "test_cancel",
    "test_conference",
    "test_file",
    "test_hold_and_resume",
    "test_large_message_nobody_takes",
    "test_message_to_a_list",
    "test_own_focus",
    "test_refreshes",
    "test_refusals",
]

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes", "IM_DELIVERY_TIMEOUT": "1000"}
NewUser = Callable[..., str]


@pytest.fixture(scope="module", params=["auto", "always"])
def instance(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Behind]:
    settings = {**SETTINGS, "IM_MEDIA_PATH": request.param}
    with behind_with(tmp_path_factory.mktemp("instance"), settings) as running:
        yield running


@pytest.mark.requirement("PFS-03", "PFS-02", "COR-05", "COR-01", "COR-02")
async def test_each_criterion_once(instance: Behind, new_user: NewUser) -> None:
    """The core sends the INVITE to the originating side and what comes back to the terminating one, and no more than that:
    it knows the new INVITE of the B2BUA by the Route that it gave. One hop, not one for each side."""
    caller, callee = new_user(), new_user()
    always = instance.deployment.config.media_path == "always"
    async with session_of(instance, caller, callee) as (outgoing, incoming, _, _):
        await outgoing.send("hello", success_report=True)
        assert (await incoming.receive()).text == "hello"
        port = f":{instance.deployment.config.msrp_port}/"
        assert [port in str(end.line.peer.session.remote[0]) for end in (outgoing, incoming)] == [always, always]
        legs = instance.in_store(lambda store: store.database.read("SELECT call_id FROM leg"))
        assert len(legs) == (2 if always else 0)
    invites = [mark.partition("-")[0] for mark in instance.criteria() if f"INVITE {address(callee)}" in mark]
    assert Counter(invites) == {"orig": 1, "term": 1}


@pytest.mark.requirement("LRG-04", "PFS-16", "DEF-04", "COR-05", "COR-09")
async def test_large_message_kept_and_pushed(instance: Behind, new_user: NewUser) -> None:
    """For somebody away: durable when the report comes, pushed through the core when it tells of the registration."""
    sender, recipient = new_user(), new_user()
    content = bytes(index % 251 for index in range(20_000))
    async with instance.client(sender) as client:
        await client.send_large(address(recipient), content, content_type="image/png", success_report=True)
        (entry,) = instance.stored(recipient)
        assert (entry["size"], entry["content_type"]) == (len(content), "image/png")
    async with Device(instance, recipient) as device:
        await device.register()
        await device.until(lambda: device.ended)
    (found,) = decode(device.taken[0][0][0], device.bodies[0])
    assert (found.body, found.content_type, found.sender) == (content, "image/png", address(sender))
    await async_until(lambda: not instance.stored(recipient), "nothing is left")


@pytest.mark.requirement("LRG-01", "COR-05")
async def test_large_message_to_a_device(instance: Behind, new_user: NewUser) -> None:
    """From device to device, nothing kept."""
    sender, recipient = new_user(), new_user()
    content = bytes(index % 251 for index in range(20_000))
    async with instance.client(sender) as client, Device(instance, recipient) as device:
        await client.register()
        await device.register()
        await client.send_large(address(recipient), content, content_type="image/png", success_report=True)
        await device.until(lambda: device.ended)
        assert device.bodies[0] == content
    assert instance.stored(recipient) == []
