"""What a switch knows of its room: participants, policy, and what an observer is told (RFC 7701)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from msrp_worker.cpim import Address, Envelope

from .media_types import CPIM, AcceptTypes, accept_types
from .options import DEFAULT_OPTIONS, SessionOptions
from .session import Session

if TYPE_CHECKING:
    from .incoming import IncomingMessage


def seat_options(
    chunk_size: int, wrapped_types: tuple[str, ...] = ("*",), options: SessionOptions = DEFAULT_OPTIONS
) -> SessionOptions:
    """Options of a participant's session: message/cpim alone is taken (RFC 7701 section 5.2), with these
    types in it. `chunk_size` is what the participant's client takes."""  # MED-07, MED-12
    return replace(options, accept=accept_types((CPIM,), wrapped_types), chunk_size=chunk_size, auto_report=True)


class FailureReports(Enum):
    """Whose failure the sender of a message is told, when the room has taken the message and a recipient has
    not."""

    NONE = "none"
    PRIVATE = "private"
    """Of private messages alone; recipients' reports on regular ones stay in the room (RFC 7701 section
    6.3)."""
    ALL = "all"
    """Of regular ones too, one per message, for rooms where every message counts."""


@dataclass(frozen=True, slots=True)
class RoomPolicy:
    """What the room allows, and how much it bears."""

    nicknames: bool = True
    private_messages: bool = True
    reserved_nicknames: tuple[str, ...] = ()
    nickname_quarantine: float = 0.0
    """Seconds for which a nickname stays its holder's after that one has left (RFC 7701 section 11)."""
    failure_reports: FailureReports = FailureReports.PRIVATE
    stall_seconds: float = 20.0
    """How long a recipient may stay congested without reading half of its queue, before it is cut. Long
    messages go at the pace of their slowest recipient; this bounds how long one that has stopped can hold
    the others up."""
    multiple_sessions: bool = True
    """A user may be in the room with several sessions (RFC 7701 section 6.1)."""


@dataclass(slots=True, eq=False)
class Participant:
    """One session in the room. Made by the focus from what it negotiated."""

    session: Session
    address: Address
    """The authenticated identity; its name is for observers."""
    aliases: tuple[str, ...] = ()
    """Further URIs the participant may write in From: tel, im, other registered identities."""
    anonymous: str | None = None
    """The anonymous URI by which the others know the participant (IDN-04); None: no privacy asked for."""
    accept: AcceptTypes = field(default_factory=lambda: accept_types((CPIM,), ("*",)))
    """What the endpoint takes: of its a=accept-types and a=accept-wrapped-types."""
    rooms: frozenset[str] = frozenset()
    """Keys of further URIs by which this participant knows the room: of a B2BUA between it and the focus."""
    private_messages: bool = False
    """The endpoint's a=chatroom has private-messages (RFC 7701 section 8)."""
    max_size: int | None = None
    """Largest message the endpoint wants, in bytes (a=max-size); longer ones are not sent to it."""
    receives: bool = True
    """False: the session was offered sendonly, or is on hold."""
    congested_since: float | None = None
    context: object = None
    """For the owner's use."""

    @property
    def known_as(self) -> str:
        """The URI the others see and write to."""
        return self.anonymous or self.address.uri


@dataclass(slots=True, eq=False)
class SwitchedMessage:
    """A message the room has taken, as observers see it."""

    sender: Participant
    envelope: Envelope
    """As sent out, with the anonymous From where the sender has one."""
    recipients: list[Participant]
    private: bool
    recordable: bool
    """False for isComposing (MED-09)."""
    incoming: IncomingMessage
    failure_told: bool = False
    """The sender has had a failure report on this message."""
    context: object = None
    """For the observer's use."""


class RoomObserver:
    """Is told what happens in a room: a history recorder, a conference notifier. The default does nothing.

    Content comes as `begin`, `data` any number of times, then `end` or `aborted`, for short messages too.
    """

    __slots__ = ()

    def begin(self, message: SwitchedMessage) -> int | None:
        """A message passed all checks; its copies begin. A code such as 403 or 415 refuses it instead."""
        return None

    def data(self, message: SwitchedMessage, data: bytes) -> None:
        """The next bytes of the content inside the envelope."""

    def end(self, message: SwitchedMessage) -> None:
        """All of it came."""

    def aborted(self, message: SwitchedMessage, reason: str) -> None:
        """The rest will not come."""

    def connected(self, participant: Participant) -> None:
        """The session of a participant has its MSRP connection."""

    def nickname(self, participant: Participant, nickname: str | None) -> None:
        """A participant is known by another nickname now, or by none."""

    def left(self, participant: Participant, reason: str, *, cut: bool) -> None:
        """A participant's session ended; `cut`: by the switch, since it did not read."""
