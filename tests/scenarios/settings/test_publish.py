"""PUBLISH of service settings on the wire (6.2.5, RFC 3903), in both deployments: what is refused, and what then holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest

from im_client.pager import ACCEPT_CONTACT
from msrp_worker.service_settings import Document, Settings, build_settings
from tests.scenarios.bed import Instance, async_until
from tests.scenarios.traffic import FEATURE_TAG, Peer, Reply, Sip, address, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1", "IM_USER_RATE": "0", "IM_SETTINGS_MIN_EXPIRES": "2"}
ON = build_settings(Document("phone", Settings(pager_barred=True)))
OFF = build_settings(Document("phone", Settings(pager_barred=False)))
EVENT = "Event: poc-settings"
TYPE = "Content-Type: application/poc-settings+xml"
BOMB = (
    b'<!DOCTYPE p [<!ENTITY a "'
    + b"a" * 1000
    + b'"><!ENTITY b "'
    + b"&a;" * 100
    + b'"><!ENTITY c "'
    + b"&b;" * 100
    + b'">]><poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings"><entity id="x">&c;&c;&c;</entity></poc-settings>'
)


def publish(
    user: str, body: bytes = b"", *headers: str, owner: str = "", tag: str = FEATURE_TAG, event: str = EVENT
) -> Sip:
    """A PUBLISH as a trusted peer sends it; lines that are given empty are left out."""
    asserted = f"P-Asserted-Identity: <{address(user)}>"
    lines = (tag, event, asserted, TYPE if body else "", *headers)
    return Sip("PUBLISH", address(owner or user), address(user), tuple(line for line in lines if line), body)


def match(reply: Reply) -> str:
    """SIP-If-Match with the entity-tag of a response."""
    return f"SIP-If-Match: {reply.header('SIP-ETag')}"


@pytest.fixture
async def peer(instance: Instance) -> AsyncIterator[Peer]:
    """Talks to the core with the IM server in it."""
    async with await Peer.open(instance.sip_port) as peer:
        yield peer


async def effective(instance: Instance, user: str) -> dict[str, tuple[bool, str]]:
    """The operator's view: each setting with where it comes from."""
    rows = json.loads(await asyncio.to_thread(instance.command, "settings", "get", user, "--json"))
    return {row["setting"]: (row["value"], row["source"]) for row in rows}


async def to(peer: Peer, sender: str, recipient: str) -> int:
    """Status of a message."""
    return (await peer.ask(im_message(sender, recipient))).status


@pytest.mark.requirement("SET-07", "PAG-06", "SET-04")
async def test_each_change_holds_for_the_very_next_message(
    instance: Instance, new_user: Callable[..., str], peer: Peer
) -> None:
    """On, off, on again, a hundred times: never is a message treated as before."""
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    assert await to(peer, sender, recipient) == 200
    reply = await peer.ask(publish(recipient, OFF))
    for _ in range(100):
        for document, status in ((ON, 480), (OFF, 200)):
            reply = await peer.ask(publish(recipient, document, match(reply)))
            assert reply.status == 200, reply.head
            seen = await asyncio.gather(*(to(peer, sender, recipient) for _ in range(4)))
            assert seen == [status] * 4


@pytest.mark.requirement("SET-07", "PFS-13")
async def test_session_barring_refuses_an_invitation(new_user: Callable[..., str], peer: Peer) -> None:
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    document = build_settings(Document("phone", Settings(session_barred=True)))
    assert (await peer.ask(publish(recipient, document))).status == 200
    asserted = f"P-Asserted-Identity: <{address(sender)}>"
    contact = f"Contact: <sip:{sender}@{peer.host}:{peer.port}>;+g.oma.sip-im"
    invitation = Sip("INVITE", address(recipient), address(sender), (FEATURE_TAG, asserted, contact))
    assert (await peer.ask(invitation)).status == 480
    assert await to(peer, sender, recipient) == 200, "messages are not barred"


