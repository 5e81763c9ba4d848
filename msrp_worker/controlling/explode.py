"""A MESSAGE to many (8.3.1.1, 8.3.2.1, RFC 5365): who gets a copy, and what each copy says. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from msrp_worker import group_advertisement
from msrp_worker.controlling.invitation import asks_for_privacy
from msrp_worker.group import Group
from msrp_worker.group_rules import rights
from msrp_worker.multipart import MultipartError, build, decoded, direct_parts, read_parts
from msrp_worker.sip.message import Message, address, split
from msrp_worker.sip.port import Headers
from msrp_worker.uri_list import UriList, UriListError, history_part, is_recipient_list, read_uri_list

EXPLODED: Final = "IM-Exploded"
"""How often a message has been through an exploder: groups of other domains may name each other in a circle (SEC-03)."""
MOST_EXPLOSIONS = 3
"""A list that names a group that names a group: more is a circle."""
UNDERSTOOD: Final = frozenset({"recipient-list-message"})
"""Option tags that a MESSAGE may require (RFC 5365 section 6)."""
COPIED: Final = (
    "privacy",
    "date",
    "expires",
    "subject",
    "priority",
    "organization",
    "reply-to",
    "in-reply-to",
    "call-info",
    "mime-version",
)
"""Header fields of the message that every copy has."""
CONTENT: Final = ("content-disposition", "content-encoding", "content-language", "content-id")
"""Those that speak of the body: of one that is copied as it came, or of the one part that is left."""
DENIED: Final = frozenset({"FALSE", "!TRUE"})
"""Values with which a feature tag asks for the opposite (RFC 3840 section 9)."""


class Refused(msgspec.Struct, frozen=True):
    """The response that refuses the message; `warning` is for people."""

    status: int
    reason: str
    requirement: str
    warning: str
    headers: Headers = ()


class Explosion(msgspec.Struct, frozen=True, kw_only=True):
    """A message to many, judged and ready to be sent. Kept in the store until every copy has its outcome."""

    identity: str
    """Names the explosion; Call-IDs and tags of its copies come from it, so that a copy sent twice is known as one."""
    call_id: str
    """Of the message that came."""
    originator: str
    anonymous: bool
    headers: Headers
    """All header fields of every copy but To, Call-ID, CSeq and the tag of From."""
    sender: str
    """The value of From, without tag."""
    body: bytes
    recipients: tuple[str, ...]
    """Where copies go, in order; those without an outcome yet."""
    received: float
    """Seconds since 1970."""
    expires: float | None = None
    requirement: str = "PAG-11"


def screen(request: Message) -> Refused | None:
    """What refuses a message to many whoever it is for."""
    unknown = request.tokens("require") - UNDERSTOOD
    if unknown:
        return Refused(420, "Bad Extension", "PAG-11", "", (("Unsupported", ", ".join(sorted(unknown))),))
    if (request.number(EXPLODED.lower()) or 0) >= MOST_EXPLOSIONS:
        return Refused(482, "Loop Detected", "SEC-03", "Groups name each other in a circle")
    return None


def refuse_advertisement(request: Message, *, anonymous: bool) -> Refused | None:
    """The checks on a group advertisement (6.2.3.8); None for any other message as well."""
    try:
        documents = _advertisements(request)
    except MultipartError as error:
        return Refused(400, "Bad Request", "SEC-05", str(error))
    if anonymous and (documents or _asks_for_advertisement_devices(request)):
        return Refused(403, "Forbidden", "ADV-01", "A group advertisement is not anonymous")  # ADV-01
    try:
        for document in documents:
            group_advertisement.parse(document)
    except group_advertisement.AdvertisementError as error:
        return Refused(400, "Bad Request", "ADV-02", f"Group advertisement: {error}")  # ADV-02
    return None


def read_list(request: Message, most: int) -> UriList | Refused:
    """Whom a message to the factory is for (PAG-11). At most `most` addresses."""
    disposition = request.first("content-disposition")
    try:
        found = read_uri_list(request.first("content-type"), request.body, disposition, most)
    except UriListError as error:
        phrase = {413: "Request Entity Too Large", 415: "Unsupported Media Type"}.get(error.status, "Bad Request")
        return Refused(error.status, phrase, "PAG-11", str(error))  # PAG-11
    if found is None:
        return Refused(400, "Bad Request", "PAG-11", "URI-list: there is none")
    return found


def refuse_by_group(group: Group | None, originator: str, *, anonymous: bool) -> Refused | None:
    """Whether somebody may send to a group, in the order of 8.3.1.1."""
    if group is None:
        return Refused(404, "Not Found", "PAG-12", "No such group")  # PAG-12
    allowed = rights(group, originator)
    if not allowed.send:
        return Refused(403, "Forbidden", "PAG-14", "Not allowed to send to this group")  # PAG-14
    if anonymous and not allowed.anonymity:
        return Refused(403, "Forbidden", "IDN-06", "The group does not allow anonymity")  # IDN-06
    return None


def is_advertisement(request: Message) -> bool:
    """Whether the copies of a message are for devices that take group advertisements: because it asks for them, or because
    it is one, which is routed by its feature tag whoever forgot to name it (E.1.9, ADV-03). MultipartError."""
    return _asks_for_advertisement_devices(request) or bool(_advertisements(request))


def _asks_for_advertisement_devices(request: Message) -> bool:
    for value in request.values("accept-contact"):
        for parameter in list(split(value, ";"))[1:]:
            name, _, said = parameter.partition("=")
            if name.strip().lower() == group_advertisement.FEATURE_TAG and said.strip(' "').upper() not in DENIED:
                return True
    return False


def _advertisements(request: Message) -> list[bytes]:
    """The documents in it."""
    parts = read_parts(request.first("content-type"), request.body)
    return [part.body for part in parts if part.media_type == group_advertisement.CONTENT_TYPE]


def explosion(
    request: Message,
    identity: str,
    recipients: Iterable[str],
    *,
    originator: str,
    anonymous: bool,
    received: float,
    expires: float | None,
    requirement: str,
    listed: UriList | None = None,
    sender: str = "",
) -> Explosion | Refused:
    """The copies of a message: one for each of `recipients` (PAG-15).

    `listed` is the URI-list the message came with, of which the recipients learn what they may (RFC 5364); `sender` the
    From value where it is not the one that came (PAG-13).
    """
    try:
        body, about = _body(request, listed, identity)
        advertisement = is_advertisement(request)
    except (MultipartError, ValueError) as error:
        return Refused(400, "Bad Request", "SEC-05", str(error))
    tags = "*;+g.oma.sip-im;require;explicit"
    if advertisement:
        tags = f"*;+g.oma.sip-im;{group_advertisement.FEATURE_TAG};require;explicit"  # ADV-03
    headers: list[tuple[str, str]] = [
        ("P-Asserted-Identity", f"<{originator}>"),  # PAG-15
        ("Accept-Contact", tags),  # PAG-15
        (EXPLODED, str((request.number(EXPLODED.lower()) or 0) + 1)),
    ]
    headers += [(_title(name), value) for name in COPIED for value in request.lines(name)]
    if anonymous and not asks_for_privacy(request):  # IDN-08: who is so in the session to which it goes
        headers = [("Privacy", "id"), *(one for one in headers if one[0] != "Privacy")]
    return Explosion(
        identity=identity,
        call_id=request.call_id,
        originator=originator,
        anonymous=anonymous,
        headers=(*headers, *about),
        sender=sender or _without_tag(request.first("from")),
        body=body,
        recipients=tuple(dict.fromkeys(recipients)),
        received=received,
        expires=expires,
        requirement=requirement,
    )


def copy_headers(one: Explosion, recipient: str, tag: str, domain: str) -> Headers:
    """All header fields of the copy for a recipient; the same for every try, so that it is known as one message."""
    number = hashlib.sha256(recipient.encode()).hexdigest()[:16]
    return (
        ("From", f"{one.sender};tag={tag}"),
        ("To", f"<{recipient}>"),
        ("Call-ID", f"{one.identity}.{number}@{domain}"),
        ("CSeq", "1 MESSAGE"),
        *one.headers,
    )


def _body(request: Message, listed: UriList | None, identity: str) -> tuple[bytes, Headers]:
    content_type = request.first("content-type")
    if listed is None:
        about = [("Content-Type", content_type)] if content_type else []
        return request.body, (*about, *((_title(name), value) for name in CONTENT for value in request.lines(name)))
    parts = [part for part in direct_parts(content_type, request.body) if not is_recipient_list(part)]
    if any(is_recipient_list(inner) for part in parts for inner in read_parts(part.content_type, part.body)):
        raise MultipartError("URI-list: it stands within parts of parts")  # nobody is to read who gets copies
    history = history_part(listed)
    if history is not None:
        parts.append(history)
    if not parts:
        return b"", ()
    if len(parts) == 1:
        part = decoded(parts[0])  # RFC 5365 section 7.3: no wrapper around one
        # A part may have fields of any name: what is not about its content would speak for us (SEC-01).
        kept = [("Content-Type", part.content_type)]
        kept += [(name, value) for name, value in part.headers if name.lower() in CONTENT]
        if any(character in value for _, value in kept for character in "\r\n\0"):
            raise MultipartError("a line break in the header fields of a part")
        return part.body, tuple(kept)
    kind, body = build(parts, f"im-{identity}")
    return body, (("Content-Type", kind),)


def _without_tag(value: str) -> str:
    """A From value without its parameters. The URI stands in brackets, so that a tag may follow."""
    return value[: value.rindex(">") + 1] if ">" in value else f"<{address(value)}>"


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))
