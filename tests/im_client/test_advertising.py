"""Group advertisements on the client (E.1.5 to E.1.9)."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from im_client.__main__ import main
from im_client.advertising import SENT_TYPE, first
from im_client.commands.advertise import as_text
from im_client.commands.deferred import as_line
from im_client.config import Contact
from im_client.deferred import DeferredMessage
from msrp_worker.group_advertisement import CONTENT_TYPE, AdvertisedGroup, Advertisement, build, parse

GROUP = "sip:friends@example.com"
NOTE = Advertisement((AdvertisedGroup((GROUP,), "Friends", "dialed-in"),), "Come all")


def account(stage) -> list[str]:
    return ["--identity", "sip:alice@example.com", "--proxy", str(stage.client.config.proxy)]


@pytest.mark.requirement("ADV-01", "ADV-02", "ADV-03")
async def test_an_advertisement_is_sent(stage, capsys) -> None:
    arguments = ["--name", "Friends", "--kind", "dialed-in", "--note", "Come all", GROUP, GROUP]
    task = stage.start(asyncio.to_thread(main, ["advertise", *account(stage), *arguments]))
    request = await stage.peer.expect("MESSAGE")
    assert str(request.message.uri) == GROUP
    assert request.header("Content-Type") == SENT_TYPE
    assert request.message.headers.getlist("Accept-Contact") == ["*;+g.oma.sip-im;+g.poc.groupad;require;explicit"]
    assert parse(request.message.body) == NOTE
    request.reply(202, "Accepted")
    assert await task == 0
    assert capsys.readouterr().out == "202 Accepted\n"


@pytest.mark.requirement("ADV-02")
@pytest.mark.parametrize("arguments", [["--name", "one", GROUP, GROUP, GROUP], [GROUP, " "]])
async def test_what_cannot_be_advertised(stage, capsys, arguments: list[str]) -> None:
    assert await asyncio.to_thread(main, ["advertise", *account(stage), *arguments]) == 1
    assert capsys.readouterr().err


@pytest.mark.requirement("ADV-03", "CLI-01")
@pytest.mark.parametrize(
    ("contact", "tags"),
    [
        (Contact(), ["+g.oma.sip-im"]),
        (Contact(group_advertisements=True), ["+g.oma.sip-im", "+g.poc.groupad"]),
        (Contact(group_advertisements=True, feature_tag=False), []),
    ],
)
async def test_a_device_says_that_it_takes_them(stage, contact: Contact, tags: list[str]) -> None:
    task = stage.start(stage.client.register(contacts=(contact,)))
    request = await stage.peer.expect("REGISTER")
    assert request.header("Contact").partition(">")[2].split(";")[1:] == tags
    request.reply(200, "OK", "Expires: 60")
    assert (await task).ok


@pytest.mark.requirement("ADV-03")
@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_listening_for_them(udp_stage, options: tuple[str, ...]) -> None:
    command = ["listen", *account(udp_stage), "--count", "1", "--group-advertisements", *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "im_client", *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "IM_PASSWORD": "x"}
    )
    peer = udp_stage.peer
    request = await peer.expect("REGISTER")
    assert request.header("Contact").endswith(";+g.oma.sip-im;+g.poc.groupad")
    request.reply(200, "OK")
    peer.send(peer.request("MESSAGE", f"Content-Type: {SENT_TYPE}", body=build(NOTE)))
    await peer.expect(200)
    (await peer.expect("REGISTER")).reply(200, "OK")
    shown = (await process.communicate())[0].decode().splitlines()[-1]
    if options:
        groups = [{"name": "Friends", "type": "dialed-in", "uris": [GROUP]}]
        assert json.loads(shown)["advertisement"] == {"note": "Come all", "groups": groups}
    else:
        assert shown == f"sip:bob@example.com advertises Friends <{GROUP}> (dialed-in) - Come all"


@pytest.mark.requirement("ADV-03")
def test_what_had_waited_is_shown_alike() -> None:
    message = DeferredMessage("sip:bob@example.com", "", SENT_TYPE, build(NOTE))
    assert as_line(message) == f"-  sip:bob@example.com advertises Friends <{GROUP}> (dialed-in) - Come all"


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], None),
        ([("text/plain", build(NOTE))], None),
        ([(f"{CONTENT_TYPE.upper()}; charset=utf-8", build(NOTE))], NOTE),
        ([(CONTENT_TYPE, b"<broken"), ("text/plain", b"x"), (CONTENT_TYPE, build(NOTE))], NOTE),
        ([(CONTENT_TYPE, b"<broken")], None),
    ],
)
def test_the_first_that_can_be_read(parts: list[tuple[str, bytes]], found: Advertisement | None) -> None:
    assert first(parts) == found


@pytest.mark.parametrize(
    ("advertisement", "text"),
    [
        (Advertisement((AdvertisedGroup(("sip:a@h", "sip:b@h")),)), "advertises <sip:a@h> <sip:b@h>"),
        (
            Advertisement((AdvertisedGroup(("sip:a@h",), "A\x1b[2J"), AdvertisedGroup(("sip:b@h",), kind="other"))),
            "advertises A?[2J <sip:a@h>, <sip:b@h> (other)",
        ),
        (Advertisement((AdvertisedGroup(("sip:a@h",)),), "two\nlines"), "advertises <sip:a@h> - two lines"),
    ],
)
def test_one_line_for_a_person(advertisement: Advertisement, text: str) -> None:
    assert as_text(advertisement) == text
