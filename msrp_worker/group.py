"""The group document (OMA Group XDM, published schema poc_listService 1.0.2; XDM-02). Pure: bytes in, `Group` out.

What a user may do in a group is asked of `group_rules.rights`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.address import LONGEST_ADDRESS, canonical
from msrp_worker.ruleset import (
    ALLOWING,
    MOST_LISTS,
    NO_LISTS,
    ExternalLists,
    Many,
    Rule,
    RulesError,
    external_lists,
    is_ruleset,
    read_ruleset,
)

GROUPS: Final = "urn:oma:xml:poc:list-service"
"""Where the elements of a group belong."""
_OLDER_GROUPS: Final = "urn:oma:params:xml:ns:list-service"
"""COMPAT(documents of PoC 1.0 drafts): the same elements."""
RESOURCE_LISTS: Final = "urn:ietf:params:xml:ns:resource-lists"
"""Where the display name of an entry belongs; documents that put `list` and `entry` there are read too."""
MIME_TYPE: Final = "application/vnd.oma.poc.groups+xml"
AUID: Final = "org.openmobilealliance.groups"

LARGEST_DOCUMENT = 1 << 20
"""Bytes of a group document: `MOST_MEMBERS` entries with names have about half of that."""
DEEPEST_ELEMENT = 16
"""Nesting of elements: a rule in a group needs nine, the rest is room for extensions."""
MOST_MEMBERS = 5_000
"""Members of a group: each is invited or gets each message; five times what one node is measured with."""
MOST_PARTICIPANTS = 1_000_000
"""Largest max-participant-count that is taken: beyond it somebody mistyped."""
LONGEST_NAME = 255
"""Characters of a display name: it goes into header fields of requests."""

RESERVED_NAMES: Final = frozenset({"conference-factory", "deferred", "history", "im-system"})
"""User parts of the addresses of the service itself."""
RESERVED_PREFIXES: Final = ("im-session-", "im-leg-")
"""How the user parts of IM Session Identities and of the service's contacts begin."""

JOIN: Final = "join-handling"
INITIATE: Final = "allow-initiate-conference"
INVITE_DYNAMICALLY: Final = "allow-invite-users-dynamically"
CONFERENCE_STATE: Final = "allow-conference-state"
ANONYMITY: Final = "allow-anonymity"
EXPEL: Final = "allow-expelling"
ACTIONS: Final = frozenset({JOIN, INITIATE, INVITE_DYNAMICALLY, CONFERENCE_STATE, ANONYMITY, EXPEL})
"""Element names of the actions that a rule can speak of, in any namespace."""
_WORDS: Final = {**ALLOWING, "block": False, "confirm": False}
"""Older documents have words; there is nobody here to ask for the confirmation that `confirm` wants."""


class GroupError(ValueError):
    """Not a group document; the text says which element is wrong, and why."""


class GroupKind(enum.Enum):
    """How a group comes to be, and who comes to its sessions."""

    PREDEFINED = "predefined"
    """Has a document that says who may come."""
    AD_HOC = "ad-hoc"
    """Has no document: made of a list by the one who invites (7.2.1.2)."""
    PUBLIC = "public"
    """Has a document that lets everybody join and invites nobody: a chat room (7.1.1.10)."""


class Member(msgspec.Struct, frozen=True):
    """An entry of the list. `uri` canonical; an empty `display_name` is none."""

    uri: str
    display_name: str = ""


