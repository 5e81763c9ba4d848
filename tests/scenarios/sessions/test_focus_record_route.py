"""A conference focus of another network with the participating function as a record-routing proxy (6.2.3.4, 6.2.3.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.sessions.foci import FOCUS_ADDRESS, INFO, notify, subscribe_outside
from tests.scenarios.sessions.party import Party, described

SETTINGS = {"IM_TRUSTED_PEERS": FOCUS_ADDRESS}
NewUser = Callable[..., str]


@pytest.fixture
def joined(instance: Instance, new_user: NewUser) -> Iterator[tuple[Party, Party]]:
    """A client in a conference of the focus."""
    with (
        Party(instance.sip_port, new_user()) as client,
        Party(instance.sip_port, "room", address=FOCUS_ADDRESS, host="example.org", contact=";isfocus") as focus,
    ):
        client.register()
        client.invite(focus.contact, described("client"))
        invite = focus.invited()
        assert invite.value("Contact") == client.contact_line.partition(": ")[2]
        focus.answer(invite, 200, body=described("focus", setup="active"))
        client.established()
        focus.heard("ACK")
        yield client, focus


@pytest.mark.requirement("PFS-03", "PFS-06")
def test_subscribe(joined: tuple[Party, Party]) -> None:
    """To the Contact of the focus, out of the dialog and in it; NOTIFY along the recorded route."""
    client, focus = joined
    asked = subscribe_outside(client, focus, client.remote_target)
    assert asked.uri == focus.contact
    assert asked.values("Record-Route")
    assert asked.value("P-Asserted-Identity") == f"<{address(client.user)}>"
    assert notify(focus, asked, client).values("Via")
    number = client.begin_within("SUBSCRIBE", "Event: conference", "Expires: 600")
    focus.answer(focus.heard("SUBSCRIBE"), 200, "Expires: 300")
    assert client.outcome_of(number).status == 200
    lines = ("Event: conference", "Subscription-State: active", "Content-Type: application/conference-info+xml")
    number = focus.begin_within("NOTIFY", *lines, body=INFO)
    told = client.heard("NOTIFY")
    assert told.body == INFO
    client.answer(told, 200)
    assert focus.outcome_of(number).status == 200


@pytest.mark.requirement("PFS-03", "PFS-07")
def test_refer(joined: tuple[Party, Party]) -> None:
    client, focus = joined
    refer_to = "Refer-To: <sip:carol@example.com>"
    call_id = client.begin("REFER", client.remote_target, refer_to, ACCEPT_CONTACT, client.contact_line)
    focus.answer(focus.heard("REFER"), 202)
    assert client.final(call_id).status == 202
    number = client.begin_within("REFER", refer_to)
    asked = focus.heard("REFER")
    assert asked.value("Refer-To") == "<sip:carol@example.com>"
    focus.answer(asked, 403)
    assert client.outcome_of(number).status == 403


@pytest.mark.requirement("PFS-03", "PFS-05")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_new_offers_pass_as_they_are(joined: tuple[Party, Party], method: str) -> None:
    client, focus = joined
    offer = described("client", "inactive", version=2)
    number = client.begin_within(method, body=offer)
    request = focus.heard(method)
    assert request.body == offer
    focus.answer(request, 488)
    assert client.outcome_of(number).status == 488
