"""Who is told what waits: the subscriptions to message-summary on the wire (10.3.2.6)."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

from kemi.messages import SipRequest, TransactionId
from msrp_worker import notify_dialog
from msrp_worker.deferred import subscription, summary
from msrp_worker.functions import Functions
from msrp_worker.notify_dialog import NotifyDialog
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers
from msrp_worker.store.deferred import Usage
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store

log = logging.getLogger("im.deferred")

MOST_OF_USER = 20
"""Subscriptions of one user: more devices than a person has."""
MOST = 50_000
"""Subscriptions of one worker, about 2 KiB each."""
LOOK_S = 1.0
"""Seconds between two looks whether messages have come or gone by other hands: the purge, the operator's command, another
node. How late a NOTIFY about those may be."""
LOOKED_AT = 100
"""Users of one look, which is one read."""
PAUSE_S = 0.02
"""Seconds between the reads of one round: however many subscribe, looking costs a few percent of a core."""
LISTED = 60
"""Messages read for one summary; fewer than that fit into it (`summary.LARGEST_HEADERS`)."""

Start = Callable[[Coroutine[Any, Any, None]], object]


class Notifier:
    """All subscriptions of this worker. They end with it: a subscriber that refreshes then gets 481 and subscribes anew."""

    def __init__(self, functions: Functions, store: Store, start: Start, contact: str) -> None:
        self.functions = functions
        self.start = start
        self.contact = contact
        self._store = store
        self._subscribed: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """An initial SUBSCRIBE of the originator to what waits for it."""
        seconds = notify_dialog.granted(self.functions, transaction, request, subscription.PACKAGE)
        if seconds is None:
            return
        if self._count >= MOST or len(self._subscribed.get(asked.originator, ())) >= MOST_OF_USER:
            self.functions.legs.reply(transaction, request, 503, "Service Unavailable", (("Retry-After", "60"),))
            return
        made = notify_dialog.begin(self.functions, transaction, request, self.contact)
        if made is None:
            return
        subscriber = Subscriber(self, asked.originator, made)
        made.own(subscriber)
        self._subscribed[asked.originator].add(subscriber)
        self._count += 1
        subscriber.granted(transaction, seconds)

    def changed(self, address: str) -> None:
        """What waits for this address has changed."""
        for subscriber in list(self._subscribed.get(address, ())):
            subscriber.tell(subscription.Changed())

    async def look(self) -> None:
        """Tell subscribers also of what changed by other hands (DEF-08). Runs until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            addresses = list(self._subscribed)
            for start in range(0, len(addresses), LOOKED_AT):
                try:
                    await self._look_at(addresses[start : start + LOOKED_AT])
                except StoreError as error:
                    log.warning("not known what waits: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def _look_at(self, addresses: list[str]) -> None:
        usages = await self._store.deferred.usages(addresses)
        for address, usage in usages.items():
            if all(one.usage in (None, usage) for one in self._subscribed.get(address, ())):
                continue
            _, body = await self.body(address)
            for subscriber in list(self._subscribed.get(address, ())):
                subscriber.usage = usage
                if subscriber.body != body:
                    subscriber.tell(subscription.Changed())

    def forget(self, subscriber: Subscriber) -> None:
        """The subscription is over."""
        subscriber.dialog.close()
        of_user = self._subscribed[subscriber.address]
        if subscriber in of_user:
            of_user.discard(subscriber)
            self._count -= 1
        if not of_user:
            del self._subscribed[subscriber.address]

    async def body(self, address: str) -> tuple[Usage, bytes]:
        """What waits for an address now, and what it takes up (DEF-08). StoreError."""
        usage = await self._store.deferred.usage(address)
        kinds = await self._store.deferred.kinds(address)
        entries = await self._store.deferred.list(address, limit=LISTED)
        counted = ((kind.content_type, kind.priority, kind.large) for kind in kinds for _ in range(kind.messages))
        return usage, summary.body(address, summary.waiting(counted), entries)

    def close(self) -> None:
        """Stop all timers."""
        for subscribers in list(self._subscribed.values()):
            for subscriber in list(subscribers):
                subscriber.close()


class Subscriber:
    """One subscription and its dialog; owner of the dialog (`functions.DialogOwner`)."""

    def __init__(self, notifier: Notifier, address: str, made: NotifyDialog) -> None:
        self.address = address
        self.dialog = made
        self.usage: Usage | None = None
        """As of the last NOTIFY; None before the first."""
        self.body = b""
        """Of the last NOTIFY."""
        self._notifier = notifier
        self._state = subscription.Subscription()
        self._timer: asyncio.TimerHandle | None = None

    def granted(self, transaction: TransactionId, seconds: int) -> None:
        """Answer 200, then send the NOTIFY that has to follow (RFC 6665 section 4.2.1.2)."""
        self.dialog.accept(transaction, seconds)
        self.tell(subscription.Asked(seconds))

    def tell(self, event: subscription.Event) -> None:
        """Something happened."""
        now = asyncio.get_running_loop().time()
        self._state, effects = subscription.step(self._state, event, now)
        for effect in effects:
            if isinstance(effect, subscription.Notify):
                self._notifier.start(self._notify(effect.state))
            else:
                self.close()
                self._notifier.forget(self)
        if not self._state.over:
            self._arm()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_request(self, transaction: TransactionId, request: Message) -> None:
        """A SUBSCRIBE inside the dialog refreshes, or ends with Expires 0 (RFC 6665 section 4.2.1.4)."""
        seconds = self.dialog.refreshed(transaction, request, subscription.PACKAGE)
        if seconds is not None:
            self.granted(transaction, seconds)

    def on_response(self, response: Message | None, cseq: int) -> None:
        """What became of a NOTIFY."""
        if self.dialog.is_final(response, cseq):
            self.tell(subscription.Notified(0 if response is None else response.status))

    async def _notify(self, state: str) -> None:
        try:
            self.usage, self.body = await self._notifier.body(self.address)
        except StoreError as error:
            log.error("what waits for %s cannot be read: %s", self.address, error)
            self.tell(subscription.Notified(0))
            return
        headers: Headers = (
            ("Accept-Contact", "*;+g.oma.sip-im;require;explicit"),  # 10.2.1
            ("Content-Type", summary.CONTENT_TYPE),
        )
        self.dialog.notify(state, headers, self.body)

    def _arm(self) -> None:
        self.close()
        at = self._state.next_deadline()
        self._timer = asyncio.get_running_loop().call_at(at, lambda: self.tell(subscription.Tick()))
