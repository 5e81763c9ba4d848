"""Replaces (RFC 3891): which session a new INVITE takes the place of, and whether it may. Pure.

Change request D to clause 6.2.1.2 adds the check of the identities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sipmessage import Request

from .dialog import DialogId
from .wire import parameters, parse_uri, split_outside_quotes

OPTION = "replaces"


class Standing(Enum):
    """How a dialog of ours stands when an INVITE wants to replace it."""

    CONFIRMED = auto()
    EARLY_OURS = auto()  # our INVITE, not answered yet
    EARLY_THEIRS = auto()
    TERMINATED = auto()
    NO_SESSION = auto()  # a subscription


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dialog of ours. `peer` is the P-Asserted-Identity of its other side, empty where none was given."""

    standing: Standing
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Replaces:
    """The field: the dialog in our view, with the to-tag as local tag (section 3)."""

    dialog: DialogId
    early_only: bool = False

    def __str__(self) -> str:
        """The value in a request of ours, where the tags are those of the peer that gets it (section 4)."""
        call_id, local_tag, remote_tag = self.dialog
        flag = ";early-only" if self.early_only else ""
        return f"{call_id};to-tag={remote_tag};from-tag={local_tag}{flag}"


def parse(value: str) -> Replaces | None:
    """One field value; None where it cannot be read."""
    call_id, *rest = split_outside_quotes(value, ";")
    found = parameters(rest)
    to_tag, from_tag = found.get("to-tag"), found.get("from-tag")
    if not re.fullmatch(r"\S+", call_id) or not to_tag or not from_tag:
        return None
    return Replaces((call_id, to_tag, from_tag), "early-only" in found)


def decide(
    invite: Request, candidates: Mapping[DialogId, Candidate], *, asserted: str, referred_by: str
) -> DialogId | Refusal | None:
    """The dialog that `invite` replaces, a refusal, or None without Replaces. CLI-04.

    `asserted` and `referred_by` are the URIs of its P-Asserted-Identity and Referred-By.
    """
    lines = invite.headers.getlist("Replaces")
    if not lines:
        return None
    wanted = parse(lines[0])
    if len(lines) > 1 or wanted is None:
        return Refusal(400)
    found = candidates.get(wanted.dialog)
    if found is None or found.standing in (Standing.NO_SESSION, Standing.EARLY_THEIRS):
        return Refusal(481)
    if found.standing is Standing.TERMINATED:
        return Refusal(603)
    if not asserted:
        return Refusal(403, "P-Asserted-Identity is missing")  # change request D, 2a
    if not found.peer or not same_user(found.peer, referred_by):
        return Refusal(403, "Referred-By is not the other side of the replaced session")  # change request D, 2b
    if wanted.early_only and found.standing is Standing.CONFIRMED:
        return Refusal(486)
    return wanted.dialog


def same_user(one: str, other: str) -> bool:
    """Whether two URIs name the same user, whatever their parameters."""
    try:
        first, second = parse_uri(one.partition("?")[0]), parse_uri(other.partition("?")[0])
    except ValueError:
        return False
    return (first.user, first.host.lower()) == (second.user, second.host.lower())
