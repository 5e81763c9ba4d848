"""Common policy (RFC 4745) as the OMA documents use it: rules with conditions, read and matched. Pure.

Whose rules they are and which actions they may speak of, the document says: `common_policy`, `group`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec
from lxml import etree

from msrp_worker.address import canonical, domain_of

MOST_RULES = 1000
"""Rules in one document: each is looked at for every request."""
MOST_LISTS = 50
"""External lists that one document refers to: each is read from the store."""

COMMON_POLICY: Final = "urn:ietf:params:xml:ns:common-policy"
OMA_COMMON_POLICY: Final = "urn:oma:xml:xdm:common-policy"
"""Where anonymous-request, other-identity and external-list belong; other namespaces with these names are read too."""

ALLOWING: Final = {"allow": True, "true": True, "1": True, "reject": False, "false": False, "0": False}
"""The values of an action: booleans, and the words of older documents."""


class RulesError(ValueError):
    """The document is not one of rules; the text says why."""


ExternalLists = Mapping[str, frozenset[str]]
"""The canonical addresses on each external list, by the URI that a condition gives (XDM-04)."""
NO_LISTS: Final[ExternalLists] = {}


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
    list_member: bool | None = None
    """Is, or is not, on the list of the document that the rules are part of: groups have one."""
    never: bool = False
    """A condition of a kind that is not known evaluates to false (RFC 4745 section 7)."""


class Rule(msgspec.Struct, frozen=True):
    """One rule, with the actions it speaks of by their element names."""

    id: str
    conditions: Conditions
    actions: dict[str, bool]


class Requester(msgspec.Struct, frozen=True):
    """Who asks: a canonical address, or None for somebody who is not known."""

    address: str | None
    is_member: bool = False
    """On the list of the document that the rules are part of."""
    lists: ExternalLists = NO_LISTS


def matching(rules: tuple[Rule, ...], requester: Requester) -> Iterator[Rule]:
    """The rules whose conditions hold for a requester (RFC 4745 section 10.1)."""
    is_other = (
        requester.address is not None
        and any(rule.conditions.other_identity for rule in rules)
        and not any(_refers_to(rule.conditions, requester) for rule in rules)
    )
    return (rule for rule in rules if _matches(rule.conditions, requester, is_other))


def _matches(conditions: Conditions, requester: Requester, is_other: bool) -> bool:
    if conditions.never:
        return False
    if conditions.anonymous_request and requester.address is not None:
        return False
    if conditions.other_identity and not is_other:
        return False
    if conditions.list_member is not None and conditions.list_member is not requester.is_member:
        return False
    if conditions.identity is not None and not _matches_identity(conditions.identity, requester.address):
        return False
    return conditions.external_lists is None or _matches_lists(conditions.external_lists, requester)


def _refers_to(conditions: Conditions, requester: Requester) -> bool:
    """Whether a rule names this requester, so that other-identity does not mean it."""
    if conditions.identity is not None and _matches_identity(conditions.identity, requester.address):
        return True
    if conditions.list_member and requester.is_member:
        return True
    return conditions.external_lists is not None and _matches_lists(conditions.external_lists, requester)


def _matches_lists(lists: tuple[str, ...], requester: Requester) -> bool:
    return any(requester.address in requester.lists.get(uri, ()) for uri in lists)  # XDM-04


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


def is_ruleset(element: etree._Element) -> bool:
    """Whether an element is the ruleset of common policy."""
    return str(element.tag) == f"{{{COMMON_POLICY}}}ruleset"


def read_ruleset(
    element: etree._Element, actions: Collection[str], words: dict[str, bool] | None = None
) -> tuple[Rule, ...]:
    """The rules of a ruleset element. `actions`: element names that are read, in any namespace; others are ignored.
    `words`: what an action may say. RulesError.
    """
    elements = [child for child in element if child.tag == f"{{{COMMON_POLICY}}}rule"]
    if len(elements) > MOST_RULES:
        raise RulesError(f"{len(elements)} rules, at most {MOST_RULES} are read")
    rules = tuple(_rule(child, actions, ALLOWING if words is None else words) for child in elements)
    if (count := len(external_lists(rules))) > MOST_LISTS:
        raise RulesError(f"{count} external lists, at most {MOST_LISTS} are read")
    return rules


def external_lists(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """The URIs of all lists that the rules refer to, each once."""
    return tuple(dict.fromkeys(uri for rule in rules for uri in rule.conditions.external_lists or ()))


def _rule(element: etree._Element, actions: Collection[str], words: dict[str, bool]) -> Rule:
    conditions = element.find(f"{{{COMMON_POLICY}}}conditions")
    container = element.find(f"{{{COMMON_POLICY}}}actions")
    name = element.get("id")
    if not name:
        raise RulesError("a rule without id")
    return Rule(
        name,
        Conditions() if conditions is None else _conditions(conditions, name),
        {} if container is None else _actions(container, name, actions, words),
    )


def _conditions(element: etree._Element, rule: str) -> Conditions:
    identity: tuple[One | Many, ...] | None = None
    lists: tuple[str, ...] | None = None
    member: bool | None = None
    anonymous = other = never = False
    for child in element:
        match etree.QName(child).localname:
            case "identity" if _is_common(child):
                identity = (identity or ()) + tuple(
                    entity for entry in child if (entity := _entity(entry, rule)) is not None
                )
            case "sphere" | "validity" if _is_common(child):
                pass  # the profile of these documents does not evaluate them
            case "anonymous-request":
                anonymous = True
            case "other-identity":
                other = True
            case "external-list":
                lists = (lists or ()) + tuple(
                    anchor for entry in child if (anchor := entry.get("anchor") or entry.get("anc"))
                )
            case "is-list-member":
                wanted = _boolean(child, rule)
                never = never or member not in (None, wanted)
                member = wanted
            case _:
                never = True
    return Conditions(identity, anonymous, other, lists, member, never)


def _boolean(element: etree._Element, rule: str) -> bool:
    """A condition that is empty, or a boolean as in older documents."""
    word = (element.text or "").strip().lower() or "true"
    if word not in ("true", "1", "false", "0"):
        raise RulesError(f"rule {rule}: {etree.QName(element).localname} is {word!r}, expected true or false")
    return word in ("true", "1")


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


def _actions(element: etree._Element, rule: str, names: Collection[str], words: dict[str, bool]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for child in element:
        name = etree.QName(child).localname
        if name not in names:
            continue
        word = (child.text or "").strip().lower()
        if word not in words:
            raise RulesError(f"rule {rule}: {name} is {word!r}, expected allow or reject")
        found[name] = found.get(name, False) or words[word]
    return found
