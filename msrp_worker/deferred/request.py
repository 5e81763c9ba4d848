"""What a retrieval INVITE asks for (10.1.1, 10.3.1, Appendix K). Pure: values in, `Wanted` or `Refused` out.

The order of checks is that of 10.3.1: recvonly, then which messages. Whose they are is the store's to say: `judge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from msrp_worker.multipart import MultipartError, read_parts
from msrp_worker.sdp import SdpError
from msrp_worker.sdp import parse as parse_sdp
from msrp_worker.sdp_msrp import Purpose, is_msrp
from msrp_worker.sdp_msrp import parse as parse_media
from msrp_worker.uri_list import RESOURCE_LISTS, Problem, UriListError, read_resource_list

DEFERRED_USER = "deferred"
"""User part of the URI of the Deferred Messaging Function."""

_MESSAGE_ID = re.compile(r"[0-9]{1,18}@[0-9A-Za-z.\-\[\]:]+")


class Refused(msgspec.Struct, frozen=True):
    """The response that refuses the INVITE; `warning` is for people."""

    status: int
    reason: str
    warning: str
    requirement: str = "DEF-07"


class Wanted(msgspec.Struct, frozen=True):
    """The messages asked for: None is all of them."""

    message_ids: tuple[str, ...] | None


def is_retrieval(request_uri: str, domain: str) -> bool:
    """Whether a Request-URI is the deferred URI, or has an escaped Message-ID as its user part (DEF-07)."""
    user = user_at(request_uri, domain)
    return user is not None and (user.lower() == DEFERRED_USER or "@" in user)


def user_at(request_uri: str, domain: str) -> str | None:
    """The user part, unescaped, of a SIP URI at `domain`; None for another one."""
    scheme, _, rest = request_uri.partition(":")
    if scheme.lower() not in ("sip", "sips"):
        return None
    user, at, host = rest.rpartition("@")
    host = re.split("[;?]", host, maxsplit=1)[0].partition(":")[0]
    if not at or host.lower() != domain.lower():
        return None
    return unquote(user.partition(";")[0], errors="replace").partition(":")[0]


def read_request(request_uri: str, content_type: str, body: bytes, domain: str) -> Wanted | Refused:
    """What the INVITE of a served user to the deferred URI, or to a Message-ID, asks for."""
    try:
        parts = {part.media_type: part.body for part in reversed(read_parts(content_type, body))}  # the first of each
    except MultipartError as error:
        return Refused(400, "Bad Request", str(error))
    refused = _check_direction(parts.get("application/sdp", b""))
    if refused is not None:
        return refused
    user = user_at(request_uri, domain)
    if user is not None and user.lower() != DEFERRED_USER:
        return Wanted((user,))  # Appendix K
    document = parts.get(RESOURCE_LISTS)
    if document is None:
        return Wanted(None)
    return _read_list(document)


def judge(recipient: str, asked: Sequence[str], owners: Mapping[str, str]) -> Wanted | Refused:
    """The messages of `asked` to deliver to `recipient`. `owners`: whose each message is, as far as the store knows it.

    One that is somebody else's refuses the whole request. Of the rest those that are there are delivered, as another
    device may have fetched some meanwhile; with none of them left it is 404.
    """
    if any(owners.get(message_id, recipient) != recipient for message_id in asked):
        return Refused(403, "Forbidden", "Not your message")  # DEF-07
    found = tuple(dict.fromkeys(message_id for message_id in asked if message_id in owners))
    if not found:
        return Refused(404, "Not Found", "No such message")  # DEF-07
    return Wanted(found)


def _check_direction(sdp: bytes) -> Refused | None:
    """10.3.1 step 5: every MSRP line, or the session, is recvonly."""
    if not sdp:
        return Refused(403, "Forbidden", "No session description with recvonly")  # DEF-07
    try:
        description = parse_sdp(sdp)
        lines = [parse_media(description, section) for section in description.media if is_msrp(section)]
    except SdpError as error:
        return Refused(400, "Bad Request", f"Session description: {error}")
    if not lines or any(line.purpose is not Purpose.RETRIEVAL for line in lines):
        return Refused(403, "Forbidden", "The session is not recvonly")  # DEF-07
    return None


def _read_list(document: bytes) -> Wanted | Refused:
    """The Message-IDs of a resource-lists document, in its order (SEC-05)."""
    try:
        entries = read_resource_list(document)
    except UriListError as error:
        if error.problem is Problem.TOO_LONG:
            return Refused(413, "Request Entity Too Large", str(error), "SEC-05")
        return Refused(400, "Bad Request", str(error))
    asked = tuple(dict.fromkeys(_message_ids(entry.get("uri", "") for entry in entries)))
    if not asked:
        return Refused(404, "Not Found", "The URI-list names no message")
    return Wanted(asked)


def _message_ids(uris: Iterable[str]) -> Iterable[str]:
    """Message-IDs as lists write them: `sip:1@host`, `1@host`, `sip:1%40host@host`. Others stay: they are unknown."""
    for uri in uris:
        text = uri.strip()
        scheme, colon, rest = text.partition(":")
        bare = rest if colon and scheme.lower() in ("sip", "sips") else text
        inner = unquote(bare.rpartition("@")[0], errors="replace")
        yield inner if _MESSAGE_ID.fullmatch(inner) else unquote(bare.partition(";")[0], errors="replace")
