"""SIP transactions (RFC 3261 section 17) as tables, without I/O, clock or randomness.

A transaction is a value; `step(transaction, event, now)` gives the next value and what to do. Which event
moves which state stands in the tables below and nowhere else. A machine is one table in `TABLES`: the INVITE
machines are two more tables with their timers, and need no change of the interpreter beyond their own
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType

from .timers import DEFAULT_TIMERS, BaseTimers


class Machine(Enum):
    NON_INVITE_CLIENT = auto()  # section 17.1.2, figure 6
    NON_INVITE_SERVER = auto()  # section 17.2.2, figure 8


class State(Enum):
    INITIAL = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    TERMINATED = auto()


class Timer(Enum):
    """The letters of RFC 3261 table 4."""

    E = auto()  # client: retransmit the request
    F = auto()  # client: give up
    J = auto()  # server: stop absorbing retransmissions of the request
    K = auto()  # client: stop absorbing retransmissions of the response


class On(Enum):
    """The kinds of event the tables know."""

    START = auto()  # client: the request is to be sent; server: the request has come
    PROVISIONAL = auto()  # client: 1xx received; server: 1xx from the application
    FINAL = auto()  # client: 2xx-6xx received; server: 2xx-6xx from the application
    REQUEST = auto()  # server: the request came again
    TRANSPORT_ERROR = auto()
    TIMER_E = auto()
    TIMER_F = auto()
    TIMER_J = auto()
    TIMER_K = auto()


TIMER_EVENTS: Mapping[Timer, On] = MappingProxyType(
    {Timer.E: On.TIMER_E, Timer.F: On.TIMER_F, Timer.J: On.TIMER_J, Timer.K: On.TIMER_K}
)


@dataclass(frozen=True, slots=True)
class Event:
    """`data`.

    The bytes to send (START of a client, responses of a server); `error`: text of a TRANSPORT_ERROR.
    """

    on: On
    data: bytes = b""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """Give these bytes to the transport (again)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """The message that came with this event goes up to the application."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No final response in time."""


@dataclass(frozen=True, slots=True)
class TransportFailed:
    error: str


Effect = Send | Deliver | TimedOut | TransportFailed


