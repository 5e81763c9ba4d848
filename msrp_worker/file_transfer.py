"""Files described in SDP (RFC 5547): read and written; the OMA draft's older attributes are read only
(LRG-05).

A file is one media section; several files are several sections. Values of the description come from the
other side: `FileSelector.safe_name` is the only name fit for a local file system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msrp_worker.content_types import essence
from msrp_worker.sdp import Line, Media, SdpError, attribute, bounded_integer

SAFE_NAME_MAX = 200
"""Longest file name handed to a file system, in characters: under the 255 bytes common systems take."""
FALLBACK_NAME = "file"

_DISPOSITIONS = {"inline": "render"}  # the draft's words (9.3.2.2) for RFC 5547 7's
_HASH = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+")
_SELECTOR = re.compile(r'((?:[^\s"]|"[^"]*")+)')  # split at blanks outside quotes
_RANGE = re.compile(r"([0-9]{1,20})-([0-9]{1,20}|\*)")
_DATE = re.compile(r'(creation|modification|read):"([^"]*)"')
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_QUOTE_SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in '"%/\\:')
_MEDIA_TYPE = re.compile(rf"{_TOKEN.pattern}/{_TOKEN.pattern}(?:;[^;]*)*")


@dataclass(frozen=True, slots=True)
class FileSelector:
    """Which file: any of name, media type, size in bytes, and hashes as (algorithm, value)."""

    name: str | None = None
    type: str | None = None
    size: int | None = None
    hashes: tuple[tuple[str, str], ...] = ()

    @property
    def safe_name(self) -> str:
        """The name without anything a file system could take for a path (RFC 5547 6)."""
        name = _UNSAFE.sub("_", self.name or "").strip(" .")[:SAFE_NAME_MAX]
        return name or FALLBACK_NAME

    def hash(self, algorithm: str) -> bytes | None:
        """The digest for an algorithm name such as `sha-1`, None when there is none."""
        for name, value in self.hashes:
            if name == algorithm.lower():
                return bytes.fromhex(value.replace(":", ""))
        return None

    def matches(self, other: FileSelector) -> bool:
        """Whether a file (`other`, fully described) is one this selector selects: every selector present
        here must hold there (RFC 5547 5). A hash of an algorithm that the file does not have does not
        decide."""
        known = dict(other.hashes)
        return (
            self.name in (None, other.name)
            and self.size in (None, other.size)
            and (self.type is None or (other.type is not None and essence(self.type) == essence(other.type)))
            and all(known.get(name, value) == value for name, value in self.hashes)
        )

    def build(self) -> str:
        """The value of the attribute, '' when nothing is selected."""
        parts = []
        if self.name is not None:
            parts.append(f'name:"{_quote(self.name)}"')
        if self.type is not None:
            parts.append(f"type:{_selector_type(self.type)}")
        if self.size is not None:
            parts.append(f"size:{self.size}")
        parts += [f"hash:{name}:{value}" for name, value in self.hashes]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class FileDescription:
    """All that RFC 5547 says about the file of one media section."""

    selector: FileSelector = FileSelector()
    transfer_id: str | None = None
    disposition: str | None = None  # render (the default of RFC 5547 7) or attachment
    dates: tuple[tuple[str, str], ...] = ()  # (creation | modification | read, RFC 5322 date-time)
    icon: str | None = None  # cid: URL of a body part of the SIP message
    range: tuple[int, int | None] | None = None  # first and last octet, from 1; None: until the end
    legacy: bool = False  # described with the draft's attributes; never written

    @property
    def declared_size(self) -> int | None:
        """Octets that this transfer will carry, as far as the description says."""  # LRG-06
        if self.range is not None and self.range[1] is not None:
            return max(0, self.range[1] - self.range[0] + 1)
        if self.range is not None and self.selector.size is not None:
            return max(0, self.selector.size - self.range[0] + 1)
        return self.selector.size

    def lines(self) -> Iterator[Line]:
        """The `a=` lines, in the order of RFC 5547's example."""
        selector = self.selector.build()
        yield attribute("file-selector", selector or None)
        if self.transfer_id is not None:
            yield attribute("file-transfer-id", self.transfer_id)
        if self.disposition is not None:
            yield attribute("file-disposition", self.disposition)
        if self.dates:
            yield attribute("file-date", " ".join(f'{kind}:"{when}"' for kind, when in self.dates))
        if self.icon is not None:
            yield attribute("file-icon", f"cid:{self.icon}")
        if self.range is not None:
            start, stop = self.range
            yield attribute("file-range", f"{start}-{'*' if stop is None else stop}")

    def answered_by_receiver(self) -> FileDescription:
        """What the receiver of the file puts into its answer: selectors, identifier and range copied; icon,
        disposition and date left out (RFC 5547 8.3.1)."""
        return FileDescription(self.selector, transfer_id=self.transfer_id, range=self.range)


