"""Two users in a session through the worker, both in the hands of the test: SIP, SDP and MSRP byte by byte."""

from __future__ import annotations

import re
import secrets
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tests.scenarios.agent import ACCEPT_CONTACT, FEATURE_TAG, Agent, Message
from tests.scenarios.bed import DOMAIN, Instance, wait_until
from tests.scenarios.media.wire import MsrpListener, MsrpSocket, frame, text_message

SDP_TYPE = "Content-Type: application/sdp"


def attributes(body: bytes, name: str) -> list[str]:
    """All values of an attribute of a description; those without a value are empty strings."""
    return re.findall(rf"^a={name}(?::([^\r\n]*))?\r?$", body.decode(), re.MULTILINE)


def attribute(body: bytes, name: str) -> str:
    """The only value of an attribute; empty when it is not there."""
    found = attributes(body, name)
    assert len(found) <= 1, body
    return found[0] if found else ""


def media_line(body: bytes) -> str:
    """The first m= line."""
    found = re.search(r"^m=.*?(?=\r?$)", body.decode(), re.MULTILINE)
    assert found is not None, body
    return found.group()


def description(
    path: str,
    port: int,
    *lines: str,
    setup: str = "",
    types: str = "*",
    address: str = "127.0.0.1",
    protocol: str = "TCP/MSRP",
) -> bytes:
    """A session description with one MSRP line; `lines` are whole ones, of its media section."""
    parts = [
        "v=0",
        f"o=- 1 1 IN IP4 {address}",
        "s=-",
        f"c=IN IP4 {address}",
        "t=0 0",
        f"m=message {port} {protocol} *",
        *([f"a=accept-types:{types}"] if types else []),
        *([f"a=path:{path}"] if path else []),
        *([f"a=setup:{setup}"] if setup else []),
        *lines,
    ]
    return ("\r\n".join(parts) + "\r\n").encode()


