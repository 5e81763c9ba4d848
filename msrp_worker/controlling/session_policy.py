"""What a session at the focus is told of its surroundings."""

from __future__ import annotations

from msgspec import Struct


class SessionPolicy(Struct, frozen=True):
    """What a session is told of its surroundings."""

    asserted: str
    """P-Asserted-Identity of responses: the factory, or the group (HDR-05)."""
    anonymity: bool = True
    """Who is invited may answer that he wants privacy; in the session of a group its rules say so."""
    releases_anonymous: bool = False
    """Who does so all the same is released; otherwise the wish is ignored (IDN-07)."""
