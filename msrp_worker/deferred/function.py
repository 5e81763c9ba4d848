"""The Deferred Messaging Function: when something is delivered, to whom, and who is told (chapter 10).

A push is tried when a user registers for IM, switches delivery on, or becomes willing; and when the worker starts, for all
for whom something waits. It goes through the core like any other INVITE, which knows the bindings.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import socket
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from urllib.parse import quote

from kemi.messages import SipRequest, TransactionId
from msrp_worker import address, content_types, cpim, group_advertisement, imdn, sdp
from msrp_worker.config import Config
from msrp_worker.deferred import delivery
from msrp_worker.deferred.notifier import Notifier
from msrp_worker.deferred.payload import FormPolicy, sender_shown
from msrp_worker.deferred.request import DEFERRED_USER, Refused, Wanted, judge, read_request
from msrp_worker.deferred.session import DeliverySession
from msrp_worker.functions import Functions
from msrp_worker.media_session import accepted_session, new_session_id, reachable, source_host
from msrp_worker.msrp import MsrpEndpoint, SessionOptions
from msrp_worker.offer_answer import LocalPolicy, Negotiated, Refusal, answer, offer
from msrp_worker.sdp import Origin
from msrp_worker.sdp_msrp import Direction, MsrpMedia, Setup
from msrp_worker.sip.leg_types import Accept, Invitation, LegPolicy
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Header, SendRequest
from msrp_worker.sip.session_timer import TimerPolicy
from msrp_worker.sip.shell import TooManyLegs
from msrp_worker.store.deferred import DeferredEntry, DeferredMessage
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store
from msrp_worker.store.users import MISS, UserFacts

log = logging.getLogger("im.deferred")

PUSHES: Final = 50
"""Pushes whose INVITE is being prepared at once; after a restart there may be one for every user."""
HELD: Final = 100_000
"""Users remembered for whom something waits that may not be pushed now."""
LATELY_S: Final = 60.0
"""Seconds after a registration in which a message that is stored may have been on its way to an older binding: longer than
`im.cfg` tries that one."""
LOOK_SECONDS: Final = 0.5
"""Between two looks whether settings have changed: how late a push may be after the operator made a user willing."""
STORE_RETRY_S: Final = 5.0
"""Seconds after which a push that the store has interrupted is tried again."""
CLOSE_S: Final = 2.0
"""How long deliveries may take to end when the worker stops, in seconds."""
RING_S: Final = 60.0
"""How long a push may ring, in seconds; automata answer at once."""
ALLOW: Final = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "OPTIONS")
FUNCTION_HEADER: Final = "IM-Function"
"""Tells `im.cfg` that this INVITE is ours: on to the recipient's devices. It goes no further."""
FEATURES: Final = ";automata;+g.oma.sip-im"


