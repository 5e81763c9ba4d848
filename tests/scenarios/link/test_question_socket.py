"""The worker's socket fed with what Kamailio never sends: the worker counts it, logs it and goes on (SEC-05)."""

from __future__ import annotations

import json
import re
import socket
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.bed import Instance, wait_until
from tests.scenarios.traffic import Peer, im_message

SETTINGS = {"IM_TRUSTED_PEERS": "127.0.0.1"}
SO_SNDBUFFORCE = 32
MIB = 1 << 20
PAGER = {"packet": "pager", "id": [1, 2], "until": 0}
GARBAGE = [
    b"\0",
    b"\xff" * 5000,
    b"{}",
    b"[" * 100_000,
    b'{"packet":"pager","id":[1,2],"until":0}',
    b'{"packet":"traces","id":[Infinity,NaN],"until":0,"call_id":"-"}',
    b'{"packet":"traces","id":null,"until":0,"call_id":"-"}\nnot\ta\ttrace',
    b'{"packet":"settle","id":null,"until":0,"call_id":"-"}',
    json.dumps({**PAGER, "call_id": 1, "originator": [], "recipient": {}, "anonymous": 0}).encode(),
    json.dumps({"packet": "defer", "id": [1, 2], "until": 0, "call_id": "x"}).encode() + b"\n" + b"\xff" * 1000,
    json.dumps({"packet": "defer", "id": None, "until": 0, "call_id": "x"}).encode(),
    b'{"packet":"pager","id":[1,2],"until":0,"x":"' + b"y" * (MIB - 100) + b'"}',
    b"z" * (MIB - 1),
]


def metric(instance: Instance, name: str) -> float:
    url = f"http://127.0.0.1:{instance.deployment.config.http_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as response:
        found = re.search(rf"^im_{name} (\S+)$", response.read().decode(), re.MULTILINE)
    assert found
    return float(found.group(1))


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1))


@pytest.mark.requirement("SEC-05", "SEC-06")
async def test_garbage_does_not_stop_the_worker(instance: Instance, new_user: Callable[..., str]) -> None:
    """Packets of every wrong kind, up to 1 MiB, hundreds of them; questions of Kamailio are answered beside."""
    sender, recipient = new_user(), new_user()
    pid = instance.deployment.worker.pid
    before = metric(instance, "packets_malformed_total")
    memory = resident_kib(pid)
    rounds = 20
    async with await Peer.open(instance.sip_port) as peer:
        for _ in range(rounds):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * MIB)
                other.settimeout(10)
                other.connect(str(instance.deployment.config.question_socket))
                for packet in GARBAGE:
                    other.send(packet)
            assert (await peer.ask(im_message(sender, recipient))).status == 202
    wait_until(lambda: metric(instance, "packets_malformed_total") >= before + 8 * rounds, "the packets are counted")
    assert instance.deployment.worker.running()
    assert "packet from Kamailio not understood" in instance.worker_log()
    assert "Exception in callback" not in instance.worker_log()
    assert "never awaited" not in instance.worker_log()
    assert resident_kib(pid) < memory + 32 * 1024


@pytest.mark.requirement("SEC-01")
def test_nobody_else_may_ask_or_command(instance: Instance) -> None:
    """Socket and key are for the owner and the group."""
    for name in ("question.sock", "control.key"):
        assert not (instance.state_dir / name).stat().st_mode & stat.S_IRWXO, name
    assert not (instance.state_dir / "control.key").stat().st_mode & stat.S_IWGRP
