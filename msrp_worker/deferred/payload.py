"""How a stored message travels to its recipient (10.3.2.5, Appendix J). Pure: bytes in, bytes out.

Three forms, told apart by `Form`:

    SIP         the MESSAGE as message/sip (Appendix J, example 1); what came by MSRP as multipart/mixed of the INVITE, its
                200, the SEND as message/msrp and the BYE (example 2)
    MIXED       the same, a MESSAGE too inside multipart/mixed, for clients that take nothing else
    CPIM        the content in a message/cpim envelope with the sender and the time, as RCS-era clients know it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from enum import Enum

import msgspec

from msrp_worker import content_types, cpim
from msrp_worker.content_types import CPIM as CPIM_TYPE
from msrp_worker.cpim import ANONYMOUS_URI, Address
from msrp_worker.store.deferred import DeferredEntry, DeferredMessage

MESSAGE_SIP = "message/sip"
MESSAGE_MSRP = "message/msrp"
MIXED_TYPE = "multipart/mixed"

_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"([^\r\n]+(?:\r?\n[ \t]+[^\r\n]*)*)(\r?\n)")  # one header field, folded lines included
_OURS = frozenset({b"date", b"p-asserted-identity", b"p-preferred-identity"})
_OF_CONTENT = frozenset({"content-disposition", "content-id", "content-description"})
_RCS_TAGS = ("oma.cpm", "ims.iari.rcs", "gsma-is", "rcs.")


class Form(Enum):
    """The form in which a client gets deferred messages."""

    SIP = "sip"
    MIXED = "mixed"
    CPIM = "cpim"


class FormPolicy(Enum):
    """What the operator wants."""

    AUTO = "auto"
    """By what the answer to the INVITE says of the client."""
    SIP = "sip"
    CPIM = "cpim"


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored in place of a MESSAGE for a message that came by MSRP (10.3.2.4); its content is in a file.

    The three SIP messages and the head of the SEND are as received, with the headers that are relevant; `send` ends with
    the blank line before the content, `end` is the end-line.
    """

    invite: bytes
    ok: bytes
    send: bytes
    end: bytes
    bye: bytes
    content_type: str
    boundary: str
    """Random, chosen when the message was stored: its content is never looked through for it."""


class Payload(msgspec.Struct, frozen=True):
    """What one SEND carries. For content in a file `head` and `tail` are what stands before and after it."""

    content_type: str
    head: bytes
    tail: bytes = b""


def form_of(policy: FormPolicy, accept_types: Sequence[str], contact: str, user_agent: str) -> Form:
    """The form for a client: `accept_types` of its answer, `contact` the Contact value with its feature tags."""
    if policy is FormPolicy.SIP:
        return Form.SIP
    if policy is FormPolicy.CPIM:
        return Form.CPIM
    if content_types.accepts(accept_types, CPIM_TYPE):
        told = f"{contact} {user_agent}".lower().replace("%3a", ":")
        if any(tag in told for tag in _RCS_TAGS):
            return Form.CPIM
    if content_types.accepts(accept_types, MESSAGE_SIP):
        return Form.SIP
    if content_types.accepts(accept_types, MIXED_TYPE):
        return Form.MIXED
    return Form.CPIM if content_types.accepts(accept_types, CPIM_TYPE) else Form.SIP


def session_bytes(session: StoredSession) -> bytes:
    """For the store."""
    return msgspec.json.encode(session)


def read_session(data: bytes) -> StoredSession:
    """From the store; ValueError when it is something else."""
    return msgspec.json.decode(data, type=StoredSession)


def payload_of(message: DeferredMessage, form: Form) -> Payload:
    """The SEND for one stored message. ValueError when what is stored cannot be read."""
    if message.content_path is not None:
        session = read_session(message.message)
        if form is Form.CPIM:
            return _cpim_content(message, session)
        return _mixed_session(message, session)
    if form is Form.CPIM:
        return _cpim_message(message)
    encapsulated = encapsulated_message(message)
    if form is Form.SIP:
        return Payload(MESSAGE_SIP, encapsulated)  # DEF-04
    mark = boundary(message.message_id, encapsulated)
    head = f"--{mark}\r\nContent-Type: {MESSAGE_SIP}\r\n\r\n".encode()
    return Payload(f'{MIXED_TYPE}; boundary="{mark}"', head + encapsulated + f"\r\n--{mark}--\r\n".encode())


def encapsulated_message(message: DeferredMessage) -> bytes:
    """The MESSAGE as stored, with the time it was received in Date and who sent it in P-Asserted-Identity (DEF-04).

    An asserted identity that stands in the stored bytes is the sender's word, and does not go on; with Privacy: id none
    does (IDN-04). Every other header and the body are the same bytes.
    """
    identity = "" if message.private else f"P-Asserted-Identity: <{message.originator}>"
    return with_headers(message.message, sip_date(message.received), identity)