class DeferredFunction:
    """All deliveries and subscriptions of this worker."""

    def __init__(self, store: Store, functions: Functions, endpoint: MsrpEndpoint, config: Config) -> None:
        self.pushed = 0
        """Messages delivered by pushes and retrievals."""
        self._store = store
        self._functions = functions
        self._endpoint = endpoint
        self._config = config
        host = f"[{config.listen}]" if ":" in config.listen else config.listen
        self._own = f"{host}:{config.sip_port}"
        self._uri = f"sip:{DEFERRED_USER}@{config.domain}"
        where = f"{socket.gethostname()}:{config.state_dir}:{config.sip_port}"
        self.node = hashlib.sha256(where.encode()).hexdigest()[:16]
        """Names this worker and the ones before it in leases."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: dict[str, DeliverySession] = {}
        self._pushing: dict[str, bool] = {}
        """Recipients of pushes; True: somebody asked for one more meanwhile."""
        self._held: dict[str, None] = {}
        self._came: dict[str, float] = {}
        """Users who became available lately, and when."""
        self._asking: set[str] = set()
        self._closing = False
        self._none_left = asyncio.Event()
        self._room = asyncio.Semaphore(PUSHES)
        self._form = FormPolicy(config.deferred_form)
        self.notifier = Notifier(functions, store, self.start, f"<sip:im-leg-{DEFERRED_USER}@{self._own}>{FEATURES}")
        functions.register("deferred", self._take)

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def pushing(self) -> int:
        """Recipients whose push is under way, or waits for its turn."""
        return len(self._pushing)

    async def open(self) -> None:
        """Begin: the leases of the worker before us are void, and what it did not deliver is tried again. StoreError."""
        freed = await self._store.leases.release_node(self.node)
        if freed:
            log.info("DEF-13 %d messages were on their way when the worker died", freed)
        self.start(self._look())
        self.start(self.notifier.look())
        self.start(self._resume())

    async def close(self) -> None:
        """End all deliveries: what was acknowledged is deleted, the rest stays."""
        self._closing = True
        for session in list(self._deliveries.values()):
            session.tell(delivery.Broken("shutting down"))
        if self._deliveries:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), CLOSE_S)
        self.notifier.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- triggers ---

    def available(self, who: str) -> None:
        """A user has registered for IM, or may have become ready for what waits (COR-09, DEF-12). Returns at once."""
        try:
            recipient = address.canonical(who)
        except ValueError:
            return
        now = asyncio.get_running_loop().time()
        self._came.pop(recipient, None)
        self._came[recipient] = now
        while len(self._came) > HELD or next(iter(self._came.values())) < now - LATELY_S:
            self._came.pop(next(iter(self._came)))
        self._try(recipient)

    def _try(self, recipient: str) -> None:
        if self._closing:
            return
        if recipient in self._pushing:
            self._pushing[recipient] = True
            return
        self._pushing[recipient] = False
        self.start(self._push(recipient))

    def stored(self, recipient: str) -> None:
        """A message was stored for a user (DEF-06)."""
        self.notifier.changed(recipient)
        facts = self._store.users.cached(recipient)
        if facts is not MISS:
            self._hold_unless_ready(recipient, facts)
        elif recipient not in self._asking:
            self._asking.add(recipient)
            self.start(self._ask(recipient))

    async def _ask(self, recipient: str) -> None:
        try:
            self._hold_unless_ready(recipient, await self._store.users.facts(recipient))
        except StoreError as error:
            log.warning("not known whether %s is ready: %s", recipient, error)
        finally:
            self._asking.discard(recipient)

    def _hold_unless_ready(self, recipient: str, facts: UserFacts | None) -> None:
        """One that is ready and still gets no messages is away: its registration will tell (DEF-12). It may have told while
        an older binding was tried in vain (COR-09)."""
        if facts is None:
            return
        if not _is_ready(facts):
            self._hold(recipient)
        elif self._came.get(recipient, float("-inf")) >= asyncio.get_running_loop().time() - LATELY_S:
            self._try(recipient)

    def _hold(self, recipient: str) -> None:
        self._held.pop(recipient, None)
        self._held[recipient] = None
        if len(self._held) > HELD:
            self._held.pop(next(iter(self._held)))

    async def _resume(self) -> None:
        """Push what waits since before the start, page by page."""
        after = ""
        while recipients := await self._store.deferred.recipients(after, PUSHES):
            after = recipients[-1]
            for recipient in recipients:
                self._try(recipient)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        """When settings have changed, those held back may be ready (DEF-12)."""
        seen = self._store.database.revision()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            revision = self._store.database.revision()
            if revision == seen or revision is None:
                continue
            seen = revision
            held, self._held = self._held, {}
            for recipient in held:
                try:
                    facts = await self._store.users.facts(recipient)
                except StoreError as error:
                    log.warning("not known whether %s is ready: %s", recipient, error)
                    facts = None
                if facts is not None and _is_ready(facts):
                    self._try(recipient)
                else:
                    self._hold(recipient)

    # --- push ---

    async def _push(self, recipient: str, *, advertisements: bool = False) -> None:
        """Push what waits; group advertisements behind the rest, in a session for devices that take them (ADV-03)."""
        began = False
        try:
            async with self._room:
                if not advertisements:
                    began = await self._begin_push(recipient, advertisements=False)
                if not began and await self._store.deferred.has_advertisement(recipient):
                    began = await self._begin_push(recipient, advertisements=True)
        except StoreError as error:
            log.error("nothing pushed to %s, tried again in %d s: %s", recipient, STORE_RETRY_S, error)
            self._later(recipient)
        finally:
            if not began:
                self._pushed(recipient, again=self._pushing.get(recipient, False))

    def _later(self, recipient: str) -> None:
        """The store failed, not the client, which is still there and will not register again for that."""
        if not self._closing:
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._try, recipient)

    def _pushed(self, recipient: str, *, again: bool) -> None:
        self._pushing.pop(recipient, None)
        if again:
            self._try(recipient)

    async def _begin_push(self, recipient: str, *, advertisements: bool) -> bool:
        """Send the INVITE of a push; False when there is nothing to push now."""
        facts = await self._store.users.facts(recipient)
        if facts is None:
            return False
        if not _is_ready(facts):
            self._hold(recipient)  # DEF-06: told by message-summary only. DEF-12: pushed once the user is willing
            return False
        session = self._session(recipient, push=True, advertisements=advertisements)
        entries = await self._store.leases.claim(recipient, session.owner, advertisements=advertisements)  # DEF-13
        if not entries:
            await self._wait_for_lease(recipient)
            return False
        session.load(entries, more=True)
        self._deliveries[session.identity] = session
        try:
            await self._invite(recipient, session, entries[0])
        except (TooManyLegs, OSError, ValueError) as error:
            session.tell(delivery.Broken(f"no INVITE: {error}"))
        return True

    async def _invite(self, recipient: str, session: DeliverySession, first: DeferredEntry) -> None:
        """Send the INVITE of 10.3.2.3. TooManyLegs."""
        host = await self._endpoint.local_host(None)
        media = self._endpoint.new_session(session, SessionOptions(), host=host)
        line = MsrpMedia(
            path=(media.local_text,),
            port=media.local.port or 0,
            direction=Direction.SENDONLY,  # DEF-03
            setup=Setup.ACTPASS,
            accept_types=("*",),
        )
        description = offer(_origin(host), host, [line])
        session.offered(description, media)
        policy = LegPolicy(timer=TimerPolicy(ask="uac"), ring_s=RING_S, allow=ALLOW)  # DEF-03
        session.leg = self._functions.legs.call(self._invitation(recipient, session, first, description), session, policy)

    async def _wait_for_lease(self, recipient: str) -> None:
        """Another node delivers, or died while it did: look again when its lease has ended."""
        until = await self._store.leases.held_until(recipient)
        if until is not None and not any(one.recipient == recipient for one in self._deliveries.values()):
            wait = max(1.0, until - time.time())
            asyncio.get_running_loop().call_later(wait, self._try, recipient)

    def _invitation(
        self, recipient: str, session: DeliverySession, first: DeferredEntry, description: sdp.SessionDescription
    ) -> Invitation:
        tags = (
            f"*;+g.oma.sip-im;{group_advertisement.FEATURE_TAG}" if session.advertisements else "*;+g.oma.sip-im"
        )  # ADV-03
        headers: list[Header] = [
            ("Accept-Contact", f"{tags};require;explicit"),
            ("P-Asserted-Identity", f"<{self._uri}>"),  # HDR-07; User-Agent is Kamailio's (HDR-01)
            (FUNCTION_HEADER, "deferred"),
        ]
        if self._form is not FormPolicy.SIP:
            headers.append(("Referred-By", f"<{sender_shown(first)}>"))  # COMPAT(RCS clients): whose messages they are
        return Invitation(
            request_uri=recipient,
            from_uri=self._uri,
            to_uri=recipient,
            contact=self._contact(session),
            sdp=description.build(),
            headers=tuple(headers),
        )

    # --- retrieval ---

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """An INVITE or SUBSCRIBE of a served user."""
        if request.method == "SUBSCRIBE":
            self.notifier.take(transaction, request, asked)
        elif request.method == "INVITE":
            self.start(self._retrieve(transaction, request, asked))
        else:
            self._functions.legs.reply(transaction, request, 405, "Method Not Allowed", (("Allow", ", ".join(ALLOW)),))

    async def _retrieve(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        try:
            refused = await self._begin_retrieval(transaction, request, asked)
        except StoreError as error:
            log.error("Call-ID %s: nothing retrieved: %s", request.call_id, error)
            refused = Refused(503, "Service Unavailable", "Message store unavailable")
        except sdp.SdpError as error:
            refused = Refused(400, "Bad Request", str(error))
        except Exception:  # SEC-05: a bug is no reason to let a client wait
            log.exception("Call-ID %s", request.call_id)
            refused = Refused(500, "Server Internal Error", "Internal error", "SEC-05")
        if refused is not None:
            log.info("%s refused %d, Call-ID %s: %s", refused.requirement, refused.status, request.call_id, refused.warning)
            text = refused.warning.replace("\\", "").replace('"', "'")
            headers = (("Warning", f'399 {self._config.domain} "{text}"'),)
            self._functions.legs.reply(transaction, request, refused.status, refused.reason, headers)

    async def _begin_retrieval(self, transaction: TransactionId, request: Message, asked: SipRequest) -> Refused | None:
        recipient = asked.originator
        content_type = request.first("content-type")
        wanted = read_request(request.request_uri, content_type, request.body, self._config.domain)
        if isinstance(wanted, Wanted) and wanted.message_ids is not None:
            owners = await self._store.deferred.owners(wanted.message_ids)
            wanted = judge(recipient, wanted.message_ids, owners)
        if isinstance(wanted, Refused):
            return wanted
        offered = sdp.parse(request.sdp)
        host = await self._endpoint.local_host(source_host(asked.source))
        policy = LocalPolicy(
            reachable(self._endpoint, host, self._config.http_port),
            _origin(host),
            (new_session_id(),),
            receives=False,
            cema=False,
        )
        agreed = answer(offered, policy)
        if isinstance(agreed, Refusal):
            return Refused(agreed.status, "Not Acceptable Here", agreed.reason)
        session = self._session(recipient, push=False)
        entries = await self._claim(recipient, session.owner, wanted)
        if not entries and wanted.message_ids is not None:
            return Refused(486, "Busy Here", "Another device is getting these messages", "DEF-13")
        session.load(entries, more=wanted.message_ids is None)
        self._deliveries[session.identity] = session
        try:
            self._accept(transaction, request, session, agreed.lines[0], agreed.description.build())
        except ValueError as error:
            session.tell(delivery.Broken(f"no session: {error}"))
            return Refused(500, "Server Internal Error", "No session")
        return None

    async def _claim(self, recipient: str, owner: str, wanted: Wanted) -> list[DeferredEntry]:
        leases = self._store.leases
        if wanted.message_ids is None:
            return await leases.claim(recipient, owner, alone=False)
        return await leases.claim_these(recipient, owner, wanted.message_ids)

    def _accept(
        self, transaction: TransactionId, request: Message, session: DeliverySession, line: Negotiated, description: bytes
    ) -> None:
        """Answer the INVITE of a retrieval (10.3.1)."""
        session.media = accepted_session(self._endpoint, line, session)
        policy = LegPolicy(ring_s=RING_S, allow=ALLOW, understood=frozenset({"recipient-list-invite"}))  # RFC 5366
        session.leg = self._functions.legs.take(transaction, session, self._contact(session), policy)
        if session.leg is None:
            session.tell(delivery.Broken("cancelled"))
            return
        headers = (("P-Asserted-Identity", f"<{self._uri}>"),)  # HDR-07; Server is Kamailio's (HDR-01)
        self._functions.legs.order(session.leg, Accept(sdp=description, headers=headers))
        session.agreed(line, request)

    # --- what deliveries tell ---

    def delivered(self, session: DeliverySession, messages: Sequence[DeferredMessage]) -> None:
        """See `session.Watcher`."""
        self.pushed += len(messages)
        self.notifier.changed(session.recipient)
        for message in messages:
            self._report(message)

    def over(self, session: DeliverySession) -> None:
        """See `session.Watcher`."""
        self._deliveries.pop(session.identity, None)
        if self._closing and not self._deliveries:
            self._none_left.set()
        state = session.state
        if state.delivered:
            log.info("%d deferred messages delivered to %s", state.delivered, session.recipient)
        if session.push:
            more = session.narrowed and state.delivered > 0 and not state.why
            again = more or self._pushing.get(session.recipient, False)
            if again or session.advertisements or self._closing:
                self._pushed(session.recipient, again=again)
            else:
                self.start(self._push(session.recipient, advertisements=True))
            if session.store_failed:
                self._later(session.recipient)

    def _report(self, message: DeferredMessage) -> None:
        """The delivery notification that the sender asked for (PAG-21, RFC 5438 section 7.2.1)."""
        if content_types.essence(message.content_type) != content_types.CPIM or message.content_path is not None:
            return
        body = message.message.partition(b"\r\n\r\n")[2]
        new_id = secrets.token_hex(12)
        try:
            envelope, _ = cpim.parse(body)
            made = imdn.notify(
                envelope, imdn.Kind.DELIVERY, imdn.Status.DELIVERED, recipient=message.recipient, message_id=new_id
            )
        except (ValueError, cpim.CpimError) as error:
            log.info("no notification about %s: %s", message.message_id, error)
            return
        if made is None:
            return
        head, payload = made
        headers = (
            ("From", f"<{message.recipient}>;tag={self._new_tag()}"),
            ("To", f"<{message.originator}>"),
            ("Call-ID", secrets.token_hex(12)),
            ("CSeq", "1 MESSAGE"),
            ("Accept-Contact", "*;+g.oma.sip-im;require;explicit"),
            ("P-Asserted-Identity", f"<{message.recipient}>"),
            ("Content-Type", content_types.CPIM),
        )
        # To whom the sender's home network says the message is from, whatever the envelope claims.
        command = SendRequest("MESSAGE", message.originator, "", headers, head.head + payload)
        self._functions.legs.sender.send(command, message.call_id)

    # --- small things ---

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("deferred messaging", exc_info=error)

    def _session(self, recipient: str, *, push: bool, advertisements: bool | None = None) -> DeliverySession:
        identity = secrets.token_hex(8)
        return DeliverySession(
            recipient,
            identity,
            f"{self.node}/{identity}",
            self._store,
            self._functions.legs,
            self._endpoint,
            self,
            self.start,
            form_policy=self._form,
            state_dir=self._config.state_dir,
            push=push,
            advertisements=advertisements,
        )

    def _contact(self, session: DeliverySession) -> str:
        return f"<sip:im-leg-{quote(session.identity)}@{self._own}>{FEATURES}"  # DEF-03

    @staticmethod
    def _new_tag() -> str:
        return f"im-leg-{secrets.token_hex(8)}"


def _is_ready(facts: UserFacts) -> bool:
    """Whether the user's settings want what waits to be pushed (DEF-06, DEF-12)."""
    return facts.offline_delivery and facts.willing


def _origin(host: str) -> Origin:
    number = int(time.time())
    return Origin("-", str(number), number, host, "IP6" if ":" in host else "IP4")
