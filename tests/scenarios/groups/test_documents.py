"""Group documents in a running server: the command, the worker and Kamailio agree on what is a group."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.bed import DOMAIN, Instance

NO_SUCH_USER = 404


def document(name: str, *members: str) -> bytes:
    entries = "".join(f'<entry uri="sip:{member}@{DOMAIN}"/>' for member in members)
    return (
        '<group xmlns="urn:oma:xml:poc:list-service">'
        f'<list-service uri="sip:{name}@{DOMAIN}"><list>{entries}</list></list-service></group>'
    ).encode()


def put(instance: Instance, content: bytes) -> str:
    path = instance.directory / "group.xml"
    path.write_bytes(content)
    return instance.command("group", "put", str(path))


def is_group(instance: Instance, agent: Agent, name: str) -> bool:
    """Whether a request to the address is taken for one to a group: an address that is nobody's gets 404."""
    return agent.message(name).status != NO_SUCH_USER


def test_the_demo_group_is_there(instance: Instance) -> None:
    groups = json.loads(instance.command("group", "list", "--json"))
    assert [(one["uri"], one["members"]) for one in groups] == [(f"sip:friends@{DOMAIN}", 4)]


@pytest.mark.requirement("XDM-02")
def test_a_change_by_command_holds_for_the_next_request(instance: Instance, new_user: Callable[..., str]) -> None:
    """Each change is told to Kamailio before the command returns, whatever its processes had in memory."""
    with Agent(instance.sip_port, new_user()) as agent:
        assert not is_group(instance, agent, "chess")
        for _ in range(3):
            assert put(instance, document("chess", agent.user)).startswith(
                f"Created the predefined group sip:chess@{DOMAIN}"
            )
            assert is_group(instance, agent, "chess")
            assert is_group(instance, agent, "chess"), "from what Kamailio remembers"
            assert '"group":true' in json.dumps(instance.deployment.rpc("htable.dump", "im_facts")).replace("\\", "")
            instance.command("group", "delete", "chess")
            assert not is_group(instance, agent, "chess")


@pytest.mark.requirement("XDM-02")
def test_a_group_and_a_user_do_not_share_an_address(instance: Instance, new_user: Callable[..., str]) -> None:
    user = new_user()
    path = instance.directory / "taken.xml"
    path.write_bytes(document(user))
    refused = instance.deployment.command("group", "put", str(path))
    assert (refused.returncode, f"sip:{user}@{DOMAIN} is the address of a user" in refused.stderr.decode()) == (2, True)
    put(instance, document("chess"))
    refused = instance.deployment.command("user", "add", "chess")
    assert (refused.returncode, f"sip:chess@{DOMAIN} is the address of a group" in refused.stderr.decode()) == (2, True)
    instance.command("group", "delete", "chess")


@pytest.mark.requirement("XDM-02")
def test_a_group_outlives_the_worker(instance: Instance, new_user: Callable[..., str]) -> None:
    content = document("chess", "alice")
    put(instance, content)
    instance.deployment.worker.kill()
    assert instance.command("group", "get", "chess").encode() == content, "the command needs no worker"
    instance.deployment.start_worker()
    instance.deployment.wait_ready()
    with Agent(instance.sip_port, new_user()) as agent:
        assert is_group(instance, agent, "chess")
    instance.command("group", "delete", "chess")
