"""A TCP connection that sends bytes as they are: for what no well-behaved client sends."""

from __future__ import annotations

import socket
from types import TracebackType

from tests.scenarios.traffic import Sip


class RawTcp:
    """A connection from `source` to a port of this host. Use as `with`."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
        self.host, self.port = self._socket.getsockname()

    def __enter__(self) -> RawTcp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """These bytes; a connection that the other side closes meanwhile is no error here."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def ask(self, request: Sip) -> bytes:
        """The final response to a request."""
        self.send(request.bytes(self.host, self.port, "TCP"))
        return self.final()

    def final(self, seconds: float = 10.0) -> bytes:
        """The next final response with its body; empty when the connection is closed instead."""
        self._socket.settimeout(seconds)
        data = b""
        while True:
            head, end, rest = data.partition(b"\r\n\r\n")
            if end and head.startswith(b"SIP/2.0 1"):
                data = rest
                continue
            if end:
                return head + end
            try:
                more = self._socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return b""
            data += more

    def closed(self, seconds: float = 10.0) -> bool:
        """Whether the other side closes within this time; what it sends before is dropped."""
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def waiting(self) -> bytes:
        """What has come by now."""
        self._socket.settimeout(0)
        try:
            return self._socket.recv(65536)
        except BlockingIOError:
            return b""
