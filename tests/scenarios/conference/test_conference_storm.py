"""A session that hundreds watch: everybody is told once, in order, and messages go on meanwhile (CES-04, CES-06)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from tests.scenarios.bed import Instance, async_until
from tests.scenarios.conference.conference import new_users
from tests.scenarios.conference.groups import INITIATE, JOIN, new_group, rules
from tests.scenarios.conference.signalling import sdp
from tests.scenarios.conference.watching import Watch
from tests.scenarios.traffic import FEATURE_TAG, Peer, Sip, ask_all, im_message, median_seconds

TRUSTED = "127.0.0.2"
SETTINGS = {"IM_TRUSTED_PEERS": TRUSTED, "IM_USER_RATE": "0"}
WATCHERS = 400
BY_USER = 10
"""Subscriptions of each user, as of its devices."""
PARTICIPANTS = 250
"""More than one document holds, fewer than two do."""
EVERYBODY = rules(("", JOIN + INITIATE + "<allow-conference-state>true</allow-conference-state>"))


def subscribe(peer: Peer, group: str, number: int) -> Sip:
    """A SUBSCRIBE of one device, by way of its home network."""
    who = f"sip:watcher{number // BY_USER}@other.example"
    contact = f"Contact: <sip:device{number}@{peer.host}:{peer.port}>"
    return Sip(
        "SUBSCRIBE",
        group,
        who,
        (FEATURE_TAG, f"P-Asserted-Identity: <{who}>", "Event: conference", contact, "Expires: 600"),
    )


def told(peer: Peer, part: bytes) -> Counter[str]:
    """How often each dialog was told a document that has these bytes."""
    found = (one for one in peer.received if one.startswith(b"NOTIFY") and part in one)
    return Counter(re.findall(rb"^Call-ID: (.*)\r$", one, re.MULTILINE)[0].decode() for one in found)


def come(group: str, number: int) -> Sip:
    """An INVITE of one participant, who says nothing more: no ACK, no MSRP."""
    who = f"sip:participant{number:04}@other.example"
    contact = f"Contact: <sip:device{number:04}@{TRUSTED}:9;transport=udp>;+g.oma.sip-im"
    fields = (FEATURE_TAG, f"P-Asserted-Identity: <{who}>", contact, "Content-Type: application/sdp")
    return Sip("INVITE", group, who, fields, sdp())


@pytest.mark.requirement("CES-04")
async def test_hundreds_take_part(instance: Instance, new_user: Callable[..., str]) -> None:
    """A roster larger than a datagram: the first document has what it can hold, the next ones the others."""
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    async with (
        new_users(instance, new_user, 1) as (alice,),
        await Peer.open(instance.sip_port, TRUSTED) as others,
    ):
        await alice.join(group)
        replies = await ask_all(others, [come(group, number) for number in range(PARTICIPANTS)], in_flight=20)
        assert {reply.status for reply in replies.values()} == {200}
        async with Watch(alice, group) as watch:
            assert 20_000 < len(watch.told[0].body.data) < 50_000
            assert f"<user-count>{PARTICIPANTS + 1}</user-count>".encode() in watch.told[0].body.data
            while len(watch.conference.present) <= PARTICIPANTS:
                await watch.next()
            assert len(watch.told) == 2
            assert all(b"connected" in one.body.data for one in watch.told)


@pytest.mark.requirement("CES-04", "CES-06")
async def test_hundreds_watch(instance: Instance, new_user: Callable[..., str]) -> None:
    group = new_group(instance, invite=False, ruleset=EVERYBODY)
    async with (
        new_users(instance, new_user, 2) as (alice, bob),
        await Peer.open(instance.sip_port, TRUSTED) as watchers,
        await Peer.open(instance.sip_port, TRUSTED) as writer,
    ):
        await alice.join(group)
        requests = [subscribe(watchers, group, number) for number in range(WATCHERS)]
        replies = await ask_all(watchers, requests, in_flight=50)
        assert {reply.status for reply in replies.values()} == {200}
        dialogs = dict.fromkeys(replies, 1)
        await async_until(lambda: told(watchers, b'version="1"') == dialogs, "everybody is told the whole")

        async def write() -> float:
            return await median_seconds(lambda: writer.ask(im_message(bob.name, alice.name)), 20)

        calm = await write()
        await bob.join(group)
        busy = await write()
        await async_until(lambda: told(watchers, b'version="2"') == dialogs, "everybody is told of bob")
        assert told(watchers, f":{bob.name}@".encode()) == dialogs
        assert busy < 10 * calm + 0.05, (calm, busy)
    await async_until(lambda: "Traceback" not in instance.worker_log(), "no error")
