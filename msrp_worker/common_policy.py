"""A user's IM rules: a common-policy document (RFC 4745) with the IM actions, and its evaluation (XDM-03).

Pure: a document goes in as bytes, a question is an originator, the answer is allowed or not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.address import canonical, domain_of

LARGEST_DOCUMENT = 1 << 18
"""Bytes of a rules document: thousands of entries; more is no access policy of a person."""
DEEPEST_ELEMENT = 16
"""Nesting of elements: a ruleset needs seven, the rest is room for extensions."""
MOST_RULES = 1000
"""Rules in one document: each is looked at for every request."""

COMMON_POLICY: Final = "urn:ietf:params:xml:ns:common-policy"
IM_RULES: Final = "urn:oma:xml:im:im-rules"
"""Where the actions belong; other namespaces with the same element names are read too."""
OMA_COMMON_POLICY: Final = "urn:oma:xml:xdm:common-policy"
"""Where anonymous-request, other-identity and external-list belong."""


class RulesError(ValueError):
    """The document is not one of IM rules; the text says why."""


class Action(enum.Enum):
    """What a rule can permit."""

    SESSION = "allow-session"
    PAGER_MODE_MESSAGE = "allow-pager-mode-message"


class Decision(enum.Enum):
    """The combined permission for one action."""

    ALLOW = "allow"
    REJECT = "reject"


ListLookup = Callable[[str, str], bool]
"""Whether the list named by the first URI holds the address given second (XDM-04)."""


class One(msgspec.Struct, frozen=True):
    """RFC 4745 section 7.1.2: exactly this entity. `id` canonical."""

    id: str


class Many(msgspec.Struct, frozen=True):
    """RFC 4745 section 7.1.3: everyone (of a domain) except some."""

    domain: str | None
    except_ids: frozenset[str] = frozenset()
    except_domains: frozenset[str] = frozenset()


class Conditions(msgspec.Struct, frozen=True):
    """All that is said must hold (RFC 4745 section 10.1); what is None or False is not said."""

    identity: tuple[One | Many, ...] | None = None
    anonymous_request: bool = False
    other_identity: bool = False
    external_lists: tuple[str, ...] | None = None
    never: bool = False
    """A condition of a kind that is not known evaluates to false (RFC 4745 section 7)."""


class Rule(msgspec.Struct, frozen=True):
    """One rule with the actions it speaks of."""

    id: str
    conditions: Conditions
    actions: dict[Action, bool]


class Rules(msgspec.Struct, frozen=True):
    """A parsed document."""

    rules: tuple[Rule, ...] = ()

    def decide(self, action: Action, originator: str | None, lookup: ListLookup | None = None) -> Decision:
        """The permission for `originator`, a canonical address or None for an anonymous one.

        The permissive value wins among the matching rules (RFC 4745 section 10.2). Where no matching rule
        speaks of the action, it is allowed: a user without rules can be reached.
        """
        is_other = (
            originator is not None
            and any(rule.conditions.other_identity for rule in self.rules)
            and not any(_refers_to(rule.conditions, originator, lookup) for rule in self.rules)
        )
        values = [
            rule.actions[action]
            for rule in self.rules
            if action in rule.actions and _matches(rule.conditions, originator, is_other, lookup)
        ]
        return Decision.ALLOW if any(values) or not values else Decision.REJECT  # XDM-03


REJECT_EVERYONE = Rules((Rule("unreadable", Conditions(), dict.fromkeys(Action, False)),))
"""In place of a stored document that cannot be read any more: a user who wrote rules wanted some kept out."""


def _matches(conditions: Conditions, originator: str | None, is_other: bool, lookup: ListLookup | None) -> bool:
    """RFC 4745 section 10.1: all conditions hold."""
    if conditions.never:
        return False
    if conditions.anonymous_request and originator is not None:
        return False
    if conditions.other_identity and not is_other:
        return False
    if conditions.identity is not None and not _matches_identity(conditions.identity, originator):
        return False
    return conditions.external_lists is None or _matches_lists(conditions.external_lists, originator, lookup)


def _refers_to(conditions: Conditions, originator: str, lookup: ListLookup | None) -> bool:
    """Whether a rule names this originator, so that other-identity does not mean it."""
    if conditions.identity is not None and _matches_identity(conditions.identity, originator):
        return True
    return conditions.external_lists is not None and _matches_lists(conditions.external_lists, originator, lookup)


def _matches_lists(lists: tuple[str, ...], originator: str | None, lookup: ListLookup | None) -> bool:
    if originator is None or lookup is None:
        return False
    return any(lookup(uri, originator) for uri in lists)


def _matches_identity(entities: tuple[One | Many, ...], originator: str | None) -> bool:
    """Any of the entities; only authenticated originators can match (RFC 4745 section 7.1.1)."""
    if originator is None:
        return False
    return any(_matches_entity(entity, originator) for entity in entities)


def _matches_entity(entity: One | Many, originator: str) -> bool:
    if isinstance(entity, One):
        return entity.id == originator
    domain = domain_of(originator)
    if entity.domain is not None and entity.domain != domain:
        return False
    return originator not in entity.except_ids and domain not in entity.except_domains


def parse_rules(document: bytes) -> Rules:
    """The rules in a document. RulesError says what is wrong with it (SEC-05)."""
    try:
        root = safe_xml.parse(document, LARGEST_DOCUMENT, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise RulesError(str(error)) from None
    if etree.QName(root) != etree.QName(COMMON_POLICY, "ruleset"):
        raise RulesError(f"the root is {root.tag}, not ruleset of {COMMON_POLICY}")
    elements = [child for child in root if child.tag == f"{{{COMMON_POLICY}}}rule"]
    if len(elements) > MOST_RULES:
        raise RulesError(f"{len(elements)} rules, at most {MOST_RULES} are read")
    return Rules(tuple(_rule(element) for element in elements))


def _rule(element: etree._Element) -> Rule:
    conditions = element.find(f"{{{COMMON_POLICY}}}conditions")
    actions = element.find(f"{{{COMMON_POLICY}}}actions")
    name = element.get("id")
    if not name:
        raise RulesError("a rule without id")
    return Rule(
        name,
        Conditions() if conditions is None else _conditions(conditions, name),
        {} if actions is None else _actions(actions, name),
    )


def _conditions(element: etree._Element, rule: str) -> Conditions:
    identity: tuple[One | Many, ...] | None = None
    lists: tuple[str, ...] | None = None
    anonymous = other = never = False
    for child in element:
        match etree.QName(child).localname:
            case "identity" if _is_common(child):
                identity = (identity or ()) + tuple(
                    entity for entry in child if (entity := _entity(entry, rule)) is not None
                )
            case "sphere" | "validity" if _is_common(child):
                pass  # the profile of this document does not evaluate them
            case "anonymous-request":
                anonymous = True
            case "other-identity":
                other = True
            case "external-list":
                lists = (lists or ()) + tuple(
                    anchor for entry in child if (anchor := entry.get("anchor") or entry.get("anc"))
                )
            case _:
                never = True
    return Conditions(identity, anonymous, other, lists, never)


def _is_common(element: etree._Element) -> bool:
    return etree.QName(element).namespace == COMMON_POLICY


def _entity(element: etree._Element, rule: str) -> One | Many | None:
    """A child of identity; None for one that is not known, which matches nobody (RFC 4745 section 7.1.1)."""
    if not _is_common(element):
        return None
    match etree.QName(element).localname:
        case "one":
            return One(_identity(element, rule))
        case "many":
            excepts = [child for child in element if child.tag == f"{{{COMMON_POLICY}}}except"]
            return Many(
                _domain(element.get("domain")),
                frozenset(_identity(child, rule) for child in excepts if "domain" not in child.attrib),
                frozenset(domain for child in excepts if (domain := _domain(child.get("domain")))),
            )
        case _:
            return None


def _identity(element: etree._Element, rule: str) -> str:
    value = (element.get("id") or "").strip()
    if not value:
        raise RulesError(f"rule {rule}: {etree.QName(element).localname} without id")
    try:
        return canonical(value)
    except ValueError:
        return value  # an identity of another kind (mailto, …) stands, and matches no IM address


def _domain(value: str | None) -> str | None:
    return None if value is None else value.strip().lower()


_ALLOWING = {"allow": True, "true": True, "1": True, "reject": False, "false": False, "0": False}


def _actions(element: etree._Element, rule: str) -> dict[Action, bool]:
    names = {action.value: action for action in Action}
    found: dict[Action, bool] = {}
    for child in element:
        action = names.get(etree.QName(child).localname)
        if action is None:
            continue
        word = (child.text or "").strip().lower()
        if word not in _ALLOWING:
            raise RulesError(f"rule {rule}: {action.value} is {word!r}, expected allow or reject")
        found[action] = found.get(action, False) or _ALLOWING[word]
    return found
