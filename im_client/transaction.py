"""SIP transactions (RFC 3261 section 17) as tables, without I/O, clock or randomness.

A transaction is a value; `step(transaction, event, now)` gives the next value and what to do. Which event
moves which state stands in the tables below and nowhere else. A machine is one table in `TABLES`. Those of
INVITE have the Accepted state of RFC 6026: responses 2xx and their ACK belong to the user agent core.
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
    INVITE_CLIENT = auto()  # section 17.1.1, figure 5, with RFC 6026
    INVITE_SERVER = auto()  # section 17.2.1, figure 7, with RFC 6026


class State(Enum):
    INITIAL = auto()
    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class Timer(Enum):
    """The letters of RFC 3261 table 4 and RFC 6026 section 8.4."""

    A = auto()  # INVITE client: retransmit the request
    B = auto()  # INVITE client: give up
    D = auto()  # INVITE client: stop answering retransmissions of a refusal with ACK
    E = auto()  # client: retransmit the request
    F = auto()  # client: give up
    G = auto()  # INVITE server: retransmit a refusal
    H = auto()  # INVITE server: stop waiting for the ACK to a refusal
    I = auto()  # noqa: E741  INVITE server: stop absorbing retransmissions of that ACK
    J = auto()  # server: stop absorbing retransmissions of the request
    K = auto()  # client: stop absorbing retransmissions of the response
    L = auto()  # INVITE server: stop absorbing retransmissions of an accepted INVITE
    M = auto()  # INVITE client: stop delivering further 2xx
    TRYING = auto()  # INVITE server: nothing was answered yet, so that a 100 is due (section 17.2.1)


class On(Enum):
    """The kinds of event the tables know."""

    START = auto()  # client: the request is to be sent; server: the request has come
    PROVISIONAL = auto()  # client: 1xx received; server: 1xx from the application
    FINAL = auto()  # client: final response received; server: from the application; of INVITE only 3xx-6xx
    SUCCESS = auto()  # the same for a 2xx to INVITE
    REQUEST = auto()  # server: the request came again
    ACK = auto()  # INVITE server: the ACK to a refusal came
    TRANSPORT_ERROR = auto()
    TIMER_A = auto()
    TIMER_B = auto()
    TIMER_D = auto()
    TIMER_E = auto()
    TIMER_F = auto()
    TIMER_G = auto()
    TIMER_H = auto()
    TIMER_I = auto()
    TIMER_J = auto()
    TIMER_K = auto()
    TIMER_L = auto()
    TIMER_M = auto()
    TIMER_TRYING = auto()


def of_response(status: int, method: str) -> On:
    """Which event a response is: RFC 6026 tells a 2xx to INVITE from other final ones."""
    if status < 200:
        return On.PROVISIONAL
    return On.SUCCESS if status < 300 and method == "INVITE" else On.FINAL


TIMER_EVENTS: Mapping[Timer, On] = MappingProxyType({timer: On[f"TIMER_{timer.name}"] for timer in Timer})

TRYING_SECONDS = 0.2
"""How long a server may stay silent to an INVITE before it answers 100 (section 17.2.1)."""


@dataclass(frozen=True, slots=True)
class Event:
    """`data` are the bytes to send: the request at the START of a client, the 100 at that of an INVITE server,
    responses of a server, the ACK with the refusal of an INVITE. `error` is the text of a TRANSPORT_ERROR.
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


