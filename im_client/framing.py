"""Cut a byte stream into SIP messages by Content-Length (RFC 3261 section 18.3), without I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import MalformedMessageError

MAX_HEADER_BYTES = 64 * 1024
"""Header section of one message; a longer one is no message a client has use for."""

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Body of one message: far above any pager-mode limit, small enough to hold in memory."""

# RFC 3261 section 7.3.1 with the compact form of section 20.14
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:(?:[ \t]|\r\n[ \t])*([0-9]{1,10})[ \t]*(?=\r\n)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Crlf:
    """A CRLF between messages: half of a keep-alive ping, or a pong (RFC 5626 section 4.4.1)."""


@dataclass
class Framer:
    """Feed it what a stream delivers.

    It returns whole messages (bytes) and the CRLFs between them, in order.
    """

    max_header: int = MAX_HEADER_BYTES
    max_body: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # how far the end of the header section has been looked for
        self._total = 0  # length of the message at the head of the buffer, 0 while unknown

    def feed(self, data: bytes) -> list[bytes | Crlf]:
        """What is complete now.

        Raises MalformedMessageError; the stream cannot be read further after that.
        """
        self._buffer += data
        found: list[bytes | Crlf] = []
        while (item := self._next()) is not None:
            found.append(item)
        return found

    def _next(self) -> bytes | Crlf | None:
        if not self._total:
            if self._buffer.startswith(b"\r\n"):  # section 7.5: CRLFs before the start line are ignored
                del self._buffer[:2]
                return Crlf()
            self._measure()
        if not self._total or len(self._buffer) < self._total:
            return None
        message = bytes(memoryview(self._buffer)[: self._total])
        del self._buffer[: self._total]
        self._searched = self._total = 0
        return message

    def _measure(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self._buffer)
        if end < 0:
            if len(self._buffer) > self.max_header:
                raise MalformedMessageError(f"header section above {self.max_header} bytes", status=513)
            return
        head = bytes(memoryview(self._buffer)[: end + 2])
        lengths = {int(text) for text in _LENGTH.findall(head)}
        if len(lengths) != 1:
            raise MalformedMessageError("a message on a stream needs one Content-Length")
        length = lengths.pop()
        if length > self.max_body:
            raise MalformedMessageError(f"body above {self.max_body} bytes", status=513)
        self._total = end + 4 + length
