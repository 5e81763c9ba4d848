"""An instance takes its ports and its state directory, or says who has them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msrp_worker.config import Config
from tests.scenarios.bed import Offset
from tools.claims import ClaimError, check_ports, ports, state_directory

Configure = Callable[..., Config]


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Configure]:
    """Makes a configuration with ports of the test's own."""
    offset = Offset()

    def load(**settings: str) -> Config:
        return Config.load({"IM_STATE_DIR": str(tmp_path), "IM_PORT_OFFSET": str(offset.number), **settings})

    yield load
    offset.release()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_port_that_is_taken_is_named(config: Configure, tmp_path: Path, kind: socket.SocketKind) -> None:
    """Also where the other one would let us share it, as Kamailio's UDP sockets do; and a way out is shown."""
    ours = config()
    check_ports(ours)
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", ours.sip_port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        with pytest.raises(ClaimError) as raised:
            check_ports(ours)
    name = "tcp" if kind == socket.SOCK_STREAM else "udp"
    assert f"127.0.0.1:{ours.sip_port} {name} (SIP)" in str(raised.value)
    assert f"IM_PORT_OFFSET={ours.port_offset + 100} IM_STATE_DIR={tmp_path}-" in str(raised.value)
    check_ports(ours)


def test_an_address_of_somebody_else(config: Configure) -> None:
    with pytest.raises(ClaimError, match=r"192\.0\.2\.1:\d+ \(SIP\) cannot be used"):
        check_ports(config(IM_LISTEN="192.0.2.1"))


def test_ports_that_are_switched_on(config: Configure) -> None:
    """Those of a separate core and of TLS are looked at when they are served."""
    few = ports(config())
    more = ports(config(IM_TRUSTED_PEERS="127.0.0.2"))
    assert {what for what, *_ in more} - {what for what, *_ in few} == {"originating side", "terminating side"}


def test_one_instance_per_state_directory(config: Configure) -> None:
    """Two would take each other's sockets. The lock ends with its holder, whatever the file says."""
    ours = config()
    with state_directory(ours):
        held = rf"process {os.getpid()}\) runs with the state directory"
        with pytest.raises(ClaimError, match=held), state_directory(ours):
            pass
    with state_directory(ours):
        pass
