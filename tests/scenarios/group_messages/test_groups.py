"""A MESSAGE to a predefined group reaches each member but the sender (8.3.1.1)."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address
from tests.scenarios.group_messages.messages import NewUser, copies, outcomes, put_group, uri_list, with_list


@pytest.mark.requirement("PAG-12", "PAG-15")
def test_each_member_but_the_sender(instance: Instance, new_user: NewUser) -> None:
    sender, bob, carol = new_user(), new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob, carol))
    with ExitStack() as stack:
        origin, *agents = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, bob, carol)]
        for agent in (origin, *agents):
            agent.register()
        call_id = origin.begin_message(group, b"Hello all")
        assert origin.final(call_id).status == 202
        for agent, copy in zip(agents, copies(agents), strict=True):
            assert (copy.body, copy.value("To")) == (b"Hello all", f"<{address(agent.user)}>")
            assert copy.value("P-Asserted-Identity") == f"<{address(sender)}>"
        assert origin.quiet(0.2)
    assert set(outcomes(instance, call_id, 2)) == {address(bob), address(carol)}


@pytest.mark.requirement("PAG-12", "PAG-14", "IDN-06")
def test_who_may_not(instance: Instance, new_user: NewUser) -> None:
    """No such group 404; not a member 403; anonymity where the group has none 403. Nobody gets anything."""
    sender, stranger, bob = new_user(), new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob))
    with ExitStack() as stack:
        origin, other, agent = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, stranger, bob)]
        agent.register()
        assert origin.message(address("no-such-group")).status == 404
        for asking, headers, requirement in ((other, (), "PAG-14"), (origin, ("Privacy: id",), "IDN-06")):
            call_id = asking.begin_message(group, b"Hello", *headers)
            response = asking.final(call_id)
            assert response.status == 403 and response.values("Warning")
            (step,) = [step for step in instance.trace(call_id) if step["kind"] == "refused"]
            assert step["requirement"] == requirement
        assert agent.quiet(0.2)


@pytest.mark.requirement("PAG-12", "PAG-11", "SEC-03")
def test_groups_that_name_each_other(instance: Instance, new_user: NewUser) -> None:
    """Each user once, whatever circles there are; a list may name a group."""
    sender, bob, carol = new_user(), new_user(), new_user()
    one, two = f"one-{sender}", f"two-{sender}"
    put_group(instance, address(one), (sender, bob, two, one))
    put_group(instance, address(two), (sender, carol, bob, one))
    with ExitStack() as stack:
        origin, *agents = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, bob, carol)]
        for agent in agents:
            agent.register()
        content = with_list(uri_list(address(one)))
        for target, body, options in (
            (address(one), b"Hello", {}),
            ("sip:conference-factory@example.com", content["body"], {"content_type": content["content_type"]}),
        ):
            assert origin.message(target, body, **options).status == 202
            copies(agents)
            assert agents[0].quiet(0.2) and agents[1].quiet(0.1)


@pytest.mark.requirement("PAG-21", "PAG-12")
def test_a_member_who_is_away_gets_it_later(instance: Instance, new_user: NewUser) -> None:
    """A message in CPIM that asks for a delivery notification: each copy that is stored asks for it as well."""
    sender, away = new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, away))
    body = (
        f"From: <{address(sender)}>\r\nTo: <{group}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: m1\r\n"
        "DateTime: 2026-11-21T00:00:00Z\r\nimdn.Disposition-Notification: positive-delivery\r\n\r\n"
        "Content-Type: text/plain\r\n\r\nHello"
    ).encode()
    with Agent(instance.sip_port, sender) as origin:
        call_id = origin.begin_message(group, body, content_type="message/cpim")
        assert origin.final(call_id).status == 202
    assert outcomes(instance, call_id, 1) == {address(away): ("copy-deferred", 202)}
    (entry,) = instance.stored(away)
    assert instance.stored_bytes(away, entry["message_id"]).endswith(b"\r\n\r\n" + body)
