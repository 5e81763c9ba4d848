"""The Replaces header (RFC 3891): reading it, and which dialog it means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from msrp_worker.sip.message import Message, split

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")


@dataclass(frozen=True, slots=True)
class Replaces:
    """callid *(SEMI replaces-param), section 6.1; the tags as the receiver of the header has to look for them."""

    call_id: str
    local_tag: str
    """to-tag: the receiver's own tag (section 3)."""
    remote_tag: str
    """from-tag: the tag of the receiver's peer."""
    early_only: bool = False

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.local_tag};from-tag={self.remote_tag}{early}"


class Stage(Enum):
    """What the matched dialog is."""

    EARLY_OURS = auto()
    """Early, and its INVITE came from here."""
    EARLY_THEIRS = auto()
    CONFIRMED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Refused:
    """The INVITE with Replaces gets this response."""

    status: int
    reason: str


def read(request: Message) -> Replaces | Refused | None:
    """The Replaces of a request; None when there is none, a refusal when there are several or it is not one."""
    lines = request.lines("replaces")
    if not lines:
        return None
    bad = Refused(400, "Bad Replaces")
    if len(lines) > 1 or request.method != "INVITE":
        return bad  # section 3
    call_id, *rest = split(lines[0], ";")
    tags: dict[str, str] = {}
    for part in rest:
        name, _, value = (text.strip() for text in part.partition("="))
        if name.lower() in tags:
            return bad  # section 6.1: exactly one of each
        tags[name.lower()] = value
    to_tag, from_tag = tags.get("to-tag", ""), tags.get("from-tag", "")
    if not call_id or "," in call_id or " " in call_id or not _TOKEN.fullmatch(to_tag) or not _TOKEN.fullmatch(from_tag):
        return bad
    return Replaces(call_id, to_tag, from_tag, "early-only" in tags)


def means(header: Replaces, call_id: str, local_tag: str, remote_tag: str) -> bool:
    """Whether the header names this dialog; a tag of 0 also stands for no tag (section 6.1)."""
    return header.call_id == call_id and header.local_tag == (local_tag or "0") and header.remote_tag == (remote_tag or "0")


def judge(header: Replaces, stages: Iterable[Stage]) -> Refused | None:  # CNF-11
    """The refusal for the dialogs that the header named, or None when the one dialog may be replaced (section 3)."""
    found = list(stages)
    if len(found) != 1:
        return Refused(481, "Call/Transaction Does Not Exist")
    match found[0]:
        case Stage.ENDED:
            return Refused(603, "Declined")
        case Stage.EARLY_THEIRS:
            return Refused(481, "Call/Transaction Does Not Exist")
        case Stage.CONFIRMED if header.early_only:
            return Refused(486, "Busy Here")
        case _:
            return None
