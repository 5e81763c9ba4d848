"""Appendix D.1 of the specification, step by step: a user of one home network subscribes to the participants of a group
session in another one, and another participant joins.

Home network A is `home1.example`, home network X, which hosts the group, `home2.example`; core and IM server of each are
one Kamailio, so that the steps between these two are one pass through it, told by the Via it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from im_client.conference_info import Conference, update
from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, Agent, Message
from tests.scenarios.conference.conference import address
from tests.scenarios.conference.groups import document
from tests.scenarios.conference.referring import contact_uri
from tests.scenarios.conference.signalling import begin
from tests.scenarios.networks.networks import GATEWAYS, Home, Networks, networks_with

CORE_A, CORE_X = "10.92.1.1", "10.92.2.1"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    with networks_with(tmp_path_factory.mktemp("appendix_d")) as running:
        yield running


def agent_of(stack: ExitStack, home: Home, gateway: str) -> Agent:
    """The client of a new user of a home network, registered."""
    name = home.new_user()
    agent = stack.enter_context(Agent(5060, name, address=gateway, host=home.domain))
    agent.target = (home.address, 5060)
    contact = f"Contact: <{agent.contact}>;{FEATURE_TAG}"
    registered = agent.ask("REGISTER", f"sip:{home.domain}", contact, "Expires: 600", to=f"<{agent.identity}>")
    assert registered.status == 200
    return agent


def group_of(home: Home, members: list[Agent]) -> str:
    """A group of these users, hosted by a home network, that calls nobody."""
    uri = f"sip:appendix-d@{home.domain}"
    made = document(uri, [one.user for one in members], invite=False).decode()
    for one in members:
        made = made.replace(address(one.user), one.identity)
    home.instance.in_store(lambda store: store.groups.put(uri, made.encode()))
    return uri


def join(agent: Agent, uri: str) -> Message:
    """Come into a session: the 200, acknowledged."""
    accepted = agent.final(begin(agent, uri))
    assert accepted.status == 200, accepted.head
    agent.send(agent.within(accepted, "ACK"))
    return accepted


def hops(message: Message) -> str:
    """The addresses in Via, where it has been last first."""
    return " ".join(message.values("Via"))


@pytest.mark.requirement("CES-01", "CES-02", "CES-03", "CES-04", "CES-05", "COR-05")
def test_subscribe_the_conference_state(networks: Networks) -> None:
    """Steps 1 to 34 of the figure."""
    with ExitStack() as stack:
        client_a = agent_of(stack, networks.one, GATEWAYS[0])
        client_b = agent_of(stack, networks.two, GATEWAYS[1])
        client_c = agent_of(stack, networks.two, GATEWAYS[1])
        group = group_of(networks.two, [client_a, client_b, client_c])
        for participant in (client_a, client_b):
            in_session = join(participant, group)
            assert "isfocus" in in_session.value("Contact")
        # 1: client A to core A; 2 to 5: IM server A (originating), core A, core X, IM server X (controlling)
        call_id = client_a.begin(
            "SUBSCRIBE",
            group,
            ACCEPT_CONTACT,
            "Event: conference",
            "Accept: application/conference-info+xml",
            f"Contact: <{client_a.contact}>;{FEATURE_TAG}",
            "Expires: 3600",
        )
        # 6: authorised as a member; 7 to 11: 200 back the same way
        ok = client_a.final(call_id)
        assert ok.status == 200
        assert hops(ok).count("SIP/2.0") == 1, "each hop has taken its own Via"
        assert ok.value("P-Asserted-Identity") == f"<{group}>"
        assert "norefersub" in ok.value("Supported")
        assert ok.value("Expires") == "3600"
        focus = contact_uri(ok)
        assert CORE_X in focus, "the Contact of IM server X"
        assert CORE_A in " ".join(ok.values("Record-Route")), "home network A stays on the way; X is its end"
        # 12 to 16: NOTIFY with everybody, through core X, core A and IM server A, to client A
        notify = client_a.receive("NOTIFY")
        assert CORE_A in hops(notify) and CORE_X in hops(notify)
        assert notify.value("Call-ID") == call_id
        assert notify.value("From").endswith(ok.value("To").partition(";")[2])
        assert notify.value("To").endswith(ok.value("From").partition(";")[2])
        assert notify.value("Event") == "conference"
        assert notify.value("Subscription-State").startswith("active;expires=")
        assert notify.value("Content-Type") == "application/conference-info+xml"
        assert contact_uri(notify).startswith(focus)
        full = update(Conference(), notify.body)
        assert full is not None and full.entity == group
        assert b'state="full"' in notify.body
        # 17: what client A shows is its own affair
        assert {user.entity for user in full.present} == {client_a.identity, client_b.identity}
        # 18 to 22: 200 of client A, back to IM server X
        client_a.reply(notify, 200, "OK", f"Contact: <{client_a.contact}>")
        # 23: client C joins
        join(client_c, group)
        # 24 to 28: NOTIFY about C alone
        notify = client_a.receive("NOTIFY")
        assert int(notify.value("CSeq").split()[0]) == 2
        assert b'state="partial"' in notify.body
        assert client_b.identity.encode() not in notify.body, "only who has joined"
        # 29: shown
        partial = update(full, notify.body)
        assert partial is not None and partial.version == full.version + 1
        assert {user.entity for user in partial.present} == {one.identity for one in (client_a, client_b, client_c)}
        # 30 to 34: 200 of client A
        client_a.reply(notify, 200, "OK", f"Contact: <{client_a.contact}>")
        assert client_a.quiet(), "both NOTIFYs are answered, none is repeated"


@pytest.mark.requirement("CES-01", "CES-02")
def test_step_6_fails(networks: Networks) -> None:
    """The authorisation: nobody but members, and no group of another name."""
    with ExitStack() as stack:
        stranger = agent_of(stack, networks.one, GATEWAYS[0])
        member = agent_of(stack, networks.two, GATEWAYS[1])
        group = group_of(networks.two, [member])
        for uri, status in ((group, 403), (group.replace("appendix-d", "im-session-nothing"), 404)):
            fields = (ACCEPT_CONTACT, "Event: conference", f"Contact: <{stranger.contact}>", "Expires: 600")
            assert stranger.ask("SUBSCRIBE", uri, *fields).status == status
