"""One large message session whose recipient is away: taken as an automaton, kept, ended by its sender (6.2.8.3, 10.3.2.2).

When a message is whole its file is made durable, then its row, and only then does its sender get the 200 to the last
chunk and the success report: whatever is acknowledged is there after any crash, and whatever is not leaves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate

from msgspec.structs import replace

from kemi.messages import SipRequest
from msrp_worker.deferred.intake import TOO_LARGE, Arriving, Intake, Line, Start
from msrp_worker.deferred.large_message import Expected, bye_bytes, send_bytes, stored_session
from msrp_worker.deferred.payload import StoredSession, session_bytes
from msrp_worker.media_session import accepted_session
from msrp_worker.msrp import MsrpEndpoint, Session
from msrp_worker.offer_answer import Answer, Negotiated
from msrp_worker.sip.leg_types import (
    Accept,
    Cause,
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
from msrp_worker.store.deferred import NewDeferred
from msrp_worker.store.errors import QuotaExceeded, StoreBusy, StoreError
from msrp_worker.store.store import Store

log = logging.getLogger("im.deferred")

SILENCE_S = 60.0
"""Seconds without a byte after which the sender counts as gone. A sender that lives sends, or says BYE."""
GRACE_S = 5.0
"""Seconds that the BYE may come after the MSRP connection has gone, when all is well."""
NOT_KEPT = 403
"""MSRP status of a message that could not be kept for no fault of its size (RFC 4975 section 10.3)."""


class Deposit:
    """One session; owner of its leg. `stored` is told of each message that is kept, `settle` of a file of which it is not
    known whether a row has it, `over` when nothing of the session is left."""

    kind = "deferring"

    def __init__(
        self,
        identity: str,
        asked: SipRequest,
        request: Message,
        contact: str,
        lines: tuple[Expected, ...],
        *,
        store: Store,
        legs: LegManager,
        endpoint: MsrpEndpoint,
        node: str,
        start: Start,
        stored: Callable[[str], None],
        settle: Callable[[str], None],
        over: Callable[[Deposit], None],
    ) -> None:
        self.identity = identity
        self.recipient = asked.recipient
        self.sender = asked.originator
        self.contact = contact
        self.lines = lines
        self._asked = asked
        self._request = request
        self._store = store
        self._legs = legs
        self._endpoint = endpoint
        self._start = start
        self._stored = stored
        self._settle = settle
        self._on_over = over
        self._leg: LegId | None = None
        self._tag = ""
        self._description = b""
        self._kept: dict[str, StoredSession] = {}
        self._bye: Message | None = None
        self._ended = self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._intake = Intake(
            asked.call_id,
            store.deferred.files,
            node,
            start,
            self._keep,
            on_life=self._alive,
            on_rest=self._finish_if_done,
            on_closed=self._media_closed,
        )

    @property
    def reserved(self) -> int:
        """Bytes of the recipient's quota that the session may come to use."""
        return sum(line.size for line in self.lines)

    # --- beginning and end ---

    def accept(self, leg: LegId, answer: Answer, identity: str) -> None:
        """Answer 200 as the automaton of the store, whose address is `identity` (10.3.2.2). ValueError."""
        self._leg, self._tag = leg, leg[1]
        self._description = answer.description.build()
        sizes = {line.index: line.size for line in self.lines}
        sessions = [(accepted_session(self._endpoint, line, self._intake), line) for line in answer.lines]
        for session, line in sessions:
            self._intake.add(session, Line(line.index, sizes[line.index]))
        headers = (("P-Asserted-Identity", f"<{identity}>"), ("Date", formatdate(time.time(), usegmt=True)))
        self._legs.order(leg, Accept(sdp=self._description, headers=headers))  # LRG-04; Server is Kamailio's (HDR-01)
        for session, line in sessions:
            if line.active:
                self._start(self._connect(session, line))
        self._alive()

    def release(self, why: str) -> None:
        """End the session from our side; what is not complete is dropped. `why` is empty when all went well."""
        leg, self._leg = self._leg, None
        if leg is not None:
            self._legs.order(leg, Release(why=f'SIP;cause=503;text="{why}"' if why else ""))
        self._end(why)

    async def _connect(self, session: Session, line: Negotiated) -> None:
        try:
            await self._endpoint.connect(session, line.connect_to)
        except (OSError, TimeoutError) as error:
            log.info("no MSRP connection to the sender, Call-ID %s: %s", self._asked.call_id, error)
            self.release("No MSRP connection")

    def _media_closed(self) -> None:
        if self._kept and not self._intake.busy and not self._ended:
            self._wait(GRACE_S)  # the BYE is on its way
        else:
            self.release("" if self._ended else "Media lost")

    def _end(self, why: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._intake.close(why or "session over")
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._ended and not self._intake.busy and not self._over:
            self._over = True
            self._start(self._finish())

    async def _finish(self) -> None:
        """The BYE that came takes the place of the one that was bound to come."""
        try:
            for message_id, stored in self._kept.items() if self._bye is not None else ():
                changed = session_bytes(replace(stored, bye=self._bye_bytes()))
                await self._store.deferred.complete(self.recipient, message_id, changed)
        except StoreError as error:
            log.warning("BYE of Call-ID %s not stored: %s", self._asked.call_id, error)
        finally:
            self._on_over(self)

    # --- time ---

    def _alive(self) -> None:
        """The sender does something. The timer is moved once a second, not with each chunk."""
        now = asyncio.get_running_loop().time()
        if not self._ended and (self._timer is None or self._timer.when() < now + SILENCE_S - 1.0):
            self._wait(SILENCE_S)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._silent)

    def _silent(self) -> None:
        self._timer = None
        log.info("nothing more came of Call-ID %s", self._asked.call_id)
        self.release("" if self._kept and not self._intake.busy else "Nothing came")

    # --- storing ---

    async def _keep(self, arriving: Arriving) -> tuple[int, str | None]:
        """See `intake.Keep`."""
        path = arriving.writer.path
        stored = self._session_of(arriving)
        try:
            message_id = await self._store.deferred.add(self._new(stored, arriving))
        except QuotaExceeded as error:
            log.warning("DEF-11 Call-ID %s not stored for %s: %s", self._asked.call_id, self.recipient, error)
            await arriving.writer.discard()
            return TOO_LARGE, "Recipient's message store is full"  # DEF-11
        except StoreError as error:
            log.error("Call-ID %s not stored: %s", self._asked.call_id, error)
            if isinstance(error, StoreBusy):
                await arriving.writer.discard()
            else:
                self._settle(path)  # it may be stored all the same
            return NOT_KEPT, "Message store unavailable"
        self._kept[message_id] = stored
        self._stored(self.recipient)
        return 200, None

    def _session_of(self, arriving: Arriving) -> StoredSession:
        private, message = self._asked.anonymous, arriving.message
        send = send_bytes(message, arriving.session.local_text, arriving.writer.size, private=private)
        answer = (self._tag, self.contact, self._description)
        return stored_session(self._request, answer, self._bye_bytes(), send, message.content_type, private=private)

    def _bye_bytes(self) -> bytes:
        target = self.contact.partition("<")[2].partition(">")[0]
        return bye_bytes(self._bye, self._request, self._tag, target, private=self._asked.anonymous)

    def _new(self, stored: StoredSession, arriving: Arriving) -> NewDeferred:
        request, asked, message = self._request, self._asked, arriving.message
        return NewDeferred(
            recipient=self.recipient,
            originator=asked.originator,
            private=asked.anonymous,
            anonymous=asked.anonymous,
            call_id=request.call_id,
            cseq=request.cseq,
            from_tag=f"{request.from_tag} {arriving.line.index} {message.message_id}",
            message=session_bytes(stored),
            content_path=arriving.writer.path,
            content_size=arriving.writer.size,
            content_type=message.content_type,
            subject=request.first("subject"),
            priority=request.first("priority"),
            from_header=request.first("from"),
            to_header=request.first("to"),
            received=time.time(),
        )

    # --- LegOwner ---

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """See `sip.outbox.LegOwner`."""
        match event:
            case Ended() | Rejected():
                self._leg = None
                if isinstance(event, Ended) and event.cause is Cause.BYE:
                    self._bye = event.message
                self._end("session ended")
            case Offered():
                self._legs.order(leg_id, RefuseOffer())
            case Requested():
                respond = Respond(transaction=event.transaction, status=405, reason="Method Not Allowed")
                self._legs.order(leg_id, respond)
            case _:
                pass
