"""Who is told of the participants: the subscriptions to conference state on the wire (7.2.2.10 to 7.2.2.12, RFC 4575)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kemi.messages import SipRequest, TransactionId
from msrp_worker import notify_dialog
from msrp_worker.controlling import conference_subscription as subscription
from msrp_worker.controlling.conference_roster import Roster
from msrp_worker.controlling.conference_state import CONTENT_TYPE, StateSource
from msrp_worker.controlling.notify_queue import NotifyQueue
from msrp_worker.functions import Functions
from msrp_worker.notify_dialog import NotifyDialog
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers
from msrp_worker.web import Reading

log = logging.getLogger("im.conference")

MOST_OF_USER = 20
"""Subscriptions of one user to one session: more devices than a person has."""
MOST_OF_SESSION = 5_000
"""Subscriptions to one session: as many as the largest groups have members, with devices to spare."""
MOST = 50_000
"""Subscriptions of one worker, about 2 KiB each."""
TICK_S = 0.02
"""Between two rounds of NOTIFYs while some wait, in seconds."""
MOST_OF_TICK = 20
"""NOTIFYs of one round: at most 1,000 a second of all sessions together. A round takes the loop about a millisecond, so
messages go on meanwhile."""
REVOKED = subscription.Closed("rejected")
REJECTED = "terminated;reason=rejected"
BUSY: Headers = (("Retry-After", "60"),)


@dataclass(slots=True)
class Counters:
    """For `/metrics`."""

    notifies: int = 0
    merged: int = 0
    """Changes that were told with others, or turned out to be none."""
    failed: int = 0
    """NOTIFYs that were not answered with a 2xx."""
    refused: int = 0
    """SUBSCRIBEs beyond a limit."""


@dataclass(slots=True, eq=False)
class _Watched:
    """One source with its subscribers."""

    source: StateSource
    roster: Roster
    stale: bool = False
    """Something has changed since the roster last looked."""
    over: bool = False
    subscribers: dict[Subscriber, None] = field(default_factory=dict)


class ConferenceNotifier:
    """All subscriptions to conference state of this worker. They end with it, as the sessions do."""

    def __init__(self, functions: Functions, interval_s: float) -> None:
        """`interval_s` is the least time between two NOTIFYs of changes to one subscriber (CES-06)."""
        self.functions = functions
        self.interval_s = interval_s
        self.counters = Counters()
        self._watched: dict[str, _Watched] = {}
        self._count = 0
        self._queue: NotifyQueue[Subscriber] = NotifyQueue()
        self._round: asyncio.Handle | None = None
        self.on_forgotten: Callable[[str], None] = lambda entity: None
        """Told the entity of a source that has no subscribers any more."""

    def __len__(self) -> int:
        return self._count

    def has(self, entity: str) -> bool:
        """Whether somebody subscribes to a source."""
        return entity in self._watched

    def subscribe(self, transaction: TransactionId, request: Message, asked: SipRequest, source: StateSource) -> None:
        """An initial SUBSCRIBE of the originator to a source, once it may (`conference_subscription.may_subscribe`)."""
        seconds = notify_dialog.granted(self.functions, transaction, request, subscription.PACKAGE)  # CES-08
        if seconds is None:
            return
        watched = self._watched.get(source.entity)
        if self._count >= MOST or (watched is not None and _is_full(watched, asked.originator)):
            self.counters.refused += 1
            self.functions.legs.reply(transaction, request, 503, "Service Unavailable", BUSY)
            return
        made = notify_dialog.begin(self.functions, transaction, request, source.contact)
        if made is None:
            return
        if watched is None or watched.over:
            watched = self._watched[source.entity] = _Watched(source, Roster(source))
        else:
            watched.source, watched.stale = source, True
        subscriber = Subscriber(self, watched, asked.originator, made)
        made.own(subscriber)
        watched.subscribers[subscriber] = None
        self._count += 1
        subscriber.granted(transaction, seconds)

    def changed(self, source: StateSource, key: str) -> None:
        """A user joined, left, rings or changed its name; `key` is its address, empty for the session as a whole."""
        watched = self._watched.get(source.entity)
        if watched is not None and not watched.over:
            log.debug("CES-04 %s changed for %s", source.entity, key)
            self._changed(watched, source)

    def ended(self, source: StateSource) -> None:
        """The session is over: so are its subscriptions (CES-07)."""
        watched = self._watched.get(source.entity)
        if watched is None or watched.over:
            return
        watched.source, watched.over = source, True
        watched.roster.refresh(source)
        watched.roster.end(source)
        for subscriber in list(watched.subscribers):
            subscriber.tell(subscription.Closed())

    def dismiss(self, source: StateSource, key: str) -> None:
        """A participant has left for good: end its subscriptions (7.2.2.12-2)."""
        watched = self._watched.get(source.entity)
        if watched is None or watched.over:
            return
        self._changed(watched, source)
        for subscriber in list(watched.subscribers):
            if subscriber.originator == key:
                subscriber.tell(subscription.Closed())

    def revoke(self, entity: str, may: Callable[[str], bool]) -> None:
        """End the subscriptions of those who may not see a source any more (RFC 6665 section 4.1.3: `rejected`)."""
        watched = self._watched.get(entity)
        for subscriber in list(watched.subscribers) if watched is not None else ():
            if not may(subscriber.originator):
                subscriber.tell(REVOKED)

    def close(self) -> None:
        """Send at once what waits for its turn, such as the end of sessions; then stop all timers."""
        while (waiting := self._queue.next()) is not None:
            self._give_turn(waiting)
        if self._round is not None:
            self._round.cancel()
            self._round = None
        for watched in self._watched.values():
            for subscriber in watched.subscribers:
                subscriber.stop()

    def readings(self) -> Iterable[Reading]:
        """What `/metrics` shows."""
        yield Reading("conference_subscriptions", "Subscriptions to conference state", self._count)
        yield Reading("conference_notifies_total", "NOTIFYs of conference state sent", self.counters.notifies)
        yield Reading("conference_changes_merged_total", "Changes told together with others", self.counters.merged)
        yield Reading(
            "conference_notifies_failed_total", "NOTIFYs of conference state not answered 2xx", self.counters.failed
        )
        yield Reading(
            "conference_notifies_waiting", "NOTIFYs of conference state that wait for their turn", len(self._queue)
        )
        yield Reading("conference_subscriptions_refused_total", "SUBSCRIBEs refused for a limit", self.counters.refused)

    # --- for the subscribers ---

    def enqueue(self, subscriber: Subscriber, *, urgent: bool) -> None:
        """Give a subscriber a turn."""
        self._queue.add(subscriber.watched.source.entity, subscriber, urgent=urgent)
        if self._round is None:
            self._round = asyncio.get_running_loop().call_soon(self._run)

    def forget(self, subscriber: Subscriber) -> None:
        """The subscription is over."""
        watched = subscriber.watched
        if subscriber in watched.subscribers:
            del watched.subscribers[subscriber]
            self._count -= 1
        if not watched.subscribers and self._watched.get(watched.source.entity) is watched:
            del self._watched[watched.source.entity]
            self.on_forgotten(watched.source.entity)

    def _changed(self, watched: _Watched, source: StateSource) -> None:
        watched.source, watched.stale = source, True
        for subscriber in list(watched.subscribers):
            subscriber.change()

    def _run(self) -> None:
        """One round of NOTIFYs. The next one is a tick later, also for who comes meanwhile."""
        if not len(self._queue):
            self._round = None
            return
        self._round = asyncio.get_running_loop().call_later(TICK_S, self._run)
        for _ in range(MOST_OF_TICK):
            subscriber = self._queue.next()
            if subscriber is None:
                break
            self._give_turn(subscriber)

    def _give_turn(self, subscriber: Subscriber) -> None:
        try:
            subscriber.turn()
        except Exception:  # a bug in one session is no reason to tell the others nothing
            log.exception("no NOTIFY of %s", subscriber.watched.source.entity)


def _is_full(watched: _Watched, originator: str) -> bool:
    if len(watched.subscribers) >= MOST_OF_SESSION:
        return True
    return sum(subscriber.originator == originator for subscriber in watched.subscribers) >= MOST_OF_USER


class Subscriber:
    """One subscription; owner of its dialog (`functions.DialogOwner`)."""

    def __init__(self, notifier: ConferenceNotifier, watched: _Watched, originator: str, dialog: NotifyDialog) -> None:
        self.watched = watched
        self.originator = originator
        self._notifier = notifier
        self._dialog = dialog
        self._state = subscription.Subscription()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = subscription.NEVER

    def granted(self, transaction: TransactionId, seconds: int) -> None:
        """Answer 200 (CES-03); the NOTIFY follows."""
        asserted: Headers = (("P-Asserted-Identity", f"<{self.watched.source.asserted}>"), ("Supported", "norefersub"))
        self._dialog.accept(transaction, seconds, asserted)
        self.tell(subscription.Asked(seconds))

    def change(self) -> None:
        """The participants have changed."""
        if self._state.dirty:
            self._notifier.counters.merged += 1
        else:
            self.tell(subscription.Changed())

    def tell(self, event: subscription.Event) -> None:
        """Something happened."""
        now = asyncio.get_running_loop().time()
        self._state, effects = subscription.step(self._state, event, now)
        for effect in effects:
            match effect:
                case subscription.Queue(urgent):
                    self._notifier.enqueue(self, urgent=urgent)
                case subscription.Notify():
                    self._notify(effect)
                case subscription.Gone():
                    self.stop()
                    self._dialog.close()
                    self._notifier.forget(self)
        if not self._state.over:
            self._arm()

    def turn(self) -> None:
        """A NOTIFY may go now."""
        watched = self.watched
        if watched.stale and not watched.over:
            watched.roster.refresh(watched.source)
            watched.stale = False
        before = self._notifier.counters.notifies
        self.tell(subscription.Turn(watched.roster.latest, self._notifier.interval_s))
        if before == self._notifier.counters.notifies:
            self._notifier.counters.merged += 1

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_request(self, transaction: TransactionId, request: Message) -> None:
        """A SUBSCRIBE inside the dialog refreshes, or ends with Expires 0 (RFC 6665 section 4.2.1.4)."""
        if self._state.ending:  # CES-07: what is over is not taken up again
            self._notifier.functions.legs.reply(transaction, request, 481, "Subscription Does Not Exist")
            return
        seconds = self._dialog.refreshed(transaction, request, subscription.PACKAGE)
        if seconds is not None:
            self.granted(transaction, seconds)

    def on_response(self, response: Message | None, cseq: int) -> None:
        """What became of a NOTIFY."""
        if not self._dialog.is_final(response, cseq):
            return
        status = 0 if response is None else response.status
        self._notifier.counters.failed += not 200 <= status < 300
        retry_after = None if response is None else response.number("retry-after")
        self.tell(subscription.Notified(status, retry_after))

    def _notify(self, effect: subscription.Notify) -> None:
        self._notifier.counters.notifies += 1
        if effect.state == REJECTED:  # who may see nothing any more is told nothing any more (CES-02)
            self._dialog.notify(effect.state, (), b"")
            return
        told = self.watched.roster.since(effect.told, effect.base)
        self._state = subscription.sent(self._state, told.upto, told.base, more=told.more)
        self._dialog.notify(effect.state, (("Content-Type", CONTENT_TYPE),), told.document.at(effect.version))

    def _arm(self) -> None:
        at = self._state.next_deadline()
        if self._timer is not None and at == self._timer_at:
            return
        self.stop()
        self._timer_at = at
        if at != subscription.NEVER:
            self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.tell(subscription.Tick())
