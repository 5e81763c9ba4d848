"""The worker's way into Kamailio, tried by others on the same host: refused, logged, harmless (SEC-01, SEC-05)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.scenarios.bed import Instance, RawSip, wait_until
from tests.scenarios.health import Whole
from tests.scenarios.raw import RawTcp
from tests.scenarios.traffic import im_message, unique

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1"}
BEAT = json.dumps({"do": "beat", "revision": 999_999}).encode()


def command(key: str, body: bytes = BEAT, method: str = "IMW") -> bytes:
    """A command as the worker sends it, with this key."""
    head = (
        f"{method} sip:im@127.0.0.1:5090 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKimw\r\n"
        "From: <sip:worker@127.0.0.1>;tag=w\r\nTo: <sip:kamailio@127.0.0.1>\r\nCall-ID: im-worker\r\n"
        f"CSeq: 1 {method}\r\nIM-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


@pytest.fixture
def key(instance: Instance) -> str:
    return (instance.state_dir / "control.key").read_text().strip()


def revision(instance: Instance) -> int:
    """The revision of the store that Kamailio has been told."""
    found = wait_until(lambda: [item for item in slots(instance) if item["name"] == "revision"], "a heartbeat")
    return int(found[0]["value"])


def slots(instance: Instance) -> list[dict[str, Any]]:
    found = instance.deployment.rpc("htable.dump", "im_link")
    return [entry for slot in found for entry in slot["slot"]]


def accepted(instance: Instance) -> bool:
    """Whether an IM message is stored, so that questions and answers flow."""
    peer = RawSip(instance.sip_port)
    try:
        peer.send(im_message("alice", "bob").bytes(peer.address, peer.port))
        return peer.final().startswith(b"SIP/2.0 202 ")
    finally:
        peer.close()


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize(
    ("given", "method"),
    [
        ("", "IMW"),
        ("0" * 64, "IMW"),
        ("{key}x", "IMW"),
        ("{half}", "IMW"),
        ("\xff\xfe\xe9", "IMW"),
        ("{key}", "PUBLISH"),
        ("{key}", "REGISTER"),
        ("{key}", "OPTIONS"),
        ("{key}", "ACK"),
    ],
)
def test_a_command_without_key_or_name_is_refused(instance: Instance, key: str, given: str, method: str) -> None:
    """No answer, a line in the log that does not name the key, and nothing believed."""
    logged = len(instance.kamailio_log())
    known = revision(instance)
    with Whole(instance), RawTcp(instance.deployment.config.control_port) as other:
        other.send(command(given.format(key=key, half=key[:32]), method=method))
        line = f"IM control: refused {method} from 127.0.0.1:{other.port}"
        wait_until(lambda: line in instance.kamailio_log()[logged:], line)
        assert other.waiting() == b""
        assert revision(instance) == known
        assert key not in instance.kamailio_log()
        assert accepted(instance)


@pytest.mark.requirement("SEC-01")
def test_another_address_is_refused_even_with_the_key(instance: Instance, key: str) -> None:
    """The source is checked before the key is."""
    known = revision(instance)
    with Whole(instance), RawTcp(instance.deployment.config.control_port, "127.0.0.2") as other:
        other.send(command(key))
        line = f"IM control: refused IMW from 127.0.0.2:{other.port}"
        wait_until(lambda: line in instance.kamailio_log(), line)
        assert other.waiting() == b""
        assert revision(instance) == known


@pytest.mark.requirement("SEC-01")
def test_a_command_on_another_port_is_no_command(instance: Instance, key: str) -> None:
    """On the SIP port it is a request of an unknown method, key or not."""
    known = revision(instance)
    control = str(instance.deployment.config.control_port).encode()
    for target in (b"sip:im@127.0.0.1:" + control, b"sip:alice@example.com"):
        request = command(key).replace(b"sip:im@127.0.0.1:5090", target)
        with Whole(instance), RawTcp(instance.sip_port) as other:
            other.send(request)
            assert other.final().startswith(b"SIP/2.0 404 ")
        assert revision(instance) == known


@pytest.mark.requirement("SEC-01", "SEC-05")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"do":null}',
        b'{"do":"no such thing"}',
        b'{"do":"answer"}',
        b'{"do":"answer","id":[4294967295,4294967295],"of":"failed","detail":""}',
        b'{"do":"answer","id":[-1,-1],"of":"failed","detail":""}',
        b'{"do":"answer","id":[1e400,1],"of":"failed","detail":""}',
        b'{"do":"answer","id":[99999999999999999999,1],"of":"failed","detail":""}',
        b'{"do":"answer","id":[1,2],"of":"pager","originator":7,"recipient":[],"revision":"x"}',
        b'{"do":"beat"}',
        b'{"do":"beat","revision":"x"}',
        b'{"do":"beat","revision":99999999999999999999}',
        b"[" * 100_000,
        b"\xff\xfe\x00\x01" * 1000,
        b'{"do":"' + b"x" * 100_000 + b'"}',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_a_command_that_is_none_harms_nothing(instance: Instance, key: str, body: bytes) -> None:
    """With the key but without sense, as a broken worker would send it: the connection of the worker goes on."""
    with Whole(instance), RawTcp(instance.deployment.config.control_port) as other:
        end = unique("end")
        other.send(command(key, body) + command(key, json.dumps({"do": end}).encode()))
        wait_until(lambda: f"unknown command {end}" in instance.kamailio_log(), "all is read")
        assert accepted(instance)


@pytest.mark.requirement("SEC-05")
def test_an_endless_command_closes_its_connection_only(instance: Instance, key: str) -> None:
    """A body beyond what Kamailio takes, and a request that is never finished."""
    with Whole(instance), RawTcp(instance.deployment.config.control_port) as half:
        half.send(command(key)[:200])
        with RawTcp(instance.deployment.config.control_port) as other:
            other.send(command(key, b" " * 200_000))
            assert other.closed()
        assert accepted(instance)
