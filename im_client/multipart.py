"""Multipart bodies as bytes (RFC 2046 section 5.1): build them, take them apart. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import MalformedMessageError
from .wire import parameters, split_outside_quotes

MAX_PARTS = 64
"""Parts read from one body; a message has a content and a list, not hundreds."""

_LINE_BREAK = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Part:
    """One body part. `headers` beside Content-Type keep their order."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)

    @property
    def disposition(self) -> str:
        """The disposition type in lower case, without parameters; empty without Content-Disposition."""
        return (self.header("Content-Disposition") or "").partition(";")[0].strip().lower()

    @property
    def media_type(self) -> str:
        """The type in lower case, without parameters."""
        return self.content_type.partition(";")[0].strip().lower()


def build(parts: list[Part], boundary: str) -> tuple[str, bytes]:
    """Content-Type and bytes of a multipart/mixed body.

    Raises ValueError if a part has the boundary in it.
    """
    delimiter = f"--{boundary}".encode("ascii")
    chunks = []
    for part in parts:
        fields = [("Content-Type", part.content_type), *part.headers]
        if delimiter in part.body or any(_LINE_BREAK.search(f"{name}{value}") for name, value in fields):
            raise ValueError("a body part holds the boundary, or a line break in its headers")
        head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
        chunks.append(delimiter + b"\r\n" + head + b"\r\n" + part.body + b"\r\n")
    return f'multipart/mixed;boundary="{boundary}"', b"".join(chunks) + delimiter + b"--\r\n"


def split(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart body, bytes as they are. Raises MalformedMessageError."""
    boundary = boundary_of(content_type)
    # The CRLF before a delimiter belongs to it; transport padding after it is allowed (RFC 2046 section
    # 5.1.1).
    delimiter = re.compile(rb"(?:^|\r\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r\n|$)")
    found = list(delimiter.finditer(body))
    closing = next((index for index, match in enumerate(found) if match[1]), None)
    if not closing or closing > MAX_PARTS:
        raise MalformedMessageError("a multipart body without parts, with too many, or without its end")
    return [parse_part(body[found[i].end() + 2 : found[i + 1].start()]) for i in range(closing)]


def boundary_of(content_type: str) -> str:
    """The boundary parameter. Raises MalformedMessageError."""
    boundary = parameters(list(split_outside_quotes(content_type, ";"))[1:]).get("boundary")
    if not boundary or len(boundary) > 70 or not boundary.isascii():
        raise MalformedMessageError("a multipart body needs a boundary of 1 to 70 characters")
    return boundary


def parse_part(data: bytes) -> Part:
    """One part, from its header fields on. Raises MalformedMessageError."""
    # A part without header fields begins with an empty line.
    head, separator, body = (b"", b"x", data[2:]) if data.startswith(b"\r\n") else data.partition(b"\r\n\r\n")
    if not separator:
        head, body = data, b""
    text = re.sub(rb"\r\n[ \t]+", b" ", head).decode("utf-8", "surrogateescape")
    fields = []
    for line in filter(None, text.split("\r\n")):
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedMessageError(f"not a header field of a body part: {line[:60]!r}")
        fields.append((name.strip(), value.strip()))
    kind = next((value for name, value in fields if name.lower() == "content-type"), "text/plain")
    return Part(kind, body, tuple(field for field in fields if field[0].lower() != "content-type"))
