"""What scenarios of documents share: messages that wait, and requests as no good client sends them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tests.credentials import authorization
from tests.scenarios.bed import Instance
from tests.scenarios.delivery.conftest import peer, store
from tests.scenarios.large.conftest import files

__all__ = ["files", "peer", "store"]

DEFERRED = "/xcap/org.openmobilealliance.deferred-list/users"
LONGEST = 1 << 24


def list_of(user: str, rest: str = "") -> str:
    """Path of the deferred-list of a user."""
    return f"{DEFERRED}/sip:{user}@example.com/deferred-list{rest}"


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    head: str
    body: bytes

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        lines = [line.partition(":") for line in self.head.split("\r\n")[1:]]
        return [value.strip() for found, _, value in lines if found.strip().lower() == name.lower()]


def raw(instance: Instance, data: bytes, *, source: str = "127.0.0.1", seconds: float = 10.0) -> Answer:
    """Send bytes on a connection of their own; the response. ConnectionError when there is none."""
    with socket.create_connection(
        ("127.0.0.1", instance.deployment.config.http_port), timeout=seconds, source_address=(source, 0)
    ) as connection:
        connection.sendall(data)
        received = b""
        while len(received) < LONGEST:
            head, blank, body = received.partition(b"\r\n\r\n")
            if blank:
                answer = Answer(int(head.split(b" ")[1]), head.decode("latin-1"), body)
                length = answer.header("Content-Length")
                if not length or len(body) >= int(length[0]):
                    return answer
            more = connection.recv(65536)
            if not more:
                raise ConnectionError("closed without a response")
            received += more
    raise AssertionError("a response without end")


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: xcap.example.com", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def ask(
    instance: Instance,
    method: str,
    target: str,
    user: str,
    *headers: str,
    body: bytes = b"",
    password: str = "",
    source: str = "127.0.0.1",
) -> Answer:
    """The same with credentials of a user, for which a challenge is asked first."""
    challenged = raw(instance, request("GET", list_of(user)), source=source)
    assert challenged.status == 401
    credentials = authorization(challenged.header("WWW-Authenticate")[-1], method, target, user, password)
    return raw(instance, request(method, target, *headers, credentials, body=body), source=source)
