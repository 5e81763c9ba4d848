"""When an IM session is released (7.2.2.8). Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class SessionKind(StrEnum):
    """What a session is to its release policy."""

    ONE_TO_ONE = "one-to-one"
    """Through the factory, with one listed user (CNF-10)."""
    AD_HOC = "ad-hoc"
    PREDEFINED = "predefined"
    PUBLIC = "public"


OF_INITIATOR: Final = frozenset({SessionKind.ONE_TO_ONE, SessionKind.AD_HOC})
"""Sessions that end when their initiator leaves (NOTE 1)."""


class Why(StrEnum):
    """Why a participant, or all of them, are released; the value is the Reason of the BYE (RFC 3326)."""

    INITIATOR_LEFT = 'SIP;cause=200;text="The initiator has left"'
    TOO_FEW = 'SIP;cause=410;text="Gone"'
    """CNF-29."""
    TIME_OVER = 'SIP;cause=408;text="Session time is over"'
    GROUP_DELETED = 'SIP;cause=404;text="Group deleted"'
    NOT_ALLOWED = 'SIP;cause=403;text="Not allowed any more"'
    TOO_MANY = 'SIP;cause=486;text="Too many participants"'
    NO_MEDIA = 'SIP;cause=503;text="No MSRP connection"'
    NO_ANONYMITY = 'SIP;cause=403;text="Anonymity is not allowed"'
    ELSEWHERE = 'SIP;cause=200;text="Joined with another client"'
    REMOVED = 'SIP;cause=200;text="Removed from the session"'
    OPERATOR = 'SIP;cause=200;text="Released by the operator"'
    FAILED = 'SIP;cause=480;text="Nobody came"'
    TOO_LATE = 'SIP;cause=408;text="The message has begun"'
    STOPPING = 'SIP;cause=503;text="Service stops"'


class ReleasePolicy(Struct, frozen=True, kw_only=True):
    """The operator's variables, or those of the group where its definition has them."""

    auto_release: bool = False
    """A predefined session ends with its originator."""
    max_seconds: int = 0
    """Longest session, in seconds; 0 is no limit."""
    remaining: int = 1
    """A session is released when so many participants or fewer are left."""


def fewest(kind: SessionKind, policy: ReleasePolicy) -> int:
    """With so many participants or fewer a session does not go on, once somebody has left it."""
    match kind:
        case SessionKind.ONE_TO_ONE:
            return max(1, policy.remaining)  # rule c, CNF-10
        case SessionKind.PUBLIC:
            return 0  # CNF-19: rule d does not name chat groups: whoever stays may wait for others
        case _:
            return policy.remaining  # rule d


def judge(
    kind: SessionKind,
    policy: ReleasePolicy,
    *,
    participants: int,
    pending: int,
    thinned: bool,
    initiator_left: bool,
    age: float,
) -> Why | None:  # CNF-29
    """Why the session is to be released now, None when it goes on.

    `participants` are users who take part, `pending` invitations without answer: while there are some, the session
    may still fill, so that rules c and d wait for them. `thinned`: somebody has left or did not come. `age` in seconds.
    """
    if thinned and not pending and participants <= fewest(kind, policy):
        return Why.TOO_FEW  # rules c and d
    if initiator_left and (kind in OF_INITIATOR or (kind is SessionKind.PREDEFINED and policy.auto_release)):
        return Why.INITIATOR_LEFT  # rules a and b
    if policy.max_seconds and age >= policy.max_seconds:
        return Why.TIME_OVER  # rule e
    return None
