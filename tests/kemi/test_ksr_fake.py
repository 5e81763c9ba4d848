"""The fake of `KSR` against the real one: a scratch Kamailio lists its functions and answers the same calls."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kemi.ksr_fake import SIGNATURES, FakeKamailio, UnknownToTheFake
from tests.kemi.ksr_probe import ADDRESS, CALL_IDS, CAPABLE, STAGES, message, observe

KAMAILIO = "/usr/sbin/kamailio"
ROOT = Path(__file__).resolve().parent.parent.parent
ANSWER_SECONDS = 20
"""For a Kamailio to start and for each of its answers; it needs a fraction of one."""
MODULES = "jsonrpcs kex tm tmx sl rr pv usrloc registrar textops textopsx siputils htable mqueue ctl app_python3"
"""The modules that kemi/im.cfg needs and whose functions the adapter calls."""
BINDINGS = [("sip:capable@127.0.0.1", CAPABLE), ("sip:plain@127.0.0.1", 0)]
"""What the scratch Kamailio's two registrations leave, the preferred one first."""
SETTINGS = {"IM_DOMAIN": "example.com", "IM_STATE_DIR": '"/srv/im"'}
CONFIG = """
debug=1
log_stderror=yes
children=1
disable_tcp=yes
listen=udp:127.0.0.1:{port}
{modules}
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "{here}/rpc.sock")
modparam("ctl", "binrpc", "unix:{here}/ctl.sock")
modparam("app_python3", "load", "{here}/entry.py")
modparam("htable", "htable", "im_link=>size=2;")
modparam("htable", "htable", "im_waiting=>size=2;")
modparam("mqueue", "mqueue", "name=im_trace;size=9")
{settings}
request_route {{
	if (is_method("REGISTER")) {{
		if ($ci == "capable") setbflag(20);
		save("location");
		exit;
	}}
	python_exec("observed");
	exit;
}}
failure_route[IM_UNANSWERED] {{
	exit;
}}
"""
ENTRY = """
import sys
sys.path.insert(0, {root!r})
import KSR
from tests.kemi.ksr_probe import Probe
def mod_init():
    return Probe(KSR, {told!r})
"""
REGISTER = (
    "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{kind}\r\nMax-Forwards: 5\r\n"
    f"From: <{ADDRESS}>;tag=r\r\nTo: <{ADDRESS}>\r\nCall-ID: {{kind}}\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:{kind}@127.0.0.1>;expires=600;q={q}\r\nContent-Length: 0\r\n\r\n"
)


@dataclass
class Real:
    """What the scratch Kamailio told."""

    names: dict[str, list[str]]
    parameters: dict[str, str]
    """Function to its parameters, in the words of `app_python.api_list`."""
    stages: list[list[list[Any]]]
    requests: list[bytes]
    replies: dict[str, str] = field(default_factory=dict)
    """Responses by Call-ID."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Start Kamailio on a free port, ask it everything, stop it."""
    here = tmp_path_factory.mktemp("kamailio")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as rpc,
    ):
        for one, name in ((told, "told.sock"), (rpc, "client.sock")):
            one.bind(str(here / name))
        client.bind(("127.0.0.1", 0))
        for one in (client, told, rpc):
            one.settimeout(ANSWER_SECONDS)
        port = _free_port()
        _write_config(here, port)
        command = [KAMAILIO, "-f", str(here / "kamailio.cfg"), "-Y", str(here), "-DD", "-E", "-m", "32", "-M", "4"]
        with (here / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield _ask(port, client, told, rpc, str(here / "rpc.sock"))
        except TimeoutError:
            pytest.fail("Kamailio did not answer:\n" + (here / "log").read_text(errors="replace"))
        finally:
            process.terminate()
            process.wait(ANSWER_SECONDS)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_config(here: Path, port: int) -> None:
    modules = "\n".join(f'loadmodule "{name}.so"' for name in MODULES.split())
    settings = "\n".join(f"#!define {name} {value}" for name, value in SETTINGS.items())
    text = CONFIG.format(port=port, modules=modules, here=here, settings=settings)
    (here / "kamailio.cfg").write_text(text)
    (here / "entry.py").write_text(ENTRY.format(root=str(ROOT), told=str(here / "told.sock")))


def _ask(port: int, client: socket.socket, told: socket.socket, rpc: socket.socket, rpc_path: str) -> Real:
    server = ("127.0.0.1", port)
    own_port = client.getsockname()[1]
    names = json.loads(told.recv(1 << 20))  # also says that the SIP process is up
    for kind, q in (("capable", "1.0"), ("plain", "0.5")):
        client.sendto(REGISTER.format(port=own_port, kind=kind, q=q).encode(), server)
        assert client.recv(65536).startswith(b"SIP/2.0 200 ")
    requests = [message(call_id, own_port) for call_id in CALL_IDS]
    stages = []
    for request in requests:
        client.sendto(request, server)
        stages.append(json.loads(told.recv(1 << 20)))
    replies = [client.recv(65536).decode() for _ in range(2)]
    rpc.sendto(b'{"jsonrpc":"2.0","method":"app_python.api_list","params":[],"id":1}', rpc_path)
    listed = [entry["func"] for entry in json.loads(rpc.recv(1 << 20))["result"]["methods"]]
    parameters = {f"{entry['module']}.{entry['name']}".lstrip("."): entry["params"] for entry in listed}
    by_call_id = {call_id: text for text in replies for call_id in CALL_IDS if f"i: {call_id}\r\n" in text}
    return Real(names, parameters, stages, requests, by_call_id)


def functions_used() -> set[str]:
    """Every `KSR.….…` in kemi/, as `module.function`."""
    used = set()
    for path in (ROOT / "kemi").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) and node not in inner else ""
            if name.startswith("KSR."):
                used.add(name.removeprefix("KSR."))
    return used


