"""Messages that are good for a time only."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.evidence import address, assert_refused, steps
from tests.scenarios.pager.conftest import Sent

Send = Callable[..., Sent]
NewUser = Callable[..., str]


@pytest.mark.requirement("PAG-04", "DEF-10")
def test_expired_on_arrival(instance: Instance, new_user: NewUser, send: Send) -> None:
    """Expires counted from a Date in the past, and Expires 0: refused, whether the recipient is there or not."""
    sender, recipient = new_user(), new_user()
    old = email.utils.formatdate(time.time() - 3600, usegmt=True)
    calls = []
    with Agent(instance.sip_port, recipient) as agent:
        for present in (False, True):
            if present:
                agent.register()
            for lines in (f"Expires: 60\r\nDate: {old}", "Expires: 0"):
                sent = send(sender, recipient, header_line=lines)
                assert (sent.status, sent.warning) == (403, "Message expired"), lines
                calls.append(sent.call_id)
        assert agent.quiet(0.2)
    for call_id in calls:
        assert_refused(instance, call_id, 403, "PAG-04", address(sender), address(recipient))
    assert instance.stored(recipient) == []


@pytest.mark.requirement("PAG-04")
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("Expires: 60", id="no Date: counted from reception"),
        pytest.param("Expires: 60\r\nDate: the day before yesterday", id="unreadable Date: as if absent"),
        pytest.param("Date: Tue, 01 Feb 2000 00:00:00 GMT", id="Date alone says nothing"),
    ],
)
def test_not_expired(instance: Instance, new_user: NewUser, send: Send, lines: str) -> None:
    """A client's way with clocks does not lose a message: kept, until the time that can be read."""
    sender, recipient = new_user(), new_user()
    before = int(time.time())
    assert send(sender, recipient, header_line=lines).status == 202
    (entry,) = instance.stored(recipient)
    if "60" in lines:
        assert before + 60 <= entry["expires"] <= time.time() + 60
    else:
        assert entry["expires"] is None
    message = instance.stored_bytes(recipient, entry["message_id"])
    assert lines.encode() in message


@pytest.mark.requirement("PAG-04", "SEC-05")
def test_unreadable_expires(instance: Instance, new_user: NewUser) -> None:
    """An Expires that is no number does not get past the proxy's own sanity checks: 400 that names it, nothing stored."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin:
        response = origin.message(recipient, b"Hello", "Expires: soon")
    assert (response.status, response.reason) == (400, "Expires value is illegal")
    assert instance.stored(recipient) == []


@pytest.mark.requirement("DEF-10")
def test_expired_in_the_store(instance: Instance, new_user: NewUser, send: Send) -> None:
    """A stored message is gone from the list when its time is over, is purged, and the trace says why."""
    sender, recipient = new_user(), new_user()
    short = send(sender, recipient, header_line="Expires: 2")
    long = send(sender, recipient, header_line="Expires: 3600")
    assert [step["kind"] for step in steps(instance, short.call_id, "deferred")][:2] == ["received", "deferred"]

    def listed() -> list[str]:
        return [entry["call_id"] for entry in instance.stored(recipient)]

    wait_until(lambda: listed() == [long.call_id], "the expired message is no longer listed")
    found = steps(instance, short.call_id, "expired")
    assert [(step["kind"], step["requirement"]) for step in found] == [
        ("received", ""),
        ("deferred", "DEF-01"),
        ("expired", "DEF-10"),
    ]
