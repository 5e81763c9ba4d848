"""Group advertisements: to the devices that take them, and to no other (6.2.3.8, E.1.9)."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from im_client.advertising import of_message, outgoing
from im_client.config import Contact
from msrp_worker.group_advertisement import AdvertisedGroup, Advertisement
from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, SECONDS, Agent
from tests.scenarios.bed import Instance
from tests.scenarios.evidence import address, assert_refused, kinds
from tests.scenarios.group_messages.messages import FACTORY, NewUser, copies, outcomes, put_group, uri_list, with_list

ALLOWED = """<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="all"><conditions/><actions>
<join-handling xmlns="urn:oma:xml:poc:list-service">true</join-handling>
<allow-anonymity xmlns="urn:oma:xml:poc:list-service">true</allow-anonymity></actions></rule></ruleset>"""
TYPE = "application/vnd.IM.group-advertisement+xml"
TAG = "+g.poc.groupad"
ASKING = f"Accept-Contact: *;{FEATURE_TAG};{TAG};require;explicit"
SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.2"}


def advertisement(group: str, note: str = "Come") -> bytes:
    """A document about a group."""
    return (
        f'<group-advertisement xmlns="urn:oma:params:xml:ns:IM:group-advertisement"><note>{note}</note>'
        f'<group type="dialed-in"><uri>{group}</uri></group></group-advertisement>'
    ).encode()


def advertise(sender: Agent, target: str, *lines: str, body: bytes, asking: str = ASKING) -> str:
    """Send an advertisement; its Call-ID."""
    return sender.begin("MESSAGE", target, asking, f"Content-Type: {TYPE}", *lines, body=body)


def takes(agent: Agent, *tags: str) -> str:
    """Contact of an IM device with further feature tags."""
    return ";".join((f"<{agent.contact}>", FEATURE_TAG, *tags))


@pytest.mark.requirement("ADV-01", "ADV-02")
def test_what_is_refused(instance: Instance, new_user: NewUser) -> None:
    """Anonymous 403, also for a group elsewhere; malformed 400; of somebody who may not send to the group 403."""
    sender, stranger, bob = new_user(), new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob), ALLOWED)
    put_group(instance, closed := address(f"closed-{sender}"), (sender, bob))
    good = advertisement(group)
    with ExitStack() as stack:
        origin, other, agent = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, stranger, bob)]
        agent.register(takes(agent, TAG))
        for target in (group, "sip:teleworkers@elsewhere.example"):
            call_id = advertise(origin, target, "Privacy: id", body=good)
            assert origin.final(call_id).status == 403
            assert_refused(instance, call_id, 403, "ADV-01", "anonymous", target)
        call_id = advertise(origin, group, body=good.replace(b"<uri>", b"<uri/><x>", 1))
        assert origin.final(call_id).status == 400
        (step,) = [step for step in instance.trace(call_id) if step["kind"] == "refused"]
        assert (step["status"], step["requirement"]) == (400, "ADV-02")
        call_id = advertise(other, closed, body=advertisement(closed))
        assert other.final(call_id).status == 403
        # What comes after all of them, and is taken: nothing was on its way.
        assert origin.final(advertise(origin, group, body=good)).status == 202
        assert agent.accept().body == good


@pytest.mark.requirement("ADV-01", "ADV-03", "COR-10")
def test_of_two_devices_the_one_that_takes_it(instance: Instance, new_user: NewUser) -> None:
    """Both get what is said to all; the advertisement reaches the one that registered the tag, and asks for it."""
    sender, bob = new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob))
    body = advertisement(group)
    with ExitStack() as stack:
        origin = stack.enter_context(Agent(instance.sip_port, sender))
        plain, taking = [stack.enter_context(Agent(instance.sip_port, bob)) for _ in range(2)]
        assert plain.register(takes(plain)).status == 200
        assert taking.register(takes(taking, TAG)).status == 200
        # Whether or not the sender names the tag: the document is routed by it.
        for asking in (ASKING, ACCEPT_CONTACT):
            call_id = advertise(origin, group, body=body, asking=asking)
            assert origin.final(call_id).status == 202
            copy = taking.accept()
            assert (copy.value("Content-Type"), copy.body) == (TYPE, body)
            assert copy.values("Accept-Contact") == [f"*;{FEATURE_TAG};{TAG};require;explicit"]
            assert outcomes(instance, call_id, 1) == {address(bob): ("copy-delivered", 200)}
            assert kinds(instance, copy.value("Call-ID"), "delivered") == ["received", "delivered"]
        call_id = origin.begin_message(group, b"Hello all")
        assert origin.final(call_id).status == 202
        first, second = plain.receive("MESSAGE"), taking.receive("MESSAGE")
        assert (first.body, second.body) == (b"Hello all", b"Hello all")  # the first that the plain device gets
        for device, request in ((plain, first), (taking, second)):
            device.reply(request, 200, "OK")
        assert outcomes(instance, call_id, 1) == {address(bob): ("copy-delivered", 200)}
    assert instance.stored(bob) == []


@pytest.mark.requirement("ADV-03", "COR-10", "COR-07", "LRG-08")
def test_devices_of_one_register(instance: Instance, new_user: NewUser) -> None:
    """Contacts with every set of marks in one REGISTER, and the tag changing hands with the next."""
    sender, bob = new_user(), new_user()
    with ExitStack() as stack:
        origin = stack.enter_context(Agent(instance.sip_port, sender))
        devices = [stack.enter_context(Agent(instance.sip_port, bob)) for _ in range(5)]
        large = f"{FEATURE_TAG}.large-message"
        rows = [
            [(TAG,), (), (large,), (large, TAG), None],
            [None, (TAG,), (TAG,), (), (large,)],
            [(), (large, TAG), None, (TAG,), (TAG,)],
        ]
        for row in rows:
            values = [
                f"<{device.contact}>;{TAG}" if tags is None else takes(device, *tags)
                for device, tags in zip(devices, row, strict=True)
            ]
            response = devices[0].register(*values)
            assert response.status == 200
            listed = ", ".join(response.values("Contact"))
            assert all(device.contact in listed for device in devices)
            call_id = advertise(origin, address(bob), body=b"to those that take it")
            taking = [device for device, tags in zip(devices, row, strict=True) if tags is not None and TAG in tags]
            for device in taking:
                device.reply(device.receive("MESSAGE"), 486, "Busy Here")
            assert origin.final(call_id).status == 486
            call_id = origin.begin_message(bob, b"to all")
            capable = [device for device, tags in zip(devices, row, strict=True) if tags is not None]
            for device in capable:
                request = device.receive("MESSAGE")
                assert request.body == b"to all"
                device.reply(request, 486, "Busy Here")
            assert origin.final(call_id).status == 486
        assert all(device.quiet(0.02) for device in devices)
    assert instance.stored(bob) == []


@pytest.mark.requirement("ADV-03", "PAG-08")
def test_nobody_to_take_it(instance: Instance, new_user: NewUser) -> None:
    """Registered with another device alone: 480, nothing kept. Away: kept, as any message."""
    sender, bob, away = new_user(), new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob, away))
    body = advertisement(group)
    with Agent(instance.sip_port, sender) as origin, Agent(instance.sip_port, bob) as plain:
        assert plain.register().status == 200
        call_id = advertise(origin, group, body=body)
        assert origin.final(call_id).status == 202
        assert outcomes(instance, call_id, 2) == {address(bob): ("copy-failed", 480), address(away): ("copy-deferred", 202)}
        call_id = advertise(origin, address(bob), body=body)
        response = origin.final(call_id)
        assert response.status == 480
        assert response.value("Warning") == '399 example.com "No device of the recipient takes group advertisements"'
        assert_refused(instance, call_id, 480, "ADV-03", address(sender), address(bob))
        assert origin.final(advertise(origin, address(away), body=body)).status == 202
        # Ordered behind them: the first thing that the device gets.
        call_id = origin.begin_message(bob, b"after all")
        assert plain.accept().body == b"after all"
        assert origin.final(call_id).status == 200
    assert instance.stored(bob) == []
    kept = instance.stored(away)
    assert [instance.stored_bytes(away, one["message_id"]).endswith(body) for one in kept] == [True, True]


@pytest.mark.requirement("ADV-03", "PAG-08")
def test_the_device_that_takes_it_is_out_of_reach(instance: Instance, new_user: NewUser) -> None:
    """Its own 480 says that it is away for now: kept, and the other device gets nothing."""
    sender, bob = new_user(), new_user()
    with ExitStack() as stack:
        origin = stack.enter_context(Agent(instance.sip_port, sender))
        plain, taking = [stack.enter_context(Agent(instance.sip_port, bob)) for _ in range(2)]
        assert plain.register().status == 200
        assert taking.register(takes(taking, TAG)).status == 200
        call_id = advertise(origin, address(bob), body=b"x")
        taking.reply(taking.receive("MESSAGE"), 480, "Temporarily Unavailable")
        assert origin.final(call_id).status == 202
        assert plain.quiet(0.05)
    assert len(instance.stored(bob)) == 1


@pytest.mark.requirement("ADV-03", "COR-02")
def test_from_another_network(instance: Instance, new_user: NewUser) -> None:
    """What the server of a group elsewhere sends is treated alike, whatever the spelling of what it asks for."""
    bob = new_user()
    asserted = "P-Asserted-Identity: <sip:teleworkers@elsewhere.example>"
    spellings = [
        ASKING,
        f"Accept-Contact: *;{TAG};{FEATURE_TAG};explicit",
        f'a: *;{FEATURE_TAG};require;explicit,*;{TAG.upper()}="TRUE";require',
    ]
    with ExitStack() as stack:
        peer = stack.enter_context(Agent(instance.sip_port, "teleworkers", address="127.0.0.2", host="elsewhere.example"))
        plain, taking = [stack.enter_context(Agent(instance.sip_port, bob)) for _ in range(2)]
        assert plain.register().status == 200
        for asking in spellings:
            lines = (asking, asserted, f"Content-Type: {TYPE}")
            call_id = peer.begin("MESSAGE", address(bob), *lines, body=b"to nobody", challenged=False)
            assert peer.final(call_id).status == 480
            assert taking.register(takes(taking, TAG)).status == 200
            call_id = peer.begin("MESSAGE", address(bob), *lines, body=b"to one", challenged=False)
            assert taking.accept().body == b"to one"
            assert peer.final(call_id).status == 200
            assert taking.register(takes(taking, TAG), expires=0).status == 200
        assert plain.quiet(0.05)
    assert instance.stored(bob) == []


@pytest.mark.requirement("ADV-03", "PAG-11")
def test_to_a_list(instance: Instance, new_user: NewUser) -> None:
    """An advertisement beside a URI-list: each copy is the document alone, for devices that take it."""
    sender, bob, carol = new_user(), new_user(), new_user()
    body = advertisement(address("group"))
    content = with_list(uri_list(address(bob), address(carol)), body, TYPE)
    with ExitStack() as stack:
        origin, *agents = [stack.enter_context(Agent(instance.sip_port, name)) for name in (sender, bob, carol)]
        for agent in agents:
            assert agent.register(takes(agent, TAG)).status == 200
        lines = (ACCEPT_CONTACT, f"Content-Type: {content['content_type']}")
        assert origin.ask("MESSAGE", FACTORY, *lines, body=content["body"]).status == 202
        for copy in copies(agents):
            assert (copy.value("Content-Type"), copy.body) == (TYPE, body)
            assert TAG in copy.value("Accept-Contact")


@pytest.mark.requirement("ADV-03", "ADV-02")
async def test_between_two_clients(instance: Instance, new_user: NewUser) -> None:
    """The reference client on both sides: registered as a device that takes them, it reads what the other has sent."""
    sender, bob = new_user(), new_user()
    group = address(f"group-of-{sender}")
    put_group(instance, group, (sender, bob))
    told = Advertisement((AdvertisedGroup((group,), "Chess club", "dialed-out"),), "Tuesdays")
    contacts = (Contact(group_advertisements=True),)
    async with instance.client(sender) as origin, instance.client(bob, contacts=contacts) as client:
        await client.register()
        assert (await origin.send_message(outgoing(group, told))).status == 202
        message = await client.next_message(SECONDS)
        assert of_message(message) == told
        assert message.sender == address(sender)
        await client.registration.leave_im()
        assert (await origin.send_message(outgoing(address(bob), told))).status == 202
    assert len(instance.stored(bob)) == 1
