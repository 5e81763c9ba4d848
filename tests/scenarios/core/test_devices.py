"""Which devices of a user get what: bindings with and without the feature tag."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, SECONDS, Agent
from tests.scenarios.bed import Instance, free_port
from tests.scenarios.evidence import address

HERE = Path(__file__).parent
MOST_DEVICES = 12
"""registrar's max_contacts in kamailio.cfg."""
PAGER = HERE.parent / "pager"

NewUser = Callable[..., str]


def reached(origin: Agent, recipient: str, devices: list[Agent], method: str = "MESSAGE", tag: bool = True) -> list[bool]:
    """Which of the devices get a request; those that do answer 486, so that it is tried everywhere and ends."""
    lines = (ACCEPT_CONTACT,) if tag else ()
    own = ("Contact: <sip:a@127.0.0.1>",) if method == "INVITE" else ("Content-Type: text/plain",)
    call_id = origin.begin(method, address(recipient), *lines, *own, body=b"Hello")
    found: set[Agent] = set()
    while True:
        ready, _, _ = select.select([origin, *devices], [], [], SECONDS)
        assert ready, "no answer"
        for device in devices:
            if device in ready and (request := device.poll()) is not None:
                device.reply(request, 486, "Busy Here")
                assert request.uri.startswith(device.contact)
                found.add(device)
        if origin in ready and (response := origin.poll_final(call_id)) is not None:
            break
    assert response.status in ((486,) if found else (202, 404, 480))
    assert all(device.quiet(0.05) for device in devices)
    return [device in found for device in devices]


@pytest.mark.requirement("COR-10", "COR-07", "PAG-09", "COR-03")
def test_three_devices(instance: Instance, new_user: NewUser) -> None:
    """Two with the tag and one without: an IM request reaches exactly the two, whatever its method; any other all three."""
    sender, recipient = new_user(), new_user()
    port = instance.sip_port
    with (
        Agent(port, sender) as origin,
        Agent(port, recipient) as first,
        Agent(port, recipient) as plain,
        Agent(port, recipient) as second,
    ):
        assert first.register().status == 200
        assert plain.register(f"<{plain.contact}>;q=1.0").status == 200
        tags = f'audio;+sip.instance="<urn:uuid:1>";{FEATURE_TAG}.large-message;+G.OMA.SIP-IM'
        assert second.register(f"<{second.contact}>;{tags}").status == 200
        devices = [first, plain, second]
        assert reached(origin, recipient, devices) == [True, False, True]
        assert reached(origin, recipient, devices, "INVITE") == [True, False, True]
        assert reached(origin, recipient, devices, tag=False) == [True, True, True]
        assert reached(origin, recipient, devices, "INVITE", tag=False) == [True, True, True]


@pytest.mark.requirement("COR-10", "PAG-05")
def test_one_of_two_devices_takes_the_message(instance: Instance, new_user: NewUser) -> None:
    """A refusal of one device and the 200 of another: the sender is told 200, and nothing is kept."""
    sender, recipient = new_user(), new_user()
    port = instance.sip_port
    with Agent(port, sender) as origin, Agent(port, recipient) as busy, Agent(port, recipient) as free:
        assert busy.register().status == 200
        assert free.register().status == 200
        call_id = origin.begin_message(recipient)
        busy.reply(busy.receive("MESSAGE"), 486, "Busy Here")
        free.accept()
        assert origin.final(call_id).status == 200
    assert instance.stored(recipient) == []


@pytest.mark.requirement("COR-10")
def test_as_many_devices_as_there_may_be(instance: Instance, new_user: NewUser) -> None:
    """Twelve, the most that may be registered: each gets the message."""
    sender, recipient = new_user(), new_user()
    with ExitStack() as stack:
        origin = stack.enter_context(Agent(instance.sip_port, sender))
        devices = [stack.enter_context(Agent(instance.sip_port, recipient)) for _ in range(MOST_DEVICES)]
        assert all(device.register().status == 200 for device in devices)
        assert reached(origin, recipient, devices) == [True] * MOST_DEVICES


@pytest.mark.requirement("COR-10", "PAG-08", "DEF-01")
def test_a_message_for_as_many_dead_devices_as_there_may_be_is_stored(instance: Instance, new_user: NewUser) -> None:
    """Twelve that have crashed, and nobody listens at their addresses: the sender is told 202."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        for _ in range(MOST_DEVICES):
            contact = f"<sip:{recipient}@127.0.0.1:{free_port()};transport=tcp>;{FEATURE_TAG}"
            assert agent.register(contact).status == 200
        assert origin.message(recipient).status == 202
    assert len(instance.stored(recipient)) == 1


@pytest.mark.requirement("CLI-05", "PAG-08", "COR-08")
async def test_an_address_that_another_user_has_now(instance: Instance, new_user: NewUser) -> None:
    """A device has gone without a word, and another user's has its address: that one takes nothing, and nothing is lost."""
    sender, gone, newcomer = new_user(), new_user(), new_user()
    async with instance.client(newcomer) as client, instance.client(sender) as origin:
        await client.register()
        host, port = client.endpoint.local
        with Agent(instance.sip_port, gone) as agent:
            assert agent.register(f"<sip:{gone}@{host}:{port}>;{FEATURE_TAG}").status == 200
        assert (await origin.send(address(gone), "for your eyes only")).status == 202
        with pytest.raises(TimeoutError):
            await client.next_message(0.2)
    assert len(instance.stored(gone)) == 1


