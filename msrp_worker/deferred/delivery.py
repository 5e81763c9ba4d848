"""One delivery of deferred messages: `step(delivery, event, now) -> (delivery, effects)` over a table. Pure.

A push and a retrieval are the same from the moment the session is agreed on. Messages are leased to the delivery before
they are sent, and deleted after their SEND was acknowledged, never before (DEF-05). Whatever interrupts it, the rest
stays in the store and its lease ends with the delivery (DEF-13).

What may come twice: a message whose SEND was acknowledged and whose deletion was not durable when the worker died, at most
those of one window. It then comes with the same MSRP Message-ID and Call-ID, by which the client knows it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

WINDOW_MESSAGES = 64
"""Messages sent and not yet deleted: what a network with 100 ms of delay needs for some 600 messages a second, and the
most that can come twice when the worker dies."""
WINDOW_BYTES = 262_144
"""Bytes of them: a quarter of what an MSRP session queues. A larger message is alone under way."""
ANSWER_S = 120.0
"""How long an INVITE may be without an outcome, in seconds: longer than it rings. A delivery never waits for ever."""
CONNECT_S = 30.0
"""How long a client that has answered may take to connect, in seconds: one MSRP transaction (RFC 4975 section 7.1.1)."""
STALL_S = 60.0
"""Seconds without any acknowledgement after which the client counts as gone; a large message tells of progress."""
RENEW_S = 20.0
"""Between two renewals of the lease, in seconds: a third of it, so that one that fails is not the end."""
RETRY_S = 1.0
"""Between two tries of a deletion that the store refused, in seconds."""
GIVE_UP_S = 60.0
"""How long a deletion is tried after the session is over, in seconds."""


class Phase(Enum):
    """Where a delivery stands."""

    CALLING = auto()
    """The INVITE is out (a push), or in and not yet answered (a retrieval)."""
    CONNECTING = auto()
    """The session is agreed on; MSRP has no connection yet."""
    SENDING = auto()
    ENDING = auto()
    """No message is sent any more; deletions may be under way."""
    OVER = auto()


class Signal(Enum):
    """What moves a delivery."""

    ANSWERED = auto()
    READY = auto()
    DONE = auto()
    """Everything was sent and acknowledged."""
    BROKEN = auto()
    SETTLED = auto()
    """Nothing is left to be deleted."""


TRANSITIONS: dict[tuple[Phase, Signal], Phase] = {
    (Phase.CALLING, Signal.ANSWERED): Phase.CONNECTING,
    (Phase.CALLING, Signal.BROKEN): Phase.ENDING,
    (Phase.CONNECTING, Signal.READY): Phase.SENDING,
    (Phase.CONNECTING, Signal.BROKEN): Phase.ENDING,
    (Phase.SENDING, Signal.DONE): Phase.ENDING,
    (Phase.SENDING, Signal.BROKEN): Phase.ENDING,
    (Phase.ENDING, Signal.SETTLED): Phase.OVER,
}


class Item(Struct, frozen=True):
    """A message leased to the delivery."""

    message_id: str
    size: int


class Delivery(Struct, frozen=True, kw_only=True):
    """The state; `begin` makes the first."""

    phase: Phase = Phase.CALLING
    queue: tuple[Item, ...] = ()
    """Leased and not yet sent, in order of arrival."""
    flying: tuple[Item, ...] = ()
    """Sent and not yet acknowledged."""
    acknowledged: tuple[str, ...] = ()
    """To be deleted."""
    deleting: tuple[str, ...] = ()
    """Being deleted."""
    delivered: int = 0
    """Acknowledged and deleted."""
    skipped: tuple[str, ...] = ()
    """Refused by the client; they stay in the store."""
    more: bool = True
    """The store may have further messages for this delivery."""
    claiming: bool = False
    limit: float = float("inf")
    """When the client is given up, on the clock of `now`."""
    renew_at: float = 0.0
    retry_at: float = float("inf")
    give_up_at: float = float("inf")
    why: str = ""
    """Why it was interrupted; empty while it goes well."""

    def next_deadline(self) -> float | None:
        """When `Tick` has something to do; None once it is over."""
        if self.phase is Phase.OVER:
            return None
        return min(self.limit, self.renew_at, self.retry_at, self.give_up_at)


# --- events -------------------------------------------------------------------------------------------------------


class Answered(Struct, frozen=True):
    """Offer and answer are exchanged."""


class Ready(Struct, frozen=True):
    """The MSRP session has its connection."""


class Claimed(Struct, frozen=True):
    """The next messages are leased to us; none means that there are no more."""

    items: tuple[Item, ...]


class Narrowed(Struct, frozen=True):
    """Only these of the messages leased so far are for this session, and no others will be."""

    message_ids: tuple[str, ...]


class Progress(Struct, frozen=True):
    """The client takes a long message."""


class Acknowledged(Struct, frozen=True):
    """The SEND of this message has its 200, where a relay is in between its success report."""

    message_id: str


class Skipped(Struct, frozen=True):
    """The client refused this message alone, or it expired meanwhile: it is not sent, and not deleted either."""

    message_id: str


class Deleted(Struct, frozen=True):
    """The deletion that was asked for is durable."""


class NotDeleted(Struct, frozen=True):
    """The store refused the deletion."""


class Broken(Struct, frozen=True):
    """The INVITE failed, the session or its connection ended, the store failed, or the lease is lost."""

    why: str


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


Event: TypeAlias = (
    Answered | Ready | Claimed | Narrowed | Progress | Acknowledged | Skipped | Deleted | NotDeleted | Broken | Tick
)


# --- effects ------------------------------------------------------------------------------------------------------


class Send(Struct, frozen=True):
    """Send these messages in this order."""

    message_ids: tuple[str, ...]


class Claim(Struct, frozen=True):
    """Lease the next messages: answered by `Claimed`, or `Broken`."""


class Delete(Struct, frozen=True):
    """Delete these: answered by `Deleted` or `NotDeleted`."""

    message_ids: tuple[str, ...]


class Renew(Struct, frozen=True):
    """Renew the lease; `Broken` if it is lost."""


class HangUp(Struct, frozen=True):
    """End the session: BYE, CANCEL or a final response. `why` is empty when all went well."""

    why: str


class Over(Struct, frozen=True):
    """End the lease and forget the delivery."""


Effect: TypeAlias = Send | Claim | Delete | Renew | HangUp | Over


def begin(items: tuple[Item, ...], now: float, *, more: bool) -> Delivery:
    """A delivery of `items`; `more` when the store is to be asked for further ones."""
    return Delivery(queue=items, more=more, renew_at=now + RENEW_S, limit=now + ANSWER_S)


def step(delivery: Delivery, event: Event, now: float) -> tuple[Delivery, list[Effect]]:
    """The delivery after `event`, and what is to be done, in order."""
    turn = _Turn(delivery, now)
    turn.take(event)
    if turn.now_in is Phase.SENDING:
        turn.go_on()
    if turn.now_in is not Phase.OVER:
        turn.delete()
    if turn.now_in is Phase.ENDING and not turn.state.deleting:
        turn.signal(Signal.SETTLED)
        turn.effects.append(Over())
    return turn.state, turn.effects


_SILENT = {
    Phase.CALLING: "no answer to the INVITE",
    Phase.CONNECTING: "the client did not connect",
    Phase.SENDING: "the client takes no messages",
}


class _Turn:
    """One step under way."""

    def __init__(self, state: Delivery, now: float) -> None:
        self.state = state
        self.now = now
        self.effects: list[Effect] = []

    @property
    def now_in(self) -> Phase:
        """The phase as of now."""
        return self.state.phase

    def signal(self, signal: Signal) -> bool:
        """Move; False, and nothing moved, where the table knows no such move."""
        phase = TRANSITIONS.get((self.state.phase, signal))
        if phase is None:
            return False
        self.state = replace(self.state, phase=phase)
        return True

    def take(self, event: Event) -> None:
        """What the event itself changes."""
        state = self.state
        match event:
            case Answered():
                if self.signal(Signal.ANSWERED):
                    self.state = replace(self.state, limit=self.now + CONNECT_S)
            case Ready():
                if self.signal(Signal.READY):
                    self.state = replace(self.state, limit=self.now + STALL_S)
            case Claimed(items):
                self.state = replace(state, queue=state.queue + items, claiming=False, more=state.more and bool(items))
            case Narrowed(message_ids):
                queue = tuple(item for item in state.queue if item.message_id in message_ids)
                self.state = replace(state, queue=queue, more=False)
            case Progress():
                self._alive()
            case Acknowledged(message_id):
                if self._landed(message_id):
                    self.state = replace(self.state, acknowledged=(*state.acknowledged, message_id))
            case Skipped(message_id):
                if self._landed(message_id):
                    self.state = replace(self.state, skipped=(*state.skipped, message_id))
            case Deleted():
                delivered = state.delivered + len(state.deleting)
                self.state = replace(state, deleting=(), delivered=delivered, retry_at=float("inf"))
            case NotDeleted():
                self.state = replace(state, retry_at=self.now + RETRY_S)
            case Broken(why):
                self.end(Signal.BROKEN, why)
            case Tick():
                self._tick()

    def go_on(self) -> None:
        """Send what the window lets through, lease more in time, end when there is nothing left (DEF-05)."""
        state = self.state
        room = WINDOW_BYTES - sum(item.size for item in state.flying)
        sent: list[Item] = []
        under_way = len(state.flying) + len(state.acknowledged) + len(state.deleting)
        while len(sent) < len(state.queue) and under_way + len(sent) < WINDOW_MESSAGES:
            item = state.queue[len(sent)]
            if item.size > room and (state.flying or sent):
                break
            sent.append(item)
            room -= item.size
        if sent:
            flying = (*state.flying, *sent)
            limit = state.limit if state.flying else self.now + STALL_S
            self.state = state = replace(state, queue=state.queue[len(sent) :], flying=flying, limit=limit)
            self.effects.append(Send(tuple(item.message_id for item in sent)))
        if state.more and not state.claiming and len(state.queue) < WINDOW_MESSAGES:
            self.state = state = replace(state, claiming=True)
            self.effects.append(Claim())
        if not (state.queue or state.flying or state.claiming):
            self.end(Signal.DONE, "")

    def delete(self) -> None:
        """One deletion at a time, of all that was acknowledged meanwhile: they are durable together."""
        state = self.state
        if state.acknowledged and not state.deleting:
            self.state = replace(state, acknowledged=(), deleting=state.acknowledged)
            self.effects.append(Delete(state.acknowledged))

    def end(self, signal: Signal, why: str) -> None:
        """No more messages; those not acknowledged stay where they are."""
        if self.signal(signal):
            nothing = float("inf")
            give_up = self.now + GIVE_UP_S
            self.state = replace(self.state, queue=(), flying=(), limit=nothing, give_up_at=give_up, why=why)
            self.effects.append(HangUp(why))

    def _landed(self, message_id: str) -> bool:
        flying = tuple(item for item in self.state.flying if item.message_id != message_id)
        if len(flying) == len(self.state.flying):
            return False  # the session is over already: it counts as not acknowledged
        self.state = replace(self.state, flying=flying)
        self._alive()
        return True

    def _alive(self) -> None:
        if self.state.phase is Phase.SENDING:
            limit = self.now + STALL_S if self.state.flying or self.state.queue else float("inf")
            self.state = replace(self.state, limit=limit)

    def _tick(self) -> None:
        if self.now >= self.state.limit:
            self.end(Signal.BROKEN, _SILENT.get(self.state.phase, ""))
        if self.now >= self.state.give_up_at:  # they may come once more, which beats a lease that never ends
            self.state = replace(self.state, acknowledged=(), deleting=(), retry_at=float("inf"))
        if self.now >= self.state.renew_at:
            self.state = replace(self.state, renew_at=self.now + RENEW_S)
            self.effects.append(Renew())
        if self.now >= self.state.retry_at:
            self.state = replace(self.state, retry_at=float("inf"))
            self.effects.append(Delete(self.state.deleting))
