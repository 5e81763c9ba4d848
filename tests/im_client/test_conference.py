"""Who is in a conference, as the client follows it (CLI-03)."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from im_client.conference import Change, compare, names
from im_client.conference_info import Conference, User

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


def user(entity: str, status: str = "connected", name: str = "") -> User:
    return User(entity, name, (), MappingProxyType({entity: status}))


def state(*users: User) -> Conference:
    return Conference(users=MappingProxyType({one.entity: one for one in users}))


@pytest.mark.requirement("CLI-03")
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), (user(ALICE),), [(Change.JOINED, ALICE)]),
        ((), (user(ALICE, "alerting"),), [(Change.RINGS, ALICE)]),
        ((user(ALICE, "alerting"),), (user(ALICE),), [(Change.JOINED, ALICE)]),
        ((user(ALICE),), (user(ALICE),), []),
        ((user(ALICE),), (user(ALICE, "disconnected"),), [(Change.LEFT, ALICE)]),
        ((user(ALICE, "disconnected"),), (), []),
        ((user(ALICE), user(BOB)), (user(BOB),), [(Change.LEFT, ALICE)]),
        ((user(ALICE),), (user(ALICE, name="Captain"),), [(Change.RENAMED, ALICE)]),
        ((user(ALICE),), (user(ALICE, "disconnected", "Captain"),), [(Change.LEFT, ALICE)]),
        ((), (user(ALICE, "disconnected"),), []),
    ],
)
def test_what_has_changed(before: tuple[User, ...], after: tuple[User, ...], expected: list[tuple[Change, str]]) -> None:
    assert [(seen.change, seen.user.entity) for seen in compare(state(*before), state(*after))] == expected


def test_names() -> None:
    assert names([user(ALICE, name="Al"), user(BOB)]) == ["Al", "bob@example.com"]
