"""The commands that use sessions: `send --file`, `chat`, `deferred`, `settings`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from im_client.__main__ import main
from im_client.calls import SUPPORTED
from im_client.client import ImClient
from im_client.commands.progress import bar
from im_client.commands.settings import Stored, changed, load, save
from im_client.config import ClientConfig
from im_client.exchange import IncomingRequest
from im_client.im_invitation import ImInvitation
from im_client.im_session import ImSession
from im_client.service_settings import ServiceSettings
from im_client.service_settings import parse as parse_settings
from im_client.transport import Target
from tests.im_client.conftest import Stage, contact, notify
from tests.im_client.relay import BOB, FAST, PATIENCE

SUMMARY = (
    b"Messages-Waiting: yes\r\nText-Message: 1/0\r\n\r\nMessage-ID: 1@store\r\nFrom: <sip:carol@h>\r\nSubject: a\x07b\r\n"
)
STORED = b"MESSAGE sip:alice@h SIP/2.0\r\nFrom: <sip:carol@h>;tag=1\r\nDate: Thu, 21 Feb 2002 13:02:03 GMT\r\n\r\nhello"


@pytest.fixture
async def bob() -> AsyncIterator[ImClient]:
    """Another client, reached without any server, which grants every registration."""
    client = ImClient(ClientConfig(identity=BOB, proxy=Target("127.0.0.1", 1, "tcp"), timers=FAST))

    async def grant(request: IncomingRequest) -> None:
        request.respond(200, headers=[("Expires", "3600")])

    client.endpoint.handle("REGISTER", grant)
    client.endpoint.settings = replace(client.endpoint.settings, supported=SUPPORTED | {"pref"})
    await client.start()
    yield client
    await client.close(deregister=False)


def run(bob: ImClient, *arguments: str) -> asyncio.Task[int]:
    host, port = bob.endpoint.local
    account = ["--identity", "sip:alice@example.com", "--proxy", f"{host}:{port};transport=tcp"]
    words = 2 if arguments[0] in ("deferred", "settings") else 1
    return asyncio.ensure_future(asyncio.to_thread(main, [*arguments[:words], *account, *arguments[words:]]))


@pytest.mark.requirement("LRG-01", "CLI-05")
async def test_send_a_file(bob: ImClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, inbox = tmp_path / "cat.png", tmp_path / "inbox"
    source.write_bytes(b"meow" * 10_000)
    inbox.mkdir()

    async def accept(invitation: ImInvitation) -> None:
        await invitation.accept_file(inbox)

    bob.on_invite = accept
    assert await run(bob, "send", BOB, "--file", str(source), "--report") == 0
    assert capsys.readouterr().out.startswith("sent 40000 bytes in ")
    assert (inbox / "cat.png").read_bytes() == source.read_bytes()


@pytest.mark.requirement("LRG-01", "CLI-05")
async def test_send_a_large_message(bob: ImClient, capsys: pytest.CaptureFixture[str]) -> None:
    got: list[str] = []

    async def accept(invitation: ImInvitation) -> None:
        got.append((await (await invitation.accept()).receive()).text)

    bob.on_invite = accept
    assert await run(bob, "send", BOB, "hello", "--large", "--json") == 0
    assert json.loads(capsys.readouterr().out)["size"] == 5
    assert got == ["hello"]


async def test_a_refused_file(bob: ImClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"x")

    async def refuse(invitation: ImInvitation) -> None:
        invitation.reject(603, warning="no thanks")

    bob.on_invite = refuse
    assert await run(bob, "send", BOB, "--file", str(source)) == 1
    assert capsys.readouterr().out == "603 Decline (no thanks)\n"


@contextlib.contextmanager
def typed(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", stdin)
        yield keyboard


@pytest.mark.requirement("CLI-02", "CLI-03")
async def test_chat(bob: ImClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sessions: asyncio.Queue[ImSession] = asyncio.Queue()

    async def accept(invitation: ImInvitation) -> None:
        await invitation.ring()
        sessions.put_nowait(await invitation.accept())

    bob.on_invite = accept
    with typed(monkeypatch) as keyboard:
        running = run(bob, "chat", BOB)
        async with asyncio.timeout(PATIENCE):
            session = await sessions.get()
            keyboard.write("Grüße\n".encode())
            assert (await session.receive()).text == "Grüße"
            await session.send("and\x1b[2J you?", success_report=True)
            await session.send(b"\x00", "image/png", success_report=True)
            keyboard.write(b"/file /nowhere\n/quit\n")
            assert await running == 0
            await session.ended
    lines = capsys.readouterr().out.splitlines()
    assert "180 Ringing" in lines
    assert f"talking with {BOB}; /quit leaves" in lines
    assert f"{BOB}: and?[2J you?" in lines
    assert f"{BOB}: <1 bytes of image/png>" in lines
    assert any(line.startswith("not done") for line in lines)


@pytest.mark.requirement("CLI-04")
async def test_chat_ends_with_the_other_side_or_its_refusal(
    bob: ImClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def leave(invitation: ImInvitation) -> None:
        await (await invitation.accept()).close()

    bob.on_invite = leave
    with typed(monkeypatch):
        assert await run(bob, "chat", BOB) == 0
    assert "over: released by the peer" in capsys.readouterr().out
    bob.on_invite = None
    assert await run(bob, "chat", BOB) == 1
    assert "480" in capsys.readouterr().out


@pytest.mark.requirement("CLI-06")
async def test_deferred_list(udp_stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    account = ["--identity", "sip:alice@example.com", "--proxy", str(udp_stage.client.config.proxy)]
    task = udp_stage.start(asyncio.to_thread(main, ["deferred", "list", *account]))
    request = await udp_stage.peer.expect("SUBSCRIBE")
    assert request.header("Expires") == "0"
    request.reply(200, "OK", "Expires: 0", contact(udp_stage.peer))
    request.send(notify(udp_stage.peer, request, 1, "terminated;reason=timeout", SUMMARY))
    await udp_stage.peer.expect(200)
    assert await task == 0
    assert capsys.readouterr().out == "text-message: 1 new, 0 old\n1@store    <sip:carol@h>  a?b\n"


@pytest.mark.requirement("CLI-06")
@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_deferred_get(bob: ImClient, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    async def serve(invitation: ImInvitation) -> None:
        session = await invitation.accept()
        await session.send(STORED, "message/sip")
        await session.close()

    bob.on_invite = serve
    bob.endpoint.users = frozenset()  # Bob plays the Deferred Messaging Function
    assert await run(bob, "deferred", "get", *options) == 0
    out = capsys.readouterr().out
    if options:
        assert json.loads(out)["sender"] == "sip:carol@h"
    else:
        assert out == "2002-02-21T13:02:03+00:00  sip:carol@h: hello\n"


@pytest.mark.requirement("CLI-01")
async def test_settings(udp_stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    account = ["--identity", "sip:alice@example.com", "--proxy", str(udp_stage.client.config.proxy)]
    account += ["--state", str(tmp_path / "new" / "state.json")]
    task = udp_stage.start(asyncio.to_thread(main, ["settings", "set", *account, "offline-delivery=on", "visible=off"]))
    request = await udp_stage.peer.expect("PUBLISH")
    found = parse_settings(request.message.body)
    assert (found.offline_delivery, found.visible, found.bar_sessions) == (True, False, False)
    request.reply(200, "OK", "SIP-ETag: one", "Expires: 3600")
    assert await task == 0
    task = udp_stage.start(asyncio.to_thread(main, ["settings", "set", *account, "visible=on"]))
    request = await udp_stage.peer.expect("PUBLISH")
    assert request.header("SIP-If-Match") == "one"
    request.reply(403, "Forbidden")
    assert await task == 1
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["settings", "show", *account, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "bar-sessions": False,
        "bar-pager": False,
        "offline-delivery": True,
        "visible": False,
        "store-history": False,
    }


def test_settings_are_kept_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    assert load(file) == Stored()
    stored = Stored(ServiceSettings(bar_pager=True), "etag", "device")
    save(file, stored)
    assert load(file) == stored
    file.write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        load(file)
    for wrong in ("visible", "visible=maybe", "invisible=on"):
        with pytest.raises(ValueError, match="expected KEY"):
            changed(ServiceSettings(), [wrong])


def test_bar() -> None:
    assert bar(0, 10) == "[" + "." * 40 + "]   0% 0 of 10 bytes"
    assert bar(5, 10).startswith("[" + "#" * 20 + "." * 20 + "]  50%")
    assert bar(0, 0).startswith("[" + "#" * 40)
