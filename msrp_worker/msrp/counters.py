"""What an endpoint counts, for an operator's metrics: limits report themselves (SEC-02)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Since the start of the endpoint."""

    accepted: int = 0
    """Connections taken, of any transport."""
    over_limit: int = 0
    """Connections refused because there were too many, in all or from their address."""
    never_bound: int = 0
    """Connections closed because they named no session in time, or too many unknown ones."""
    never_came: int = 0
    """Sessions ended because the peer did not connect in time."""
    stalled: int = 0
    """Connections cut because the peer took nothing."""
    malformed: int = 0
    """Frames outside the grammar."""
    unknown_session: int = 0
    """Requests answered 481."""
    wrong_connection: int = 0
    """Requests answered 506."""
    forbidden: int = 0
    """Requests answered 403: certificate, address or missing TLS."""

    def refused(self, code: int) -> None:
        """A request reached no session and was answered so."""
        if code == 481:
            self.unknown_session += 1
        elif code == 506:
            self.wrong_connection += 1
        elif code == 403:
            self.forbidden += 1
