"""What happens to an IM session, and what it wants done: the vocabulary of `im_session.step`. Seats are numbers."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from msrp_worker.controlling.release_policy import Why

# --- what happens -------------------------------------------------------------------------------------------------


class Asked(Struct, frozen=True):
    """The INVITE of a user passed every check that needs no atomicity."""

    seat: int
    key: str
    invites: tuple[tuple[int, str], ...] = ()
    """Seats and users whom the session that begins with it invites."""


class Invited(Struct, frozen=True):
    """These are to be invited; who has a seat already is left out."""

    seats: tuple[tuple[int, str], ...]


class Rang(Struct, frozen=True):
    """180 of who was invited."""

    seat: int


class Answered(Struct, frozen=True):
    """200 of who was invited, with a usable answer."""

    seat: int


class Failed(Struct, frozen=True):
    """Final response 300 to 699 of who was invited, or a 200 that cannot be used."""

    seat: int
    status: int
    reason: str


class Connected(Struct, frozen=True):
    """The MSRP connection of a seat stands."""

    seat: int


class Lost(Struct, frozen=True):
    """The MSRP connection of a seat is gone, its leg stands."""

    seat: int


class Left(Struct, frozen=True):
    """The leg of a seat is over: BYE, CANCEL, session timer, lost."""

    seat: int


class Remove(Struct, frozen=True):
    """A seat is to go."""

    seat: int
    why: Why


class Expel(Struct, frozen=True):
    """A user is to go with all seats, and may not come back by the IM Session Identity of an ad-hoc session."""

    key: str
    why: Why


class Close(Struct, frozen=True):
    """The session is to be released: by the operator, or because its group is deleted (rule f)."""

    why: Why


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


Event: TypeAlias = Asked | Invited | Rang | Answered | Failed | Connected | Lost | Left | Remove | Expel | Close | Tick


# --- what is to be done -------------------------------------------------------------------------------------------


class Ring(Struct, frozen=True):
    """Send the 180 to who waits (CNF-07)."""

    seat: int


class Accept(Struct, frozen=True):
    """Send the 200 to who waits, and give it its place at the switch."""

    seat: int


class Refuse(Struct, frozen=True):
    """Send a final response to who waits."""

    seat: int
    status: int
    reason: str
    warning: str = ""
    requirement: str = ""


class Dial(Struct, frozen=True):
    """Send an INVITE."""

    seat: int
    key: str


class Admit(Struct, frozen=True):
    """Give who answered its place at the switch."""

    seat: int


class Offer(Struct, frozen=True):
    """Offer a new MSRP session in the dialog of a seat (7.2.2.6, CNF-21)."""

    seat: int


class Release(Struct, frozen=True):
    """End the leg of a seat, its media first (7.2.1.9): CANCEL, or BYE with this Reason."""

    seat: int
    why: Why


class Unseat(Struct, frozen=True):
    """The leg of a seat is over by itself: end its media."""

    seat: int


class Changed(Struct, frozen=True):
    """What others may see of a user has changed (CNF-18, CNF-26, CNF-27)."""

    key: str


class Over(Struct, frozen=True):
    """The session does not exist any more; the last effect."""

    why: Why


Effect: TypeAlias = Ring | Accept | Refuse | Dial | Admit | Offer | Release | Unseat | Changed | Over
