"""What waits for a user, as application/simple-message-summary (RFC 3842, 10.3.2.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from msrp_worker import content_types
from msrp_worker.deferred.payload import sip_date
from msrp_worker.store.deferred import DeferredEntry

CONTENT_TYPE = "application/simple-message-summary"
EVENT = "message-summary"
MAX_COUNT = 2**32 - 1
"""RFC 3842 section 3.5."""
LARGEST_HEADERS = 8192
"""Bytes of message headers in one body. They are those of the oldest messages, which a client fetches first; the counts
tell of all. A NOTIFY stays small enough for one datagram."""
URGENT = frozenset({"urgent", "emergency"})
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'

_SPACE = re.compile(r"[\x00-\x20\x7f]+")


class Count(msgspec.Struct, frozen=True):
    """How many messages of one class wait. Those that were delivered are deleted, so there are no old ones."""

    new: int = 0
    urgent: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """What waits for one user."""

    text: Count = Count()
    multimedia: Count = Count()


def waiting(entries: Iterable[tuple[str, str, bool]]) -> Waiting:
    """Count messages given as (content type, priority, content in a file)."""
    counts = {True: [0, 0], False: [0, 0]}
    for content_type, priority, large in entries:
        count = counts[is_text(content_type, large=large)]
        count[0] += 1
        count[1] += is_urgent(priority)
    return Waiting(Count(*counts[True]), Count(*counts[False]))


def is_text(content_type: str, *, large: bool) -> bool:
    """Whether a message counts as Text-Message; what is in an envelope is seldom anything else."""
    kind = content_types.essence(content_type) or "text/plain"
    return not large and (kind.startswith("text/") or kind in (content_types.CPIM, content_types.IMDN))


def is_urgent(priority: str) -> bool:
    """Whether Priority (RFC 3261 section 20.26) says that it cannot wait."""
    return priority.strip().lower() in URGENT


def body(account: str, counts: Waiting, entries: Iterable[DeferredEntry]) -> bytes:
    """The body for one user: `account` is its address, `entries` its messages, oldest first (DEF-08)."""
    some = counts.text.new or counts.multimedia.new
    lines = [f"Messages-Waiting: {'yes' if some else 'no'}", f"Message-Account: {account}"]
    lines.append(_line("Text-Message", counts.text))
    if counts.multimedia.new:
        lines.append(_line("Multimedia-Message", counts.multimedia))
    text = "".join(f"{line}\r\n" for line in lines).encode()
    room = LARGEST_HEADERS
    for entry in entries:
        block = _headers(entry)
        room -= len(block)
        if room < 0:
            break
        text += block
    return text


def _line(name: str, count: Count) -> str:
    return f"{name}: {min(count.new, MAX_COUNT)}/0 ({min(count.urgent, MAX_COUNT)}/0)"


def _headers(entry: DeferredEntry) -> bytes:
    """opt-msg-headers = CRLF 1*(extension-header CRLF), in the order of 10.3.2.6."""
    hidden = entry.private or entry.anonymous
    fields = [
        ("To", _address(entry.to_header, entry.recipient)),
        ("From", ANONYMOUS if hidden else _address(entry.from_header, entry.originator)),  # IDN-04
        ("Subject", entry.subject),
        ("Date", sip_date(entry.received)),
        ("Priority", entry.priority or "normal"),
        ("Message-ID", entry.message_id),
        # Of what is in a file: what fetching it brings.
        ("Content-Type", entry.content_type if entry.content_path else ""),
        ("Content-Length", str(entry.size) if entry.content_path else ""),
        ("P-Asserted-Identity", "" if hidden else f"<{entry.originator}>"),  # IDN-04
    ]
    lines = (f"{name}: {_clean(value)}\r\n" for name, value in fields if value)
    return ("\r\n" + "".join(lines)).encode("utf-8", "replace")


def header_uri(header: str, otherwise: str) -> str:
    """The URI of a From or To value; `otherwise` where there is none."""
    _, bracket, rest = header.rpartition("<")
    uri = rest.partition(">")[0] if bracket else header.partition(";")[0]
    return uri.strip() or otherwise


def _address(header: str, otherwise: str) -> str:
    """A From or To value without its parameters: the tag is of another dialog."""
    name, bracket, _ = header.rpartition("<")
    uri = header_uri(header, otherwise)
    return f"{name.strip()} <{uri}>".strip() if bracket else f"<{uri}>"


def _clean(value: str) -> str:
    """One line of text."""
    return _SPACE.sub(" ", value).strip()
