"""A user's IM rules: a common-policy document (RFC 4745) with the IM actions, and its evaluation (XDM-03).

Pure: a document goes in as bytes, a question is an originator, the answer is allowed or not.
"""

from __future__ import annotations

import enum
import functools
from typing import Final

import msgspec
from lxml import etree

from msrp_worker import safe_xml
from msrp_worker.ruleset import (
    COMMON_POLICY,
    MOST_RULES,
    NO_LISTS,
    OMA_COMMON_POLICY,
    Conditions,
    ExternalLists,
    Requester,
    Rule,
    RulesError,
    external_lists,
    is_ruleset,
    matching,
    read_ruleset,
)

__all__ = [
    "COMMON_POLICY",
    "LARGEST_DOCUMENT",
    "MOST_RULES",
    "OMA_COMMON_POLICY",
    "REJECT_EVERYONE",
    "RULES_SPACE",
    "Action",
    "Decision",
    "Rules",
    "RulesError",
    "parse_rules",
]

LARGEST_DOCUMENT = 1 << 18
"""Bytes of a rules document: thousands of entries; more is no access policy of a person."""
DEEPEST_ELEMENT = 16
"""Nesting of elements: a ruleset needs seven, the rest is room for extensions."""

RULES_SPACE: Final = "urn:oma:xml:im:im-rules"
"""Where the actions belong; other namespaces with the same element names are read too."""


class Action(enum.Enum):
    """What a rule can permit."""

    SESSION = "allow-session"
    PAGER_MODE_MESSAGE = "allow-pager-mode-message"


_ACTIONS: Final = frozenset(action.value for action in Action)


class Decision(enum.Enum):
    """The combined permission for one action."""

    ALLOW = "allow"
    REJECT = "reject"


class Rules(msgspec.Struct, frozen=True, dict=True):
    """A parsed document."""

    rules: tuple[Rule, ...] = ()
    lists: ExternalLists = NO_LISTS
    """Who is on the lists that the rules refer to: not part of the document (`store.lists`, XDM-04)."""

    @functools.cached_property
    def external_lists(self) -> tuple[str, ...]:
        """The URIs of these lists."""
        return external_lists(self.rules)

    def decide(self, action: Action, originator: str | None) -> Decision:
        """The permission for `originator`, a canonical address or None for an anonymous one.

        The permissive value wins among the matching rules (RFC 4745 section 10.2). Where no matching rule
        speaks of the action, it is allowed: a user without rules can be reached.
        """
        name = action.value
        found = matching(self.rules, Requester(originator, lists=self.lists))
        values = [rule.actions[name] for rule in found if name in rule.actions]
        return Decision.ALLOW if any(values) or not values else Decision.REJECT  # XDM-03


REJECT_EVERYONE = Rules((Rule("unreadable", Conditions(), dict.fromkeys(_ACTIONS, False)),))
"""In place of a stored document that cannot be read any more: a user who wrote rules wanted some kept out."""


def parse_rules(document: bytes) -> Rules:
    """The rules in a document. RulesError says what is wrong with it (SEC-05)."""
    try:
        root = safe_xml.parse(document, LARGEST_DOCUMENT, DEEPEST_ELEMENT)
    except safe_xml.XmlError as error:
        raise RulesError(str(error)) from None
    if not is_ruleset(root):
        raise RulesError(f"the root is {etree.QName(root).text}, not ruleset of {COMMON_POLICY}")
    return Rules(read_ruleset(root, _ACTIONS))