@pytest.mark.requirement("SET-04", "SET-06")
async def test_removal_and_expiry_return_to_the_defaults(new_user: Callable[..., str], peer: Peer) -> None:
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    reply = await peer.ask(publish(recipient, ON, "Expires: 600"))
    assert await to(peer, sender, recipient) == 480
    removed = await peer.ask(publish(recipient, b"", match(reply), "Expires: 0"))
    assert (removed.status, removed.header("Expires")) == (200, "0")
    assert await to(peer, sender, recipient) == 200

    reply = await peer.ask(publish(recipient, ON, "Expires: 2"))
    published = time.monotonic()
    assert (reply.status, reply.header("Expires")) == (200, "2")
    assert await to(peer, sender, recipient) == 480
    while await to(peer, sender, recipient) == 480:
        assert time.monotonic() < published + 4, "the settings have expired"
    assert time.monotonic() >= published + 1.9
    late = await peer.ask(publish(recipient, b"", match(reply)))
    assert late.status == 412


@pytest.mark.requirement("SET-04")
async def test_entity_tags(new_user: Callable[..., str], peer: Peer) -> None:
    """A fresh tag with each success; 412 for what is not the last tag of this user; failures change nothing."""
    user, other = new_user(), new_user()
    first = await peer.ask(publish(user, ON))
    assert (first.status, first.header("Expires")) == (200, "3600")
    second = await peer.ask(publish(user, b"", match(first), "Expires: 700"))
    assert (second.status, second.header("Expires")) == (200, "700")
    assert first.header("SIP-ETag") != second.header("SIP-ETag")
    for request in (
        publish(user, b"", match(first)),
        publish(user, ON, match(first)),
        publish(user, b"", match(first), "Expires: 0"),
        publish(user, b"", "SIP-If-Match: nonsense"),
        publish(other, b"", match(second)),
        publish(other, OFF, match(second)),
        publish(other, b"", match(second), "Expires: 0"),
    ):
        assert (await peer.ask(request)).status == 412
    brief = await peer.ask(publish(user, b"", match(second), "Expires: 1"))
    assert (brief.status, brief.header("Min-Expires")) == (423, "2")
    assert await to(peer, other, user) == 480
    assert (await peer.ask(publish(user, b"", match(second), "Expires: 0"))).status == 200
    assert await to(peer, other, user) == 202


@pytest.mark.requirement("SET-04")
async def test_a_repeated_request_is_one_publication(new_user: Callable[..., str], peer: Peer) -> None:
    """A retransmission gets the same answer."""
    request = publish(new_user(), ON)
    replies = [await peer.ask(request) for _ in range(3)]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.header("SIP-ETag") for reply in replies}) == 1


@pytest.mark.requirement("SET-04")
async def test_two_devices(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """The device that published last decides each setting it speaks of; when it leaves, the other's holds."""
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    phone = await peer.ask(
        publish(recipient, build_settings(Document("phone", Settings(pager_barred=True, visible=False))))
    )
    tablet = await peer.ask(publish(recipient, build_settings(Document("tablet", Settings(pager_barred=False)))))
    assert await to(peer, sender, recipient) == 200
    assert (await effective(instance, recipient))["visible"] == (False, "published")
    assert (await peer.ask(publish(recipient, b"", match(phone)))).status == 200
    assert await to(peer, sender, recipient) == 200, "a refresh does not come to the front"
    assert (await peer.ask(publish(recipient, b"", match(tablet), "Expires: 0"))).status == 200
    assert await to(peer, sender, recipient) == 480


@pytest.mark.requirement("SET-05", "SET-06")
async def test_every_setting_is_taken_over(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """A document as clients send it, with settings of other services and of nobody we know."""
    user = new_user()
    assert await effective(instance, user) == {
        "session_barred": (False, "default"),
        "pager_barred": (False, "default"),
        "offline_delivery": (False, "default"),
        "visible": (True, "default"),
        "session_history": (False, "default"),
        "message_history": (False, "default"),
    }
    document = b"""<?xml version="1.0" encoding="UTF-8"?>
<poc-settings xmlns="urn:oma:params:xml:ns:poc:poc-settings" xmlns:ss="urn:oma:xml:im:service-settings" xmlns:x="urn:x">
 <entity id="do39s8zksn2d98x">
  <isb-settings service-id="IM"><incoming-session-barring active="1"/></isb-settings>
  <am-settings><answer-mode>manual</answer-mode></am-settings>
  <ipab-settings service-id="PoC"><incoming-personal-alert-barring active="true"/></ipab-settings>
  <x:future><ipab-settings/></x:future>
  <ss:deferred-settings service-id="IM"><ss:offline-delivery active="true"/><x:more active="?"/></ss:deferred-settings>
  <ss:vis-settings ss:service-id="IM"><ss:visibility-status active="false"/></ss:vis-settings>
  <ss:hist-settings><ss:hist-activation type="session-mode" active="true"/></ss:hist-settings>
 </entity>
</poc-settings>"""
    assert (await peer.ask(publish(user, document))).status == 200
    assert await effective(instance, user) == {
        "session_barred": (True, "published"),
        "pager_barred": (False, "default"),
        "offline_delivery": (True, "published"),
        "visible": (False, "published"),
        "session_history": (True, "published"),
        "message_history": (False, "default"),
    }


@pytest.mark.requirement("SET-05", "SET-04", "SEC-05")
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (ON[:-5], (), 400),
        (b"hello", (), 400),
        (b"\x00\xff\xfe\x00" * 10, (), 400),
        (BOMB, (), 400),
        (b'<!DOCTYPE p SYSTEM "file:///etc/passwd">' + OFF.partition(b"\n")[2], (), 400),
        (b"<a>" * 5000 + b"</a>" * 5000, (), 400),
        (OFF.replace(b'"false"', b'"perhaps\'"'), (), 400),
        (OFF.replace(b'"false"', b'"&quot;\\"'), (), 400),
        (OFF.replace(b"poc-settings", b"presence"), (), 400),
        (b"", (), 400),
        (OFF, ("SIP-If-Match: a, b",), 400),
        (OFF, ("SIP-If-Match: a", "SIP-If-Match: b"), 400),
        (OFF, ('SIP-If-Match: "a"',), 400),
        (OFF, ("X-Long: " + "x" * 20000,), 513),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, bytes) else "",
)
async def test_bad_publications_change_nothing(
    new_user: Callable[..., str], peer: Peer, body: bytes, headers: tuple[str, ...], status: int
) -> None:
    sender, recipient = new_user(), new_user()
    kept = await peer.ask(publish(recipient, ON))
    reply = await peer.ask(publish(recipient, body, *headers))
    assert reply.status == status
    warning = reply.header("Warning")
    assert warning.startswith('399 example.com "') and warning.endswith('"')
    assert await to(peer, sender, recipient) == 480
    assert (await peer.ask(publish(recipient, b"", match(kept)))).status == 200


