"""Which content a session takes: accept-types and accept-wrapped-types (RFC 4975 section 8.6).

Types compare without case and without parameters; `*` and `type/*` are wild cards.
"""

from __future__ import annotations

from functools import lru_cache

CPIM = "message/cpim"
"""The container of conferences (RFC 3862, RFC 7701)."""
MAX_CPIM_HEADER = 16_384
"""Bytes in which the inner Content-Type of a message/cpim has to stand."""


def essence(content_type: str) -> str:
    """`type/subtype` of a Content-Type value, in lower case."""
    return content_type.partition(";")[0].strip().lower()


class AcceptTypes:
    """The types one side of a session accepts. Immutable and shared: get it from `accept_types`."""

    __slots__ = ("_root", "_wrapped", "any_root", "any_wrapped", "root", "wrapped")

    def __init__(self, root: tuple[str, ...], wrapped: tuple[str, ...]) -> None:
        self.root = root
        """As given, in order of preference, for a=accept-types."""
        self.wrapped = wrapped
        """As given, for a=accept-wrapped-types."""
        self._root = frozenset(essence(entry) for entry in root)
        self._wrapped = self._root | frozenset(essence(entry) for entry in wrapped)
        self.any_root = "*" in self._root
        self.any_wrapped = "*" in self._wrapped

    def accepts(self, content_type: str) -> bool:
        """True where the type may be the root of a message."""  # MED-12
        return self.any_root or _listed(content_type, self._root)

    def accepts_wrapped(self, content_type: str) -> bool:
        """True where the type may stand inside a container: root types may, and the wrapped ones."""
        return self.any_wrapped or _listed(content_type, self._wrapped)


def _listed(content_type: str, entries: frozenset[str]) -> bool:
    name = essence(content_type)
    return name in entries or name.partition("/")[0] + "/*" in entries


@lru_cache(maxsize=256)
def accept_types(root: tuple[str, ...] = ("*",), wrapped: tuple[str, ...] = ()) -> AcceptTypes:
    """The AcceptTypes of these two lists, one object for all sessions that have the same."""
    return AcceptTypes(root, wrapped)


def cpim_inner_type(body: bytes) -> str | None:
    """The Content-Type of what a message/cpim wraps, from its first bytes; None where it is not in them.

    RFC 3862: message headers, an empty line, then a MIME object with its own headers. Only this one field is
    looked at; whether the rest is CPIM is not this package's business.
    """
    head = body[:MAX_CPIM_HEADER]
    blank = head.find(b"\r\n\r\n")
    if blank < 0:
        return None
    end = head.find(b"\r\n\r\n", blank + 2)
    for line in head[blank + 4 : end if end >= 0 else None].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-type":
            return value.strip().decode("utf-8", "replace")
    return None