class Group(msgspec.Struct, frozen=True, dict=True):
    """A parsed document."""

    uri: str
    """The IM Group Identity, canonical."""
    display_name: str = ""
    members: tuple[Member, ...] = ()
    """In the order of the document, each address once; then those of the lists that it refers to."""
    invite_members: bool = False
    """The members are invited when a session begins (7.2.2.3)."""
    max_participants: int | None = None
    """None: the document does not limit them."""
    rules: tuple[Rule, ...] | None = None
    """None, as of a document without a rule: `group_rules` says what holds then."""
    external_members: tuple[str, ...] = ()
    """Addresses of lists whose entries are members too (`external` of RFC 4826, XDM-04)."""
    services: tuple[str, ...] = ()
    """`supported-services`: the enablers that the group is for, as written; empty when it does not say."""
    lists: ExternalLists = NO_LISTS
    """Who is on the lists that the rules refer to: not part of the document (`store.lists`, XDM-04)."""

    @functools.cached_property
    def kind(self) -> GroupKind:
        """PUBLIC when nobody is invited and a rule lets everybody join, PREDEFINED otherwise (CNF-19)."""
        is_open = not self.invite_members and any(_admits_everybody(rule) for rule in self.rules or ())
        return GroupKind.PUBLIC if is_open else GroupKind.PREDEFINED

    @functools.cached_property
    def external_lists(self) -> tuple[str, ...]:
        """The addresses of all lists that the document refers to, each once."""
        return tuple(dict.fromkeys((*self.external_members, *external_lists(self.rules or ()))))

    def with_lists(self, found: Mapping[str, Sequence[Member]]) -> Group:
        """The group with who is on these lists, by address; one that is not there has nobody. The own entries come first,
        and more than `MOST_MEMBERS` no group has."""  # XDM-04
        members = {member.uri: member for member in self.members}
        for anchor in self.external_members:
            for member in found.get(anchor, ()):
                members.setdefault(member.uri, member)
        anchors = external_lists(self.rules or ())
        lists = {anchor: frozenset(member.uri for member in found.get(anchor, ())) for anchor in anchors}
        return msgspec.structs.replace(self, members=tuple(members.values())[:MOST_MEMBERS], lists=lists)

    def member(self, uri: str) -> Member | None:
        """The entry of a canonical address."""
        return self._by_uri.get(uri)

    @functools.cached_property
    def _by_uri(self) -> dict[str, Member]:
        return {member.uri: member for member in self.members}


def _admits_everybody(rule: Rule) -> bool:
    """Whether joining asks nothing of who joins: no condition, or `many` without domain, some excepted or not."""
    conditions = rule.conditions
    if not rule.actions.get(JOIN) or conditions.never or conditions.anonymous_request:
        return False
    if conditions.external_lists is not None or conditions.list_member is not None or conditions.other_identity:
        return False
    return conditions.identity is None or any(
        isinstance(entity, Many) and entity.domain is None for entity in conditions.identity
    )


def check_address(uri: str, domain: str) -> None:
    """GroupError unless a canonical address is one that a group of the served domain may have."""
    name = uri.removeprefix("sip:").removesuffix(f"@{domain}")
    if uri != f"sip:{name}@{domain}":
        raise GroupError(f"list-service: {uri} is not in the served domain {domain} (IM_DOMAIN)")
    if name.lower() in RESERVED_NAMES or name.lower().startswith(RESERVED_PREFIXES):
        raise GroupError(f"list-service: {uri} is an address of the service")