def _keep(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return replace(transaction, last_sent=event.data), ()


def _stop(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return replace(transaction, deadlines=MappingProxyType({})), ()


def _forget(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return replace(transaction, last_sent=b"", deadlines=MappingProxyType({})), ()


def _repeat(timer: Timer) -> Action:
    """Start to retransmit after T1, on unreliable transports."""

    def action(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
        if transaction.reliable:
            return transaction, ()
        interval = transaction.timers.t1
        return replace(_with(transaction, timer, now + interval), interval=interval), ()

    return action


def _double(timer: Timer, *, capped: bool = True) -> Action:
    """The next retransmission after twice the time, `capped` at T2."""

    def action(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
        interval = 2 * transaction.interval
        interval = min(interval, transaction.timers.t2) if capped else interval
        return replace(_with(transaction, timer, now + interval), interval=interval), ()

    return action


def _wait(timer: Timer) -> Action:
    """Start a timer of 64*T1."""

    def action(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
        return _with(transaction, timer, now + transaction.timers.timeout), ()

    return action


def _wait_unreliable(timer: Timer, seconds: Callable[[BaseTimers], float]) -> Action:
    """Start a timer that is zero on reliable transports, where nothing is retransmitted."""

    def action(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
        return _with(transaction, timer, now + (0.0 if transaction.reliable else seconds(transaction.timers))), ()

    return action


def _start_trying(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    return _with(transaction, Timer.TRYING, now + TRYING_SECONDS), ()


def _slow_e(transaction: Transaction, event: Event, now: float) -> tuple[Transaction, tuple[Effect, ...]]:
    interval = transaction.timers.t2
    return replace(_with(transaction, Timer.E, now + interval), interval=interval), ()


def _timeout(timers: BaseTimers) -> float:
    return timers.timeout


def _t4(timers: BaseTimers) -> float:
    return timers.t4


def _with(transaction: Transaction, timer: Timer, deadline: float) -> Transaction:
    return replace(transaction, deadlines=MappingProxyType({**transaction.deadlines, timer: deadline}))


def _without(transaction: Transaction, timer: Timer) -> Transaction:
    rest = {name: deadline for name, deadline in transaction.deadlines.items() if name is not timer}
    return replace(transaction, deadlines=MappingProxyType(rest))


# --- tables: (state, event) -> (next state, actions in order) -----------------------------------------------

Table = Mapping[tuple[State, On], tuple[State, *tuple[Action, ...]]]

NON_INVITE_CLIENT: Table = {
    (State.INITIAL, On.START): (State.TRYING, _send, _repeat(Timer.E), _wait(Timer.F)),
    (State.TRYING, On.TIMER_E): (State.TRYING, _resend, _double(Timer.E)),
    (State.TRYING, On.PROVISIONAL): (State.PROCEEDING, _deliver),
    (State.TRYING, On.FINAL): (State.COMPLETED, _deliver, _forget, _wait_unreliable(Timer.K, _t4)),
    (State.TRYING, On.TIMER_F): (State.TERMINATED, _report_timeout),
    (State.TRYING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.PROCEEDING, On.TIMER_E): (State.PROCEEDING, _resend, _slow_e),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _deliver),
    (State.PROCEEDING, On.FINAL): (State.COMPLETED, _deliver, _forget, _wait_unreliable(Timer.K, _t4)),
    (State.PROCEEDING, On.TIMER_F): (State.TERMINATED, _report_timeout),
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.TIMER_K): (State.TERMINATED,),
}

NON_INVITE_SERVER: Table = {
    (State.INITIAL, On.START): (State.TRYING, _deliver),
    (State.TRYING, On.PROVISIONAL): (State.PROCEEDING, _send),
    (State.TRYING, On.FINAL): (State.COMPLETED, _send, _wait_unreliable(Timer.J, _timeout)),
    (State.TRYING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _send),
    (State.PROCEEDING, On.REQUEST): (State.PROCEEDING, _resend),
    (State.PROCEEDING, On.FINAL): (State.COMPLETED, _send, _wait_unreliable(Timer.J, _timeout)),
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.REQUEST): (State.COMPLETED, _resend),
    (State.COMPLETED, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.TIMER_J): (State.TERMINATED,),
}

_ACKED = (State.COMPLETED, _stop, _send, _deliver, _wait_unreliable(Timer.D, _timeout))
_ANSWERED = (State.ACCEPTED, _forget, _deliver, _wait(Timer.M))

INVITE_CLIENT: Table = {
    (State.INITIAL, On.START): (State.CALLING, _send, _repeat(Timer.A), _wait(Timer.B)),
    (State.CALLING, On.TIMER_A): (State.CALLING, _resend, _double(Timer.A, capped=False)),
    (State.CALLING, On.TIMER_B): (State.TERMINATED, _report_timeout),
    (State.CALLING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.CALLING, On.PROVISIONAL): (State.PROCEEDING, _stop, _deliver),
    (State.CALLING, On.SUCCESS): _ANSWERED,
    (State.CALLING, On.FINAL): _ACKED,
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _deliver),
    (State.PROCEEDING, On.SUCCESS): _ANSWERED,
    (State.PROCEEDING, On.FINAL): _ACKED,
    (State.COMPLETED, On.FINAL): (State.COMPLETED, _resend),
    (State.COMPLETED, On.TRANSPORT_ERROR): (State.TERMINATED,),
    (State.COMPLETED, On.TIMER_D): (State.TERMINATED,),
    (State.ACCEPTED, On.SUCCESS): (State.ACCEPTED, _deliver),
    (State.ACCEPTED, On.TIMER_M): (State.TERMINATED,),
}

INVITE_SERVER: Table = {
    (State.INITIAL, On.START): (State.PROCEEDING, _keep, _deliver, _start_trying),
    (State.PROCEEDING, On.TIMER_TRYING): (State.PROCEEDING, _resend),
    (State.PROCEEDING, On.REQUEST): (State.PROCEEDING, _resend),
    (State.PROCEEDING, On.PROVISIONAL): (State.PROCEEDING, _stop, _send),
    (State.PROCEEDING, On.SUCCESS): (State.ACCEPTED, _stop, _send, _wait(Timer.L)),
    (State.PROCEEDING, On.FINAL): (State.COMPLETED, _stop, _send, _repeat(Timer.G), _wait(Timer.H)),
    (State.PROCEEDING, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.COMPLETED, On.REQUEST): (State.COMPLETED, _resend),
    (State.COMPLETED, On.TIMER_G): (State.COMPLETED, _resend, _double(Timer.G)),
    (State.COMPLETED, On.ACK): (State.CONFIRMED, _forget, _wait_unreliable(Timer.I, _t4)),
    (State.COMPLETED, On.TIMER_H): (State.TERMINATED, _report_timeout),
    (State.COMPLETED, On.TRANSPORT_ERROR): (State.TERMINATED, _report_transport),
    (State.CONFIRMED, On.TIMER_I): (State.TERMINATED,),
    (State.ACCEPTED, On.SUCCESS): (State.ACCEPTED, _send),
    (State.ACCEPTED, On.TIMER_L): (State.TERMINATED,),
}

TABLES: Mapping[Machine, Table] = {
    Machine.NON_INVITE_CLIENT: NON_INVITE_CLIENT,
    Machine.NON_INVITE_SERVER: NON_INVITE_SERVER,
    Machine.INVITE_CLIENT: INVITE_CLIENT,
    Machine.INVITE_SERVER: INVITE_SERVER,
}
