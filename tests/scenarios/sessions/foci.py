"""A conference focus of another network, played by a party; shared by the scenarios with and without the media path."""

from __future__ import annotations

from tests.scenarios.agent import ACCEPT_CONTACT, Message
from tests.scenarios.sessions.party import Party

FOCUS_ADDRESS = "127.0.0.3"
"""A trusted peer of the instance: the network that the focus is in."""
CONFERENCE = "Accept: application/conference-info+xml"
INFO = b'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:room@example.org" version="1"/>'


def subscribe_outside(client: Party, focus: Party, uri: str) -> Message:
    """SUBSCRIBE to `uri` out of any dialog, taken and told by the focus; the request as the focus got it."""
    lines = ("Event: conference", "Expires: 600", CONFERENCE, ACCEPT_CONTACT, client.contact_line)
    call_id = client.begin("SUBSCRIBE", uri, *lines)
    asked = focus.heard("SUBSCRIBE")
    focus.answer(asked, 200, "Expires: 300")
    answer = client.final(call_id)
    assert (answer.status, answer.value("Expires")) == (200, "300"), answer.head
    return asked


def notify(focus: Party, asked: Message, client: Party) -> Message:
    """NOTIFY within the subscription that `asked` made; as the client got it."""
    told = focus.within_subscription(asked, "NOTIFY", "Event: conference", "Subscription-State: active;expires=300")
    focus.send(told)
    received = client.heard("NOTIFY")
    client.answer(received, 200)
    return received
