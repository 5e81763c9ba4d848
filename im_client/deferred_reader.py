"""One SEND of the Deferred Messaging Function as it comes: small messages in memory, large content into a file. CLI-06

Blocks for as long as a write to the local disk takes. What was fed is on disk when `finish` returns, so that a client that
acknowledges afterwards loses nothing.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from msrp_worker.content_types import CPIM, essence
from msrp_worker.cpim import CpimError, Envelope, HeadReader
from msrp_worker.file_transfer import FileSelector

from .deferred import MSRP, SIP, DeferredMessage, of_parts
from .errors import MalformedMessageError
from .local_files import link
from .multipart import Part, boundary_of, parse_part
from .wire import parameters, split_outside_quotes

INLINE_BYTES = 65_536
"""Content up to this many bytes stays in memory where larger content goes to a file."""
MEMORY_BYTES = 16_777_216
"""Largest message kept in memory where there is no directory for files."""
HEAD_BYTES = 131_072
"""Largest SIP part, or headers of a part: what a SIP server takes."""
END_BYTES = 64
"""Most bytes of an MSRP end-line: CRLF, seven hyphens, a transaction identifier of up to 32 characters, a flag, CRLF."""


class TooLargeError(Exception):
    """The message is larger than there is room for."""


class Content:
    """Content of one message: bytes in memory, or a file in `directory` once there are many."""

    def __init__(self, directory: Path | None) -> None:
        self.size = 0
        self._directory = directory
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | bytearray) -> None:
        """The next bytes. TooLargeError, OSError."""
        self.size += len(data)
        if self._file is None:
            self._memory += data
            if self._directory is None:
                if self.size > MEMORY_BYTES:
                    raise TooLargeError(f"more than {MEMORY_BYTES} bytes")
                return
            if self.size <= INLINE_BYTES:
                return
            self._file = NamedTemporaryFile(dir=self._directory, prefix=".incoming-")  # noqa: SIM115 - closed by discard
            data, self._memory = self._memory, bytearray()
        self._file.write(data)

    def keep(self, name: str) -> tuple[bytes, Path | None]:
        """The bytes, or the file under this name, which never replaces another. OSError."""
        if self._file is None:
            return bytes(self._memory), None
        assert self._directory is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        path = link(Path(self._file.name), self._directory / name)
        self.discard()
        return b"", path

    def discard(self) -> None:
        """Leave nothing that was not kept."""
        if self._file is not None:
            self._file.close()
            self._file = None


class SendReader:
    """`feed` the content of one SEND, then `finish` for the messages in it; `discard` when no more comes."""

    def __init__(self, content_type: str, directory: Path | None) -> None:
        self._type = content_type
        self._content = Content(directory)
        self._parts: list[Part] = []
        self._msrp = False
        kind = content_type.partition(";")[0].strip().lower()
        self._envelope = HeadReader() if kind == CPIM else None
        self._head: Envelope | None = None
        self._plain = bytearray()
        self._take: Callable[[bytes], None] = self._take_content
        if kind == "multipart/mixed":
            self._take = _Splitter(boundary_of(content_type), self._begin_part, self._take_part, self._end_part).feed
        elif kind in SIP or kind == MSRP:
            self._take = self._take_plain
        elif kind == CPIM:
            self._take = self._take_envelope

    def feed(self, data: bytes) -> None:
        """The next bytes. MalformedMessageError, TooLargeError, OSError."""
        self._take(data)

    def finish(self) -> list[DeferredMessage]:
        """All has come: its messages, on disk where they are large. MalformedMessageError, OSError."""
        if self._plain:
            return of_parts([Part(self._type, bytes(self._plain))])
        if self._parts:
            return [self._kept(message) for message in of_parts(self._parts)]
        if self._head is not None:
            sender = self._head.sender.uri if self._head.sender is not None else ""
            to = self._head.recipients[0].uri if self._head.recipients else ""
            headers = dict(self._head.content_headers)
            return [self._kept(DeferredMessage(sender, to, self._head.content_type, b"", headers=headers))]
        return [self._kept(DeferredMessage("", "", self._type, b""))] if self._content.size else []

    def discard(self) -> None:
        """Leave nothing behind."""
        self._content.discard()

    def _kept(self, message: DeferredMessage) -> DeferredMessage:
        if message.body or not self._content.size:
            return message
        body, path = self._content.keep(file_name(message))
        return replace(message, body=body, path=path, size=self._content.size)

    # --- kinds of content

    def _take_content(self, data: bytes) -> None:
        self._content.write(data)

    def _take_plain(self, data: bytes) -> None:
        self._plain += data
        if len(self._plain) > MEMORY_BYTES:
            raise TooLargeError(f"more than {MEMORY_BYTES} bytes")

    def _take_envelope(self, data: bytes) -> None:
        if self._envelope is not None:
            try:
                found = self._envelope.feed(data)
            except CpimError as error:
                raise MalformedMessageError(str(error)) from None
            if found is None:
                return
            self._head, data = found
            self._envelope = None
        self._content.write(data)

    # --- parts of a multipart body

    def _begin_part(self, head: bytes) -> None:
        self._parts.append(parse_part(head + b"\r\n\r\n"))
        self._msrp = self._parts[-1].media_type == MSRP
        self._plain_part = bytearray()
        self._within = False

    def _take_part(self, data: bytes) -> None:
        if self._msrp and self._within:
            self._plain_part += data
            if len(self._plain_part) > END_BYTES:
                self._content.write(self._plain_part[:-END_BYTES])
                del self._plain_part[:-END_BYTES]
            return
        self._plain_part += data
        if self._msrp and (end := self._plain_part.find(b"\r\n\r\n")) >= 0:
            head, rest = bytes(self._plain_part[:end]), bytes(self._plain_part[end + 4 :])
            self._parts[-1] = replace(self._parts[-1], body=head + b"\r\n\r\n")
            self._within, self._plain_part = True, bytearray()
            self._take_part(rest)
        elif len(self._plain_part) > HEAD_BYTES:
            raise MalformedMessageError("a SIP part without end")

    def _end_part(self) -> None:
        if self._msrp and self._within:
            # The end-line, its CRLF, and one more before the delimiter are not content.
            found = re.search(rb"\r\n-------[A-Za-z0-9.\-+%=]{4,32}[$#+](?:\r\n)?\Z", self._plain_part)
            self._content.write(self._plain_part[: found.start()] if found else self._plain_part)
        else:
            self._parts[-1] = replace(self._parts[-1], body=bytes(self._plain_part))


class _Splitter:
    """Parts of a multipart body as they come (RFC 2046 section 5.1.1)."""

    def __init__(
        self, boundary: str, begin: Callable[[bytes], None], take: Callable[[bytes], None], end: Callable[[], None]
    ) -> None:
        self._delimiter = b"\r\n--" + boundary.encode()
        self._begin, self._take, self._end = begin, take, end
        self._buffer = bytearray(b"\r\n")  # the first delimiter may have no line before it
        self._state = self._skip

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._state():
            pass

    def _skip(self) -> bool:
        """The preamble, up to the first delimiter."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            del self._buffer[: -len(self._delimiter)]
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._state = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = self._epilogue
            return True
        if (at := self._buffer.find(b"\r\n")) < 0:
            return False
        del self._buffer[:at]  # the line end may be the one that ends empty headers
        self._state = self._head
        return True

    def _head(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise MalformedMessageError("headers of a part without end")
            return False
        self._begin(bytes(self._buffer[2:at]))
        del self._buffer[: at + 4]
        self._state = self._body
        return True

    def _body(self) -> bool:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            ready = len(self._buffer) - len(self._delimiter)
            if ready > 0:
                self._take(bytes(self._buffer[:ready]))
                del self._buffer[:ready]
            return False
        self._take(bytes(self._buffer[:at]))
        self._end()
        del self._buffer[: at + len(self._delimiter)]
        self._state = self._after_delimiter
        return True

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False


def file_name(message: DeferredMessage) -> str:
    """A name for its file: the one that its sender gave, made safe, else one of its identifier and type."""
    disposition = next((value for name, value in message.headers.items() if name.lower() == "content-disposition"), "")
    given = parameters(list(split_outside_quotes(disposition, ";"))[1:]).get("filename")
    if given:
        return FileSelector(name=given).safe_name
    suffix = mimetypes.guess_extension(essence(message.content_type) or "") or ".bin"
    return FileSelector(name=f"message-{message.message_id or message.call_id or 'unknown'}").safe_name + suffix
