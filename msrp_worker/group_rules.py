"""What a user may do in a group: the evaluation of its rules (7.2.2.3, 7.2.2.7, 7.2.2.9, RFC 4745). Pure.

With rules, what no matching rule allows is refused (RFC 4745 section 10.2: permissions add up, the permissive value wins).
Without a rule, the members may join, begin a session, invite the other members and see who is there; nobody may
hide or expel, and nobody else may do anything. The session of a public group is a room that is always there: where its
rules do not say who begins it, the first who may join does.
"""

from __future__ import annotations

from typing import Final

import msgspec

from msrp_worker.group import ANONYMITY, CONFERENCE_STATE, EXPEL, INITIATE, INVITE_DYNAMICALLY, JOIN, Group, GroupKind
from msrp_worker.ruleset import Requester, matching


class GroupRights(msgspec.Struct, frozen=True):
    """What one user may do."""

    join: bool = False
    """Take part in a session, and be invited to one (join-handling; CNF-15)."""
    initiate: bool = False
    """Begin a session (allow-initiate-conference; CNF-14)."""
    invite_dynamically: bool = False
    """Add users to a session (allow-invite-users-dynamically)."""
    conference_state: bool = False
    """Learn who is there (allow-conference-state)."""
    anonymity: bool = False
    """Ask that the others do not learn who it is (allow-anonymity; IDN-06)."""
    expel: bool = False
    """Remove participants (allow-expelling)."""

    @property
    def send(self) -> bool:
        """Send a message to all members (PAG-14): the documents have no action for it, who may join may."""
        return self.join


NOTHING: Final = GroupRights()
_MEMBER_WITHOUT_RULES: Final = GroupRights(join=True, initiate=True, invite_dynamically=True, conference_state=True)


def rights(group: Group, user: str | None) -> GroupRights:
    """The rights of `user`: the canonical authenticated address, also of one who asks for privacy; None when the user is
    not known, who has only what a rule with anonymous-request, or without conditions, gives.

    Lists that the document refers to count as far as the group has them (`Group.with_lists`, XDM-04).
    """
    is_member = user is not None and group.member(user) is not None
    if group.rules is None:
        return _MEMBER_WITHOUT_RULES if is_member else NOTHING
    allowed: set[str] = set()
    for rule in matching(group.rules, Requester(user, is_member, group.lists)):
        allowed.update(name for name, value in rule.actions.items() if value)
    return GroupRights(
        join=JOIN in allowed,  # CNF-15
        initiate=INITIATE in allowed or (JOIN in allowed and _is_room(group)),  # CNF-14 CNF-19
        invite_dynamically=INVITE_DYNAMICALLY in allowed,
        conference_state=CONFERENCE_STATE in allowed,
        anonymity=ANONYMITY in allowed,  # IDN-06
        expel=EXPEL in allowed,
    )


def _is_room(group: Group) -> bool:
    """A public group whose rules are silent on who begins a session."""
    return group.kind is GroupKind.PUBLIC and not any(INITIATE in rule.actions for rule in group.rules or ())