@pytest.mark.requirement("COR-10", "COR-07", "COR-08")
def test_two_contacts_in_one_register(instance: Instance, new_user: NewUser) -> None:
    """One REGISTER with a plain and an IM-capable contact, in either order, and with the tag changing hands."""
    sender, recipient = new_user(), new_user()
    port = instance.sip_port
    with (
        Agent(port, sender) as origin,
        Agent(port, recipient) as first,
        Agent(port, recipient) as second,
        Agent(port, recipient) as third,
    ):
        devices = [first, second, third]
        one, two, three = (f"<{device.contact}>" for device in devices)
        large = f"{FEATURE_TAG}.large-message"
        rows = [
            ([f"{one};{FEATURE_TAG}", two], [True, False, False]),
            ([one, f"{two};{FEATURE_TAG};q=0.3"], [False, True, False]),
            ([f"{one};{large}", two, f"{three};{FEATURE_TAG}"], [True, False, True]),
            ([one, two, three], [False, False, False]),
            ([f"{one};{FEATURE_TAG}", f"{two};{FEATURE_TAG}", f"{three};{large}"], [True, True, True]),
        ]
        for contacts, expected in rows:
            response = first.register(*contacts)
            assert response.status == 200
            listed = ", ".join(response.values("Contact"))
            assert all(contact.partition(">")[0] in listed for contact in contacts), listed
            assert reached(origin, recipient, devices) == expected, contacts
        assert first.register(one, f"{two};{FEATURE_TAG}", expires=0).status == 200
        assert reached(origin, recipient, devices) == [False, False, True]
    assert len(instance.stored(recipient)) == 1


@pytest.mark.requirement("COR-10", "COR-07", "ADV-03")
def test_marks_beside_those_of_the_proxy(instance: Instance, new_user: NewUser) -> None:
    """Contacts of one REGISTER from behind a NAT: each binding has the marks of its contact, all that of the NAT."""
    recipient = new_user()
    behind_nat, capable, large, advertisement = 1 << 6, 1 << 20, 1 << 21, 1 << 22
    expected = {
        "10.0.0.1": behind_nat | capable,
        "10.0.0.2": behind_nat,
        "10.0.0.3": behind_nat | capable | advertisement,
        "10.0.0.4": behind_nat | capable | large,
    }
    tags = (f";{FEATURE_TAG}", ";+g.poc.groupad", f";{FEATURE_TAG};+g.poc.groupad", f";{FEATURE_TAG}.large-message")
    with Agent(instance.sip_port, recipient) as agent:
        contacts = [f"<sip:{recipient}@{host}>{tag}" for host, tag in zip(expected, tags, strict=True)]
        assert agent.register(*contacts).status == 200
    listed = [entry["Contact"] for entry in instance.deployment.rpc("ul.lookup", "location", recipient)["Contacts"]]
    assert {one["Address"].partition("@")[2]: one["CFlags"] for one in listed} == expected


@pytest.mark.requirement("COR-10", "COR-07")
def test_two_contacts_with_sipp(instance: Instance, new_user: NewUser) -> None:
    """The file an operator runs by hand: the plain one of the two is not started, and nobody misses it."""
    sender, recipient, port = new_user(), new_user(), free_port()
    keys = {"plain": str(free_port())}
    instance.sipp(HERE / "register_two.xml", user=recipient, port=port, keys=keys).wait()
    device = instance.sipp(PAGER / "receive.xml", port=port)
    instance.sipp(PAGER / "send.xml", user=sender, service=recipient).wait()
    device.wait()


@pytest.mark.requirement("COR-08", "COR-07")
def test_availability_ends(instance: Instance, new_user: NewUser) -> None:
    """Registered again without the tag, and Expires 0: stored from then on; with the tag again: delivered."""
    sender, recipient = new_user(), new_user()
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, recipient) as agent:
        plain, capable = f"<{agent.contact}>", f"<{agent.contact}>;{FEATURE_TAG}"
        for contact, expires, expected in (
            (capable, 600, True),
            (plain, 600, False),
            (capable, 600, True),
            (capable, 0, False),
            (capable, 600, True),
        ):
            assert agent.register(contact, expires=expires).status == 200
            assert reached(origin, recipient, [agent]) == [expected]
        assert agent.ask("REGISTER", "sip:example.com", "Contact: *", "Expires: 0", to=f"<{agent.identity}>").status == 200
        assert reached(origin, recipient, [agent]) == [False]
    assert len(instance.stored(recipient)) == 3


@pytest.mark.requirement("COR-07")
def test_register_for_somebody_else(instance: Instance, new_user: NewUser) -> None:
    """The right password for another user: 403, and that user is no more available than before."""
    thief, recipient, sender = new_user(), new_user(), new_user()
    with Agent(instance.sip_port, thief) as agent, Agent(instance.sip_port, sender) as origin:
        agent.identity = address(recipient)
        assert agent.register().status == 403
        assert reached(origin, recipient, [agent]) == [False]
