"""One delivery on the wire: carries out what `delivery.step` wants, and tells it what happened.

Owner of the SIP leg and handler of the MSRP session. A push and a retrieval differ in who sent the INVITE.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from msrp_worker import sdp
from msrp_worker.content_types import CPIM, essence
from msrp_worker.cpim import MAX_HEAD_BYTES
from msrp_worker.deferred import delivery
from msrp_worker.deferred.payload import Form, FormPolicy, Payload, form_of, payload_of, sender_shown
from msrp_worker.msrp import MsrpEndpoint, OutgoingMessage, Session, SessionHandler, parse_path, send_from
from msrp_worker.msrp.frames import Request as MsrpRequest
from msrp_worker.offer_answer import LocalEndpoint, LocalPolicy, Negotiated, Refusal, conclude
from msrp_worker.sdp import SdpError, SessionDescription
from msrp_worker.sip.leg_types import (
    Answered,
    Ended,
    LegEvent,
    LegId,
    Offered,
    RefuseOffer,
    Rejected,
    Release,
    Requested,
    Respond,
)
from msrp_worker.sip.message import Message
from msrp_worker.sip.shell import LegManager
from msrp_worker.store.deferred import DeferredEntry, DeferredMessage
from msrp_worker.store.errors import StoreError
from msrp_worker.store.leases import LEASE_S
from msrp_worker.store.store import Store

log = logging.getLogger("im.deferred")

PIECE = 65_536
"""Bytes of a file read at a time."""
CLIENT_GONE = frozenset({408, 481, 503})
"""Outcomes of a SEND that speak of the session, not of the message."""


class Watcher(Protocol):
    """Who is told about a delivery."""

    def delivered(self, session: DeliverySession, messages: Sequence[DeferredMessage]) -> None:
        """These were acknowledged and are deleted."""
        ...

    def over(self, session: DeliverySession) -> None:
        """The delivery and its lease have ended."""
        ...


class DeliverySession(SessionHandler):
    """One delivery to one user."""

    kind = "deferred"

    def __init__(
        self,
        recipient: str,
        identity: str,
        owner: str,
        store: Store,
        legs: LegManager,
        endpoint: MsrpEndpoint,
        watcher: Watcher,
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        form_policy: FormPolicy,
        state_dir: Path,
        push: bool,
        advertisements: bool | None,
    ) -> None:
        self.recipient = recipient
        self.identity = identity
        self.owner = owner
        """Holder of the leases."""
        self.push = push
        self.advertisements = advertisements
        """Delivers group advertisements alone, or all but them; None: both, as its user asked for them (ADV-03)."""
        self.leg: LegId | None = None
        self.media: Session | None = None
        self.state = delivery.Delivery()
        self.store_failed = False
        """It ended because of the store, not because of the client."""
        self.narrowed = False
        """Messages of other senders were left for a delivery of their own."""
        self._store = store
        self._legs = legs
        self._endpoint = endpoint
        self._watcher = watcher
        self._start = start
        self._form_policy = form_policy
        self._form = Form.SIP
        self._state_dir = state_dir
        self._offer: SessionDescription | None = None
        self._senders: dict[str, str] = {}
        self._flying: dict[str, DeferredMessage] = {}
        self._line: Negotiated | None = None
        self._bound = False
        self._sends: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self._sender: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    # --- beginning ---

    def load(self, entries: Sequence[DeferredEntry], *, more: bool) -> None:
        """Deliver these, which are leased to `owner`; `more`: then what else there is."""
        loop = asyncio.get_running_loop()
        self.state = delivery.begin(self._items(entries), loop.time(), more=more)
        self._arm()

    def offered(self, offer: SessionDescription, media: Session) -> None:
        """A push: our offer, and the MSRP session in it."""
        self._offer, self.media = offer, media

    def agreed(self, line: Negotiated, peer: Message) -> None:
        """Offer and answer are exchanged: the line, and the client's message with its Contact and User-Agent."""
        self._line = line
        agent = peer.first("user-agent") or peer.first("server")
        contact = ", ".join(peer.lines("contact"))
        self._form = form_of(self._form_policy, line.remote.accept_types, contact, agent)
        if self._form is Form.CPIM and self.push and self.state.queue:
            self._narrow()
        assert self.media is not None
        fingerprints = line.remote.fingerprints if line.remote.secure else ()
        self.media.set_remote(parse_path(" ".join(line.remote.path)), fingerprints)  # MED-04
        self.tell(delivery.Answered())
        if self._bound:
            self.tell(delivery.Ready())
        if line.active:
            self._start(self._connect(self.media, line))

    def _narrow(self) -> None:
        """Clients of this form take everything in a session for messages of the user that Referred-By names."""
        first = self._senders[self.state.queue[0].message_id]
        mine = tuple(one.message_id for one in self.state.queue if self._senders[one.message_id] == first)
        self.narrowed = True
        self.tell(delivery.Narrowed(mine))

    async def _connect(self, media: Session, line: Negotiated) -> None:
        try:
            await self._endpoint.connect(media, line.connect_to)
        except (OSError, TimeoutError) as error:
            self.tell(delivery.Broken(f"no MSRP connection: {error}"))

    # --- the machine ---

    def tell(self, event: delivery.Event) -> None:
        """Something happened."""
        self.state, effects = delivery.step(self.state, event, asyncio.get_running_loop().time())
        self._arm()
        for effect in effects:
            self._do(effect)

    def _do(self, effect: delivery.Effect) -> None:
        match effect:
            case delivery.Send(message_ids):
                self._sends.put_nowait(message_ids)
                if self._sender is None:
                    self._sender = self._start(self._send_all())
            case delivery.Claim():
                self._start(self._claim())
            case delivery.Delete(message_ids):
                self._start(self._delete(message_ids))
            case delivery.Renew():
                self._start(self._renew())
            case delivery.HangUp(why):
                self._hang_up(why)
            case delivery.Over():
                self._start(self._finish())

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.state.next_deadline()
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, lambda: self.tell(delivery.Tick()))

    def _hang_up(self, why: str) -> None:
        if why:
            log.info("delivery to %s interrupted: %s; the rest stays", self.recipient, why)
        if self.leg is not None:
            reason = "" if not why else 'SIP;cause=503;text="Delivery interrupted"'
            self._legs.order(self.leg, Release(why=reason))
        if self.media is not None:
            self.media.close("delivery over")

    # --- the store ---

    def _items(self, entries: Sequence[DeferredEntry]) -> tuple[delivery.Item, ...]:
        self._senders |= {entry.message_id: sender_shown(entry) for entry in entries}
        return tuple(delivery.Item(entry.message_id, entry.size) for entry in entries)

    async def _claim(self) -> None:
        try:
            leases, kind = self._store.leases, self.advertisements
            entries = await leases.claim(self.recipient, self.owner, alone=self.push, advertisements=kind)
        except StoreError as error:
            self._store_failed(error)
            return
        self.tell(delivery.Claimed(self._items(entries)))

    def _store_failed(self, error: StoreError) -> None:
        self.store_failed = True
        self.tell(delivery.Broken(f"store: {error}"))

    async def _delete(self, message_ids: tuple[str, ...]) -> None:
        try:
            await self._store.deferred.delete(self.recipient, message_ids, kind="delivered")  # DEF-05
        except StoreError as error:
            log.error("delivered messages of %s not deleted: %s", self.recipient, error)
            self.tell(delivery.NotDeleted())
            return
        for message_id in message_ids:
            self._senders.pop(message_id, None)
        gone = [self._flying.pop(message_id) for message_id in message_ids if message_id in self._flying]
        self._watcher.delivered(self, gone)
        self.tell(delivery.Deleted())

    async def _renew(self) -> None:
        try:
            await self._store.leases.renew(self.owner, seconds=LEASE_S)
        except StoreError as error:
            log.warning("lease of a delivery to %s not renewed: %s", self.recipient, error)  # it is tried again in time

    async def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            await self._store.leases.release(self.owner)  # DEF-13
        except StoreError as error:
            log.warning("lease of a delivery to %s not released, it ends by itself: %s", self.recipient, error)
        if isinstance(self._sender, asyncio.Task):
            self._sender.cancel()
        self._watcher.over(self)

    # --- sending ---

    async def _send_all(self) -> None:
        """Send what is to be sent, in order, one after the other."""
        while True:
            message_ids = await self._sends.get()
            try:
                messages = await self._store.deferred.get_many(self.recipient, message_ids)
            except StoreError as error:
                self._store_failed(error)
                return
            there = {message.message_id: message for message in messages}
            for message_id in message_ids:
                message = there.get(message_id)
                if message is None or not await self._send(message):
                    self.tell(delivery.Skipped(message_id))

    async def _send(self, message: DeferredMessage) -> bool:
        """Send one message; False when it cannot be sent to this client."""
        assert self.media is not None and self._line is not None
        try:
            payload = payload_of(message, self._form)
        except ValueError as error:
            log.error("deferred message %s cannot be read: %s", message.message_id, error)
            return False
        size = len(payload.head) + len(payload.tail) + self._file_size(message)
        limit = self._line.max_send_size
        if limit is not None and size > limit:
            log.info("deferred message %s has %d bytes, the client takes %d", message.message_id, size, limit)
            return False
        # The same each time, so that a client knows a message that comes once more.
        msrp_id = f"dm-{message.message_id.partition('@')[0]}"
        relayed = len(self._line.remote.path) > 1
        self._flying[message.message_id] = await self._to_report(message)
        if message.content_path is not None:
            source = self._pieces(payload, self._state_dir / message.content_path)
            try:
                sent = await send_from(
                    self.media, source, payload.content_type, total=size, message_id=msrp_id, success_report=relayed
                )
            except (OSError, ValueError) as error:
                log.error("content of deferred message %s: %s", message.message_id, error)
                return False
        else:
            try:
                sent = self.media.send(payload.head, payload.content_type, message_id=msrp_id, success_report=relayed)
            except ValueError as error:  # a content type that is none
                log.error("deferred message %s cannot be sent: %s", message.message_id, error)
                return False
        sent.context = message.message_id
        if sent.status is not None:
            self._outcome(sent, relayed)
        else:
            sent.on_done = lambda done: self._outcome(done, relayed)
        return True

    async def _to_report(self, message: DeferredMessage) -> DeferredMessage:
        """What is needed to report its delivery: of a large one the envelope, because its file goes with its row."""
        if message.content_path is None or essence(message.content_type) != CPIM:
            return message
        path = self._state_dir / message.content_path
        try:
            head = await asyncio.to_thread(_read_head, path)
        except OSError:
            return message  # sending it will fail, and say so
        return replace(message, message=b"\r\n\r\n" + head, content_path=None)

    def _file_size(self, message: DeferredMessage) -> int:
        if message.content_path is None:
            return 0
        try:
            return (self._state_dir / message.content_path).stat().st_size
        except OSError:
            return 0

    async def _pieces(self, payload: Payload, path: Path) -> AsyncIterator[bytes]:
        yield payload.head
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
                self.tell(delivery.Progress())
        if payload.tail:
            yield payload.tail

    def _outcome(self, sent: OutgoingMessage, relayed: bool) -> None:
        """A SEND has its response. Behind a relay that says nothing of the client, whose report is waited for."""
        assert isinstance(sent.context, str) and sent.status is not None
        if sent.status != 200:
            self._failed(sent.context, sent.status)
        elif not relayed:
            self.tell(delivery.Acknowledged(sent.context))
        elif sent.reported is not None:
            self._reported(sent)
        else:
            sent.on_report = self._reported

    def _reported(self, sent: OutgoingMessage) -> None:
        assert isinstance(sent.context, str) and sent.reported is not None
        if sent.reported == 200:
            self.tell(delivery.Acknowledged(sent.context))
        else:
            self._failed(sent.context, sent.reported)

    def _failed(self, message_id: str, status: int) -> None:
        self._flying.pop(message_id, None)
        if status in CLIENT_GONE:
            self.tell(delivery.Broken(f"SEND {status}"))
        else:
            log.info("deferred message %s refused by the client of %s: %d", message_id, self.recipient, status)
            self.tell(delivery.Skipped(message_id))

    # --- SessionHandler ---

    def bound(self, session: Session) -> None:
        self._bound = True
        self.tell(delivery.Ready())

    def request(self, session: Session, request: MsrpRequest) -> int | None:
        return 501

    def closed(self, session: Session, reason: str) -> None:
        self.tell(delivery.Broken(f"MSRP session ended: {reason}"))

    # --- LegOwner ---

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """See `sip.outbox.LegOwner`."""
        match event:
            case Answered() if self._offer is not None:
                self._answered(self._offer, event)
            case Rejected():
                self.leg = None
                self.tell(delivery.Broken(f"INVITE {event.status} {event.reason}"))
            case Ended():
                self.leg = None
                self.tell(delivery.Broken(f"session ended: {event.cause.value}"))
            case Offered():
                self._legs.order(leg_id, RefuseOffer())
            case Requested():
                respond = Respond(transaction=event.transaction, status=405, reason="Method Not Allowed")
                self._legs.order(leg_id, respond)
            case _:
                pass

    def _answered(self, offer: SessionDescription, event: Answered) -> None:
        assert self.media is not None
        policy = LocalPolicy(LocalEndpoint(self.media.local.host), sdp.Origin("-", "0", 0, "127.0.0.1"), (), cema=False)
        try:
            lines = conclude(offer, sdp.parse(event.sdp), policy)
        except SdpError as error:
            lines = Refusal(488, str(error))
        if isinstance(lines, Refusal):
            self.tell(delivery.Broken(f"answer: {lines.reason}"))
        elif not lines[0].sends:
            self.tell(delivery.Broken("answer: the client takes nothing"))
        else:
            self.agreed(lines[0], event.message)


def _read_head(path: Path) -> bytes:
    """As much of the content as an envelope may have."""
    with path.open("rb") as file:
        return file.read(MAX_HEAD_BYTES)
