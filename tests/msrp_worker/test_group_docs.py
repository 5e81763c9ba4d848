"""What docs/groups.md shows is what the server reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msrp_worker import group as groups
from msrp_worker import safe_xml
from msrp_worker.group import JOIN, GroupKind, parse_group
from msrp_worker.group_rules import GroupRights, rights
from msrp_worker.list_references import MOST_DOCUMENTS, DocumentKey, XcapRoots, members_of
from msrp_worker.resource_lists import parse_lists
from msrp_worker.ruleset import COMMON_POLICY, MOST_LISTS, read_ruleset

TEXT = (Path(__file__).parents[2] / "docs" / "groups.md").read_text(encoding="utf-8")
EXAMPLES = [example.encode() for example in re.findall(r"```xml\n(.*?)```", TEXT, re.DOTALL)]
CHESS, LOBBY = (parse_group(example) for example in EXAMPLES[:2])
LISTS, RULE = EXAMPLES[2:]
ROOTS = XcapRoots("example.com", ("http://example.com:8080/xcap",))


@pytest.mark.requirement("XDM-02")
def test_the_worked_document() -> None:
    assert CHESS.kind is GroupKind.PREDEFINED
    assert rights(CHESS, "sip:bob@example.com") == GroupRights(join=True, initiate=True, conference_state=True)
    assert rights(CHESS, "sip:alice@example.com") == GroupRights(
        join=True, initiate=True, conference_state=True, invite_dynamically=True, expel=True
    )
    assert rights(CHESS, "sip:eve@example.org") == GroupRights(join=True)
    assert rights(CHESS, "sip:eve@example.net") == GroupRights()


@pytest.mark.requirement("CNF-19")
def test_the_room() -> None:
    assert LOBBY.kind is GroupKind.PUBLIC
    assert rights(LOBBY, "sip:eve@example.net") == GroupRights(join=True, initiate=True, conference_state=True)
    assert rights(LOBBY, "sip:mallory@example.com") == GroupRights()


@pytest.mark.requirement("XDM-04")
def test_the_lists() -> None:
    (rule,) = read_ruleset(safe_xml.parse(b"<ruleset xmlns='%s'>%s</ruleset>" % (COMMON_POLICY.encode(), RULE)), {JOIN})
    assert rule.actions == {JOIN: True}
    (anchor,) = rule.conditions.external_lists or ()
    hers, his = (DocumentKey(f"sip:{name}@example.com", "index") for name in ("alice", "dave"))
    daves = (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="pals"><entry uri="sip:pal@example.com"/>'
        '</list><list name="all"><entry uri="sip:eve@example.org"/><entry uri="sip:x@example.org"/></list></resource-lists>'
    )
    found = members_of(anchor, {hers: parse_lists(LISTS), his: parse_lists(daves.encode())}, ROOTS)
    assert not found.problems
    names = [member.uri.partition("@")[0] for member in found.members]
    assert names == ["sip:bob", "sip:carol", "sip:pal", "sip:eve"]


@pytest.mark.parametrize("name", sorted(groups.ACTIONS | groups.RESERVED_NAMES))
def test_every_action_and_reserved_name_is_told(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize(
    "limit", [groups.MOST_MEMBERS, groups.MOST_PARTICIPANTS, groups.LONGEST_NAME, MOST_DOCUMENTS, MOST_LISTS]
)
def test_limits_are_told(limit: int) -> None:
    assert f"{limit:,}" in TEXT
