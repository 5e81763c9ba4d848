"""The sessions of an endpoint, found by the URI a request names (RFC 4975 sections 5.4 and 7.3). No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .counters import Counters
from .logs import limited_logger
from .session import Session
from .state import State
from .uri import MsrpUri

if TYPE_CHECKING:
    from .link import Link

log = limited_logger(__name__)


class Registry:
    """All sessions that are not closed, by session-id.

    Session-ids are ours, random and unique, so they find the session; the rest of the URI is then compared.
    """

    __slots__ = ("_awaited", "_on_closed", "_on_remote", "_sessions", "counters")

    def __init__(self) -> None:
        self.counters = Counters()
        self._sessions: dict[str, Session] = {}
        self._awaited: dict[Session, float | None] = {}
        """Sessions that know their peer's path and wait for its connection, with the time until which; None until
        somebody looks at the clock."""
        self._on_closed = self._remove  # bound once, for all sessions
        self._on_remote = self._await

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def add(self, session: Session) -> None:
        """Make the session reachable until it closes; raises ValueError if its session-id is taken."""
        ident = session.local.session_id
        if ident is None or ident in self._sessions:
            raise ValueError(f"no session-id, or one in use: {session.local_text}")
        self._sessions[ident] = session
        session.on_closed = self._on_closed
        session.on_remote = self._on_remote
        if session.remote:
            self._await(session)

    def _await(self, session: Session) -> None:
        if session.state is State.WAITING:
            self._awaited[session] = None

    def overdue(self, now: float, seconds: float) -> list[Session]:
        """The sessions that have waited for their peer for `seconds` since its path was known; each once. To be called
        about once a second, as the waiting begins with the next call."""  # MED-03, SEC-02
        if not self._awaited:
            return []
        waiting: dict[Session, float | None] = {}
        overdue = []
        for session, until in self._awaited.items():
            if session.state is not State.WAITING:
                continue
            if until is None:
                waiting[session] = now + seconds
            elif until <= now:
                overdue.append(session)
            else:
                waiting[session] = until
        self._awaited = waiting  # a new one, as one that was large once keeps its memory
        return overdue

    def _remove(self, session: Session) -> None:
        self._sessions.pop(session.local.session_id or "", None)

    def find(self, to_path: tuple[MsrpUri, ...], link: Link) -> Session | int:
        """The session for a request on this link, bound to it if it was waiting; else the response code."""
        # When the request is received, the To-Path will have exactly one URI (section 7.3).
        uri = to_path[0]
        if len(to_path) != 1 or uri.session_id is None:
            return 481
        session = self._sessions.get(uri.session_id)
        if session is None:
            return 481  # MED-03
        if not session.options.match_session_id_only and not uri.matches(session.local):
            return 481  # MED-03
        if session.link is link:
            return session
        if session.link is not None:
            return 506  # MED-03
        if session.local.secure and not link.secure:
            log.warning("msrp: %s names an msrps session on an unprotected connection", link.peer_address)
            return 403  # SEC-04
        allowed = session.options.peer_addresses
        if allowed is not None and link.peer_address not in allowed:
            log.warning("msrp: %s may not bind %s", link.peer_address, session.local_text)
            return 403  # MED-10
        if not link.certificate_matches(session.fingerprints):
            link.refuse("certificate does not match the offered fingerprint")
            return 403  # MED-04
        if session.state is State.WAITING:
            session.bind(link)
        return session
