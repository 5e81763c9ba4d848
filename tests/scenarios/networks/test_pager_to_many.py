"""Pager messages to a list, a group and without a name, from one home network to the other: what each device gets, byte
by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from tests.scenarios.agent import Agent, Message
from tests.scenarios.bed import wait_until
from tests.scenarios.group_messages.messages import GROUP_SPACE, copies, outcomes, uri_list, with_list
from tests.scenarios.networks.networks import Home, Networks

SETTINGS = {"IM_SETTINGS_OFFLINE_DELIVERY": "yes"}
PRIVACY = "Privacy: id"
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'
CPIM = "message/cpim"
TO = 'cp:copyControl="to"'


@pytest.fixture(params=["from the first", "from the second"])
def ends(request: pytest.FixtureRequest, networks: Networks) -> tuple[Home, Home]:
    """The home of the sender, the list and the group, and the other one."""
    return (networks.one, networks.two) if "first" in request.param else (networks.two, networks.one)


@contextmanager
def agents(*homes: Home) -> Iterator[list[Agent]]:
    """A registered agent of a new user of each home."""
    with ExitStack() as stack:
        made = [stack.enter_context(home.agent(home.new_user())) for home in homes]
        for agent in made:
            assert agent.register().status == 200
        yield made


def new_group(home: Home, name: str, members: Sequence[str], actions: str = "") -> str:
    """A group of a home that its members may write to, and do `actions` besides; its address."""
    uri = home.uri(f"group-{name}")
    entries = "".join(f'<entry uri="{member}"/>' for member in members)
    rules = (
        f'<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="all"><conditions/>'
        f'<actions xmlns:g="{GROUP_SPACE}"><g:join-handling>true</g:join-handling>{actions}</actions></rule></ruleset>'
    )
    document = (
        f'<group xmlns="{GROUP_SPACE}"><list-service uri="{uri}"><list>{entries}</list>{rules}</list-service></group>'
    )
    home.instance.in_store(lambda store: store.groups.put(uri, document.encode()))
    return uri


def hidden(copy: Message, user: str) -> None:
    """Nothing in a copy tells of a user."""
    assert user.encode() not in copy.raw
    assert copy.values("P-Asserted-Identity") == []
    assert "anonymous.invalid" in copy.value("From")


@pytest.mark.requirement("IDN-02", "IDN-04", "PAG-05", "HDR-07")
async def test_an_anonymous_message(ends: tuple[Home, Home]) -> None:
    """The recipient's home is told who it is and believes it, its device is not; neither when it was away meanwhile."""
    here, there = ends
    with agents(here, there) as (alice, bob):
        call_id = alice.begin_message(bob.identity, b"guess who", PRIVACY, sender=ANONYMOUS)
        copy = bob.accept()
        hidden(copy, alice.user)
        assert (copy.body, copy.value("Privacy")) == (b"guess who", "id")
        assert alice.final(call_id).status == 200
        for home in ends:
            assert {event["originator"] for event in home.instance.trace(call_id)} == {"anonymous"}
            assert alice.user not in home.instance.kamailio_log()
        away = there.new_user()
        stored = alice.message(there.uri(away), b"for later", PRIVACY, sender=ANONYMOUS)
        assert stored.status == 202
        (entry,) = there.instance.stored(away)
        assert entry["originator"] == "anonymous"
        (kept,) = there.instance.in_store(lambda store: store.deferred.list(there.uri(away), None, 10))
        assert kept.originator == alice.identity  # its home is in the trust domain of the sender's
    async with there.client(away) as late:
        await late.register()
        async with asyncio.timeout(10):
            pushed = await late.messaging.pushed.get()
    assert pushed.text == "for later"
    assert alice.user not in str((pushed.sender, pushed.headers))


@pytest.mark.requirement("PAG-11", "PAG-15", "HDR-07")
def test_a_list_of_users_of_both(ends: tuple[Home, Home]) -> None:
    """Each gets a copy with the sender's identity and the list of all; one who is away gets it from his own home."""
    here, there = ends
    with agents(here, here, there) as (alice, bob, carol):
        away = there.uri(there.new_user())
        everybody = [bob.identity, carol.identity, away]
        content = with_list(uri_list(*((uri, TO) for uri in everybody)))
        kind = {"content_type": content["content_type"]}
        call_id = alice.begin_message(f"sip:conference-factory@{here.domain}", content["body"], **kind)
        for copy in copies((bob, carol)):
            assert copy.value("P-Asserted-Identity") == f"<{alice.identity}>"
            assert b"Hello" in copy.body
            assert all(uri.encode() in copy.body for uri in everybody)
        assert alice.final(call_id).status == 202
        assert outcomes(here.instance, call_id, 3) == {
            bob.identity: ("copy-delivered", 200),
            carol.identity: ("copy-delivered", 200),
            away: ("copy-deferred", 202),
        }
        assert len(there.instance.stored(away)) == 1


