"""The command line, against the scripted peer."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys

import pytest

from im_client.__main__ import main
from im_client.commands.options import parse_local
from im_client.transport import Target

BOB = "sip:bob@example.com"


def account(stage) -> list[str]:
    return ["--identity", "sip:alice@example.com", "--proxy", str(stage.client.config.proxy)]


def run(stage, command: str, *arguments: str):
    """The exit status of a command run beside the peer, as a task."""
    return stage.start(asyncio.to_thread(main, [command, *account(stage), *arguments]))


@pytest.mark.requirement("CLI-05")
@pytest.mark.parametrize(
    ("status", "headers", "line", "code"),
    [
        (200, (), "200 R\n", 0),
        (202, (), "202 R\n", 0),
        (403, ('Warning: 399 h "not allowed"',), "403 R (not allowed)\n", 1),
        (480, (), "480 R\n", 1),
    ],
)
async def test_send(stage, capsys, status: int, headers, line: str, code: int) -> None:
    task = run(stage, "send", BOB, "häl\nlo", "--anonymous", "--expires", "9", "--header", "Subject: a: b")
    request = await stage.peer.expect("MESSAGE")
    assert request.message.body == "häl\nlo".encode()
    assert request.header("Privacy") == "id"
    assert request.header("Expires") == "9"
    assert request.header("Subject") == "a: b"
    request.reply(status, "R", *headers)
    assert await task == code
    assert capsys.readouterr().out == line


async def test_send_a_file_and_answer_in_json(udp_stage, capsys, tmp_path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(b"\x89PNG\0")
    task = run(udp_stage, "send", BOB, "--file", str(file), "--pager", "--json", "--session", "1-1")
    request = await udp_stage.peer.expect("MESSAGE")
    assert request.message.body == b"\x89PNG\0"
    assert request.header("Content-Type") == "image/png"
    assert str(request.message.uri) == f"{BOB};session=1-1"
    request.reply(404, "Not Found", 'Warning: 399 h "who?"')
    assert await task == 1
    assert json.loads(capsys.readouterr().out) == {"status": 404, "reason": "Not Found", "warning": "who?"}


@pytest.mark.requirement("CLI-01")
async def test_register_and_remove(udp_stage, capsys, monkeypatch) -> None:
    monkeypatch.setenv("IM_PASSWORD", "from the environment")
    task = run(udp_stage, "register", "--expires", "90", "--instance", "urn:uuid:1", "--no-im")
    request = await udp_stage.peer.expect("REGISTER")
    assert request.header("Contact").endswith(';+sip.instance="<urn:uuid:1>"')
    assert "sip-im" not in request.header("Contact")
    request.reply(401, "No", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    request = await udp_stage.peer.expect("REGISTER")
    assert request.header("Authorization")
    request.reply(200, "OK", "Contact: <sip:x@h>;expires=60", "Expires: 60")
    assert await task == 0
    assert capsys.readouterr().out == "200 OK: for 60 s\n  <sip:x@h>;expires=60\n"
    task = run(udp_stage, "register", "--all")
    request = await udp_stage.peer.expect("REGISTER")
    assert (request.header("Contact"), request.header("Expires")) == ("*", "0")
    request.reply(200, "OK")
    assert await task == 0


async def test_wrong_password(udp_stage, capsys) -> None:
    task = run(udp_stage, "register", "--password", "x")
    for _ in range(2):
        request = await udp_stage.peer.expect("REGISTER")
        request.reply(401, "No", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    assert await task == 1
    assert "wrong password of user 'alice'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["send", "--identity", "alice", "--proxy", "127.0.0.1", BOB, "x"], "not a SIP URI: 'alice'"),
        (["send", "--identity", "sip:h", "--proxy", "127.0.0.1", BOB, "x"], "not an IM address: 'sip:h'"),
        (["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1", "bob", "x"], "not a SIP URI: 'bob'"),
        (
            ["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1;x=y", BOB, "x"],
            "not a proxy: '127.0.0.1;x=y'",
        ),
        (
            ["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1", BOB, "x", "--header", "x"],
            "expected 'Name: value'",
        ),
        (["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1", BOB, "x", "--file", "y"], "not both"),
        (["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1", BOB, "--file", "/nowhere"], "/nowhere"),
        (["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1:1", BOB, "x" * 2000], "large message mode"),
        (["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1:1", BOB, "x"], "cannot reach 127.0.0.1:1"),
        (
            ["send", "--identity", "sip:a@h", "--proxy", "127.0.0.1:1;transport=tcp", BOB, "x"],
            "cannot connect to",
        ),
        (["register", "--identity", "sip:a@h", "--proxy", "no.such.host.invalid"], "check the proxy's name"),
        (["register", "--identity", "sip:a@h", "--proxy", "127.0.0.1", "--local", "127.0.0.1:x"], "--local"),
        (
            ["register", "--identity", "sip:a@h", "--proxy", "127.0.0.1;transport=tls", "--tls-ca", "/no"],
            "No such",
        ),
    ],
)
def test_errors_tell_what_to_do(arguments: list[str], text: str, capsys) -> None:
    assert main(arguments) == 1
    assert text in capsys.readouterr().err


async def start_listening(stage, *arguments: str):
    """A listening process that has registered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "im_client",
        "listen",
        *account(stage),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "IM_PASSWORD": "x"},
    )
    request = await stage.peer.expect("REGISTER")
    assert request.header("Contact").endswith(";+g.oma.sip-im")
    request.reply(200, "OK")
    return process