@dataclass(frozen=True, slots=True)
class Transaction:
    """`last_sent` is what a retransmission repeats.

    `deadlines` hold absolute seconds of the caller's clock.
    """

    machine: Machine
    reliable: bool
    timers: BaseTimers = DEFAULT_TIMERS
    state: State = State.INITIAL
    last_sent: bytes = b""
    interval: float = 0.0
    deadlines: Mapping[Timer, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def deadline(self) -> float | None:
        """When `fire` wants to be called next."""
        return min(self.deadlines.values(), default=None)

    @property
    def terminated(self) -> bool:
        return self.state is State.TERMINATED


Action = Callable[[Transaction, Event, float], tuple[Transaction, tuple[Effect, ...]]]


def step(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    """The transaction after `event`, and its effects in order.

    An event the state has no row for changes nothing.
    """
    row = TABLES[transaction.machine].get((transaction.state, event.on))
    if row is None:
        return transaction, ()
    state, *actions = row
    effects: list[Effect] = []
    for action in actions:
        transaction, more = action(transaction, event, now)
        effects += more
    if state is State.TERMINATED:
        return replace(transaction, state=state, deadlines=MappingProxyType({})), tuple(effects)
    transaction = replace(transaction, state=state)
    # A timer of zero seconds (K and J on reliable transports) fires before anything else can happen.
    if transaction.deadline is not None and transaction.deadline <= now:
        transaction, more = fire(transaction, now)
        effects += more
    return transaction, tuple(effects)


def fire(transaction: Transaction, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    """Run every timer of the transaction whose deadline has come."""
    effects: list[Effect] = []
    while transaction.deadline is not None and transaction.deadline <= now:
        timer = min(transaction.deadlines, key=lambda name: transaction.deadlines[name])
        transaction, more = step(_without(transaction, timer), Event(TIMER_EVENTS[timer]), now)
        effects += more
    return transaction, tuple(effects)


# --- actions ------------------------------------------------------------------------------------------------


def _send(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return replace(transaction, last_sent=event.data), (Send(event.data),)


def _resend(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return transaction, (Send(transaction.last_sent),)


def _deliver(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return transaction, (Deliver(),)


def _report_timeout(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return transaction, (TimedOut(),)


def _report_transport(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return transaction, (TransportFailed(event.error),)


def _start_e(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    if transaction.reliable:
        return transaction, ()
    interval = transaction.timers.t1
    return replace(_with(transaction, Timer.E, now + interval), interval=interval), ()


def _double_e(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    interval = min(2 * transaction.interval, transaction.timers.t2)
    return replace(_with(transaction, Timer.E, now + interval), interval=interval), ()


def _slow_e(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    interval = transaction.timers.t2
    return replace(_with(transaction, Timer.E, now + interval), interval=interval), ()


def _start_f(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return _with(transaction, Timer.F, now + transaction.timers.timeout), ()


def _start_j(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return _with(transaction, Timer.J, now + (0.0 if transaction.reliable else transaction.timers.timeout)), ()


def _start_k(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    # A completed client transaction repeats nothing: let the request go.
    stopped = replace(transaction, last_sent=b"", deadlines=MappingProxyType({}))
    return _with(stopped, Timer.K, now + (0.0 if transaction.reliable else transaction.timers.t4)), ()


def _with(transaction: Transaction, timer: Timer, deadline: float) -> Transaction:
    return replace(transaction, deadlines=MappingProxyType({**transaction.deadlines, timer: deadline}))


def _without(transaction: Transaction, timer: Timer) -> Transaction:
    rest = {name: deadline for name, deadline in transaction.deadlines.items() if name is not timer}
    return replace(transaction, deadlines=MappingProxyType(rest))


# --- tables: (state, event) -> (next state, actions in order) -----------------------------------------------

Table = Mapping[tuple[State, On], tuple[State, *tuple[Action, ...]]]

NON_INVITE_CLIENT: Table = {
    (State.INITIAL, On.START): (State.TRYING, _send, _start_e, _start_f),
    (State.TRYING, On.TIMER_E): (State.TRYING, _resend, _double_e),
    (State.TRYING, On.PROVISIONAL): (State.PROCEEDING, _deliver),
    (State.TRYING, On.FINAL): (State.COMPLETED, _deliver, _start_k),
    (State.TRYING, On.TIMER_F): (State.TERMINATED, _report_timeout),
    (State.TRYING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.PROCEEDING, On.TIMER_E): (State.PROCEEDING, _resend, _slow_e),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _deliver),
    (State.PROCEEDING, On.FINAL): (State.COMPLETED, _deliver, _start_k),
    (State.PROCEEDING, On.TIMER_F): (State.TERMINATED, _report_timeout),
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.TIMER_K): (State.TERMINATED,),
}

NON_INVITE_SERVER: Table = {
    (State.INITIAL, On.START): (State.TRYING, _deliver),
    (State.TRYING, On.PROVISIONAL): (State.PROCEEDING, _send),
    (State.TRYING, On.FINAL): (State.COMPLETED, _send, _start_j),
    (State.TRYING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _send),
    (State.PROCEEDING, On.REQUEST): (State.PROCEEDING, _resend),
    (State.PROCEEDING, On.FINAL): (State.COMPLETED, _send, _start_j),
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.REQUEST): (State.COMPLETED, _resend),
    (State.COMPLETED, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.TIMER_J): (State.TERMINATED,),
}

TABLES: Mapping[Machine, Table] = {
    Machine.NON_INVITE_CLIENT: NON_INVITE_CLIENT,
    Machine.NON_INVITE_SERVER: NON_INVITE_SERVER,
}
