"""REFERs byte by byte for the scenarios, and sessions of agents to send them to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, Agent, Message
from tests.scenarios.conference.conference import address
from tests.scenarios.conference.signalling import answer, begin_session, resource_list

LIST = ("Refer-To: <cid:people@example.com>", "Require: multiple-refer")
LIST_BODY = (
    "Content-Type: application/resource-lists+xml",
    "Content-Disposition: recipient-list",
    "Content-ID: <people@example.com>",
)


@dataclass
class Standing:
    """A session that stands: its identity, and the 200 of who set it up."""

    uri: str
    ok: Message


def contact_uri(message: Message) -> str:
    """The URI of Contact."""
    found = re.search(r"<([^>]*)>", message.value("Contact"))
    assert found is not None
    return found[1]


def stand(initiator: Agent, others: Sequence[Agent], *headers: str) -> Standing:
    """Set up an ad-hoc session in which all of these take part."""
    call_id = begin_session(initiator, [address(one.user) for one in others], *headers)
    for one in others:
        answer(one, one.receive("INVITE"))
    ok = initiator.final(call_id)
    assert ok.status == 200, ok.head
    initiator.send(initiator.within(ok, "ACK"))
    for one in others:
        one.receive("ACK")
    return Standing(contact_uri(ok), ok)


def refer(agent: Agent, uri: str, *headers: str, to: str = "", users: Sequence[str] = ()) -> str:
    """Send a REFER in a dialog of its own; its Call-ID. `to`: the URI in Refer-To; `users`: those in a list."""
    fields = [ACCEPT_CONTACT, f"Contact: <{agent.contact}>;{FEATURE_TAG}", *headers]
    fields += [f"Refer-To: <{to}>"] if to else []
    fields += [*LIST, *LIST_BODY] if users else []
    return agent.begin("REFER", uri, *fields, body=resource_list(users) if users else b"")


def refer_within(agent: Agent, ok: Message, *headers: str, body: bytes = b"") -> Message:
    """Send a REFER in the dialog that `ok` has made; its final response."""
    data = agent.within(ok, "REFER")
    fields = [f"Contact: <{agent.contact}>", *headers, f"Content-Length: {len(body)}"]
    agent.send(data.replace(b"Content-Length: 0", "\r\n".join(fields).encode()) + body)
    return next(one for one in iter(lambda: agent.final(ok.value("Call-ID")), None) if one.method == "REFER")


def told(agent: Agent, status: int = 200, *headers: str) -> Message:
    """The next NOTIFY, answered with `status`."""
    notify = agent.receive("NOTIFY")
    agent.reply(notify, status, "Whatever", *headers)
    return notify


def status_line(notify: Message) -> str:
    """The first line of the fragment."""
    return notify.body.decode().partition("\r\n")[0]


def progress(agent: Agent) -> list[str]:
    """The status lines of all NOTIFYs until the one that ends the subscription."""
    found = []
    while True:
        notify = told(agent)
        found.append(status_line(notify))
        if notify.value("Subscription-State").startswith("terminated"):
            return found
