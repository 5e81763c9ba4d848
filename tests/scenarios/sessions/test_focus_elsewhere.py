"""A conference focus of another network, seen through the B2BUA (6.2.3.4, 6.2.3.5, 6.2.7.1-8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.sessions.foci import CONFERENCE, FOCUS_ADDRESS, INFO, notify, subscribe_outside
from tests.scenarios.sessions.party import Party, described

SETTINGS = {"IM_MEDIA_PATH": "always", "IM_TRUSTED_PEERS": FOCUS_ADDRESS}
NewUser = Callable[..., str]


@pytest.fixture
def client(instance: Instance, new_user: NewUser) -> Iterator[Party]:
    with Party(instance.sip_port, new_user()) as made:
        made.register()
        yield made


@pytest.fixture
def focus(instance: Instance) -> Iterator[Party]:
    with Party(instance.sip_port, "room", address=FOCUS_ADDRESS, host="example.org", contact=";isfocus") as made:
        yield made


def join(client: Party, focus: Party) -> str:
    """The client joins the conference; the URI that it takes for the focus."""
    client.invite(focus.contact, described("client"))
    invite = focus.invited()
    assert invite.uri == focus.contact
    focus.answer(invite, 200, body=described("focus", setup="active"))
    answer = client.established()
    focus.heard("ACK")
    assert answer.value("Contact").endswith(";isfocus")
    assert client.remote_target != focus.contact
    return client.remote_target


def be_invited(client: Party, focus: Party) -> str:
    """The focus invites the client."""
    asserted = f"P-Asserted-Identity: <sip:room@{FOCUS_ADDRESS}>"
    focus.invite(address(client.user), described("focus"), asserted, challenged=False)
    invite = client.invited()
    assert invite.value("Contact").endswith(";isfocus")
    client.answer(invite, 200, body=described("client", setup="active"))
    assert "isfocus" not in focus.established().value("Contact")
    client.heard("ACK")
    return client.remote_target


@pytest.mark.requirement("PFS-02", "PFS-06", "PFS-11", "HDR-03")
@pytest.mark.parametrize("begin", [join, be_invited])
def test_subscribe_out_of_the_dialog(client: Party, focus: Party, begin: Callable[[Party, Party], str]) -> None:
    """To the Contact that the client was given: it reaches the focus as if sent to that one; NOTIFY comes."""
    uri = begin(client, focus)
    asked = subscribe_outside(client, focus, uri)
    assert asked.uri == focus.contact
    assert asked.value("P-Asserted-Identity") == f"<{address(client.user)}>"
    assert asked.values("Record-Route")
    assert notify(focus, asked, client).value("Event") == "conference"


@pytest.mark.requirement("PFS-07", "PFS-11")
@pytest.mark.parametrize("begin", [join, be_invited])
def test_refer_out_of_the_dialog(client: Party, focus: Party, begin: Callable[[Party, Party], str]) -> None:
    uri = begin(client, focus)
    call_id = client.begin("REFER", uri, "Refer-To: <sip:carol@example.com>", ACCEPT_CONTACT, client.contact_line)
    asked = focus.heard("REFER")
    assert (asked.uri, asked.value("Refer-To")) == (focus.contact, "<sip:carol@example.com>")
    focus.answer(asked, 202)
    assert client.final(call_id).status == 202


@pytest.mark.requirement("PFS-06", "PFS-11")
def test_the_contact_leads_back_to_the_focus_after_the_session(client: Party, focus: Party) -> None:
    """Who left may come back by what it knows the conference as."""
    uri = join(client, focus)
    number = client.begin_within("BYE")
    focus.answer(focus.heard("BYE"), 200)
    assert client.outcome_of(number).status == 200
    subscribe_outside(client, focus, uri)
    client.invite(uri, described("client"))
    invite = focus.invited()
    assert invite.uri == focus.contact
    focus.answer(invite, 486)
    assert client.final(client.call_id).status == 486


@pytest.mark.requirement("PFS-06")
@pytest.mark.parametrize(("tagged", "status"), [(True, 404), (False, 404)])
def test_a_contact_that_nobody_gave(instance: Instance, client: Party, *, tagged: bool, status: int) -> None:
    tag = (ACCEPT_CONTACT,) if tagged else ()
    uri = f"sip:im-leg-0123456789abcdef@127.0.0.1:{instance.sip_port}"
    assert client.ask("SUBSCRIBE", uri, "Event: conference", client.contact_line, *tag).status == status


@pytest.mark.requirement("PFS-06")
def test_subscribe_within_the_dialog(client: Party, focus: Party) -> None:
    join(client, focus)
    number = client.begin_within("SUBSCRIBE", "Event: conference", "Expires: 600", CONFERENCE)
    asked = focus.heard("SUBSCRIBE")
    assert (asked.uri, asked.value("Event"), asked.value("Expires")) == (focus.contact, "conference", "600")
    focus.answer(asked, 200, "Expires: 300")
    answer = client.outcome_of(number)
    assert (answer.status, answer.value("Expires")) == (200, "300")
    assert answer.value("Contact").endswith(";isfocus")
    state = ("Event: conference", "Subscription-State: active;expires=300")
    number = focus.begin_within("NOTIFY", *state, "Content-Type: application/conference-info+xml", body=INFO)
    told = client.heard("NOTIFY")
    assert (told.body, told.value("Subscription-State")) == (INFO, "active;expires=300")
    client.answer(told, 200)
    assert focus.outcome_of(number).status == 200


@pytest.mark.requirement("PFS-07")
def test_refer_within_the_dialog(client: Party, focus: Party) -> None:
    """Its NOTIFYs name it by the number that each side knows."""
    join(client, focus)
    number = client.begin_within("REFER", "Refer-To: <sip:carol@example.com>")
    asked = focus.heard("REFER")
    theirs = int(asked.value("CSeq").split()[0])
    assert theirs != number
    focus.answer(asked, 202)
    assert client.outcome_of(number).status == 202
    state = (f"Event: refer;id={theirs}", "Subscription-State: active;expires=60", "Content-Type: message/sipfrag")
    telling = focus.begin_within("NOTIFY", *state, body=b"SIP/2.0 200 OK\r\n")
    told = client.heard("NOTIFY")
    assert (told.value("Event"), told.body) == (f"refer;id={number}", b"SIP/2.0 200 OK\r\n")
    client.answer(told, 200)
    assert focus.outcome_of(telling).status == 200
    refusal = client.begin_within("REFER", "Refer-To: <sip:dave@example.com>")
    focus.answer(focus.heard("REFER"), 403)
    assert client.outcome_of(refusal).status == 403
