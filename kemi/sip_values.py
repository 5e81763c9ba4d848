"""Pure readers of the header values that the procedures decide on."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache, wraps
from ipaddress import IPv6Address
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

CACHED = 4096
"""Results that a process keeps of each reader: clients send the same few values again and again."""
LONGEST_CACHED = 256
"""Characters; a longer value is read anew each time, so that nobody fills the memory with made-up ones (SEC-05)."""
# RFC 3840 section 9: feature-param = enc-feature-tag [EQUAL LDQUOT (tag-value-list / string-value) RDQUOT]
_FEATURE_TAG = "+g.oma.sip-im"
_LARGE_MESSAGE_TAG = "+g.oma.sip-im.large-message"
_ADVERTISEMENT_TAG = "+g.poc.groupad"
_NOT_CAPABLE = frozenset({"FALSE", "!TRUE"})  # values of a boolean feature parameter that deny it
_SESSION_PARAMETER = re.compile(r";(?:session|sessiontype)=([^;?>]*)", re.IGNORECASE)  # E.2.1; COMPAT(TS 8.1.1 spelling)
# RFC 3261 25.1: SIP-URI with userinfo = user [":" password] "@". ASCII alone, so that no other letter folds into a host.
_ADDRESS = re.compile(
    r"sips?:((?:[a-z0-9\-_.!~*'()&=+$,;?/]|%[0-9a-f]{2})+)(?::[^@<>\s]*)?@(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]+)?(?:[;?].*)?",
    re.IGNORECASE | re.ASCII,
)
_NAME_ADDRESS = re.compile(r"<([^>]*)>")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_MAX_DELTA = 2**32 - 1
"""Seconds; the largest delta-seconds that RFC 3261 20.19 gives a meaning to."""


class Mark(Enum):
    """What a device has said it takes. The value names the branch flag of `im.cfg` that says so of its binding."""

    CAPABLE = "IM_BFLAG_CAPABLE"  # COR-07
    LARGE = "IM_BFLAG_LARGE"  # LRG-08
    ADVERTISEMENT = "IM_BFLAG_ADVERTISEMENT"  # ADV-03


Marks: TypeAlias = frozenset[Mark]
_MARKS: dict[str, Marks] = {
    _FEATURE_TAG: frozenset({Mark.CAPABLE}),
    _LARGE_MESSAGE_TAG: frozenset({Mark.CAPABLE, Mark.LARGE}),
    _ADVERTISEMENT_TAG: frozenset({Mark.ADVERTISEMENT}),
}
"""What each feature tag of a contact says."""


def _cached(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Keep the results for values of ordinary length."""
    kept: Any = lru_cache(CACHED)(function)

    def read(value: str, *rest: P.args, **named: P.kwargs) -> T:
        result: T = (kept if len(value) <= LONGEST_CACHED else function)(value, *rest, **named)
        return result

    return cast(Callable[Concatenate[str, P], T], wraps(kept)(read))


def _parts(value: str, separator: str) -> list[str]:
    """Split on `separator` outside quoted strings and angle brackets."""
    parts: list[str] = []
    start = 0
    quoted = escaped = bracketed = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif bracketed:
            bracketed = char != ">"
        elif char == '"':
            quoted = True
        elif char == "<":
            bracketed = True
        elif char == separator:
            parts.append(value[start:index])
            start = index + 1
    parts.append(value[start:])
    return parts


def feature_tags(value: str) -> frozenset[str]:
    """Names of all feature parameters in Accept-Contact or Contact values joined by commas, lower case.

    Tags count in any order, with or without a value, in any of several values; not where the value denies them
    (RFC 3840 section 9: `="FALSE"`).
    """
    names = set()
    for contact in _parts(value, ","):
        for parameter in _parts(contact, ";")[1:]:
            name, _, value_ = parameter.partition("=")
            name = name.strip().lower()
            if name and value_.strip().strip('"').upper() not in _NOT_CAPABLE:
                names.add(name)
    return frozenset(names)


@_cached
def carries_feature_tag(value: str) -> bool:
    """Whether the IM feature tag is asked for; the large-message tag counts as IM-capable (LRG-08)."""
    # The one spelling that all but every client sends, before the general case.
    if _FEATURE_TAG not in value.lower():
        return False
    tags = feature_tags(value)
    return _FEATURE_TAG in tags or _LARGE_MESSAGE_TAG in tags


@_cached
def asks_for_advertisement_devices(value: str) -> bool:
    """Whether Accept-Contact names the feature tag of group advertisements (E.1.9, ADV-03).

    It then stands for a demand, as +g.oma.sip-im does, also where `require` or `explicit` is left out, which to
    RFC 3841 section 7.2.4 is a wish: what the specification routes by a tag is for those that have it, and it writes
    `explicit` alone where it means that (6.2.7.1).
    """
    return _ADVERTISEMENT_TAG in value.lower() and _ADVERTISEMENT_TAG in feature_tags(value)


