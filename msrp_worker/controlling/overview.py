"""A session at the focus as its operator sees it (`operating.SessionView`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from msrp_worker.controlling.release_policy import SessionKind, Why
from msrp_worker.controlling.roster import STATUS
from msrp_worker.controlling.session import FocusSession
from msrp_worker.session_packets import Kind, ParticipantInfo, SessionInfo

MOST_NAMED = 8
"""Users named in a list of sessions; a group may have thousands."""
KINDS = {
    SessionKind.ONE_TO_ONE: Kind.ONE_TO_ONE,
    SessionKind.AD_HOC: Kind.CONFERENCE,
    SessionKind.PREDEFINED: Kind.GROUP,
    SessionKind.PUBLIC: Kind.GROUP,
}


class FocusView:
    """One session."""

    def __init__(self, session: FocusSession) -> None:
        self._session = session

    @property
    def number(self) -> int:
        """See `SessionView`."""
        return self._session.room.tally.number

    @property
    def names(self) -> tuple[str, ...]:
        """The session identity; the group too, unless that is only whom a large message goes to."""
        session = self._session
        group = () if session.group is None or session.is_large else (session.group.uri,)
        return session.address.uri, session.identity, *group

    def info(self, *, reveal: bool) -> SessionInfo:
        """See `SessionView`."""
        session, state, tally = self._session, self._session.state, self._session.room.tally
        users = dict.fromkeys(place.key for place in islice(session.places(), 2 * MOST_NAMED))
        return SessionInfo(
            number=tally.number,
            identity=session.address.uri,
            kind=Kind.LARGE_MESSAGE if session.is_large else KINDS[state.kind],
            group="" if session.group is None else session.group.uri,
            initiator=self._shown(state.initiator, reveal=reveal),
            began=tally.since,
            participants=len(state.connected),
            invited=state.pending,
            messages=tally.messages,
            idle=int(tally.idle),
            who=tuple(self._shown(key, reveal=reveal) for key in islice(users, MOST_NAMED)),
        )

    def participants(self, after: int, *, reveal: bool) -> Iterator[ParticipantInfo]:
        """See `SessionView`."""
        session = self._session
        rest = (place for place in session.places() if place.number > after)
        for place in sorted(rest, key=lambda place: place.number):
            seat = session.state.seats.get(place.number)
            if seat is None:
                continue
            known = reveal or not place.anonymous
            yield ParticipantInfo(
                number=place.number,
                address=place.uri if known else place.anonymous,
                shown_as=place.entity,
                name=place.name if known else "",
                status=STATUS[seat.stage].value,
                joined="dialed-in" if place.dialed_in else "dialed-out",
            )

    def release(self, text: str) -> None:
        """See `SessionView`."""
        self._session.release(Why.OPERATOR, text)

    def _shown(self, key: str, *, reveal: bool) -> str:
        """Who asked for privacy in this session is known by what stands for the address (IDN-04)."""
        return key if reveal else self._session.stand_in_of(key) or key