@pytest.mark.requirement("CLI-01", "CLI-05")
@pytest.mark.parametrize("leave", [signal.SIGINT, signal.SIGTERM])
async def test_listen_prints_lines_until_it_is_stopped_and_deregisters(udp_stage, leave) -> None:
    process = await start_listening(udp_stage)
    assert await process.stdout.readline() == b"200 OK: sip:alice@example.com listens\n"
    udp_stage.peer.send(udp_stage.peer.request(body=b"two\nlines"))
    await udp_stage.peer.expect(200)
    assert await process.stdout.readline() == b"sip:bob@example.com: two lines\n"
    raw = udp_stage.peer.request("MESSAGE", "Content-Type: a/b", "Call-ID: 2", body=b"\0", branch="z9hG4bK2")
    udp_stage.peer.send(raw)
    await udp_stage.peer.expect(200)
    assert await process.stdout.readline() == b"sip:bob@example.com: <1 bytes of a/b>\n"
    process.send_signal(leave)
    request = await udp_stage.peer.expect("REGISTER")
    assert request.header("Expires") == "0"
    request.reply(200, "OK")
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


@pytest.mark.requirement("CLI-05")
async def test_listen_counts_and_writes_json(tcp_stage) -> None:
    process = await start_listening(tcp_stage, "--json", "--count", "1")
    body = bytes(range(256))
    tcp_stage.peer.send(tcp_stage.peer.request(body=body))
    await tcp_stage.peer.expect(200)
    found = json.loads(await process.stdout.readline())
    assert base64.b64decode(found["body"]) == body
    assert found["sender"] == BOB
    assert found["headers"]["CSeq"] == ["7 MESSAGE"]
    request = await tcp_stage.peer.expect("REGISTER")
    assert request.header("Expires") == "0"
    request.reply(200, "OK")
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", Target("127.0.0.1", 5060, "udp")),
        ("h:5080;transport=TCP", Target("h", 5080, "tcp")),
        ("h;transport=tls", Target("h", 5061, "tls")),
        ("[::1]:5070", Target("::1", 5070, "udp")),
    ],
)
def test_proxy_option(text: str, expected: Target) -> None:
    assert Target.parse(text) == expected
    assert Target.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", ":5060", "h:x", "h:70000", "h;transport=sctp", "h;lr"])
def test_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match="not a proxy"):
        Target.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", 0)),
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:5", ("1.2.3.4", 5)),
        ("::1", ("::1", 0)),
        ("[::1]:5", ("::1", 5)),
    ],
)
def test_local_option(text: str, expected: tuple[str, int]) -> None:
    assert parse_local(text) == expected