def with_headers(stored: bytes, date: str, identity: str = "") -> bytes:
    """A SIP message with its Date set (in its place, else after Call-ID) and asserted identities replaced by `identity`,
    a whole line or nothing. Every other byte stays, line ends and folding included."""
    start, *fields = _fields(stored)
    dates = [field for field in fields if field.name == b"date"]
    after = dates[0] if dates else next((field for field in fields if field.name in (b"call-id", b"i")), start)
    added = [text.encode() for text in (f"Date: {date}", identity) if text]
    pieces = []
    for field in (start, *fields):
        if field.name not in _OURS or field is start:
            pieces.append(field.line)
        if field is after:
            pieces += [line + field.end for line in added]
    return b"".join(pieces) + stored[sum(len(field.line) for field in (start, *fields)) :]


def boundary(seed: str, *contents: bytes) -> str:
    """A boundary that occurs in none of `contents`, the same each time for the same message."""
    mark = base = "im-" + re.sub(r"[^0-9A-Za-z]", "-", seed)[:40]
    number = 0
    while any(b"--" + mark.encode() in content for content in contents):
        number += 1
        mark = f"{base}-{number}"
    return mark


def sip_date(when: float) -> str:
    """Seconds since 1970 as SIP-date (RFC 3261 section 20.17)."""
    return formatdate(when, usegmt=True)


def sender_shown(message: DeferredEntry) -> str:
    """URI of the sender as the recipient may know it (IDN-04)."""
    return ANONYMOUS_URI if message.private or message.anonymous else message.originator


class _Field(msgspec.Struct, frozen=True):
    """One header field, or the start line: its name in lower case, its bytes with the line end, and that line end."""

    name: bytes
    line: bytes
    end: bytes


def _fields(message: bytes) -> list[_Field]:
    """The start line and the header fields, in order, folded lines joined to theirs, up to the blank line."""
    found: list[_Field] = []
    position = 0
    while (match := _FIELD.match(message, position)) is not None:
        found.append(_Field(match[1].partition(b":")[0].strip().lower(), match[0], match[2]))
        position = match.end()
    return found or [_Field(b"", b"", b"")]


def _mixed_session(message: DeferredMessage, session: StoredSession) -> Payload:
    """Appendix J, example 2: four parts, the content of the third comes from the file."""
    date = sip_date(message.received)
    identity = "" if message.private else f"P-Asserted-Identity: <{message.originator}>"
    invite = with_headers(session.invite, date, identity)
    ok = with_headers(session.ok, date)
    bye = with_headers(session.bye, date)
    send = _dated_send(session.send, date)
    mark = session.boundary
    line = f"--{mark}\r\nContent-Type: "
    head = b"".join(
        (
            f"{line}{MESSAGE_SIP}\r\n\r\n".encode(),
            invite,
            f"\r\n{line}{MESSAGE_SIP}\r\n\r\n".encode(),
            ok,
            f"\r\n{line}{MESSAGE_MSRP}\r\n\r\n".encode(),
            send,
        )
    )
    tail = session.end + f"\r\n{line}{MESSAGE_SIP}\r\n\r\n".encode() + bye + f"\r\n--{mark}--\r\n".encode()
    return Payload(f'{MIXED_TYPE}; boundary="{mark}"', head, tail)


def _dated_send(send: bytes, date: str) -> bytes:
    """The head of an MSRP SEND with Date before its Content-Type, which has to be the last (RFC 4975 section 7.1)."""
    at = send.lower().find(b"\r\ncontent-type")
    return send if at < 0 else send[:at] + f"\r\nDate: {date}".encode() + send[at:]


def _cpim_message(message: DeferredMessage) -> Payload:
    """The body of the MESSAGE in an envelope, or as it is where it came in one."""
    end = _END.search(message.message)
    body = message.message[end.end() :] if end else b""
    content_type = message.content_type or "text/plain"
    if content_types.essence(content_type) == CPIM_TYPE:
        return Payload(content_type, body)
    return _cpim(message, content_type, body)


def _cpim_content(message: DeferredMessage, session: StoredSession) -> Payload:
    """The content of a large message in an envelope, or as it is where it came in one; the disposition stays (LRG-07)."""
    if content_types.essence(session.content_type) == CPIM_TYPE:
        return Payload(session.content_type, b"")
    lines = session.send.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").split("\r\n")
    fields = [line.partition(":") for line in lines[1:]]
    kept = [(name.strip(), value.strip()) for name, _, value in fields if name.strip().lower() in _OF_CONTENT]
    return _cpim(message, session.content_type, content_headers=kept)


def _cpim(
    message: DeferredMessage, content_type: str, body: bytes = b"", content_headers: Sequence[tuple[str, str]] = ()
) -> Payload:
    """An envelope that names the sender, as far as privacy lets it (IDN-04), and when the message was received."""
    received = datetime.fromtimestamp(message.received, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = [
        cpim.Header("From", Address(sender_shown(message)).build()),
        cpim.Header("To", Address(message.recipient).build()),
        cpim.Header("DateTime", received),
    ]
    if message.subject:
        headers.append(cpim.Header("Subject", cpim.escape(message.subject)))
    envelope = cpim.build(headers, [("Content-Type", _one_line(content_type)), *content_headers])
    return Payload(CPIM_TYPE, envelope.head + body)


def _one_line(value: str) -> str:
    return " ".join(value.split())
