"""Service settings with SIPp and digest, as a client without privileges publishes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, free_port, header, messages, status

HERE = Path(__file__).parent
PAGER = HERE.parent / "pager"


def publish(instance: Instance, user: str, barring: bool, *, owner: str = "", expires: int = 600) -> str:
    """One PUBLISH of `user`; the final response."""
    keys = {"barring": "true" if barring else "false", "expires": str(expires)}
    trace = instance.sipp(HERE / "publish.xml", user=user, service=owner or user, keys=keys).wait()
    return messages(trace)[-1]


@pytest.mark.requirement("SET-04", "SET-07", "PAG-06", "COR-03")
def test_a_user_bars_pager_mode_and_lifts_it_again(instance: Instance, new_user: Callable[..., str]) -> None:
    """200 with SIP-ETag and Expires; the next MESSAGE gets 480; after the next PUBLISH one is delivered."""
    sender, recipient, port = new_user(), new_user(), free_port()
    instance.sipp(PAGER / "register.xml", user=recipient, port=port, keys={"expires": "600"}).wait()
    answer = publish(instance, recipient, barring=True)
    assert status(answer) == 200
    assert header(answer, "SIP-ETag")[0] and header(answer, "Expires") == ["600"]
    refused = instance.sipp(PAGER / "send.xml", user=sender, service=recipient).wait()
    assert status(messages(refused)[-1]) == 480
    publish(instance, recipient, barring=False)
    receiving = instance.sipp(PAGER / "receive.xml", port=port)
    sent = instance.sipp(PAGER / "send.xml", user=sender, service=recipient).wait()
    assert status(messages(sent)[-1]) == 200
    receiving.wait()


@pytest.mark.requirement("SET-04")
def test_the_life_of_a_publication(instance: Instance, new_user: Callable[..., str]) -> None:
    """Initial, refresh, modification, removal with fresh entity-tags; 412 for the last one afterwards."""
    user = new_user()
    trace = messages(instance.sipp(HERE / "life.xml", user=user).wait())
    tags = [tag for message in trace if status(message) == 200 for tag in header(message, "SIP-ETag")]
    assert len(tags) == len(set(tags)) == 4
    settings = json.loads(instance.command("settings", "get", user, "--json"))
    assert {one["source"] for one in settings} == {"default"}


@pytest.mark.requirement("SET-03")
def test_nobody_publishes_for_somebody_else(instance: Instance, new_user: Callable[..., str]) -> None:
    """403, and nothing has changed for the other."""
    stranger, owner = new_user(), new_user()
    assert status(publish(instance, stranger, barring=True, owner=owner)) == 403
    assert "SET-03 PUBLISH" in instance.kamailio_log()
    settings = json.loads(instance.command("settings", "get", owner, "--json"))
    assert {one["source"] for one in settings} == {"default"}


@pytest.mark.requirement("SET-04")
def test_too_short_a_time_is_refused(instance: Instance, new_user: Callable[..., str]) -> None:
    """423 with the least that is granted."""
    answer = publish(instance, new_user(), barring=True, expires=5)
    assert status(answer) == 423
    assert header(answer, "Min-Expires") == ["60"]
