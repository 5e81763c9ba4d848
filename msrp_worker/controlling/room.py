"""Between the switch of a session and the session: what happens at the seats."""

from __future__ import annotations

from typing import Protocol

from msrp_worker.controlling.media import SeatMedia
from msrp_worker.msrp.room import Participant, RoomObserver, SwitchedMessage
from msrp_worker.tally import Tally


class Seated(Protocol):
    """What a session hears of its switch."""

    def media_connected(self, media: SeatMedia) -> None: ...

    def cut(self, media: SeatMedia) -> None: ...

    def renamed(self, media: SeatMedia) -> None: ...


class Observer(RoomObserver):
    """The observer of one room; `tally` counts its messages; `others` see them too, such as a recorder."""

    __slots__ = ("others", "session", "tally")

    def __init__(self) -> None:
        self.session: Seated | None = None
        self.others: list[RoomObserver] = []
        self.tally = Tally()

    def begin(self, message: SwitchedMessage) -> int | None:
        for other in self.others:
            refused = other.begin(message)
            if refused is not None:
                return refused
        if message.recordable:
            self.tally.count()
        return None

    def data(self, message: SwitchedMessage, data: bytes) -> None:
        for other in self.others:
            other.data(message, data)

    def end(self, message: SwitchedMessage) -> None:
        for other in self.others:
            other.end(message)

    def aborted(self, message: SwitchedMessage, reason: str) -> None:
        for other in self.others:
            other.aborted(message, reason)

    def connected(self, participant: Participant) -> None:
        if self.session is not None and isinstance(participant.context, SeatMedia):
            self.session.media_connected(participant.context)

    def nickname(self, participant: Participant, nickname: str | None) -> None:
        if self.session is not None and isinstance(participant.context, SeatMedia):
            participant.context.nickname = nickname
            self.session.renamed(participant.context)

    def left(self, participant: Participant, reason: str, *, cut: bool) -> None:
        media = participant.context
        if self.session is None or not isinstance(media, SeatMedia):
            return
        if cut:
            self.session.cut(media)  # MED-08
        else:
            media.lost(participant.session, reason)
