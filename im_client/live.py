"""The transactions in progress, on the clock: the shell around the pure `transaction`.

All that waits in the SIP layer waits here, in one queue behind one timer of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from sipmessage import Request

from .errors import ConnectionFailedError, ImClientError, NoAnswerError
from .exchange import IncomingRequest, ReceivedResponse
from .timers import BaseTimers, TimerQueue
from .transaction import Deliver, Effect, Event, On, Send, State, TimedOut, Transaction, TransportFailed, fire, step
from .transport import Address, Flow, Target
from .wire import host_text

log = logging.getLogger(__name__)

Outcome = ReceivedResponse | ImClientError
"""What a client transaction comes to: responses, and at most one error."""


@dataclass(slots=True)
class Live:
    """A transaction in progress.

    `sink` takes what a client transaction delivers until its final response; `sent_by` is what stands in
    its Via, and `request` is what an INVITE was sent as.
    Of a server transaction, `merge_key` recognises the same request by another way, `reply_to` is where its
    response goes once the stream of the request has closed, and `incoming` is an INVITE that a CANCEL may stop.
    """

    transaction: Transaction
    flow: Flow
    sink: Callable[[Outcome], None] | None = None
    sent_by: tuple[str, int] | None = None
    merge_key: Hashable = None
    reply_to: Address | None = None
    request: Request | None = None
    incoming: IncomingRequest | None = None


@dataclass(slots=True)
class _Periodic:
    seconds: float
    work: Callable[[], None]


class LiveTransactions:
    """Client transactions by (branch, method), server transactions by their `matching.server_key`.

    `send_anew` is asked to bring a response to `reply_to`.
    """

    def __init__(self, proxy: Target, base: BaseTimers, send_anew: Callable[[Address, bytes], None]) -> None:
        self._proxy = proxy
        self._base = base
        self._send_anew = send_anew
        self._live: dict[Hashable, Live] = {}
        self._merge: dict[Hashable, Hashable] = {}
        self._periodic: dict[Hashable, _Periodic] = {}
        self._timers: TimerQueue[Hashable] = TimerQueue()
        self._wake: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._live)

    def get(self, key: Hashable) -> Live | None:
        return self._live.get(key)

    def add(self, key: Hashable, live: Live, start: Event) -> None:
        """Take in a new transaction and start it."""
        self._live[key] = live
        self.apply(key, start)

    def is_merged(self, key: Hashable) -> bool:
        """Whether the request of this transaction is in progress by another way; if not, this is its way."""
        live = self._live.get(key)
        if live is None or live.merge_key is None:
            return False
        return self._merge.setdefault(live.merge_key, key) != key

    def apply(self, key: Hashable, event: Event, received: ReceivedResponse | None = None) -> None:
        """Let `event` happen to a transaction; of no effect once that has ended."""
        live = self._live.get(key)
        if live is None:
            return
        live.transaction, effects = step(live.transaction, event, self._now())
        self._carry_out(key, live, effects, received)

    def fail(self, flow: Flow, error: str) -> None:
        """A flow has failed: so have the requests under way on it (RFC 3261 section 17.1.4)."""
        peer = f"{host_text(flow.remote[0])}:{flow.remote[1]}"
        for key, live in list(self._live.items()):
            if live.flow == flow and live.sent_by is not None:
                self.apply(key, Event(On.TRANSPORT_ERROR, error=f"cannot reach {peer} ({error})"))

    def forget(self, key: Hashable) -> None:
        """Drop a transaction without a word."""
        live = self._live.pop(key, None)
        if live is not None and live.merge_key is not None and self._merge.get(live.merge_key) == key:
            del self._merge[live.merge_key]
        self._set_timer(key, None)

    def call_every(self, key: Hashable, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` at that interval until `close`."""
        self._periodic[key] = _Periodic(seconds, work)
        self._set_timer(key, self._now() + seconds)

    def close(self) -> None:
        """End everything; requests under way get a ConnectionFailedError."""
        self._closed = True
        for key, live in list(self._live.items()):
            if live.sink is not None:
                self.apply(key, Event(On.TRANSPORT_ERROR, error="the client was closed"))
        self._live.clear()
        self._merge.clear()
        if self._wake is not None:
            self._wake.cancel()

    def _carry_out(
        self, key: Hashable, live: Live, effects: Iterable[Effect], received: ReceivedResponse | None = None
    ) -> None:
        if live.transaction.terminated:
            self.forget(key)
        else:
            self._set_timer(key, live.transaction.deadline)
        for effect in effects:
            match effect:
                case Send(data):
                    self._send(key, live, data)
                case Deliver():
                    self._deliver(live, received)
                case TimedOut():
                    self._report(live, NoAnswerError(self._silence()))
                case TransportFailed(error):
                    self._report(live, ConnectionFailedError(f"{error}; is {self._proxy} right?"))

    def _send(self, key: Hashable, live: Live, data: bytes) -> None:
        try:
            live.flow.send(data)
        except ConnectionFailedError as error:
            if live.reply_to is not None and not self._closed:
                self._send_anew(live.reply_to, data)
            else:
                self.apply(key, Event(On.TRANSPORT_ERROR, error=str(error)))

    @staticmethod
    def _deliver(live: Live, received: ReceivedResponse | None) -> None:
        if live.sink is None or received is None:
            return
        live.sink(received)
        if received.status >= 200 and live.transaction.state is not State.ACCEPTED:
            live.sink = None  # what it holds is not needed while retransmissions are absorbed

    def _silence(self) -> str:
        seconds = f"{self._base.timeout:g} s"
        return f"no answer from {self._proxy} within {seconds}: is it running, and is that its address?"

    @staticmethod
    def _report(live: Live, error: ImClientError) -> None:
        if live.sink is not None:
            live.sink(error)
        else:
            log.info("a response could not be sent: %s", error)

    # --- time

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _set_timer(self, key: Hashable, deadline: float | None) -> None:
        self._timers.set(key, deadline)
        self._arm()

    def _arm(self) -> None:
        following = self._timers.next()
        if self._wake is not None and (following is None or self._wake.when() != following):
            self._wake.cancel()
            self._wake = None
        if self._wake is None and following is not None and not self._closed:
            self._wake = asyncio.get_running_loop().call_at(following, self._on_timer)

    def _on_timer(self) -> None:
        self._wake = None
        now = self._now()
        for key in self._timers.due(now):
            if (periodic := self._periodic.get(key)) is not None:
                self._timers.set(key, now + periodic.seconds)
                periodic.work()
            elif (live := self._live.get(key)) is not None:
                live.transaction, effects = fire(live.transaction, now)
                self._carry_out(key, live, effects)
        self._arm()
