"""What docs/groups.md shows is what the server reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msrp_worker import group as groups
from msrp_worker.group import GroupKind, parse_group
from msrp_worker.group_rules import GroupRights, rights

TEXT = (Path(__file__).parents[2] / "docs" / "groups.md").read_text(encoding="utf-8")
CHESS, LOBBY = (parse_group(example.encode()) for example in re.findall(r"```xml\n(.*?)```", TEXT, re.DOTALL))


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


@pytest.mark.parametrize("name", sorted(groups.ACTIONS | groups.RESERVED_NAMES))
def test_every_action_and_reserved_name_is_told(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("limit", [groups.MOST_MEMBERS, groups.MOST_PARTICIPANTS, groups.LONGEST_NAME])
def test_limits_are_told(limit: int) -> None:
    assert f"{limit:,}" in TEXT
