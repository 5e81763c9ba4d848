"""One seat of an IM session: the life of one leg, as a table. What is not in it changes nothing."""

from __future__ import annotations

from enum import Enum, StrEnum, auto

from msgspec import Struct


class Stage(StrEnum):
    """Where a seat is."""

    ASKING = "asking"
    """Its INVITE waits for our final response."""
    DIALING = "dialing-out"
    """Our INVITE is on its way."""
    ALERTING = "alerting"
    CONNECTED = "connected"
    """The 200 was sent or received."""


PENDING = frozenset({Stage.DIALING, Stage.ALERTING})


class Seat(Struct, frozen=True):
    """One leg of a session."""

    key: str
    """Canonical address of its user."""
    stage: Stage
    media_by: float = float("inf")
    """When its MSRP connection has to stand; infinite once it does."""
    rung: bool = False
    """An asking seat was sent its 180."""


class What(Enum):
    """What moves a seat."""

    LET_IN = auto()
    RANG = auto()
    ANSWERED = auto()
    FAILED = auto()
    LEFT = auto()
    REMOVE = auto()


class Do(Enum):
    """What a move does."""

    ACCEPT = auto()
    ADMIT = auto()
    REFUSE = auto()
    RELEASE = auto()
    UNSEAT = auto()
    CHANGED = auto()
    THIN = auto()
    """Somebody left or did not come."""


S, W, D = Stage, What, Do

TABLE: dict[tuple[Stage, What], tuple[Stage | None, tuple[Do, ...]]] = {
    (S.ASKING, W.LET_IN): (S.CONNECTED, (D.ACCEPT, D.CHANGED)),
    (S.ASKING, W.LEFT): (None, (D.UNSEAT,)),  # cancelled, or its time was over
    (S.ASKING, W.REMOVE): (None, (D.REFUSE,)),
    (S.DIALING, W.RANG): (S.ALERTING, (D.CHANGED,)),  # CNF-33
    (S.DIALING, W.ANSWERED): (S.CONNECTED, (D.ADMIT, D.CHANGED)),
    (S.DIALING, W.FAILED): (None, (D.UNSEAT, D.THIN, D.CHANGED)),
    (S.DIALING, W.LEFT): (None, (D.UNSEAT, D.THIN, D.CHANGED)),
    (S.DIALING, W.REMOVE): (None, (D.RELEASE, D.THIN, D.CHANGED)),  # CNF-30
    (S.ALERTING, W.ANSWERED): (S.CONNECTED, (D.ADMIT, D.CHANGED)),
    (S.ALERTING, W.FAILED): (None, (D.UNSEAT, D.THIN, D.CHANGED)),
    (S.ALERTING, W.LEFT): (None, (D.UNSEAT, D.THIN, D.CHANGED)),
    (S.ALERTING, W.REMOVE): (None, (D.RELEASE, D.THIN, D.CHANGED)),  # CNF-30
    (S.CONNECTED, W.FAILED): (None, (D.RELEASE, D.THIN, D.CHANGED)),
    (S.CONNECTED, W.LEFT): (None, (D.UNSEAT, D.THIN, D.CHANGED)),  # CNF-27
    (S.CONNECTED, W.REMOVE): (None, (D.RELEASE, D.THIN, D.CHANGED)),  # CNF-26
}
"""`None`: the seat is gone."""
