"""The legs of one worker: events to their leg by Call-ID and tags, effects out in order, one timer, one store.

Of each leg the effects of one step go out before those of the next, and a step that changes what is stored goes out
after the store has it: an INVITE or the 200 to one is never on the wire before a restarted worker would know of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable

from msgspec.structs import replace

from kemi.messages import TransactionId
from msrp_worker.sip import caller, leg, replaces
from msrp_worker.sip.callee import Refusal, answer_call
from msrp_worker.sip.invite import ENDED, Phase
from msrp_worker.sip.leg_types import (
    Ack,
    Cancelled,
    Effect,
    Input,
    Invitation,
    Leg,
    LegId,
    LegPolicy,
    NotStored,
    Order,
    Request,
    Response,
    Tick,
    TimedOut,
)
from msrp_worker.sip.message import MalformedMessage, Message, address, read
from msrp_worker.sip.outbox import RETRY_AFTER, Batch, Entry, LegCounters, LegOwner, LegStore, Outbox
from msrp_worker.sip.port import (
    AckReceived,
    CancelInvite,
    CancelReceived,
    Command,
    Headers,
    Port,
    PortEvent,
    Reply,
    RequestReceived,
    RequestTimedOut,
    ResponseReceived,
)
from msrp_worker.sip.record import differs, record_of
from msrp_worker.sip.routing import Invites, Recent, Waiting
from msrp_worker.sip.sender import Sender
from msrp_worker.sip.timers import Timers
from msrp_worker.store.legs import LegRecord

log = logging.getLogger("im.legs")

MAX_LEGS = 50_000
"""Legs of one worker, some 6 KiB each; beyond them an INVITE gets 503."""
MAX_WAITING = 10_000
"""INVITEs handed to their procedure and not decided yet."""
WAIT_S = 60.0
"""How long such a decision may take; Kamailio gives up sooner."""
REMEMBERED = 10_000
"""Ended dialogs, and CANCELs that came before their INVITE: enough for the seconds in which they matter."""
INSIDE_ONLY = frozenset({"INVITE", "BYE", "PRACK", "UPDATE", "INFO"})
"""Methods that make no sense inside a dialog that no leg has; others may belong to a subscription."""


class TooManyLegs(Exception):  # noqa: N818 - named after what is the case
    """The table of legs is full; nothing was sent."""


Outside = Callable[[TransactionId, Message], None]
"""Takes a request that belongs to no leg: `take` it as a leg, or `reply`."""


class LegManager:
    """All legs of this worker. Runs on one event loop; every method but `restore` and `close` returns at once."""

    def __init__(
        self,
        port: Port,
        store: LegStore,
        node: str,
        outside: Outside,
        *,
        on_other_response: Callable[[ResponseReceived], None] = lambda event: None,
        max_legs: int = MAX_LEGS,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: secrets.token_hex(12),
    ) -> None:
        self.counters = LegCounters()
        self.node = node
        self.clock = clock or asyncio.get_running_loop().time
        self.sender = Sender(port, self.clock)
        self._outside = outside
        self._on_other_response = on_other_response
        self._max_legs = max_legs
        self.epoch = wall() - self.clock()
        """Seconds since 1970 at which the clock of the legs was 0; fixed, so that the same time is the same number."""
        self._chance = chance
        self._new_id = new_id
        self._entries: dict[LegId, Entry] = {}
        self._invites = Invites()
        self._waiting: Recent[TransactionId, Waiting] = Recent(MAX_WAITING)
        self._merged: dict[tuple[str, str, int], TransactionId] = {}
        self._early_cancels: Recent[TransactionId, None] = Recent(REMEMBERED)
        self._ended: Recent[tuple[str, str, str], None] = Recent(REMEMBERED)
        self.timers: Timers[Entry] = Timers(self.clock, lambda entry: self._step(entry, Tick()))
        self._outbox = Outbox(self.sender, store, self.counters, self._never_was)

    # --- for owners ---

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, leg_id: LegId) -> Leg | None:
        """A leg as it is now."""
        entry = self._entries.get(leg_id)
        return None if entry is None else entry.leg

    def owner_of(self, leg_id: LegId) -> LegOwner | None:
        """Whom a leg belongs to, None when it is gone."""
        entry = self._entries.get(leg_id)
        return None if entry is None else entry.owner

    def call(self, invitation: Invitation, owner: LegOwner, policy: LegPolicy | None = None) -> LegId:
        """Send an INVITE; its leg. TooManyLegs."""
        if len(self._entries) >= self._max_legs:
            raise TooManyLegs(f"{self._max_legs} legs")
        made, effects = caller.call(invitation, policy or LegPolicy(), self._new_id(), self._new_id(), 1, self.clock())
        entry = self._add(made, owner)
        self._applied(entry, made, effects)
        return made.identity

    def take(
        self, transaction: TransactionId, owner: LegOwner, contact: str, policy: LegPolicy | None = None
    ) -> LegId | None:
        """Make a leg of an INVITE that `outside` was given; None when it was refused or cancelled meanwhile.

        `contact` is the whole Contact value of our responses. The owner hears nothing before it orders something.
        """
        waiting = self._waiting.pop(transaction)
        if waiting is None:
            return None
        self._merged.pop(_merge_key(waiting.request), None)
        if waiting.cancelled:
            return None
        tag = self._new_id()
        if len(self._entries) >= self._max_legs:
            self._refuse(transaction, waiting.request, tag, Refusal(503, "Service Unavailable", RETRY_AFTER))
            return None
        made = answer_call(waiting.request, transaction, policy or LegPolicy(), contact, tag, self.clock(), self._chance())
        if isinstance(made, Refusal):
            self._refuse(transaction, waiting.request, tag, made)
            return None
        entry = self._add(made, owner)
        self._invites.add(made.identity, transaction)
        entry.merge_key = _merge_key(waiting.request)
        self._merged[entry.merge_key] = transaction
        self._applied(entry, made, [])
        return made.identity

    def hand_over(self, leg_id: LegId, owner: LegOwner, contact: str) -> bool:
        """Give a leg that has not been answered to another owner, with the Contact of that one; False when it is gone."""
        entry = self._entries.get(leg_id)
        if entry is None or entry.leg.phase in ENDED:
            return False
        entry.owner = owner
        entry.leg = replace(entry.leg, dialog=replace(entry.leg.dialog, contact=contact))
        return True

    def dismiss(self, transaction: TransactionId) -> None:
        """An INVITE that `outside` was given becomes no leg here and is answered elsewhere: it may come by once more."""
        waiting = self._waiting.pop(transaction)
        if waiting is not None:
            self._merged.pop(_merge_key(waiting.request), None)

    def reply(
        self,
        transaction: TransactionId,
        request: Message,
        status: int,
        reason: str,
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        """Answer a request outside any leg with a final response."""
        waiting = self._waiting.pop(transaction)
        if waiting is not None:
            self._merged.pop(_merge_key(request), None)
            if waiting.cancelled:
                return
        self._reply(transaction, request, status, reason, headers, body)

    def order(self, leg_id: LegId, order: Order) -> bool:
        """Give an order; False when the leg is gone. ValueError for one that lacks what it needs (no leg changes then)."""
        entry = self._entries.get(leg_id)
        if entry is None:
            return False
        self._applied(entry, *leg.step(entry.leg, order, self.clock(), self._chance()))
        return True

    def replaced(self, header: replaces.Replaces) -> LegId | replaces.Refused:  # CNF-11
        """The leg that a Replaces header means, to be released when the new one is accepted; or the INVITE's refusal."""
        leg_id = (header.call_id, header.local_tag)
        entry = self._entries.get(leg_id)
        stages = []
        if entry is not None and replaces.means(header, *leg_id, _peer_tag(entry.leg, header.remote_tag)):
            stages.append(_stage(entry.leg))
        elif (header.call_id, header.local_tag, header.remote_tag) in self._ended:
            stages.append(replaces.Stage.ENDED)
        return replaces.judge(header, stages) or leg_id

    # --- events ---

    def handle(self, event: PortEvent) -> None:
        """Take an event of Kamailio."""
        try:
            match event:
                case RequestReceived(transaction, message):
                    self._request(transaction, message)
                case AckReceived(message):
                    ack = read(message)
                    self._step_if((ack.call_id, ack.to_tag), Ack(ack))
                case CancelReceived(transaction):
                    self._cancelled(transaction)
                case ResponseReceived():
                    self._response(event)
                case RequestTimedOut():
                    timed_out = TimedOut(event.method, event.cseq, event.remote_tag)
                    self._step_if((event.call_id, event.local_tag), timed_out)
        except MalformedMessage as error:
            self.counters.malformed += 1
            log.info("dropped what cannot be read: %s", error)

    def _request(self, transaction: TransactionId, data: bytes) -> None:
        try:
            request = read(data)
        except MalformedMessage as error:
            self.counters.malformed += 1
            warning = ("Warning", f'399 {self.node} "{error}"')
            self.sender.send(Reply(transaction, 400, "Bad Request", self._new_id(), (warning,)), "")
            return
        leg_id = request.call_id, request.to_tag
        if transaction in self._early_cancels:
            self._early_cancels.pop(transaction)
            return  # overtaken by its CANCEL; tm has answered both
        if request.to_tag and leg_id in self._entries:
            if request.method == "INVITE":
                self._invites.add(leg_id, transaction)
            self._step(self._entries[leg_id], Request(transaction, request))
        elif request.to_tag and request.method in INSIDE_ONLY:
            self.counters.unmatched += 1
            self._reply(transaction, request, 481, "Call/Transaction Does Not Exist")
        elif request.method == "INVITE":
            self._invited(transaction, request)
        else:
            self._outside(transaction, request)

    def _invited(self, transaction: TransactionId, request: Message) -> None:
        merged = self._merged.setdefault(_merge_key(request), transaction)
        if merged != transaction:
            self.counters.refused += 1
            self._reply(transaction, request, 482, "Loop Detected")  # RFC 3261 8.2.2.2
            return
        self._purge()
        if len(self._waiting) >= MAX_WAITING:
            self.counters.refused += 1
            self._merged.pop(_merge_key(request), None)
            self._reply(transaction, request, 503, "Service Unavailable", RETRY_AFTER)
            return
        self._waiting.add(transaction, Waiting(request, self.clock()))
        self._outside(transaction, request)

    def _purge(self) -> None:
        """Forget INVITEs that their procedure never decided; Kamailio has answered them long ago."""
        limit = self.clock() - WAIT_S
        while (oldest := self._waiting.oldest()) is not None and oldest[1].since <= limit:
            self.dismiss(oldest[0])

    def _cancelled(self, transaction: TransactionId) -> None:
        leg_id = self._invites.legs.get(transaction)
        waiting = self._waiting.get(transaction)
        if leg_id is not None:
            self._step_if(leg_id, Cancelled(transaction))
        elif waiting is not None:
            waiting.cancelled = True
        else:
            self._early_cancels.add(transaction, None)

    def _response(self, event: ResponseReceived) -> None:
        response = read(event.message)
        entry = self._entries.get((response.call_id, response.from_tag))
        if entry is not None:
            self._step(entry, Response(response))
        elif response.method == "INVITE":
            self._stray(response)
        else:
            self._on_other_response(event)

    def _stray(self, response: Message) -> None:  # SEC-06
        """An answer to an INVITE that no leg waits for: the worker was away, or gave up before. It is ended."""
        if not 100 < response.status < 300:
            return
        dialog_id = response.call_id, response.from_tag, response.to_tag
        if response.status < 200:
            if (*dialog_id[:2], "") not in self._ended and self._ended.add((*dialog_id[:2], ""), None):
                self.counters.stray += 1
                self.sender.send(CancelInvite(response.call_id, response.cseq), response.call_id)
            return
        if not self._ended.add(dialog_id, None):
            return  # of a leg that is over, or repeated
        uris = address(response.first("from")), address(response.first("to"))
        commands = caller.release(response, *uris, f"<{uris[0]}>", caller.UNWANTED)
        self.counters.stray += bool(commands)
        for command in commands:
            self.sender.send(command, response.call_id)

    # --- steps ---

    def _step_if(self, leg_id: LegId, what: Input) -> None:
        entry = self._entries.get(leg_id)
        if entry is not None:
            self._step(entry, what)

    def _step(self, entry: Entry, what: Input) -> None:
        """One step. A bug in it is logged and costs at most this leg: its request gets 500, a timer ends the leg."""
        try:
            after, effects = leg.step(entry.leg, what, self.clock(), self._chance())
        except Exception:
            self.counters.failures += 1
            log.exception("leg %s failed on %s", entry.leg.identity, type(what).__name__)
            if isinstance(what, Request):
                self._reply(what.transaction, what.message, 500, "Server Internal Error")
            if not isinstance(what, Tick):
                return
            after, effects = leg.abandon(entry.leg)
        self._applied(entry, after, effects)

    def _add(self, made: Leg, owner: LegOwner) -> Entry:
        entry = Entry(made, owner)
        self._entries[made.identity] = entry
        self.counters.created += 1
        return entry

    def adopt(self, made: Leg, owner: LegOwner, stored: LegRecord) -> None:
        """Take over a leg of the worker before us."""
        entry = self._add(made, owner)
        entry.stored = stored
        self._schedule(entry)

    def _applied(self, entry: Entry, after: Leg, effects: list[Effect]) -> None:
        """Adopt the leg after a step and queue what the step does."""
        entry.leg = after
        owner = (entry.owner.kind, entry.owner.identity)
        record = record_of(after, self.node, owner, self.epoch)
        batch = Batch(effects, gone=after.phase is Phase.TERMINATED)
        if record is not None and differs(entry.stored, record):
            batch.record = record
            batch.promises = entry.stored is None
            entry.stored = record
        if batch.gone:
            self._remove(entry)
        else:
            self._schedule(entry)
        self._outbox.add(entry, batch)
        for effect in effects:
            if isinstance(effect, CancelInvite):
                self._cancel_here(after, effect.cseq)

    def _cancel_here(self, sender: Leg, cseq: int) -> None:  # CNF-30
        """An INVITE of ours that has come back through the core and waits here again (a session of ours with the user of a
        participating function that stays in the path): its CANCEL does not pass Kamailio, which cannot tell the two
        transactions of one Call-ID and CSeq apart, and cancels the one that has no branch.
        """
        transaction = self._merged.get((sender.dialog.call_id, sender.dialog.local_tag, cseq))
        if transaction is None:
            return
        leg_id = self._invites.legs.get(transaction)
        asked = None if leg_id is None else self.find(leg_id)
        if transaction not in self._waiting and (asked is None or asked.transaction != transaction):
            return  # it has its final response
        self._cancelled(transaction)
        reply = Reply(transaction, 487, "Request Terminated", self._new_id())
        self.sender.send(reply, sender.dialog.call_id)

    def _remove(self, entry: Entry) -> None:
        """The leg is over: it hears nothing any more. What it has queued still goes out."""
        made = entry.leg
        self._entries.pop(made.identity, None)
        self._invites.forget(made.identity)
        if entry.merge_key is not None:
            self._merged.pop(entry.merge_key, None)
        self._ended.add(made.dialog.identity, None)
        entry.deadline = None

    def _never_was(self, entry: Entry) -> list[Effect]:
        entry.leg, effects = leg.step(entry.leg, NotStored(), self.clock())
        self._remove(entry)
        return effects

    def _schedule(self, entry: Entry) -> None:
        self.timers.set(entry, entry.leg.next_deadline(), len(self._entries))

    async def close(self) -> None:
        """Stop the timer and let what is being stored be stored; legs stay in the store for the next start."""
        self.timers.close()
        await self._outbox.close()
        self.sender.close()

    # --- replies without a leg ---

    def _refuse(self, transaction: TransactionId, request: Message, tag: str, refusal: Refusal) -> None:
        self.counters.refused += 1
        command: Command = Reply(transaction, refusal.status, refusal.reason, tag, refusal.headers)
        self.sender.send(command, request.call_id)

    def _reply(
        self,
        transaction: TransactionId,
        request: Message,
        status: int,
        reason: str,
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        tag = request.to_tag or self._new_id()
        self.sender.send(Reply(transaction, status, reason, tag, headers, body), request.call_id)


def _merge_key(request: Message) -> tuple[str, str, int]:
    """Requests that are the same on two ways (RFC 3261 8.2.2.2)."""
    return request.call_id, request.from_tag, request.cseq


def _peer_tag(one: Leg, asked: str) -> str:
    """The peer's tag, or that of the early dialog that is asked for."""
    return asked if caller.fork_of(one, asked) is not None else one.dialog.remote_tag


def _stage(one: Leg) -> replaces.Stage:
    if one.phase in ENDED:
        return replaces.Stage.ENDED
    if one.phase in (Phase.CONFIRMED, Phase.ACCEPTED):
        return replaces.Stage.CONFIRMED
    return replaces.Stage.EARLY_OURS if one.phase in caller.WAITING else replaces.Stage.EARLY_THEIRS
