"""A large message for somebody who is away: whether its offer can be taken, and what is kept of its session (10.3.2.2,
10.3.2.4). Pure: values in, values out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from msrp_worker import content_types
from msrp_worker.content_types import CPIM
from msrp_worker.deferred.payload import StoredSession
from msrp_worker.deferred.request import Refused
from msrp_worker.msrp.incoming import IncomingMessage
from msrp_worker.sdp import Media, Origin, SdpError, SessionDescription, attribute, describe
from msrp_worker.sdp import parse as parse_sdp
from msrp_worker.sdp_msrp import Purpose, is_msrp, parse
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers

ENVELOPE = 16_384
"""Bytes of a message/cpim envelope that may come on top of the declared size, which is that of the content."""
KEPT = ("from", "to", "call-id", "cseq", "subject", "priority", "date", "privacy", "contact")
"""Headers of the session's requests and responses that are kept (10.3.2.4), with Call-ID and CSeq of Appendix J and the
Contact of 10.3.2.2-2. Credentials and routes are nobody else's business, and P-Asserted-Identity is what the server has
established, put in at delivery."""

NOWHERE = "anonymous.invalid"
"""The host of a sender that asked for privacy (IDN-04)."""
NOBODYS_PATH = f"msrp://{NOWHERE}:9/anonymous;tcp"

_NAMES = {"call-id": "Call-ID", "cseq": "CSeq"}


class Expected(msgspec.Struct, frozen=True):
    """One MSRP line of an offer: which section it is, and the bytes that its messages may have."""

    index: int
    size: int


def expected(offered: SessionDescription, limit: int) -> tuple[Expected, ...] | Refused:
    """The lines of an offer that a store can take, each with its declared size; or why it cannot (LRG-04, LRG-06)."""
    lines: list[Expected] = []
    for index, section in enumerate(offered.media):
        if section.refused or not is_msrp(section):
            continue
        try:
            media = parse(offered, section)
        except SdpError as error:
            return Refused(400, "Bad Request", f"Session description: {error}", "LRG-04")
        size = media.file.declared_size if media.file is not None else None
        if media.purpose is not Purpose.LARGE_MESSAGE or size is None:
            warning = "Recipient is away: only a sendonly message of a declared size can be kept"
            return Refused(403, "Forbidden", warning, "LRG-04")  # LRG-04: 10.3.2.2-1
        if size > limit:
            return Refused(403, "Forbidden", f"Large message exceeds {limit} bytes", "LRG-06")  # LRG-06
        lines.append(Expected(index, size))
    return tuple(lines) if lines else Refused(488, "Not Acceptable Here", "No MSRP media offered", "LRG-04")


def largest(message: IncomingMessage, declared: int) -> int:
    """Bytes that a message may have where `declared` are left of its line."""
    return declared + (ENVELOPE if content_types.essence(message.content_type) == CPIM else 0)


def invite_bytes(request: Message, *, private: bool) -> bytes:
    """The INVITE as it is kept: its relevant headers and its session description."""
    body = _nobodys(request.sdp) if private else request.sdp  # IDN-04
    lines = [f"INVITE {request.request_uri} SIP/2.0", *_kept(request, private=private)]
    return _sip(lines, body)


def _nobodys(body: bytes) -> bytes:
    """A session description without what names its sender or where it is: o=, s=, addresses, path and certificate. What it
    says of the content stays."""
    try:
        offered = parse_sdp(body)
    except SdpError:
        return b""
    return describe(Origin("-", "0", 0, NOWHERE), NOWHERE, map(_without_place, offered.media)).build()


def _without_place(media: Media) -> Media:
    if not is_msrp(media):
        return replace(media, lines=())
    lines = [line for line in media.lines if line.letter == "a"]
    names = {line: line.value.partition(":")[0].strip().lower() for line in lines}
    kept = [line for line in lines if names[line] not in ("path", "fingerprint")]
    return replace(media, lines=(*kept, attribute("path", NOBODYS_PATH)))


def ok_bytes(request: Message, local_tag: str, contact: str, description: bytes) -> bytes:
    """The 200 that was sent to it."""
    lines = ["SIP/2.0 200 OK"]
    for name in ("from", "to", "call-id", "cseq"):
        value = request.first(name) + (f";tag={local_tag}" if name == "to" else "")
        lines.append(f"{_NAMES.get(name, name.title())}: {value}")
    return _sip([*lines, f"Contact: {contact}"], description)


def bye_bytes(bye: Message | None, invite: Message, local_tag: str, target: str, *, private: bool) -> bytes:
    """The BYE that ended it; before it has come, the one that its sender is bound to send (9.1.3)."""
    if bye is not None:
        return _sip([f"BYE {bye.request_uri} SIP/2.0", *_kept(bye, private=private)])
    lines = [f"BYE {target} SIP/2.0", f"From: {invite.first('from')}", f"To: {invite.first('to')};tag={local_tag}"]
    return _sip([*lines, f"Call-ID: {invite.call_id}", f"CSeq: {invite.cseq + 1} BYE"])


def send_bytes(message: IncomingMessage, local_path: str, size: int, *, private: bool) -> tuple[bytes, bytes]:
    """Head and end-line of the SEND: its own where it came as one chunk, else those of one that holds all chunks."""
    request = message.request
    whole = request.transaction_id == message.transaction_id
    # Content of several chunks may hold the end-line of each of them.
    ident = request.transaction_id if whole else secrets.token_hex(10)
    sender = NOBODYS_PATH if private else request.from_path  # IDN-04
    fields: Headers = tuple((name, value) for name, value in message.headers if name.lower() not in _PLACED)
    lines = [f"MSRP {ident} SEND", f"To-Path: {local_path}", f"From-Path: {sender}"]
    lines.append(f"Message-ID: {message.message_id}")
    lines.append(f"Byte-Range: 1-{size}/{size}")
    lines += [f"{name}: {value}" for name, value in fields]
    lines.append(f"Content-Type: {message.content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n", f"\r\n-------{ident}$\r\n".encode()


_PLACED = frozenset({"message-id", "byte-range", "content-type", "success-report", "failure-report"})
"""Fields of the SEND that stand in a place of their own; the reports have been made already."""


def stored_session(
    request: Message,
    answer: tuple[str, str, bytes],
    bye: bytes,
    send: tuple[bytes, bytes],
    content_type: str,
    *,
    private: bool,
) -> StoredSession:
    """All of it for the store; `answer` is our tag, our Contact and our session description."""
    return StoredSession(
        invite=invite_bytes(request, private=private),
        ok=ok_bytes(request, *answer),
        send=send[0],
        end=send[1],
        bye=bye,
        content_type=content_type,
        boundary=f"im-{secrets.token_hex(16)}",
    )


def _kept(message: Message, *, private: bool) -> Iterable[str]:
    for name in KEPT:
        if private and name == "contact":
            continue  # IDN-04
        for value in message.lines(name):
            yield f"{_NAMES.get(name, name.title())}: {value}"


def _sip(lines: Sequence[str], body: bytes = b"") -> bytes:
    if body:
        lines = [*lines, "Content-Type: application/sdp"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}"])
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body
