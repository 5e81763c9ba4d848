"""Where the operator switched anonymity off, nobody writes to lists or groups without a name (6.2.4.1-2, 8.3.1.1-5)."""

from __future__ import annotations

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused
from tests.scenarios.group_messages.messages import FACTORY, NewUser, put_group, uri_list, with_list

SETTINGS = {"IM_ANONYMITY": "refuse"}


@pytest.mark.requirement("IDN-05", "PAG-11", "PAG-12")
def test_no_anonymous_messages_to_many(instance: Instance, new_user: NewUser) -> None:
    """403 for a list and for a group, and nobody gets anything; under one's own name both go."""
    sender, bob = new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob))
    content = with_list(uri_list(address(bob)))
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as agent:
        agent.register()
        for target, options in ((FACTORY, content), (group, {"body": b"Hello", "content_type": "text/plain"})):
            fields = (ACCEPT_CONTACT, f"Content-Type: {options['content_type']}")
            call_id = origin.begin("MESSAGE", target, *fields, "Privacy: id", body=options["body"])
            assert origin.final(call_id).status == 403
            assert_refused(instance, call_id, 403, "IDN-05", "anonymous", target, traced=False)
            assert agent.quiet(0.2)
            assert origin.ask("MESSAGE", target, *fields, body=options["body"]).status == 202
            assert agent.accept().body == b"Hello"


@pytest.mark.requirement("IDN-05", "CNF-01")
def test_no_anonymous_conferences(instance: Instance, new_user: NewUser) -> None:
    sender = new_user()
    with Agent(instance.sip_port, sender) as origin:
        call_id = origin.begin("INVITE", FACTORY, ACCEPT_CONTACT, f"Contact: <{origin.contact}>", "Privacy: id")
        assert origin.final(call_id).status == 403
    assert_refused(instance, call_id, 403, "IDN-05", "anonymous", FACTORY, traced=False)
