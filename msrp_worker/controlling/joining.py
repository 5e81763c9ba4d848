"""The checks of an INVITE to a group or to an IM Session Identity (7.2.1.3 to 7.2.1.5), in their order. Pure.

Whether there is room is decided by `im_session` (CNF-16): only there is it decided once for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from msrp_worker.controlling.refusal import Refused, forbidden
from msrp_worker.controlling.release_policy import SessionKind
from msrp_worker.group import Group, GroupKind, Member
from msrp_worker.group_rules import GroupRights


def judge_group(rights: GroupRights, *, starting: bool, anonymous: bool, full: Refused | None = None) -> Refused | None:
    """Whether a user may come into the session of a group; `starting`: there is none, so that one begins (CNF-17). `full`:
    what to say where there is no room."""
    if starting and not rights.initiate:
        return forbidden("CNF-14", "Sessions of this group are begun by others")  # CNF-14
    if not rights.join:
        return forbidden("CNF-15", "Not a participant of this group")  # CNF-15
    if full is not None:
        return full  # CNF-16
    if anonymous and not rights.anonymity:
        return forbidden("IDN-06", "Anonymity is not allowed in this group")  # IDN-06
    return None


def judge_adhoc(user: str, admitted: frozenset[str]) -> Refused | None:
    """Whether a user may come into an ad-hoc session: those invited, at first or later (7.2.2.9)."""
    return None if user in admitted else forbidden("CNF-15", "Not invited to this session")  # CNF-15


def kind_of(group: Group) -> SessionKind:
    """What the session of a group is to its release policy."""
    return SessionKind.PUBLIC if group.kind is GroupKind.PUBLIC else SessionKind.PREDEFINED


def limit_of(group: Group, ceiling: int) -> int:
    """Most participants; a group whose document does not say has the operator's ceiling."""
    return ceiling if group.max_participants is None else group.max_participants


def members_to_invite(
    group: Group, initiator: str, limit: int, rights: Callable[[Group, str], GroupRights], *, all_of_them: bool = False
) -> tuple[Member, ...]:
    """Whom a beginning session invites (7.2.2.3): the members in the order of the document, as many as fit beside the
    initiator (CNF-17) and may take part by the rules (CNF-15). Nobody for a public group (CNF-19). `all_of_them`: whatever
    the document says of sessions: what is sent to a group is for its members (LRG-02)."""
    if not (group.invite_members or all_of_them) or group.kind is GroupKind.PUBLIC:
        return ()
    others = (one for one in group.members if one.uri != initiator and (all_of_them or rights(group, one.uri).join))
    return tuple(itertools.islice(others, max(0, limit - 1)))  # CNF-17