def contact_capabilities(value: str) -> list[tuple[str, bool, bool]]:
    """For each contact of a REGISTER: URI, whether IM-capable, whether for large messages (COR-07, LRG-08)."""
    contacts = []
    for contact in _parts(value, ","):
        address = _QUOTED.sub("", _parts(contact, ";")[0])
        bracketed = _NAME_ADDRESS.search(address)
        uri = bracketed.group(1) if bracketed else address.strip()
        if not uri or uri == "*":
            continue
        tags = feature_tags(contact)
        large = _LARGE_MESSAGE_TAG in tags
        contacts.append((uri, large or _FEATURE_TAG in tags, large))
    return contacts


def contacts_by_marks(value: str) -> list[tuple[Marks, str]]:
    """The contacts of a REGISTER, those with the same marks together as one Contact value, in order of the first of them
    (COR-07, COR-10). What is not IM-capable has no marks: no IM request goes there, whatever else it takes."""
    groups: dict[Marks, list[str]] = {}
    for contact in filter(None, map(str.strip, _parts(value, ","))):
        marks: Marks = frozenset().union(*(_MARKS.get(tag, ()) for tag in feature_tags(contact)))
        groups.setdefault(marks if Mark.CAPABLE in marks else frozenset(), []).append(contact)
    return [(marks, ", ".join(contacts)) for marks, contacts in groups.items()]


def asks_for_anonymity(privacy: str) -> bool:
    """Whether the Privacy values, joined by commas, ask that the asserted identity be kept (RFC 3325 section 9.3)."""
    values = {part.strip().lower() for part in privacy.replace(",", ";").split(";")}
    return "id" in values


@_cached
def media_type(content_type: str) -> str:
    """`type/subtype` in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


@_cached
def content_type_allowed(content_type: str, allowed: tuple[str, ...]) -> bool:
    """Match against `*`, `type/*` and `type/subtype` (PAG-03, PAG-17). A body without a type is text/plain."""
    wanted = media_type(content_type) or "text/plain"
    major = wanted.partition("/")[0]
    return any(entry in ("*", "*/*", wanted, f"{major}/*") for entry in allowed)


def delta_seconds(value: str) -> int | None:
    """A number of seconds (RFC 3261 section 25.1), None when it is none. One too large counts as the largest."""
    text = value.strip()
    if not text.isascii() or not text.isdigit():
        return None
    digits = text.lstrip("0") or "0"
    return _MAX_DELTA if len(digits) > len(str(_MAX_DELTA)) else min(int(digits), _MAX_DELTA)


def token(value: str) -> str:
    """A token (RFC 3261 section 25.1) without the space around it; empty when the value is not one."""
    text = value.strip()
    return text if _TOKEN.fullmatch(text) else ""


def expiry(expires: str, date: str, received: float) -> float | None:
    """When the message expires, in seconds since 1970; None for never (RFC 3428 section 7).

    Delta time from Date where there is one, else from reception. An unreadable Expires is as if absent, an unreadable
    Date as if absent: a client's clock format must not lose a message. A number too large counts as the largest one.
    """
    seconds = delta_seconds(expires)
    if seconds is None:
        return None
    start = received
    if date:
        try:
            sent = parsedate_to_datetime(date)
            start = (sent if sent.tzinfo else sent.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            start = received
    return start + seconds


@_cached
def without_session_parameter(uri: str) -> tuple[str, str]:
    """Take `session=` (and `sessiontype=`) off a URI: the URI to route on, and the value in lower case (PAG-16)."""
    user, at, rest = uri.rpartition("@")  # a user part may contain what looks like a parameter
    rest, question, headers = rest.partition("?")
    found = _SESSION_PARAMETER.search(rest)
    if found is None:
        return uri, ""
    return f"{user}{at}{_SESSION_PARAMETER.sub('', rest)}{question}{headers}", found.group(1).strip().lower()


def route_from(route: str, next_hop: str) -> str:
    """The Route values from that of the URI `next_hop` on: what stays without our own. Empty when nothing does."""
    values = [value.strip() for value in _parts(route, ",")]
    for index, value in enumerate(values):
        found = _NAME_ADDRESS.search(_QUOTED.sub("", value))
        if next_hop and found is not None and found[1] == next_hop:
            return ", ".join(values[index:])
    return ""


@_cached
def canonical(uri: str) -> str:
    """`sip:user@host` for comparison: lower-case host, no port, parameters, headers or password, escapes resolved where
    RFC 3261 19.1.4 says they are equal. Empty when it is not a SIP URI with a user."""
    found = _ADDRESS.fullmatch(uri.strip())
    if found is None:
        return ""
    user, host = found.group(1), found.group(2).lower()
    if "%" in user:
        user = _ESCAPE.sub(_unescape, user)
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return ""
    return f"sip:{user}@{host}"


def _unescape(found: re.Match[str]) -> str:
    char = chr(int(found.group()[1:], 16))
    return char if char in _UNRESERVED else found.group().upper()


def host_of(address: str) -> str:
    """Host of a canonical address."""
    return address.rpartition("@")[2]
