"""The participating function: takes INVITEs that are to have their media through this server (PFS-02)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from kemi.messages import SipRequest, TransactionId
from msrp_worker.config import Config
from msrp_worker.functions import Functions
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.media_session import source_host
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.msrp.hop import HopPolicy
from msrp_worker.participating.foci import Foci
from msrp_worker.participating.media import BridgedMedia
from msrp_worker.participating.relay import in_brackets
from msrp_worker.participating.session import ParticipatingSession
from msrp_worker.sdp import Origin
from msrp_worker.sip.leg_types import LegId, Refuse
from msrp_worker.sip.message import Message

log = logging.getLogger("im.participating")

MAX_RINGING = 100
"""Invitations of one recipient without an answer, beyond which a new one gets 503: more than a person can look at, and a
storm of them takes little of the worker (SEC-02)."""
RINGING_RETRY_S = 10
"""Retry-After of that 503, in seconds."""
ANY = ("", "0.0.0.0", "::")  # noqa: S104 - not bound, compared with


Defer = Callable[[LegId, Message, SipRequest, Refuse], Coroutine[Any, Any, None]]


class ParticipatingFunction:
    """All bridged sessions of this worker."""

    def __init__(self, functions: Functions, endpoint: MsrpEndpoint, config: Config, defer: Defer) -> None:
        """`defer` takes the leg of a large message that nobody took, or answers it with the failure (PFS-16)."""
        self._defer = defer
        self._functions = functions
        self._endpoint = endpoint
        self._config = config
        self._sessions: dict[str, ParticipatingSession] = {}
        self._ringing: Counter[tuple[str, str]] = Counter()
        self._foci = Foci(asyncio.get_running_loop().time)
        self._tasks: set[asyncio.Task[None]] = set()
        self.observer: Callable[[SipRequest], HopPolicy | None] = lambda asked: None
        """Who sees the content of a session: a recorder, where `records_originator` or `records_recipient` asks for it
        (PFS-14)."""
        self.storms = 0
        """Invitations refused because their recipient had too many."""
        functions.register("participating", self._take)

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> Collection[ParticipatingSession]:
        """All sessions, in the order in which they began."""
        return self._sessions.values()

    def focus(self, user: str) -> str:
        """The URI of the focus that stands behind the user part of a Contact of ours; empty when there is none (PFS-06).

        It is known while its session lasts, and some time longer for those who come back (PFS-11).
        """
        token = user.removeprefix(LEG_TAG)
        session = self._sessions.get(token)
        return session.focus if session is not None else self._foci.find(token)

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        if request.method != "INVITE":
            self._functions.legs.reply(transaction, request, 405, "Method Not Allowed", (("Allow", "INVITE"),))
            return
        if self._ringing[asked.recipient, asked.side] >= MAX_RINGING:
            self.storms += 1
            headers = (("Retry-After", str(RINGING_RETRY_S)),)
            self._functions.legs.reply(transaction, request, 503, "Service Unavailable", headers)
            return
        self._ringing[asked.recipient, asked.side] += 1
        self._start(self._begin_or_refuse(transaction, request, asked))

    async def _begin_or_refuse(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        token = secrets.token_hex(8)
        try:
            await self._begin(token, transaction, request, asked)
        except Exception:  # SEC-05: a bug is no reason to let a client wait
            log.exception("Call-ID %s", request.call_id)
            session = self._sessions.get(token)
            if session is None:
                self._rings_no_more(asked.recipient, asked.side)
            if session is None or not session.fail():
                self._functions.legs.reply(transaction, request, 500, "Server Internal Error")

    async def _begin(self, token: str, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        source = source_host(asked.source)
        host = await self._endpoint.local_host(source)
        media = BridgedMedia(
            self._endpoint,
            host,
            lambda: _origin(host),
            self._start,
            max_size=self._config.large_max_size,
            ws_port=self._config.http_port,  # MED-11
            addresses=frozenset({source or ""}) if self._config.msrp_address_check else None,  # MED-10
            observer=self.observer(asked),
            on_lost=lambda reason: self._lost(token, reason),
        )
        contact = f"sip:{LEG_TAG}{token}@{self._reached(asked, host)}"
        session = ParticipatingSession(self._functions.legs, media, contact, token, asked.recipient, self._ended)
        if asked.side != "originating":  # there the recipient's own server keeps it
            session.defer = lambda leg, failure: self._start(self._defer(leg, request, asked, failure))
        session.on_answered = self._no_longer_rings
        self._sessions[token] = session
        session.begin(transaction, request, asked)

    def _reached(self, asked: SipRequest, host: str) -> str:
        """Host and port of our Contact: where a separate core has reached us, it does so again (COR-05)."""
        known, _, port = asked.core_reached.rpartition(":")
        if known.strip("[]") in ANY:
            known = host if self._config.listen in ANY else self._config.listen
        return f"{in_brackets(known)}:{port or self._config.sip_port}"

    def _lost(self, token: str, reason: str) -> None:
        session = self._sessions.get(token)
        if session is not None:
            session.lost(reason)

    def _no_longer_rings(self, session: ParticipatingSession) -> None:
        self._rings_no_more(session.recipient, session.side)

    def _rings_no_more(self, recipient: str, side: str) -> None:
        self._ringing[recipient, side] -= 1
        if self._ringing[recipient, side] <= 0:
            del self._ringing[recipient, side]

    def _ended(self, session: ParticipatingSession) -> None:
        if not session.answered:
            self._no_longer_rings(session)
        token = session.identity
        self._sessions.pop(token, None)
        if session.focus:
            self._foci.remember(token, session.focus)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("participating function", exc_info=error)


def _origin(host: str) -> Origin:
    """An o= line of our own: nothing of either side is in it (IDN-04)."""
    number = str(int(time.time()))
    return Origin("-", number, int(number), host, "IP6" if ":" in host else "IP4")
