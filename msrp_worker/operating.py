"""The operator's view of the sessions there are: listed, shown, released by a command (IDN-04, CNF-29)."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from msrp_worker.address import canonical
from msrp_worker.controlling.identity import user_of
from msrp_worker.session_packets import (
    LONGEST_REASON,
    Answer,
    ListSessions,
    NoSession,
    NotUnderstood,
    ParticipantInfo,
    Released,
    ReleaseSession,
    Request,
    SessionDetail,
    SessionInfo,
    SessionPage,
    ShowSession,
    encode,
    read_request,
)

log = logging.getLogger("im.operating")

T = TypeVar("T", SessionInfo, ParticipantInfo)

PAGE_BYTES = 48 * 1024
"""Bytes of a page after which no more go on it: a packet of the socket may have some 200 KB, and a page takes a millisecond
or two, in which nothing else is done."""
RELEASED = "Released by the operator"


class SessionView(Protocol):
    """One session as the operator sees it."""

    @property
    def number(self) -> int:
        """Of its `Tally`."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """By which the operator may name it; its identity first."""
        ...

    def info(self, *, reveal: bool) -> SessionInfo: ...

    def participants(self, after: int, *, reveal: bool) -> Iterator[ParticipantInfo]:
        """By number, those above `after`."""
        ...

    def release(self, text: str) -> None:
        """End it; `text` is for its participants."""
        ...


class Operating:
    """Answers the operator's `session` command."""

    def __init__(self, *sources: Callable[[int], Iterable[SessionView]]) -> None:
        """`sources`: the sessions of each function whose numbers are above the one given, by number."""
        self._sources = sources

    def answer(self, data: bytes) -> bytes:
        """The answer to a request of `session_packets`, which fits one packet."""
        try:
            request = read_request(data)
        except ValueError as error:
            log.error("request of an operator's command not understood: %s", error)
            return encode(NotUnderstood())
        return encode(self._answer(request))

    def _answer(self, request: Request) -> Answer:
        match request:
            case ListSessions(after, reveal):
                return self._list(after, reveal=reveal)
            case ShowSession(identity, after, reveal):
                return self._show(identity, after, reveal=reveal)
            case ReleaseSession(identity, reason):
                return self._release(identity, reason)

    def _list(self, after: int, *, reveal: bool) -> SessionPage:
        _say_revealed("all sessions", after, reveal=reveal)
        later = heapq.merge(*(source(after) for source in self._sources), key=lambda view: view.number)
        return SessionPage(*_page(view.info(reveal=reveal) for view in later))

    def _show(self, identity: str, after: int, *, reveal: bool) -> Answer:
        view = self._find(identity)
        if view is None:
            return NoSession()
        _say_revealed(view.names[0], after, reveal=reveal)
        found, more = _page(view.participants(after, reveal=reveal))
        return SessionDetail(view.info(reveal=reveal), found, more)

    def _release(self, identity: str, reason: str) -> Answer:
        view = self._find(identity)
        if view is None:
            return NoSession()
        was = view.info(reveal=False)
        text = "".join(one if one.isprintable() else " " for one in reason[:LONGEST_REASON]).strip() or RELEASED
        log.info("CNF-29 %s session %s released by the operator: %s", was.kind, view.names[0], text)
        view.release(text)
        return Released(was)

    def _find(self, identity: str) -> SessionView | None:
        wanted = {identity}
        try:
            wanted |= {canonical(identity), user_of(canonical(identity))}
        except ValueError:
            pass  # the user part of an identity is enough
        return next((view for source in self._sources for view in source(0) if not wanted.isdisjoint(view.names)), None)


def _say_revealed(what: str, after: int, *, reveal: bool) -> None:
    if reveal and not after:
        log.info("IDN-04 the operator has %s shown with the addresses of those who asked for privacy", what)


def _page(found: Iterator[T]) -> tuple[tuple[T, ...], bool]:
    """As many as fit a page, and whether there are more."""
    page: list[T] = []
    size = 0
    for one in found:
        if size > PAGE_BYTES:
            return tuple(page), True
        page.append(one)
        size += len(encode(one))
    return tuple(page), False
