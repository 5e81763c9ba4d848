"""A session through the participating function as its operator sees it (`operating.SessionView`)."""

from __future__ import annotations

from collections.abc import Iterator

from msrp_worker.participating.session import ParticipatingSession
from msrp_worker.session_packets import ANONYMOUS, Kind, ParticipantInfo, SessionInfo


class BridgeView:
    """One session."""

    def __init__(self, session: ParticipatingSession) -> None:
        self._session = session

    @property
    def number(self) -> int:
        """See `SessionView`."""
        return self._session.tally.number

    @property
    def names(self) -> tuple[str, ...]:
        """Our URI in it, which both clients have as that of the other side."""
        uri = self._session.uri
        return uri, uri.partition(":")[2].partition("@")[0]

    def info(self, *, reveal: bool) -> SessionInfo:
        """See `SessionView`."""
        session = self._session
        kind = Kind.CONFERENCE_LEG if session.focus else Kind.ONE_TO_ONE
        caller, callee = self.participants(0, reveal=reveal)
        return SessionInfo(
            number=self.number,
            identity=session.uri,
            kind=Kind.LARGE_MESSAGE if session.is_large_message else kind,
            group=session.focus,
            initiator=caller.address,
            began=session.tally.since,
            participants=2 if session.answered else 0,
            invited=0 if session.answered else 1,
            messages=session.tally.messages,
            idle=int(session.tally.idle),
            who=(caller.address, callee.address),
        )

    def participants(self, after: int, *, reveal: bool) -> Iterator[ParticipantInfo]:
        """See `SessionView`: the caller is 1, the callee 2."""
        session = self._session
        shown = ANONYMOUS if session.anonymous else session.originator
        address = session.originator if reveal else shown
        sides = (
            ParticipantInfo(
                number=1,
                address=address,
                shown_as=shown,
                name="",
                status="connected" if session.answered else "pending",
                joined="dialed-in",
            ),
            ParticipantInfo(
                number=2,
                address=session.recipient,
                shown_as=session.recipient,
                name="",
                status="connected" if session.answered else "dialing-out",
                joined="dialed-out",
            ),
        )
        yield from sides[after:]

    def release(self, text: str) -> None:
        """See `SessionView`."""
        self._session.release(text)
