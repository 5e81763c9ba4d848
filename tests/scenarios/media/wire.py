"""An MSRP peer that does only what a test tells it to: frames as they are, on a socket of one's own."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SECONDS = 10.0
"""Longest wait for a frame; nothing in a scenario takes longer when it works."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A request or response as received: first line, headers in order, body, continuation flag."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    flag: str

    @property
    def transaction(self) -> str:
        return self.start.split()[1]

    @property
    def method(self) -> str:
        """Of a request; empty for a response."""
        word = self.start.split()[2]
        return "" if word.isdigit() else word

    @property
    def status(self) -> int:
        """Of a response, or of a REPORT's Status header; 0 where there is none."""
        if not self.method:
            return int(self.start.split()[2])
        words = self.value("Status").split()
        return int(words[1]) if len(words) > 1 else 0

    def value(self, name: str) -> str:
        """The first header of that name, empty when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def frame(
    method: str,
    to: str,
    sender: str,
    *headers: str,
    body: bytes | None = None,
    flag: str = "$",
    transaction: str = "",
) -> bytes:
    """A request with `headers` (whole lines, Content-Type the last one) and a body."""
    transaction = transaction or secrets.token_hex(6)
    lines = [f"MSRP {transaction} {method}", f"To-Path: {to}", f"From-Path: {sender}", *headers]
    head = "\r\n".join(lines).encode() + b"\r\n"
    content = b"" if body is None else b"\r\n" + body + b"\r\n"
    return head + content + f"-------{transaction}{flag}\r\n".encode()


def text_message(
    to: str,
    sender: str,
    body: bytes = b"hello",
    *headers: str,
    content_type: str = "text/plain",
    byte_range: str = "",
    message_id: str = "",
    flag: str = "$",
    transaction: str = "",
) -> bytes:
    """A SEND with content; without `byte_range` it is one whole message."""
    lines = [
        f"Message-ID: {message_id or secrets.token_hex(6)}",
        f"Byte-Range: {byte_range or f'1-{len(body)}/{len(body)}'}",
        *headers,
        f"Content-Type: {content_type}",
    ]
    return frame("SEND", to, sender, *lines, body=body, flag=flag, transaction=transaction)


class MsrpSocket:
    """A connection, opened or accepted. Use as `with`."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._data = b""

    @classmethod
    def to(cls, port: int, *, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Self:
        """Connect to a port of this host from `source`, with TLS if a context is given."""
        connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS, source_address=(source, 0))
        return cls(connection if tls is None else tls.wrap_socket(connection, server_hostname="127.0.0.1"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End it as a host that has crashed and come back does: with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data: bytes) -> None:
        """These bytes; a connection that the other side closes meanwhile is no error here."""
        self.socket.settimeout(SECONDS)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass

    def frame(self, seconds: float = SECONDS) -> Frame:
        """The next whole frame. TimeoutError when none comes, EOFError when the connection is closed instead."""
        self.socket.settimeout(seconds)
        while True:
            found = self._cut()
            if found is not None:
                return found
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                more = b""
            if not more:
                raise EOFError(f"closed after {self._data!r}")
            self._data += more

    def ask(self, request: bytes) -> int:
        """Send a request; the status of its response. Other frames that come before it are dropped."""
        transaction = request.split(b" ", 2)[1].decode()
        self.send(request)
        while True:
            answer = self.frame()
            if answer.transaction == transaction and not answer.method:
                return answer.status

    def answer(self, request: Frame, status: int = 200, reason: str = "OK") -> None:
        """Respond to a SEND: to the sender, or to the first of its hops."""
        lines = [
            f"MSRP {request.transaction} {status} {reason}",
            f"To-Path: {request.value('From-Path').split()[0]}",
            f"From-Path: {request.value('To-Path').split()[-1]}",
            f"-------{request.transaction}$",
        ]
        self.send("\r\n".join(lines).encode() + b"\r\n")

    def message(self, seconds: float = SECONDS) -> Frame:
        """The next SEND that has content, answered 200; what comes before it is answered too."""
        while True:
            request = self.frame(seconds)
            if request.method == "SEND":
                self.answer(request)
                if request.body or request.value("Content-Type"):
                    return request

    def report(self, seconds: float = SECONDS) -> Frame:
        """The next REPORT; SENDs before it are answered, responses dropped."""
        while True:
            request = self.frame(seconds)
            if request.method == "REPORT":
                return request
            if request.method == "SEND":
                self.answer(request)

    def closed(self, seconds: float = SECONDS) -> bool:
        """Whether the other side closes within this time; what it sends before is dropped."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
        except (ConnectionResetError, ssl.SSLError):
            pass
        except TimeoutError:
            return False
        return True

    def _cut(self) -> Frame | None:
        """The first whole frame of what has come."""
        start, end, _ = self._data.partition(b"\r\n")
        if not end:
            return None
        mark = b"-------" + start.split(b" ")[1]
        at = self._data.find(b"\r\n" + mark)
        if at < 0 or len(self._data) < at + len(mark) + 5:
            return None
        flag = chr(self._data[at + 2 + len(mark)])
        head, empty, body = self._data[: at + 2].partition(b"\r\n\r\n")
        self._data = self._data[at + len(mark) + 5 :]
        lines = head.decode("utf-8", "replace").split("\r\n")[1:]
        headers = [line.partition(": ")[::2] for line in lines if line]
        return Frame(start.decode(), _pairs(headers), body.removesuffix(b"\r\n") if empty else b"", flag)


class MsrpListener:
    """Where a peer that is passive waits."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((address, 0))
        self.address, self.port = self._socket.getsockname()

    def accept(self, seconds: float = SECONDS, tls: ssl.SSLContext | None = None) -> MsrpSocket:
        """The next connection. TimeoutError when none comes."""
        self._socket.settimeout(seconds)
        connection, _ = self._socket.accept()
        connection.settimeout(seconds)
        return MsrpSocket(connection if tls is None else tls.wrap_socket(connection, server_side=True))

    def narrow(self) -> None:
        """Take little without reading, from the next connection on: 4 KiB wait in the kernel instead of megabytes."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def close(self) -> None:
        self._socket.close()


def _pairs(headers: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers)
