"""MSRP of a participant byte by byte, for what no well-behaved client does."""

from __future__ import annotations

import re
import secrets
import socket

from tests.scenarios.agent import Message
from tests.scenarios.conference.signalling import attributes


def path(name: str) -> str:
    """A path that nobody can connect to."""
    return f"msrp://127.0.0.1:9999/{name * 4};tcp"


class Wire:
    """One MSRP connection of a participant that is the active side."""

    def __init__(self, description: bytes, path: str) -> None:
        self.to = next(line for line in attributes(description) if line.startswith("path:")).removeprefix("path:")
        self.path = path
        port = re.search(r":(\d+)/", self.to)
        assert port is not None
        self._socket = socket.create_connection(("127.0.0.1", int(port[1])), timeout=10)
        self._read = b""

    def send(self, body: bytes, content_type: str = "message/cpim") -> bytes:
        """One SEND; the status line of its response."""
        ident = secrets.token_hex(6)
        head = (
            f"MSRP {ident} SEND\r\nTo-Path: {self.to}\r\nFrom-Path: {self.path}\r\n"
            f"Message-ID: {secrets.token_hex(6)}\r\nByte-Range: 1-{len(body)}/{len(body)}\r\n"
        )
        data = f"Content-Type: {content_type}\r\n\r\n".encode() + body + b"\r\n" if body else b""
        self._socket.sendall(head.encode() + data + f"-------{ident}$\r\n".encode())
        return self.wait(f"MSRP {ident} ".encode())

    def wait(self, wanted: bytes) -> bytes:
        """Read until something is there; its line."""
        while wanted not in self._read:
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                more = b""
            assert more, (wanted, self._read)
            self._read += more
        return self._read[self._read.index(wanted) :].partition(b"\r\n")[0]

    def close(self) -> None:
        """Cut it."""
        self._socket.close()


def cpim(sender: str, room: str, text: str) -> bytes:
    """A message to all."""
    return f"From: <{sender}>\r\nTo: <{room}>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}".encode()


def room_of(message: Message) -> str:
    """The IM Session Identity in a Contact."""
    found = re.search(r"<([^>]*)>", message.value("Contact"))
    assert found is not None
    return found[1]
