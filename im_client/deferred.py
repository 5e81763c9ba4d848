"""Deferred messages as they are pushed or retrieved (clause 10.3.2.5, Appendix J): out of their encapsulation. Pure.

A SIP MESSAGE comes whole, as message/sip or message/sipfrag; a message of an MSRP session as message/msrp, in a
multipart/mixed with the INVITE, the 200 and the BYE of its session.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from sipmessage import Request, Response

from .errors import MalformedMessageError
from .multipart import Part, split
from .wire import parse, parse_name_addr, values

SIP = frozenset({"message/sip", "message/sipfrag"})
MSRP = "message/msrp"
_FIELD = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+)[ \t]*:[ \t]*(.*)")
_START = re.compile(r"MSRP (\S+) SEND")
_SIPFRAG_START = b"MESSAGE sip:unknown@invalid.invalid SIP/2.0\r\n"


@dataclass(frozen=True, slots=True)
class DeferredMessage:
    """One message that had waited. `stored` is when the server had received it, as its Date says.

    `headers` are those of the SIP message, or of the SEND; `call_id` and `message_id` are the original ones.
    """

    sender: str
    recipient: str
    content_type: str
    body: bytes
    stored: datetime | None = None
    call_id: str = ""
    message_id: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    path: Path | None = None
    """Where the content is, in place of `body`, when it was large."""
    size: int = 0
    """Bytes of content in that file."""

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacement characters where it is none."""
        return self.body.decode("utf-8", "replace")


def decode(content_type: str, body: bytes) -> list[DeferredMessage]:
    """The messages in one SEND of the Deferred Messaging Function; none where it is no encapsulation. CLI-06

    Raises MalformedMessageError.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in SIP:
        return of_parts([Part(content_type, body)])
    if kind == MSRP:
        return [_of_msrp(body, {})]
    if kind == "multipart/mixed":
        return of_parts(split(content_type, body))
    return []


def of_parts(parts: list[Part]) -> list[DeferredMessage]:
    """The messages in the parts of one encapsulation. Raises MalformedMessageError."""
    found: list[DeferredMessage] = []
    session: dict[str, str] = {}
    for part in parts:
        if part.media_type == MSRP:
            found.append(_of_msrp(part.body, session))
        elif part.media_type in SIP:
            message = _sip(part.body)
            if isinstance(message, Request) and message.method == "MESSAGE":
                found.append(_of_message(message))
            elif isinstance(message, Request) and message.method == "INVITE":
                session = _fields(message)
    return found


def _sip(data: bytes) -> Request | Response:
    """A SIP message; a fragment (RFC 3420) may lack start line, end of headers, and body."""
    data = data if data.endswith(b"\r\n") or b"\r\n\r\n" in data else data + b"\r\n"
    data = data if b"\r\n\r\n" in data else data + b"\r\n"
    first = data.partition(b"\r\n")[0].decode("utf-8", "replace")
    if _FIELD.fullmatch(first) and not first.startswith("SIP/2.0") and not first.endswith("SIP/2.0"):
        data = _SIPFRAG_START + data
    # COMPAT(Appendix J): a blank after the scheme of the Request-URI
    data = re.sub(rb"\A([A-Z]+ sips?:) +", rb"\1", data)
    return parse(data, datagram=False)


def _of_message(message: Request) -> DeferredMessage:
    fields = _fields(message)
    return DeferredMessage(
        sender=_asserted(message) or _address(fields.get("From", "")),
        recipient=_address(fields.get("To", "")),
        content_type=fields.get("Content-Type", "text/plain"),
        body=_bounded(message),
        stored=_date(fields.get("Date", "")),
        call_id=fields.get("Call-ID", ""),
        message_id=fields.get("Message-ID", ""),
        headers=MappingProxyType(fields),
    )


def _bounded(message: Request) -> bytes:
    length = message.headers.get("Content-Length") or ""
    return message.body[: int(length)] if length.isdecimal() and len(length) < 11 else message.body


def _of_msrp(data: bytes, session: Mapping[str, str]) -> DeferredMessage:
    head, separator, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("utf-8", "replace").split("\r\n")
    match = _START.fullmatch(start.strip())
    if match is None or not separator:
        raise MalformedMessageError("not a SEND request in message/msrp")
    fields = {found[1]: found[2] for line in lines if (found := _FIELD.fullmatch(line.strip()))}
    end = rest.rfind(b"\r\n-------" + match[1].encode())
    return DeferredMessage(
        sender=_address(session.get("P-Asserted-Identity", "") or session.get("From", "")),
        recipient=_address(session.get("To", "")),
        content_type=fields.get("Content-Type", "text/plain"),
        body=rest if end < 0 else rest[:end],
        stored=_date(fields.get("Date", "") or session.get("Date", "")),
        call_id=session.get("Call-ID", ""),
        message_id=fields.get("Message-ID", ""),
        headers=MappingProxyType(fields),
    )


def _fields(message: Request | Response) -> dict[str, str]:
    names: list[str] = message.headers.keys()
    return {name: message.headers.get(name) or "" for name in names}


def _asserted(message: Request) -> str:
    found = values(message.headers, "P-Asserted-Identity")
    return _address(found[0]) if found else ""


def _address(value: str) -> str:
    try:
        return parse_name_addr(value).uri
    except MalformedMessageError:
        return ""


def _date(value: str) -> datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
