"""Pager mode on the client.

Build and read MESSAGE requests, answer them (clauses 8.1, 8.2; RFC 3428). Pure.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from sipmessage import URI, Request

from . import PRODUCT, composing
from .config import FEATURE_TAG, ClientConfig
from .errors import MalformedMessageError
from .multipart import Part, split
from .recipients import RESOURCE_LISTS, Recipient, parse_list
from .requester import build_request
from .responses import identity_fields
from .wire import parse_name_addr, parse_uri, quote, values

PAGER_LIMIT = 1300
"""Bytes of a whole MESSAGE that may travel without congestion control (clause 8.1, RFC 3428 section 8)."""

ACCEPT_CONTACT = f"*;{FEATURE_TAG};require;explicit"  # clause 8.1.1-1
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'  # RFC 3323 section 4.1.1.3


class SessionType(Enum):
    """The session URI parameter of E.2.1 (PAG-16)."""

    ADHOC = "adhoc"
    PREARRANGED = "prearranged"
    CHAT = "chat"
    ONE_TO_ONE = "1-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A MESSAGE to send.

    `to` is the Request-URI: an IM user, a group, a session identity or the conference factory. `expires` are
    seconds the content is good for. `headers` follow the others in order; one with the name of a field
    set here replaces it, and with an empty value leaves it out.
    """

    to: str
    body: bytes
    content_type: str = "text/plain;charset=UTF-8"
    session_type: SessionType | None = None
    anonymous: bool = False
    nickname: str = ""  # display name of an anonymous sender
    expires: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


def build_message(message: Outgoing, config: ClientConfig, *, call_id: str, tag: str, now: datetime) -> Request:
    """The MESSAGE request of clause 8.1.1. Raises ValueError for a `to` that is no SIP URI."""
    target = parse_uri(message.to)
    recipient = URI(target.scheme, target.host, target.user, target.password, target.port)
    uri = target
    if message.session_type is not None:  # PAG-16
        uri = URI(
            target.scheme,
            target.host,
            target.user,
            target.password,
            target.port,
            target.parameters.replace(session=message.session_type.value),
        )
    fields = [("Accept-Contact", ACCEPT_CONTACT), *identity_fields(config)]
    if message.anonymous:
        fields.append(("Privacy", "id"))  # IDN-04
    if message.expires is not None:  # RFC 3428 section 4: with Date, so that the recipient knows from when
        fields.append(("Date", email.utils.format_datetime(now.astimezone(UTC), usegmt=True)))
        fields.append(("Expires", str(message.expires)))
    if message.body or message.content_type:
        fields.append(("Content-Type", message.content_type))
    return build_request(
        "MESSAGE",
        uri,
        from_value=f"{_from(message, config)};tag={tag}",
        to_value=f"<{recipient}>",
        call_id=call_id,
        headers=_merge(fields, message.headers),
        body=message.body,
    )


def answer_fields(config: ClientConfig) -> list[tuple[str, str]]:
    """The fields of a response to MESSAGE beside Server (clause 8.2.1-2 and -3)."""
    return [("User-Agent", PRODUCT), *identity_fields(config)]  # HDR-01


def _from(message: Outgoing, config: ClientConfig) -> str:
    if message.anonymous:  # IDN-04: anonymous URI, optionally with a nickname (clause 5.2)
        return ANONYMOUS.replace('"Anonymous"', quote(message.nickname)) if message.nickname else ANONYMOUS
    name = f"{quote(config.display_name)} " if config.display_name else ""
    return f"{name}<{config.identity_uri}>"


def _merge(fields: list[tuple[str, str]], changes: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    replaced = {name.lower() for name, _ in changes}
    return [field for field in fields if field[0].lower() not in replaced] + list(changes)


@dataclass(frozen=True, slots=True)
class PagerMessage:
    """A received MESSAGE, stored as it came (clause 8.2.1-2): `raw` are all its bytes."""

    request: Request
    raw: bytes
    received: datetime

    @property
    def body(self) -> bytes:
        return self.request.body

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty without Content-Type."""
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacement characters where it is none."""
        return self.body.decode("utf-8", "replace")

    @property
    def composing(self) -> composing.Status | None:
        """The isComposing status this message is, or None for a content message (PAG-20)."""
        if self.content_type != composing.CONTENT_TYPE:
            return None
        try:
            return composing.parse(self.body)
        except MalformedMessageError:
            return None

    @property
    def parts(self) -> list[Part]:
        """The parts of a multipart body, or the body as the only part where it is none or is malformed."""
        whole = [Part(self.header("Content-Type") or "text/plain", self.body)]
        if not self.content_type.startswith("multipart/"):
            return whole
        try:
            return split(whole[0].content_type, self.body)
        except MalformedMessageError:
            return whole

    @property
    def other_recipients(self) -> list[Recipient]:
        """Who else got it, if the server said so (recipient-list-history, RFC 5365 section 8)."""
        for part in self.parts:
            if part.disposition == "recipient-list-history" and part.media_type == RESOURCE_LISTS:
                try:
                    return parse_list(part.body)
                except MalformedMessageError:
                    return []
        return []

    @property
    def call_id(self) -> str:
        return self.header("Call-ID") or ""

    @property
    def from_uri(self) -> str:
        """The URI of From; sip:anonymous@anonymous.invalid for an anonymous sender."""
        return _address(self.header("From"))

    @property
    def to_uri(self) -> str:
        return _address(self.header("To"))

    @property
    def asserted_identity(self) -> str | None:
        """The first URI of P-Asserted-Identity."""
        found = values(self.request.headers, "P-Asserted-Identity")
        return _address(found[0]) if found else None

    @property
    def sender(self) -> str:
        """The asserted identity, or what From says where there is none."""
        return self.asserted_identity or self.from_uri

    def header(self, name: str) -> str | None:
        """The first value of a field; bytes outside UTF-8 are surrogate escapes."""
        return self.request.headers.get(name)

    def header_values(self, name: str) -> list[str]:
        """All lines of a field as received."""
        return list(self.request.headers.getlist(name))

    @property
    def headers(self) -> Mapping[str, list[str]]:
        """All fields by name as received (compact names in full)."""
        return {name: self.header_values(name) for name in self.request.headers.keys()}  # noqa: SIM118

    @property
    def date(self) -> datetime | None:
        """Date, or None where it is absent or unreadable."""
        try:
            found = email.utils.parsedate_to_datetime(self.header("Date") or "")
        except (ValueError, OverflowError):
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def expires_at(self) -> datetime | None:
        """When the content loses its worth (RFC 3428 section 7): Expires from Date, or from the reception."""
        seconds = self.header("Expires")
        if seconds is None or not seconds.isdecimal() or len(seconds) > 10:
            return None
        try:
            return (self.date or self.received) + timedelta(seconds=int(seconds))
        except OverflowError:  # beyond the year 9999
            return None

    @property
    def expired(self) -> bool:
        """Whether it had expired when it came; it is handed over all the same, to be shown as such."""
        return self.expires_at is not None and self.expires_at < self.received


def _address(value: str | None) -> str:
    try:
        return parse_name_addr(value or "").uri
    except MalformedMessageError:
        return ""
