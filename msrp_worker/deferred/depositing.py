"""The store as automaton: takes large messages for those who are away (LRG-04, PFS-16, 6.2.8.3, 10.3.2.2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from kemi.messages import SipRequest, TransactionId
from msrp_worker import sdp
from msrp_worker.config import Config
from msrp_worker.deferred.deposit import Deposit
from msrp_worker.deferred.large_message import expected
from msrp_worker.deferred.request import DEFERRED_USER, Refused
from msrp_worker.functions import Functions
from msrp_worker.media_session import new_session_id, reachable, source_host
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.offer_answer import Answer, LocalPolicy, Refusal, answer
from msrp_worker.sdp import Origin
from msrp_worker.sip.leg_types import LegId, LegPolicy, Refuse
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store
from msrp_worker.store.trace import TraceEvent

log = logging.getLogger("im.deferred")

MOST: Final = 1000
"""Large messages taken at once, each with at most a MiB of memory and a file."""
MOST_OF_SENDER: Final = 50
"""Of one sender: more than a person sends at once, few enough that nobody takes all (SEC-02)."""
CLOSE_S: Final = 2.0
"""How long those may take to end when the worker stops, in seconds."""
SETTLE_S: Final = 5.0
"""Seconds after which a write whose outcome is not known has happened or never will."""
NO_SUCH_USER: Final = 404
ALLOW: Final = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "OPTIONS")
FEATURES: Final = ";automata;+g.oma.sip-im"


class DepositFunction:
    """All large messages being taken by this worker; `stored` is told for whom one was kept."""

    def __init__(
        self,
        store: Store,
        functions: Functions,
        endpoint: MsrpEndpoint,
        config: Config,
        node: str,
        stored: Callable[[str], None],
    ) -> None:
        self._store = store
        self._functions = functions
        self._endpoint = endpoint
        self._config = config
        self._node = node
        self._on_stored = stored
        host = f"[{config.listen}]" if ":" in config.listen else config.listen
        self._own = f"{host}:{config.sip_port}"
        self._uri = f"sip:{DEFERRED_USER}@{config.domain}"
        self._deposits: dict[str, Deposit] = {}
        self._reserved: Counter[str] = Counter()
        """Bytes by recipient."""
        self._sending: Counter[str] = Counter()
        """Sessions by sender."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._none_left = asyncio.Event()
        self._closing = False
        functions.register("deferring", self._take)

    def __len__(self) -> int:
        return len(self._deposits)

    async def open(self) -> None:
        """Remove what the worker before us left: files that were not complete when it died, or whose row is gone."""
        files = self._store.deferred.files
        orphans = await self._store.deferred.without_row(await asyncio.to_thread(files.of_node, self._node))
        await asyncio.to_thread(files.remove, orphans)
        if orphans:
            log.info("LRG-04 removed %d files of messages that are not stored", len(orphans))

    async def close(self) -> None:
        """End all sessions; what is not complete is removed."""
        self._closing = True
        for deposit in list(self._deposits.values()):
            deposit.release("Shutting down")
        if self._deposits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- INVITEs ---

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        if request.method != "INVITE":
            self._functions.legs.reply(transaction, request, 405, "Method Not Allowed", (("Allow", ", ".join(ALLOW)),))
            return
        self._start(self._answer(transaction, request, asked))

    async def _answer(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """An INVITE that came here at once."""
        agreed = await self._judged(request, asked)
        legs = self._functions.legs
        if isinstance(agreed, Refused):
            legs.reply(transaction, request, agreed.status, agreed.reason, self._warning(asked, agreed))
            return
        deposit, description = agreed
        leg = legs.take(transaction, deposit, deposit.contact, LegPolicy(allow=ALLOW))
        if leg is None:
            self._over(deposit)  # cancelled meanwhile
        else:
            self._accept(deposit, leg, description)

    async def take_over(self, leg: LegId, request: Message, asked: SipRequest, failure: Refuse) -> None:
        """Answer an INVITE whose leg somebody else has taken and could not bring to the recipient (PFS-16): with
        `failure` when the recipient is not served here, whose own server would have kept the message."""
        agreed = await self._judged(request, asked)
        legs = self._functions.legs
        if isinstance(agreed, Refused):
            if agreed.status != NO_SUCH_USER:
                failure = Refuse(status=agreed.status, reason=agreed.reason, headers=self._warning(asked, agreed))
            legs.order(leg, failure)
            return
        deposit, description = agreed
        if legs.hand_over(leg, deposit, deposit.contact):
            self._accept(deposit, leg, description)
        else:
            self._over(deposit)

    def _accept(self, deposit: Deposit, leg: LegId, description: Answer) -> None:
        try:
            deposit.accept(leg, description, self._uri)
        except ValueError as error:
            log.error("Call-ID %s: no session: %s", leg[0], error)
            deposit.release("No session")

    async def _judged(self, request: Message, asked: SipRequest) -> tuple[Deposit, Answer] | Refused:
        try:
            return await self._agree(request, asked)
        except Exception:  # SEC-05: a bug is no reason to let a client wait
            log.exception("Call-ID %s", request.call_id)
            return Refused(500, "Server Internal Error", "Internal error", "SEC-05")

    async def _agree(self, request: Message, asked: SipRequest) -> tuple[Deposit, Answer] | Refused:
        """Whether the message can be taken: the checks of 6.2.6.1 and 10.3.2.2, then room."""
        try:
            facts = await self._store.users.facts(asked.recipient)
            if facts is None:
                return Refused(NO_SUCH_USER, "Not Found", "No such user", "COR-04")
            offered = sdp.parse(request.sdp)
            lines = expected(offered, facts.large_max_size)
            if isinstance(lines, Refused):
                return lines
            host = await self._endpoint.local_host(source_host(asked.source))
            usage = await self._store.deferred.usage(asked.recipient)
        except sdp.SdpError as error:
            return Refused(400, "Bad Request", f"Session description: {error}", "LRG-04")
        except StoreError as error:
            log.error("Call-ID %s: large message not taken: %s", request.call_id, error)
            return Refused(503, "Service Unavailable", "Message store unavailable", "LRG-04")
        # From here to the reservation nothing else runs.
        size = self._reserved[asked.recipient] + sum(line.size for line in lines)
        if not self._store.deferred.fits(usage, len(lines), size):
            return Refused(480, "Temporarily Unavailable", "Recipient's message store is full", "DEF-11")  # DEF-11
        full = len(self._deposits) >= MOST or self._sending[asked.originator] >= MOST_OF_SENDER
        if full or self._closing:
            return Refused(503, "Service Unavailable", "Too many large messages", "SEC-06")
        policy = LocalPolicy(
            reachable(self._endpoint, host, self._config.http_port),
            _origin(host),
            tuple(new_session_id() for _ in lines),
            accept_types=facts.content_types,  # PAG-03
            accept_wrapped_types=facts.content_types,
            max_size=facts.large_max_size,
            sends=False,
            cema=False,
        )
        agreed = answer(offered, policy)
        if isinstance(agreed, Refusal):
            return Refused(agreed.status, "Not Acceptable Here", agreed.reason, "PAG-03")
        taken = {line.index for line in agreed.lines}
        identity = secrets.token_hex(8)
        deposit = Deposit(
            identity,
            asked,
            request,
            f"<sip:im-leg-{identity}@{self._own}>{FEATURES}",  # LRG-04
            tuple(line for line in lines if line.index in taken),
            store=self._store,
            legs=self._functions.legs,
            endpoint=self._endpoint,
            node=self._node,
            start=self._start,
            stored=self._on_stored,
            settle=self._settle,
            over=self._over,
        )
        self._deposits[identity] = deposit
        self._reserved[asked.recipient] += deposit.reserved
        self._sending[asked.originator] += 1
        self._store.trace.add(_received(asked))
        return deposit, agreed

    def _warning(self, asked: SipRequest, refused: Refused) -> Headers:
        text = refused.warning.replace("\\", "").replace('"', "'")
        log.info("%s refused %d, Call-ID %s: %s", refused.requirement, refused.status, asked.call_id, text)
        self._store.trace.add(_refused(asked, refused))
        headers: Headers = (("Warning", f'399 {self._config.domain} "{text}"'),)
        return (*headers, ("Retry-After", "5")) if refused.status == 503 else headers

    # --- what deposits tell ---

    def _over(self, deposit: Deposit) -> None:
        if self._deposits.pop(deposit.identity, None) is None:
            return
        for counter, key, number in (
            (self._reserved, deposit.recipient, deposit.reserved),
            (self._sending, deposit.sender, 1),
        ):
            counter[key] -= number
            if counter[key] <= 0:
                del counter[key]
        if self._closing and not self._deposits:
            self._none_left.set()

    def _settle(self, path: str) -> None:
        """The store did not say whether it has the row of this file: look when it must be known."""
        self._start(self._settled(path))

    async def _settled(self, path: str) -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            try:
                orphans = await self._store.deferred.without_row([path])
            except StoreError as error:
                log.warning("not known whether %s is stored: %s", path, error)
                continue
            await asyncio.to_thread(self._store.deferred.files.remove, orphans)
            return

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("large message", exc_info=error)


def _origin(host: str) -> Origin:
    number = int(time.time())
    return Origin("-", str(number), number, host, "IP6" if ":" in host else "IP4")


def _received(asked: SipRequest) -> TraceEvent:
    return TraceEvent(
        time=time.time(),
        call_id=asked.call_id,
        kind="received",
        originator=asked.originator,
        recipient=asked.recipient,
        private=asked.anonymous,
    )


def _refused(asked: SipRequest, refused: Refused) -> TraceEvent:
    return TraceEvent(
        time=time.time(),
        call_id=asked.call_id,
        kind="refused",
        originator=asked.originator,
        recipient=asked.recipient,
        status=refused.status,
        requirement=refused.requirement,
        detail=refused.warning,
        private=asked.anonymous,
    )
