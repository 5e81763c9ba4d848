"""Who is in a conference: application/conference-info+xml (RFC 4575), full and partial documents. Pure. CLI-03

Of the document are kept what a client shows: subject, the users with their names, endpoints' states and roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from lxml import etree

from .errors import MalformedMessageError

CONTENT_TYPE = "application/conference-info+xml"
NAMESPACE = "urn:ietf:params:xml:ns:conference-info"
_N = f"{{{NAMESPACE}}}"
GONE = frozenset({"disconnected", "disconnecting"})
"""States of an endpoint that is not there (section 5.7.2)."""


@dataclass(frozen=True, slots=True)
class User:
    """One participant. `status` by the URI of the endpoint, in the words of section 5.7.2, such as connected."""

    entity: str
    name: str = ""
    roles: tuple[str, ...] = ()
    status: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def present(self) -> bool:
        """Whether an endpoint is there, or on its way."""
        return any(status not in GONE for status in self.status.values())


@dataclass(frozen=True, slots=True)
class Conference:
    """The state of a conference as far as its notifications have told it."""

    entity: str = ""
    version: int = -1  # before the first document
    subject: str = ""
    active: bool = True
    users: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def present(self) -> list[User]:
        """The participants who are there."""
        return [user for user in self.users.values() if user.present]


def update(conference: Conference, document: bytes) -> Conference | None:
    """The state after a notification; unchanged by an old document.

    None where one before it is missing: subscribe again for a full document (section 4.4). Raises
    MalformedMessageError.
    """
    root = _parse(document)
    version = root.get("version") or ""
    if not version.isdecimal() or len(version) > 10:
        raise MalformedMessageError("a conference document without version")
    state, number = root.get("state", "full"), int(version)
    if state == "full":
        if number <= conference.version:
            return conference
        return _merged(Conference(root.get("entity") or ""), root, number)
    if number <= conference.version:
        return conference
    if number != conference.version + 1 or conference.version < 0:
        return None
    if state == "deleted":
        return replace(conference, version=number, active=False, users=MappingProxyType({}))
    return _merged(conference, root, number)


def _parse(document: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise MalformedMessageError(f"not a conference document: {error}") from None
    if root.tag != f"{_N}conference-info":
        raise MalformedMessageError(f"not a conference document but {str(root.tag)[:60]!r}")
    return root


def _merged(conference: Conference, root: etree._Element, version: int) -> Conference:
    subject = root.findtext(f"{_N}conference-description/{_N}subject")
    active = root.findtext(f"{_N}conference-state/{_N}active")
    users = dict(conference.users)
    container = root.find(f"{_N}users")
    if container is not None:
        if container.get("state", "full") == "full":
            users = {}
        for element in container.iterfind(f"{_N}user"):
            _merge_user(users, element)
    return replace(
        conference,
        version=version,
        subject=conference.subject if subject is None else subject.strip(),
        active=conference.active if active is None else active.strip() in ("true", "1"),
        users=MappingProxyType(users),
    )


def _merge_user(users: dict[str, User], element: etree._Element) -> None:
    entity, state = element.get("entity") or "", element.get("state", "full")
    if state == "deleted":
        users.pop(entity, None)
        return
    before = users.get(entity, User(entity)) if state == "partial" else User(entity)
    name = element.findtext(f"{_N}display-text")
    roles = tuple((entry.text or "").strip() for entry in element.iterfind(f"{_N}roles/{_N}entry"))
    status = dict(before.status)
    for endpoint in element.iterfind(f"{_N}endpoint"):
        place = endpoint.get("entity") or ""
        if endpoint.get("state", "full") == "deleted":
            status.pop(place, None)
            continue
        found = endpoint.findtext(f"{_N}status")
        status[place] = (found or status.get(place) or "connected").strip()
    users[entity] = User(
        entity, before.name if name is None else name.strip(), roles or before.roles, MappingProxyType(status)
    )
