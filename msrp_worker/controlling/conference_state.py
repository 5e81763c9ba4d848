"""Who is in an IM session, as application/conference-info+xml (7.2.2.11, RFC 4575). Pure.

A document is rendered once for all subscribers: only the version, which is that of the subscription, is put in for each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from xml.sax.saxutils import escape

CONTENT_TYPE = "application/conference-info+xml"
EVENT = "conference"
LONGEST_TEXT = 256
"""Characters shown of a name or subject; a nickname or title is shorter."""

JOINING = frozenset({"dialed-in", "dialed-out", "focus-owner"})
DISCONNECTION = frozenset({"departed", "booted", "failed", "busy"})
"""Words of RFC 4575 sections 5.7.4 and 5.7.6; the schema has no others."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPACE = re.compile(r"\s+")
_QUOTE = {'"': "&quot;"}


class UserStatus(StrEnum):
    """Status of an endpoint (RFC 4575 section 5.7.2)."""

    PENDING = "pending"
    DIALING_OUT = "dialing-out"
    ALERTING = "alerting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


SHOWN = frozenset({UserStatus.ALERTING, UserStatus.CONNECTED})
"""Who is listed as being there or called; 7.2.2.11 has no use for the others, but for `disconnected` when one has left."""


@dataclass(frozen=True, slots=True)
class ConferenceUser:
    """One participant or invited user as others may see it."""

    key: str
    """Its canonical address: never in a document."""
    entity: str
    """URI shown: the originator, the identity of the URI-list or group, or an anonymous URI of its own (CES-05)."""
    endpoint: str
    """Entity of its one endpoint: a Contact URI, or the same as `entity`."""
    display_text: str
    status: UserStatus
    joining_method: str = ""
    """One of JOINING or empty."""
    disconnection_method: str = ""
    """One of DISCONNECTION or empty."""

    @property
    def is_anonymous(self) -> bool:
        """Whether it asked for privacy: the host of its URI is in .invalid (RFC 4575 section 5.6)."""
        host = self.entity.rpartition("@")[2].partition(";")[0].partition("?")[0]
        return host.lower().partition(":")[0].endswith(".invalid")


class StateSource(Protocol):
    """What has participants: a session, or a group with or without one."""

    @property
    def entity(self) -> str:
        """URI of the conference: the group identity, else the session identity."""
        ...

    @property
    def contact(self) -> str:
        """Whole value of our Contact."""
        ...

    @property
    def asserted(self) -> str:
        """URI of P-Asserted-Identity: the conference factory, or the group."""
        ...

    @property
    def subject(self) -> str:
        """Subject, empty for none."""
        ...

    @property
    def maximum_users(self) -> int:
        """Most participants; 0 when there is no such number."""
        ...

    def users(self) -> Sequence[ConferenceUser]:
        """Participants and invited users; who has left may be kept as `disconnected`, or left out."""
        ...


@dataclass(frozen=True, slots=True)
class Overview:
    """What a document says of the session as a whole."""

    entity: str
    subject: str
    maximum_users: int
    connected: int
    active: bool
    """Whether it can be joined now: somebody is there or called (RFC 4575 section 5.5.2)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document without its version."""

    head: bytes
    tail: bytes

    def __len__(self) -> int:
        return len(self.head) + len(self.tail)

    def at(self, version: int) -> bytes:
        """The document as the `version`-th of one subscription."""
        return b"%s%d%s" % (self.head, version, self.tail)


def overview(source: StateSource, users: Iterable[ConferenceUser]) -> Overview:
    """The session as a whole, with these users."""
    statuses = [user.status for user in users]
    connected = statuses.count(UserStatus.CONNECTED)
    active = connected > 0 or UserStatus.ALERTING in statuses
    return Overview(source.entity, source.subject, source.maximum_users, connected, active)


def full_document(source: StateSource, version: int) -> bytes:
    """Everybody who is there or called. A group without session has none, and is not active (RFC 4575 section 5.2)."""
    users = source.users()
    elements = [user_element(user) for user in users if user.status in SHOWN]
    return render(overview(source, users), elements, full=True).at(version)


def partial_document(source: StateSource, changed_users: Collection[ConferenceUser], version: int) -> bytes:
    """What has changed since the document before (RFC 4575 section 4.4)."""
    elements = [user_element(user) for user in changed_users]
    return render(overview(source, source.users()), elements, full=False).at(version)


def render(whole: Overview, elements: Iterable[bytes], *, full: bool, described: bool = False) -> Document:
    """A document of these elements of users (CES-03, CES-04). `described`: a partial one that tells the subject, too."""
    state = "full" if full else "partial"
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="{_attribute(whole.entity)}"'
        f' state="{state}" version="'
    )
    tail = (
        '">'
        + (_description(whole) if full or described else "")
        + f"<conference-state><user-count>{whole.connected}</user-count>"
        + f"<active>{'true' if whole.active else 'false'}</active></conference-state>"
        + f'<users state="{state}">'
    )
    return Document(head.encode(), tail.encode() + b"".join(elements) + b"</users></conference-info>\r\n")


def user_element(user: ConferenceUser) -> bytes:
    """One user with its one endpoint (CES-04), in the order of the schema (RFC 4575 section 6)."""
    entity = _attribute(user.entity)
    name, endpoint = _text(user.display_text), _attribute(user.endpoint or user.entity)
    if user.is_anonymous:  # IDN-08: whatever else is known of it stays here
        endpoint = entity
        name = "" if _tells(user.display_text, user.key) else name
    joining = f"<joining-method>{user.joining_method}</joining-method>" if user.joining_method in JOINING else ""
    leaving = ""
    if user.disconnection_method in DISCONNECTION and user.status is UserStatus.DISCONNECTED:
        leaving = f"<disconnection-method>{user.disconnection_method}</disconnection-method>"
    return (
        f'<user entity="{entity}" state="full">'
        + (f"<display-text>{name}</display-text>" if name else "")
        + f'<endpoint entity="{endpoint}" state="full"><status>{user.status}</status>{joining}{leaving}</endpoint></user>'
    ).encode()


def deleted_element(entity: str) -> bytes:
    """A user that is shown under another URI from now on."""
    return f'<user entity="{_attribute(entity)}" state="deleted"/>'.encode()


def _description(whole: Overview) -> str:
    subject = _text(whole.subject)
    shown = f"<display-text>{subject}</display-text><subject>{subject}</subject>" if subject else ""
    most = f"<maximum-user-count>{whole.maximum_users}</maximum-user-count>" if whole.maximum_users else ""
    return f"<conference-description>{shown}{most}</conference-description>"


def _text(value: str) -> str:
    return escape(_SPACE.sub(" ", _NOT_XML.sub("\ufffd", value)).strip()[:LONGEST_TEXT])


def _attribute(value: str) -> str:
    return escape(_SPACE.sub(" ", _NOT_XML.sub("\ufffd", value)).strip(), _QUOTE)


def _tells(text: str, key: str) -> bool:
    """Whether a text gives an address away: the whole, or its user part."""
    address = key.partition(":")[2].lower() or key.lower()
    words = text.lower()
    return bool(address) and (address in words or address.partition("@")[0] in words)