@pytest.mark.requirement("SET-04")
@pytest.mark.parametrize("expires", ["soon", "-1", "1.5"])
async def test_a_time_that_is_none(new_user: Callable[..., str], peer: Peer, expires: str) -> None:
    assert (await peer.ask(publish(new_user(), ON, f"Expires: {expires}"))).status == 400


@pytest.mark.requirement("SET-05", "SEC-05")
async def test_another_content_type_and_a_huge_document(
    instance: Instance, new_user: Callable[..., str], peer: Peer
) -> None:
    user = new_user()
    reply = await peer.ask(
        Sip("PUBLISH", address(user), address(user), (*publish(user).headers, "Content-Type: text/xml"), ON)
    )
    assert (reply.status, reply.header("Accept")) == (415, "application/poc-settings+xml")
    fields = (
        ("Accept-Contact", ACCEPT_CONTACT),
        ("Event", "poc-settings"),
        ("Content-Type", "application/poc-settings+xml"),
    )
    async with instance.client(user, transport="tcp") as client:
        asserted = ("P-Asserted-Identity", f"<{address(user)}>")
        huge = ON.replace(b"</entity>", b"<!--" + b"x" * 100_000 + b"--></entity>")
        assert (await client.request("PUBLISH", address(user), headers=(*fields, asserted), body=huge)).status == 413
        large = ON.replace(b"</entity>", b"<!--" + b"x" * 60_000 + b"--></entity>")
        assert (await client.request("PUBLISH", address(user), headers=(*fields, asserted), body=large)).status == 200
    assert (await effective(instance, user))["pager_barred"] == (True, "published")


# ---- Who may publish, and what is ours (6.2.5 steps 1 to 3) -----------------------------------------------------------


