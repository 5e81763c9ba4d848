"""Bodies with parts (RFC 2046 section 5.1) as SIP carries them, taken apart and put together. Pure, bytes as they are."""

from __future__ import annotations

import base64
import binascii
import itertools
import quopri
import re
from collections.abc import Iterable, Sequence

import msgspec

MOST_PARTS = 64
"""Parts read from one body, those of parts within parts together: a content, a description, a list, not hundreds."""
DEEPEST = 4
"""Multiparts within multiparts: alternatives in a mixed body are two."""
LONGEST_HEAD = 8_192
"""Bytes of the header fields of a part."""

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]*)')
_LINE_BREAK = re.compile(r"[\r\n\0]")
# boundary := 0*69<bchars> bcharsnospace   (RFC 2046 section 5.1.1)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


class MultipartError(ValueError):
    """Not a body with parts; the text says why."""

    status = 400


class Part(msgspec.Struct, frozen=True):
    """One body part. `headers` beside Content-Type keep their order."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str:
        """The first field of this name; empty when there is none."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")

    @property
    def media_type(self) -> str:
        """The type in lower case, without parameters."""
        return media_type(self.content_type)

    @property
    def disposition(self) -> str:
        """The disposition type in lower case, without parameters (RFC 2183); empty without Content-Disposition."""
        return media_type(self.header("Content-Disposition"))

    @property
    def content_id(self) -> str:
        """Content-ID without its angle brackets (RFC 2392)."""
        return self.header("Content-ID").strip().removeprefix("<").removesuffix(">")


def media_type(value: str) -> str:
    """What stands before the parameters, in lower case."""
    return value.partition(";")[0].strip().lower()


def read_parts(content_type: str, body: bytes, disposition: str = "") -> tuple[Part, ...]:
    """The parts of a body that are no multiparts themselves, in order; a body without parts is one part, with the
    Content-Disposition of the request, and no body is none. Base64 and quoted-printable are undone. MultipartError.
    """
    if not body:
        return ()
    headers = (("Content-Disposition", disposition),) if disposition else ()
    found: list[Part] = []
    _collect(Part(content_type, body, headers), 0, found)
    return tuple(found)


def direct_parts(content_type: str, body: bytes, disposition: str = "") -> tuple[Part, ...]:
    """The parts of the outermost level with their bytes and header fields as they are, for who passes them on: parts
    within parts stay whole. A body without parts is one part, and no body is none. MultipartError.
    """
    if not body:
        return ()
    whole = Part(content_type, body, (("Content-Disposition", disposition),) if disposition else ())
    if not whole.media_type.startswith("multipart/"):
        return (whole,)
    found = tuple(itertools.islice(_split(whole), MOST_PARTS + 1))
    if len(found) > MOST_PARTS:
        raise MultipartError(f"the body has more than {MOST_PARTS} parts")
    return found


def build(parts: Sequence[Part], boundary: str) -> tuple[str, bytes]:
    """Content-Type and bytes of a multipart/mixed body. ValueError if a part has the boundary in it."""
    delimiter = f"--{boundary}".encode("ascii")
    chunks = []
    for part in parts:
        fields = [("Content-Type", part.content_type), *part.headers]
        if delimiter in part.body or any(_LINE_BREAK.search(f"{name}{value}") for name, value in fields):
            raise ValueError("a body part holds the boundary, or a line break in its header fields")
        head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("utf-8", "surrogateescape")
        chunks.append(delimiter + b"\r\n" + head + b"\r\n" + part.body + b"\r\n")
    return f'multipart/mixed;boundary="{boundary}"', b"".join(chunks) + delimiter + b"--\r\n"


def _collect(part: Part, depth: int, found: list[Part]) -> None:
    if not part.media_type.startswith("multipart/"):
        if len(found) == MOST_PARTS:
            raise MultipartError(f"the body has more than {MOST_PARTS} parts")
        found.append(decoded(part))
        return
    if depth == DEEPEST:
        raise MultipartError(f"the body has parts nested deeper than {DEEPEST}")
    for inner in _split(part):
        _collect(inner, depth + 1, found)


def _split(whole: Part) -> Iterable[Part]:
    boundary = _boundary(whole.content_type)
    # The line break before a delimiter belongs to it; padding after it is allowed (RFC 2046 section 5.1.1).
    delimiter = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r?\n|$)")
    start: int | None = None
    for match in delimiter.finditer(whole.body):
        if start is not None:
            yield _part(whole.body[start : match.start()])
        if match[1]:
            if start is None:
                raise MultipartError("the body ends before its first part")
            return
        start = match.end()
    raise MultipartError("the body has no part" if start is None else "the body lacks its last delimiter")


def _boundary(content_type: str) -> str:
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "boundary":
            text = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            if not _BOUNDARY.fullmatch(text):
                raise MultipartError("the boundary of the body is not 1 to 70 characters of its alphabet")
            return str(text)
    raise MultipartError("a body with parts needs a boundary")


_HEAD_END = re.compile(rb"\r?\n\r?\n")


def _part(data: bytes) -> Part:
    """A part from the line break after its delimiter on. One without header fields begins with an empty line."""
    end = _HEAD_END.search(data)
    head, body = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    if len(head) > LONGEST_HEAD:
        raise MultipartError(f"header fields of a part over {LONGEST_HEAD} bytes")
    text = re.sub(rb"\r?\n[ \t]+", b" ", head).decode("utf-8", "surrogateescape")
    fields = []
    for line in filter(None, re.split(r"\r?\n", text)):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MultipartError(f"not a header field of a body part: {line[:60]!r}")
        fields.append((name.strip(), value.strip()))
    kind = next((value for name, value in fields if name.lower() == "content-type"), "text/plain")
    return Part(kind, body, tuple(field for field in fields if field[0].lower() != "content-type"))


def decoded(part: Part) -> Part:
    """A part with its base64 or quoted-printable undone. MultipartError."""
    encoding = part.header("Content-Transfer-Encoding").lower()
    if encoding == "base64":
        try:
            body = base64.b64decode(b"".join(part.body.split()), validate=True)
        except binascii.Error as error:
            raise MultipartError(f"a part is not base64: {error}") from None
    elif encoding == "quoted-printable":
        body = quopri.decodestring(part.body)
    else:
        return part
    kept = tuple(field for field in part.headers if field[0].lower() != "content-transfer-encoding")
    return Part(part.content_type, body, kept)
