"""The tables that Kamailio's own modules read, as a real Kamailio sees them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from msrp_worker.config import Config
from msrp_worker.store import open_store, prepare_store
from tools.deployment import KAMAILIO

pytestmark = pytest.mark.scenario

MODULES = ("db_sqlite", "jsonrpcs", "kex", "tm", "sl", "pv", "htable", "usrloc", "auth", "auth_db")
CONFIGURATION = """#!KAMAILIO
log_stderror=yes
children=1
listen=udp:127.0.0.1:{port}
{modules}
modparam("htable|usrloc|auth_db", "db_url", "sqlite:///{database}")
modparam("usrloc", "db_mode", 1)
modparam("usrloc", "preload", "location")
modparam("auth_db", "use_domain", 1)
modparam("auth_db", "calculate_ha1", 0)
modparam("auth_db", "password_column", "ha1")
modparam("htable", "htable", "im_without_service=>size=4;dbtable=im_without_service;")
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "{directory}/rpc.sock")
request_route {{
    if (auth_check("example.com", "subscriber", "1")) {{ sl_send_reply("200", "OK"); }}
    else {{ auth_challenge("example.com", "0"); }}
}}
"""


class Kamailio:
    """A Kamailio that has loaded the tables."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    def rpc(self, method: str, *parameters: str) -> Any:
        """The result of a JSON-RPC command; OSError while Kamailio is starting."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            path = self.directory / "client.sock"
            path.unlink(missing_ok=True)
            client.bind(str(path))
            client.settimeout(5)
            client.connect(str(self.directory / "rpc.sock"))
            client.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}).encode())
            return json.loads(client.recv(1 << 16))["result"]

    def answers(self) -> bool:
        """Whether it has started."""
        try:
            self.rpc("core.version")
        except OSError:
            return False
        return True

    def register(self, authorization: str = "") -> str:
        """The response to a REGISTER of alice."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.port))
            client.settimeout(5)
            host, port = client.getsockname()
            client.send(
                "REGISTER sip:example.com SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{time.monotonic_ns()}\r\n"
                "From: <sip:alice@example.com>;tag=t\r\nTo: <sip:alice@example.com>\r\n"
                f"Call-ID: c\r\nCSeq: 1 REGISTER\r\n{authorization}Content-Length: 0\r\n\r\n".encode()
            )
            return client.recv(1 << 16).decode()


@pytest.fixture
async def config(tmp_path: Path) -> Config:
    config = Config.load({"IM_STATE_DIR": str(tmp_path)})
    await prepare_store(config)
    store = await open_store(config)
    await store.users.add("sip:alice@example.com", "alice-secret")
    await store.users.add("sip:bob@example.com", "x")
    await store.users.set("sip:bob@example.com", im_service=False)
    await store.close()
    return config


@pytest.fixture
def kamailio(config: Config, tmp_path: Path) -> Iterator[Kamailio]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "kamailio.cfg"
    modules = "\n".join(f'loadmodule "{name}.so"' for name in MODULES)
    database = config.database_url.removeprefix("sqlite://")
    file.write_text(CONFIGURATION.format(port=port, modules=modules, database=database, directory=tmp_path))
    log = tmp_path / "log"
    command = [KAMAILIO, "-f", str(file), "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(tmp_path)]
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as process:
        server = Kamailio(tmp_path, port)
        try:
            deadline = time.monotonic() + 20
            while not server.answers():
                with pytest.raises(subprocess.TimeoutExpired):  # it must go on running
                    process.wait(0.02)
                assert time.monotonic() < deadline, log.read_text()
            yield server
            written = log.read_text()  # before it is ended: what is left of it may complain then
        finally:
            process.terminate()
    assert " ERROR: " not in written


@pytest.mark.requirement("COR-04")
def test_the_hash_table_holds_users_without_the_service(kamailio: Kamailio) -> None:
    entry, *others = kamailio.rpc("htable.dump", "im_without_service")
    assert others == []
    assert [(item["name"], item["value"]) for item in entry["slot"]] == [("bob@example.com", "sip:bob@example.com")]


@pytest.mark.requirement("COR-07", "IDN-02")
def test_the_credentials_open_the_door_and_wrong_ones_do_not(kamailio: Kamailio) -> None:
    for password, status in (("alice-secret", "200"), ("wrong", "401")):
        challenge = kamailio.register()
        assert challenge.startswith("SIP/2.0 401")
        nonce = challenge.partition('nonce="')[2].partition('"')[0]
        response = digest_response(password, nonce)
        answer = kamailio.register(
            'Authorization: Digest username="alice", realm="example.com", uri="sip:example.com", '
            f'nonce="{nonce}", response="{response}"\r\n'
        )
        assert answer.startswith(f"SIP/2.0 {status}")


def digest_response(password: str, nonce: str) -> str:
    """RFC 7616 section 3.4.1 without qop, MD5."""
    ha1 = md5(f"alice:example.com:{password}".encode()).hexdigest()
    ha2 = md5(b"REGISTER:sip:example.com").hexdigest()
    return md5(f"{ha1}:{nonce}:{ha2}".encode()).hexdigest()
