"""Media types as SDP's accept-types lists them: comparison, wildcards, intersection (RFC 4975 8.6).

Types compare without case and without parameters: "a format-entry with one or more parameters is assumed to
match the same format-entry with no parameters".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msrp_worker.msrp.media_types import CPIM, essence

__all__ = ["CPIM", "IMDN", "IS_COMPOSING", "accepts", "essence", "intersect", "parse_list"]

IMDN = "message/imdn+xml"
IS_COMPOSING = "application/im-iscomposing+xml"

MAX_TYPES = 256
"""Most entries read of one list; the intersection of two lists costs their product."""

_TOKEN = r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+"  # noqa: S105 - the grammar's "token", no secret
# format-entry = ( ( (type "/" subtype) / (type "/" "*") ) *( ";" type-param ) ) / ("*")
_ENTRY = re.compile(rf"(?:\*|{_TOKEN}/{_TOKEN})(?:;.*)?", re.DOTALL)
_SPLIT = re.compile(r'((?:[^\s"]|"(?:[^"\\]|\\.)*")+)')


def parse_list(value: str) -> tuple[str, ...] | None:
    """The entries of a format-list in order and as written, None when one is not a type or there are too
    many."""
    entries = tuple(_SPLIT.findall(value))
    if len(entries) > MAX_TYPES or not all(_ENTRY.fullmatch(entry) for entry in entries):
        return None
    return entries


def accepts(patterns: Iterable[str], content_type: str) -> bool:
    """Whether a list with wildcards (`*`, `text/*`) takes a concrete type."""  # MED-12
    wanted = essence(content_type)
    return any(_narrower(essence(pattern), wanted) == wanted for pattern in patterns)


def intersect(offered: Sequence[str], ours: Sequence[str]) -> tuple[str, ...]:
    """What both lists take, in the order of the first and as written there where possible; of a wildcard and
    a type the type remains. Without repetitions."""  # CNF-07
    found: dict[str, str] = {}
    for entry in offered:
        for pattern in ours:
            both = _narrower(essence(entry), essence(pattern))
            if both is not None:
                found.setdefault(both, entry if both == essence(entry) else both)
    return tuple(found.values())


def _narrower(one: str, other: str) -> str | None:
    """The narrower of two patterns when one covers the other, else None."""
    if one in (other, "*") or (one.endswith("/*") and other.startswith(one[:-1])):
        return other
    if other == "*" or (other.endswith("/*") and one.startswith(other[:-1])):
        return one
    return None