def parse(media: Media) -> FileDescription | None:
    """The file of a media section, None when it describes none. Raises SdpError for malformed attributes."""
    value = media.attribute("file-selector")
    if value is None:
        return _parse_draft(media)
    range_value = media.attribute("file-range")
    dates = media.attribute("file-date")
    icon = media.attribute("file-icon")
    return FileDescription(
        selector=_parse_selector(value),
        transfer_id=_token(media.attribute("file-transfer-id"), "file-transfer-id"),
        disposition=_token(media.attribute("file-disposition"), "file-disposition"),
        dates=tuple(_DATE.findall(dates)) if dates else (),
        icon=icon.removeprefix("cid:") if icon else None,
        range=_parse_range(range_value) if range_value is not None else None,
    )


def select(files: Iterable[FileDescription], wanted: FileSelector) -> FileDescription | None:
    """The one file that a selector selects, None for no file or for several (RFC 5547 8.3.2)."""
    found = [file for file in files if wanted.matches(file.selector)]
    return found[0] if len(found) == 1 else None


def format_hash(digest: bytes) -> str:
    """A digest as RFC 5547 and RFC 8122 write it: `AB:01:…`."""
    return digest.hex(":").upper()


def _parse_selector(value: str) -> FileSelector:
    name: str | None = None
    kind: str | None = None
    size: int | None = None
    hashes: list[tuple[str, str]] = []
    for part in _SELECTOR.findall(value):
        key, _, text = part.partition(":")
        match key.lower():
            case "name":
                name = _unquote(_strip_quotes(text))
            case "type":
                kind = _content_type(text)
            case "size":
                size = bounded_integer(text, "size in file-selector")
            case "hash":
                algorithm, _, digest = text.partition(":")
                if not _TOKEN.fullmatch(algorithm) or not _HASH.fullmatch(digest):
                    raise SdpError("malformed hash in file-selector")
                hashes.append((algorithm.lower(), digest.upper()))
            case _:
                continue  # a selector of a later document: nothing we could check
    return FileSelector(name, kind, size, tuple(hashes))


def _parse_draft(media: Media) -> FileDescription | None:
    """COMPAT(OMA draft clients): filename, filetype, filesize, filelength, disposition (9.3.2.2, 9.1.1.2)."""
    name = media.attribute("filename")
    kind = media.attribute("filetype")
    size = media.attribute("filesize")
    if size is None:
        size = media.attribute("filelength")
    if name is None and kind is None and size is None:
        return None
    disposition = media.attribute("disposition")
    if disposition is not None:
        disposition = _DISPOSITIONS.get(disposition.lower(), disposition.lower())
    return FileDescription(
        FileSelector(
            name=_unquote(_strip_quotes(name)) if name else None,
            type=essence(_strip_quotes(kind)) if kind else None,
            size=bounded_integer(size, "file size") if size is not None else None,
        ),
        disposition=_token(disposition, "disposition"),
        legacy=True,
    )


def _parse_range(value: str) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(value)
    if match is None:
        raise SdpError("malformed file-range")
    start, stop = int(match[1]), None if match[2] == "*" else int(match[2])
    if start < 1 or (stop is not None and stop < start):
        raise SdpError("file-range out of order")
    return start, stop


def _token(value: str | None, what: str) -> str | None:
    if value is not None and not _TOKEN.fullmatch(value):
        raise SdpError(f"malformed {what}")
    return value


def _content_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise SdpError("malformed type in file-selector")
    kind, _, parameters = text.partition(";")
    return f"{kind};{_unquote(parameters)}" if parameters else kind


def _selector_type(content_type: str) -> str:
    # ft-parameter = attribute "=" DQUOTE value-string DQUOTE, no free white space
    kind, *parameters = content_type.split(";")
    parts = [kind.strip()]
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        parts.append(f'{key.strip()}="{_quote(_strip_quotes(value.strip()))}"')
    return ";".join(parts)


def _strip_quotes(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _quote(text: str) -> str:
    """filename-string: percent-encode what the syntax forbids, and what is a path somewhere (RFC 5547 6)."""
    return "".join(
        character if character in _QUOTE_SAFE or ord(character) > 0x9F else _percent(character) for character in text
    )


def _percent(character: str) -> str:
    return quote_from_bytes(character.encode("utf-8", "surrogateescape"), safe="")


def _unquote(text: str) -> str:
    raw = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "replace")