def parse_group(data: bytes) -> Group:
    """The group of a document. GroupError names the line and the element that is wrong (XDM-02, SEC-05).

    Elements of other namespaces are extensions and ignored, as are actions that are not known; elements of the group's
    own namespace must be known, stand once, and may come in any order.
    """
    try:
        root = safe_xml.parse(data, LARGEST_DOCUMENT, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise GroupError(str(error)) from None
    space = etree.QName(root).namespace or ""
    if space not in (GROUPS, _OLDER_GROUPS) or etree.QName(root).localname not in ("group", "list-service"):
        raise GroupError(f"the root is {etree.QName(root).text}, not group of {GROUPS}")
    service = root if etree.QName(root).localname == "list-service" else _only_service(root, space)
    return _group(service, space)


def _only_service(root: etree._Element, space: str) -> etree._Element:
    found = [child for child in root if _is(child, space)]
    if len(found) != 1 or etree.QName(found[0]).localname != "list-service":
        raise _wrong(root, "holds exactly one list-service")
    return found[0]


def _group(service: etree._Element, space: str) -> Group:
    uri = _address(service, "uri")
    if not uri.startswith("sip:") or "@" not in uri or ";" in uri or "?" in uri:
        raise _wrong(service, f"the address of a group is sip:name@domain, not {uri!r}")
    parts = _parts(service, space)
    entries = parts.get("list")
    rules = parts.get("ruleset")
    return Group(
        uri=uri,
        display_name=_name(parts.get("display-name")),
        members=() if entries is None else tuple(_members(entries, space)),
        invite_members=_boolean(parts.get("invite-members")),
        max_participants=_count(parts.get("max-participant-count")),
        rules=None if rules is None else _rules(rules),
        external_members=() if entries is None else tuple(_anchors(entries, space)),
        services=tuple(_services(service)),
    )


_KNOWN = frozenset({"display-name", "list", "invite-members", "max-participant-count", "ruleset"})


def _parts(service: etree._Element, space: str) -> dict[str, etree._Element]:
    """The children that mean something, by name."""
    found: dict[str, etree._Element] = {}
    for child in service:
        name = etree.QName(child).localname
        if is_ruleset(child) or _is_in_list_space(child, space):
            if name not in _KNOWN:
                raise _wrong(child, "is not an element of a group")
            if name in found:
                raise _wrong(child, "stands twice")
            found[name] = child
    return found


def _members(entries: etree._Element, space: str) -> Iterator[Member]:
    seen: set[str] = set()
    for child in entries:
        if not _is_in_list_space(child, space) or etree.QName(child).localname == "external":
            continue
        if etree.QName(child).localname == "display-name":
            continue  # the name of the list, which RFC 4826 allows
        if etree.QName(child).localname != "entry":
            raise _wrong(child, "has no place in the list of a group: entry or external does")
        uri = _address(child, "uri")
        if uri in seen:
            raise _wrong(child, f"{uri} is a member twice")
        seen.add(uri)
        if len(seen) > MOST_MEMBERS:
            raise _wrong(entries, f"more than {MOST_MEMBERS} members")
        name = next((part for part in child if etree.QName(part).localname == "display-name"), None)
        yield Member(uri, _name(name))


def _anchors(entries: etree._Element, space: str) -> Iterator[str]:
    count = 0
    for child in entries:
        if _is_in_list_space(child, space) and etree.QName(child).localname == "external":
            anchor = (child.get("anchor") or "").strip()
            if not anchor:
                raise _wrong(child, "without anchor")
            count += 1
            if count > MOST_LISTS:
                raise _wrong(child, f"more than {MOST_LISTS} external lists")
            yield anchor


def _services(service: etree._Element) -> Iterator[str]:
    """Enablers of `supported-services`, an extension of the later Group XDM with a namespace of its own."""
    for child in service:
        if etree.QName(child).localname == "supported-services":
            yield from (enabler for one in child if (enabler := (one.get("enabler") or "").strip()))


def _rules(element: etree._Element) -> tuple[Rule, ...] | None:
    try:
        rules = read_ruleset(element, ACTIONS, _WORDS)
    except RulesError as error:
        raise _wrong(element, str(error)) from None
    names = [rule.id for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise _wrong(element, f"two rules have the id {twice!r}")
    return rules or None


def _address(element: etree._Element, attribute: str) -> str:
    value = element.get(attribute)
    if not value or not value.strip():
        raise _wrong(element, f"without {attribute}")
    try:
        return canonical(value)
    except ValueError as error:
        raise _wrong(element, str(error)) from None


def _name(element: etree._Element | None) -> str:
    if element is None:
        return ""
    name = " ".join("".join(character if character.isprintable() else " " for character in element.text or "").split())
    if len(name) > LONGEST_NAME:
        raise _wrong(element, f"{len(name)} characters, at most {LONGEST_NAME} are taken")
    return name


def _boolean(element: etree._Element | None) -> bool:
    if element is None:
        return False
    word = (element.text or "").strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise _wrong(element, f"{word!r} is neither true nor false")
    return word in ("true", "1")


def _count(element: etree._Element | None) -> int | None:
    if element is None:
        return None
    text = (element.text or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MOST_PARTICIPANTS)):
        raise _wrong(element, f"{text[:LONGEST_ADDRESS]!r} is not a number of participants")
    if not 1 <= int(text) <= MOST_PARTICIPANTS:
        raise _wrong(element, f"{text} is not between 1 and {MOST_PARTICIPANTS}")
    return int(text)


def _is(element: etree._Element, space: str) -> bool:
    return etree.QName(element).namespace == space


def _is_in_list_space(element: etree._Element, space: str) -> bool:
    """In the group's own namespace, or in that of RFC 4826 where some documents put the list."""
    return etree.QName(element).namespace in (space, RESOURCE_LISTS)


def _wrong(element: etree._Element, reason: str) -> GroupError:
    line = f"line {element.sourceline}, " if element.sourceline is not None else ""
    return GroupError(f"{line}{etree.QName(element).localname}: {reason}")
