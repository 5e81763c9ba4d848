"""isComposing (RFC 3994): the status document, and the state of whoever composes or watches. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import cast

from lxml import etree

from .errors import MalformedMessageError

CONTENT_TYPE = "application/im-iscomposing+xml"
NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"

# The stubs of lxml do not know None, which stands for the default namespace.
_PREFIXES = cast("dict[str, str]", {None: NAMESPACE})

DEFAULT_TIMEOUT = 120.0
"""Seconds after which an active sender that named no refresh interval counts as idle (section 3.3)."""
IDLE_TIMEOUT = 15.0
"""Seconds without typing after which the composer is idle (section 3.2)."""
SHORTEST_REFRESH = 60
"""Seconds; the refresh interval should be no shorter (section 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One status message. `refresh` in seconds; `media` is what is being composed, like text/plain."""

    active: bool
    refresh: int | None = None
    media: str = ""
    last_active: datetime | None = None


def build(status: Status) -> bytes:
    """The document of section 6, elements in the order of its schema."""
    root = etree.Element(f"{{{NAMESPACE}}}isComposing", nsmap=_PREFIXES)
    fields = [
        ("state", "active" if status.active else "idle"),
        (
            "lastactive",
            status.last_active and status.last_active.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
        ("contenttype", status.media),
        ("refresh", status.refresh is not None and str(status.refresh)),
    ]
    for name, text in fields:
        if text:
            etree.SubElement(root, f"{{{NAMESPACE}}}{name}").text = str(text)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def parse(document: bytes) -> Status:
    """A status message.

    States other than active count as idle (section 3.5). Raises MalformedMessageError.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise MalformedMessageError(f"not an isComposing document: {error}") from None
    if root.tag != f"{{{NAMESPACE}}}isComposing":
        raise MalformedMessageError(f"not an isComposing document but {str(root.tag)[:60]!r}")
    texts = {name: (root.findtext(f"{{{NAMESPACE}}}{name}") or "").strip() for name in _ELEMENTS}
    if not texts["state"]:
        raise MalformedMessageError("an isComposing document without state")
    refresh = texts["refresh"]
    return Status(
        active=texts["state"] == "active",
        refresh=int(refresh) if refresh.isdecimal() and 0 < len(refresh) < 10 and int(refresh) else None,
        media=texts["contenttype"],
        last_active=_time(texts["lastactive"]),
    )


_ELEMENTS = ("state", "lastactive", "contenttype", "refresh")


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- the composer: section 3.2, figure 1


class Composes(Enum):
    """What happens at a composer."""

    TYPED = auto()  # the user produced content
    SENT = auto()  # the content message went out
    TICK = auto()  # `deadline` has come
    REFUSED = auto()  # a status message was answered 415 (section 4)


@dataclass(frozen=True, slots=True)
class Composer:
    """Times in seconds of the caller's clock. `refresh` None sends no refreshes."""

    refresh: int | None = SHORTEST_REFRESH
    idle_timeout: float = IDLE_TIMEOUT
    media: str = "text/plain"
    idle_at: float | None = None  # None while idle
    refresh_at: float | None = None
    muted: bool = False

    @property
    def deadline(self) -> float | None:
        """When TICK is due."""
        return min((time for time in (self.idle_at, self.refresh_at) if time is not None), default=None)


def compose(composer: Composer, event: Composes, now: float) -> tuple[Composer, Sequence[Status]]:
    """The composer after `event`, and the status messages to send."""
    quiet = replace(composer, idle_at=None, refresh_at=None)
    match event:
        case Composes.REFUSED:
            return replace(quiet, muted=True), ()
        case Composes.SENT:
            return quiet, ()  # the content message itself says it
        case Composes.TYPED if not composer.muted:
            typing = replace(composer, idle_at=now + composer.idle_timeout)
            if composer.idle_at is not None:
                return typing, ()
            return _refreshed(typing, now), (_active(composer),)
        case Composes.TICK if composer.idle_at is not None:
            if composer.idle_at <= now:
                return quiet, (Status(active=False, media=composer.media),)
            if composer.refresh_at is not None and composer.refresh_at <= now:
                return _refreshed(composer, now), (_active(composer),)
    return composer, ()


def _active(composer: Composer) -> Status:
    return Status(active=True, refresh=composer.refresh, media=composer.media)


def _refreshed(composer: Composer, now: float) -> Composer:
    return replace(composer, refresh_at=None if composer.refresh is None else now + composer.refresh)


# --- the watcher: section 3.3, figure 2


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whether somebody composes; `until` is when an active state ends by itself, None while idle."""

    until: float | None = None

    def active(self, now: float) -> bool:
        return self.until is not None and now < self.until

    def saw(self, status: Status | None, now: float) -> Watcher:
        """After a status message, or after a content message (None)."""
        if status is None or not status.active:
            return Watcher()
        return Watcher(now + (status.refresh or DEFAULT_TIMEOUT))