def test_the_reader_sees_what_the_adapter_calls() -> None:
    assert {"pv.get", "sl.send_reply", "tmx.t_suspend", "err"} <= functions_used()


def test_the_fake_has_what_the_adapter_calls_and_no_more() -> None:
    assert functions_used() == SIGNATURES.keys()


def test_the_real_build_has_every_function_of_the_fake_with_the_same_parameters(real: Real) -> None:
    assert {name: real.parameters.get(name) for name in SIGNATURES} == SIGNATURES
    for name in SIGNATURES:
        module, _, function = name.rpartition(".")
        assert function in (real.names[module] if module else real.names)


@pytest.mark.requirement("SEC-05")
@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_the_fake_answers_like_the_real_one(real: Real, stage: int) -> None:
    fake = FakeKamailio(SETTINGS, tables=("im_link", "im_waiting"))
    fake.bindings[ADDRESS] = BINDINGS
    for request, calls in zip(real.requests[: stage + 1], STAGES, strict=False):
        fake.receive(request)
        answers = json.loads(json.dumps(observe(fake.ksr, calls)))
    assert [pair for pair in zip(answers, real.stages[stage], strict=True) if pair[0] != pair[1]] == []


def test_the_headers_appended_are_in_the_reply_of_both(real: Real) -> None:
    fake = FakeKamailio(SETTINGS)
    for request, calls in zip(real.requests[2:], STAGES[2:], strict=True):
        fake.receive(request)
        observe(fake.ksr, calls)
    for reply, call_id in zip(fake.replies, CALL_IDS[2:], strict=True):
        assert real.replies[call_id].startswith(f"SIP/2.0 {reply.status} {reply.reason}\r\n")
        assert reply.headers and all(f"\r\n{header}" in real.replies[call_id] for header in reply.headers)


def test_a_suspended_transaction_is_resumed_once_with_what_it_knew() -> None:
    fake = FakeKamailio(SETTINGS)
    fake.receive(message("one", 5060))
    fake.set_avp("im_ao", "sip:alice@example.com")
    assert fake.ksr.tm.t_newtran() == 1
    fake.ksr.pv.sets("$avp(im_stage)", "later")
    fake.ksr.tmx.t_suspend()
    identity = fake.transaction.identity
    fake.receive(message("two", 5060))
    assert fake.avp("im_stage") is None
    assert not fake.resume((identity[0], identity[1] + 1))
    assert fake.resume(identity)
    assert (fake.avp("im_ao"), fake.avp("im_stage")) == ("sip:alice@example.com", "later")
    assert fake.ksr.pv.get("$ci") == "one"
    assert not fake.resume(identity)


def test_what_the_fake_does_not_know_is_not_hidden_by_an_except_clause() -> None:
    fake = FakeKamailio(SETTINGS)
    fake.receive(message("one", 5060))
    with pytest.raises(UnknownToTheFake):
        try:
            fake.ksr.pv.get("$nonsense")
        except Exception:
            pytest.fail("hidden")
    assert not issubclass(UnknownToTheFake, Exception)
