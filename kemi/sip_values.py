"""Pure readers of the header values that the procedures decide on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# RFC 3840 section 9: feature-param = enc-feature-tag [EQUAL LDQUOT (tag-value-list / string-value) RDQUOT]
_FEATURE_TAG = "+g.oma.sip-im"
_LARGE_MESSAGE_TAG = "+g.oma.sip-im.large-message"
_SESSION_PARAMETER = re.compile(r";(?:session|sessiontype)=([^;?>]*)", re.IGNORECASE)  # E.2.1; COMPAT(TS 8.1.1 spelling)
# A telephone number or user part may not smuggle a second URI or a line end into what we build from it.
_ADDRESS = re.compile(r"(sips?):(?:([^@;?<>\s]*)@)?(\[[0-9a-f:.]+\]|[^:;?@<>\s]+)(?::(\d+))?", re.IGNORECASE)
_NAME_ADDRESS = re.compile(r"<([^>]*)>")
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$,;?/")


def _parts(value: str, separator: str) -> list[str]:
    """Split on `separator` outside quoted strings."""
    parts: list[str] = []
    start = 0
    quoted = escaped = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == separator:
            parts.append(value[start:index])
            start = index + 1
    parts.append(value[start:])
    return parts


def feature_tags(value: str) -> frozenset[str]:
    """Names of all feature parameters in Accept-Contact or Contact values joined by commas, lower case.

    Tags match in any order, with or without a value, in any of several values (RFC 3841 section 9.2, `COMPAT` none).
    """
    names = set()
    for contact in _parts(value, ","):
        bare = _NAME_ADDRESS.sub("", contact)
        for parameter in _parts(bare, ";")[1:]:
            name = parameter.partition("=")[0].strip().lower()
            if name:
                names.add(name)
    return frozenset(names)


def carries_feature_tag(value: str) -> bool:
    """Whether the IM feature tag is asked for; the large-message tag counts as IM-capable (LRG-08)."""
    # The one spelling that all but every client sends, before the general case.
    if _FEATURE_TAG not in value.lower():
        return False
    tags = feature_tags(value)
    return _FEATURE_TAG in tags or _LARGE_MESSAGE_TAG in tags


def contact_capabilities(value: str) -> list[tuple[str, bool, bool]]:
    """For each contact of a REGISTER: URI, whether IM-capable, whether for large messages (COR-07, LRG-08)."""
    contacts = []
    for contact in _parts(value, ","):
        bracketed = _NAME_ADDRESS.search(contact)
        uri = bracketed.group(1) if bracketed else contact.partition(";")[0].strip()
        if not uri or uri == "*":
            continue
        tags = feature_tags(contact)
        large = _LARGE_MESSAGE_TAG in tags
        contacts.append((uri, large or _FEATURE_TAG in tags, large))
    return contacts


def asks_for_anonymity(privacy: str) -> bool:
    """Privacy: id, or the stronger user and session... values that include it (RFC 3323 4.2, RFC 3325 9.3)."""
    values = {part.strip().lower() for part in privacy.replace(",", ";").split(";")}
    return "id" in values


def media_type(content_type: str) -> str:
    """`type/subtype` in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def content_type_allowed(content_type: str, allowed: tuple[str, ...]) -> bool:
    """Match against `*`, `type/*` and `type/subtype` (PAG-03, PAG-17). A body without a type is text/plain."""
    wanted = media_type(content_type) or "text/plain"
    major = wanted.partition("/")[0]
    return any(entry in ("*", "*/*", wanted, f"{major}/*") for entry in allowed)


def expiry(expires: str, date: str, received: float) -> float | None:
    """When the message expires, in seconds since 1970; None for never (RFC 3428 section 7).

    Delta time from Date where there is one, else from reception. An unreadable Expires is as if absent, an unreadable
    Date as if absent: a client's clock format must not lose a message.
    """
    try:
        seconds = int(expires.strip())
    except ValueError:
        return None
    if seconds < 0:
        return None
    start = received
    if date:
        try:
            sent = parsedate_to_datetime(date)
            start = (sent if sent.tzinfo else sent.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            start = received
    return start + seconds


def sip_date(seconds: float) -> str:
    """RFC 3261 20.17 SIP-date, always GMT."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def without_session_parameter(uri: str) -> tuple[str, str]:
    """Take `session=` (and `sessiontype=`) off a URI: the URI to route on, and the value in lower case (PAG-16)."""
    found = _SESSION_PARAMETER.search(uri)
    if found is None:
        return uri, ""
    return _SESSION_PARAMETER.sub("", uri), found.group(1).strip().lower()


def canonical(uri: str) -> str:
    """`sip:user@host` for comparison: lower-case host, no port, parameters, headers or password, escapes resolved where
    RFC 3261 19.1.4 says they are equal. Empty when it is not a SIP URI with a user."""
    found = _ADDRESS.match(uri.strip())
    if found is None or not found.group(2):
        return ""
    user = found.group(2).partition(":")[0]
    if "%" in user:
        user = _ESCAPE.sub(_unescape, user)
    return f"sip:{user}@{found.group(3).lower()}"


def _unescape(found: re.Match[str]) -> str:
    char = chr(int(found.group()[1:], 16))
    return char if char in _UNRESERVED else found.group().upper()


def host_of(address: str) -> str:
    """Host of a canonical address."""
    return address.rpartition("@")[2]