@pytest.mark.requirement("PAG-11", "IDN-04", "IDN-08")
def test_an_anonymous_list(ends: tuple[Home, Home]) -> None:
    """The copies tell nothing of who sent them, in either network, in headers, list or trace; who was anonymised in the
    list is not named to the others."""
    here, there = ends
    with agents(here, here, there, there) as (alice, bob, carol, dave):
        entries = (
            (bob.identity, TO),
            (carol.identity, TO),
            (dave.identity, f'{TO} cp:anonymize="true"'),
        )
        content = with_list(uri_list(*entries))
        kind = {"content_type": content["content_type"], "sender": ANONYMOUS}
        call_id = alice.begin_message(f"sip:conference-factory@{here.domain}", content["body"], PRIVACY, **kind)
        found = copies((bob, carol, dave))
        assert alice.final(call_id).status == 202
        for copy in found:
            hidden(copy, alice.user)
            assert b"Hello" in copy.body
        for copy in found[:2]:
            assert dave.user.encode() not in copy.body
        assert {event["originator"] for event in here.instance.trace(call_id)} == {"anonymous"}


@pytest.mark.requirement("PAG-12", "PAG-14", "PAG-21", "HDR-07")
def test_a_group_with_members_of_both(ends: tuple[Home, Home]) -> None:
    """A member of the other network writes to the group: its message comes back into his own network for the others there.
    A stranger of it is refused."""
    here, there = ends
    with agents(there, there, here, there) as (alice, bob, carol, stranger):
        away = there.uri(there.new_user())
        group = new_group(here, alice.user, [alice.identity, bob.identity, carol.identity, away])
        call_id = alice.begin_message(group, b"Hello all")
        for agent, copy in zip((bob, carol), copies((bob, carol)), strict=True):
            assert (copy.body, copy.value("To")) == (b"Hello all", f"<{agent.identity}>")
            assert copy.value("P-Asserted-Identity") == f"<{alice.identity}>"
        assert alice.final(call_id).status == 202
        wait_until(lambda: there.instance.stored(away), "the one who is away has it in his own home")
        new_group(here, stranger.user, [bob.identity])
        members_only = here.uri(f"closed-{stranger.user}")
        document = (
            f'<group xmlns="{GROUP_SPACE}"><list-service uri="{members_only}"><list><entry uri="{bob.identity}"/></list>'
        )
        closed = f"{document}</list-service></group>".encode()
        here.instance.in_store(lambda store: store.groups.put(members_only, closed))
        assert stranger.message(members_only, b"let me in").status == 403
        assert alice.quiet(0.2) and bob.quiet(0.1)


@pytest.mark.requirement("PAG-12", "IDN-04", "IDN-06", "IDN-08")
def test_an_anonymous_message_to_a_group(ends: tuple[Home, Home]) -> None:
    """Where the group allows it no member learns the sender, who is in CPIM under no name either; elsewhere 403."""
    here, there = ends
    with agents(there, there, here) as (alice, bob, carol):
        allowed = "<g:allow-anonymity>true</g:allow-anonymity>"
        members = [alice.identity, bob.identity, carol.identity]
        group = new_group(here, f"hidden-{alice.user}", members, allowed)
        body = (
            f"From: <sip:anonymous@anonymous.invalid>\r\nTo: <{group}>\r\nDateTime: 2026-11-21T00:00:00Z\r\n\r\n"
            "Content-Type: text/plain\r\n\r\nHello"
        ).encode()
        call_id = alice.begin_message(group, body, PRIVACY, content_type=CPIM, sender=ANONYMOUS)
        for copy in copies((bob, carol)):
            hidden(copy, f"<{alice.identity}>")
            assert copy.body == body
        assert alice.final(call_id).status == 202
        named = new_group(here, f"named-{alice.user}", members)
        assert alice.message(named, b"Hello", PRIVACY, sender=ANONYMOUS).status == 403
        assert bob.quiet(0.2)