class Party:
    """One user: a SIP agent, a listening MSRP socket and a path. Use as `with`."""

    def __init__(self, instance: Instance, user: str, *, secure: bool = False) -> None:
        self.instance = instance
        self.agent = Agent(instance.sip_port, user)
        self.listener = MsrpListener()
        self.secure = secure
        scheme = "msrps" if secure else "msrp"
        self.path = f"{scheme}://127.0.0.1:{self.listener.port}/{secrets.token_hex(8)};tcp"
        self.server = ""
        """The path of the worker towards us, once known."""
        self._connections: list[MsrpSocket] = []
        self._dialog: Message | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.agent.__exit__()
        self.listener.close()
        for connection in self._connections:
            connection.close()

    @property
    def contact(self) -> str:
        return f"Contact: <{self.agent.contact}>;{FEATURE_TAG}"

    def describe(self, *lines: str, setup: str = "", types: str = "*") -> bytes:
        """Our half of an offer or answer."""
        protocol = "TCP/TLS/MSRP" if self.secure else "TCP/MSRP"
        return description(self.path, self.listener.port, *lines, setup=setup, types=types, protocol=protocol)

    def connect(self, *, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> MsrpSocket:
        """A connection to where the worker said that it waits; nothing is sent on it."""
        found = re.match(r"msrps?://[^:/]+:(\d+)/", self.server)
        assert found is not None, self.server
        connection = MsrpSocket.to(int(found.group(1)), source=source, tls=tls)
        self._connections.append(connection)
        return connection

    def bind(self, *, tls: ssl.SSLContext | None = None) -> MsrpSocket:
        """Connect and send the first SEND, without a body."""
        connection = self.connect(tls=tls)
        assert connection.ask(self.greeting()) == 200
        return connection

    def accept(self, tls: ssl.SSLContext | None = None) -> MsrpSocket:
        """The connection of the worker, whose first SEND is answered."""
        connection = self.listener.accept(tls=tls)
        self._connections.append(connection)
        greeting = connection.frame()
        assert (greeting.method, greeting.body) == ("SEND", b"")
        assert greeting.value("To-Path") == self.path
        connection.answer(greeting)
        return connection

    def greeting(self, to: str = "") -> bytes:
        """A SEND without a body."""
        return frame("SEND", to or self.server, self.path, f"Message-ID: {secrets.token_hex(6)}", "Byte-Range: 1-0/0")

    # ---- SIP

    def invite(self, user: str, offer: bytes) -> str:
        """Send an INVITE; its Call-ID."""
        uri = f"sip:{user}@{DOMAIN}"
        return self.agent.begin("INVITE", uri, ACCEPT_CONTACT, self.contact, SDP_TYPE, body=offer)

    def answered(self, call_id: str) -> Message:
        """The final response to our INVITE, acknowledged; the worker's path is kept."""
        response = self.agent.final(call_id)
        if response.status == 200:
            self.agent.send(self.agent.within(response, "ACK"))
            self.server = attribute(response.body, "path")
            self._dialog = response
        return response

    def invited(self) -> Message:
        """The INVITE that comes; the worker's path is kept."""
        request = self.agent.receive("INVITE")
        self.server = attribute(request.body, "path")
        return request

    def leave(self) -> None:
        """BYE of the caller, answered."""
        assert self._dialog is not None
        self.agent.send(self.agent.within(self._dialog, "BYE"))
        assert self.agent.final(self._dialog.value("Call-ID")).status == 200

    def released(self, seconds: float = 10.0) -> Message:
        """The BYE that comes, answered."""
        request = self.agent.receive(seconds=seconds)
        if request.method == "ACK":
            request = self.agent.receive(seconds=seconds)
        assert request.method == "BYE", request.head
        self.agent.reply(request, 200, "OK")
        return request


def talk(caller: Party, callee: Party, offer: bytes = b"", answer: bytes = b"") -> tuple[Message, Message]:
    """A whole set-up: the INVITE that the callee got, and the 200 that the caller got.

    By default the caller says nothing of setup, so it connects, and the callee lets itself be connected to.
    """
    callee.agent.register(f"<{callee.agent.contact}>;{FEATURE_TAG}")
    call_id = caller.invite(callee.agent.user, offer or caller.describe())
    invite = callee.invited()
    callee.agent.reply(invite, 200, "OK", callee.contact, SDP_TYPE, body=answer or callee.describe(setup="passive"))
    response = caller.answered(call_id)
    assert response.status == 200, response.head
    callee.agent.receive("ACK")
    return invite, response


def hang_up(caller: Party, callee: Party) -> None:
    """The caller leaves, and the callee is told."""
    caller.leave()
    callee.released()


def refused(caller: Party, callee: Party, offer: bytes) -> Message:
    """The final response to an INVITE that is to be refused; the callee's device must hear nothing."""
    callee.agent.register(f"<{callee.agent.contact}>;{FEATURE_TAG}")
    response = caller.answered(caller.invite(callee.agent.user, offer))
    assert callee.agent.quiet(0.3)
    return response


def metrics(instance: Instance) -> dict[str, float]:
    """What /metrics says."""
    url = f"http://127.0.0.1:{instance.deployment.config.http_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    rows = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


GAUGES = ("im_msrp_sessions", "im_msrp_connections", "im_legs", "im_sessions_bridged")


def idle(instance: Instance) -> None:
    """Wait until no MSRP session or connection, no leg and no session is left in the worker."""
    try:
        wait_until(lambda: not any(metrics(instance)[name] for name in GAUGES), "an idle worker")
    except AssertionError:
        raise AssertionError({name: metrics(instance)[name] for name in GAUGES}) from None


def nothing_left(instance: Instance) -> None:
    """`idle`, and no transaction in Kamailio and no file in the state directory that was not there at the start."""
    idle(instance)
    wait_until(lambda: instance.deployment.rpc("tm.stats")["current"] == 0, "no transaction left", seconds=40)
    kept = {path.suffix for path in instance.state_dir.rglob("*") if path.is_file()}
    assert kept <= {".key", ".sqlite", ".sqlite-shm", ".sqlite-wal", ".pid", ""}, kept


@contextmanager
def two_parties(instance: Instance, caller: str, callee: str, *, secure: bool = False) -> Iterator[tuple[Party, Party]]:
    """A caller and a callee."""
    with Party(instance, caller, secure=secure) as one, Party(instance, callee, secure=secure) as other:
        yield one, other


def assert_talking(one: MsrpSocket, party: Party, other: MsrpSocket, peer: Party) -> None:
    """A message passes each way."""
    for sender, user, receiver in ((one, party, other), (other, peer, one)):
        body = secrets.token_hex(8).encode()
        assert sender.ask(text_message(user.server, user.path, body)) == 200
        assert receiver.message().body == body