@pytest.mark.requirement("SET-01", "SET-02", "SET-03")
@pytest.mark.parametrize("port", ["sip_port", "originating_port", "terminating_port"])
async def test_refusals_in_the_order_of_the_specification(
    instance: Instance, new_user: Callable[..., str], port: str
) -> None:
    """Feature tag 403, event 489, owner 403, in the core's own pass and on the ports for a separate core."""
    user, other = new_user(), new_user()
    async with await Peer.open(getattr(instance.deployment.config, port)) as peer:
        assert (await peer.ask(publish(user, ON, tag=""))).status == 403
        assert (await peer.ask(publish(user, ON, tag="Accept-Contact: *;+g.poc.talkburst"))).status == 403
        for event in ("", "Event: presence", "Event: poc-settings-2", "Event: presence;a=poc-settings"):
            reply = await peer.ask(publish(user, ON, event=event))
            assert (reply.status, reply.header("Allow-Events")) == (489, "poc-settings"), event
        assert (await peer.ask(publish(user, ON, owner=other))).status == 403
        unknown = Sip("PUBLISH", address(user), address(user), (FEATURE_TAG, EVENT, TYPE), ON)
        if port != "sip_port":
            assert (await peer.ask(unknown)).status == 403, "nobody is asserted"
        for spelled in (
            publish(user, OFF, tag="Accept-Contact: *;require;explicit;+g.oma.sip-im"),
            publish(user, OFF, tag="a: *;+g.oma.sip-im", event="o: POC-Settings ;x=1"),
        ):
            assert (await peer.ask(spelled)).status == 200
    assert (await effective(instance, other))["pager_barred"] == (False, "default")


@pytest.mark.requirement("SET-07", "COR-05", "COR-06")
async def test_settings_behind_a_separate_core(instance: Instance, new_user: Callable[..., str]) -> None:
    """Published on the originating port, barred on the terminating one."""
    sender, recipient = new_user(), new_user()
    config = instance.deployment.config
    async with await Peer.open(config.originating_port) as out, await Peer.open(config.terminating_port) as back:
        assert await to(back, sender, recipient) == 202
        reply = await out.ask(publish(recipient, ON))
        assert reply.status == 200
        assert await to(back, sender, recipient) == 480
        assert (await out.ask(publish(recipient, b"", match(reply), "Expires: 0"))).status == 200
        assert await to(back, sender, recipient) == 202
        stranger = Sip("PUBLISH", address("nobody"), address("nobody"), publish("nobody", ON).headers, ON)
        assert (await out.ask(stranger)).status == 404


@pytest.mark.requirement("COR-03", "SET-01", "SET-02")
async def test_what_is_the_cores_is_left_to_it(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """Without the tag or of another event no IM procedure sees it: the core answers, the worker hears nothing."""
    user = new_user()
    requests = [publish(user, ON, tag=""), publish(user, ON, event="Event: presence"), publish(user, ON, event="")]
    replies = [await peer.ask(request) for request in requests]
    assert [reply.status for reply in replies] == [403, 489, 489]
    for request in requests:
        assert f"Call-ID={request.call_id}" not in instance.kamailio_log()


# ---- The worker goes away -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("SEC-06", "SET-04", "SET-07")
async def test_settings_survive_the_worker(instance: Instance, new_user: Callable[..., str], peer: Peer) -> None:
    """Killed right after the 200: PUBLISH gets 503 meanwhile; afterwards the settings hold and the entity-tag is good."""
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    reply = await peer.ask(publish(recipient, ON))
    instance.deployment.worker.kill()
    assert reply.status == 200
    refused = await peer.ask(publish(recipient, OFF, match(reply)))
    assert (refused.status, refused.header("Retry-After")) == (503, "5")
    await asyncio.to_thread(instance.deployment.start_worker)
    await asyncio.to_thread(instance.deployment.wait_ready)
    assert await to(peer, sender, recipient) == 480
    again = await peer.ask(publish(recipient, OFF, match(reply)))
    assert again.status == 200
    assert await to(peer, sender, recipient) == 200


@pytest.mark.requirement("SET-04", "SEC-06")
async def test_settings_that_expire_without_the_worker_hold_for_no_message(
    instance: Instance, new_user: Callable[..., str], peer: Peer
) -> None:
    sender, recipient = new_user(), new_user()
    await peer.register(recipient)
    assert (await peer.ask(publish(recipient, ON, "Expires: 2"))).status == 200
    expired = time.monotonic() + 2
    assert await to(peer, sender, recipient) == 480
    instance.deployment.worker.kill()
    await async_until(lambda: time.monotonic() > expired, "the settings expire")
    await asyncio.to_thread(instance.deployment.start_worker)
    await asyncio.to_thread(instance.deployment.wait_ready)

    async def status() -> int:
        return await to(peer, sender, recipient)

    seen = [await status()]
    while seen[-1] == 503:
        seen.append(await status())
    assert seen[-1] == 200
