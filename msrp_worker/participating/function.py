"""The participating function: takes INVITEs that are to have their media through this server (PFS-02)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from kemi.messages import SipRequest, TransactionId
from msrp_worker.config import Config
from msrp_worker.functions import Functions
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.participating.media import BridgedMedia
from msrp_worker.participating.session import ParticipatingSession
from msrp_worker.sdp import Origin
from msrp_worker.sip.leg_types import LegId
from msrp_worker.sip.message import Message

log = logging.getLogger("im.participating")


Defer = Callable[[LegId, Message, SipRequest], Coroutine[Any, Any, None]]


class ParticipatingFunction:
    """All bridged sessions of this worker."""

    def __init__(self, functions: Functions, endpoint: MsrpEndpoint, config: Config, defer: Defer) -> None:
        """`defer` takes the leg of a large message that no device of its recipient took (PFS-16)."""
        self._defer = defer
        self._functions = functions
        self._endpoint = endpoint
        self._config = config
        self._sessions: dict[str, ParticipatingSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        functions.register("participating", self._take)

    def __len__(self) -> int:
        return len(self._sessions)

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        self._start(self._begin(transaction, request, asked))

    async def _begin(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        host = await self._endpoint.local_host(asked.source.partition(":")[0] or None)
        identity = secrets.token_hex(8)
        media = BridgedMedia(
            self._endpoint,
            host,
            lambda: _origin(host),
            self._start,
            max_size=self._config.large_max_size,
            on_lost=lambda reason: self._lost(identity, reason),
        )
        config = self._config
        address = f"[{config.listen}]" if ":" in config.listen else config.listen
        contact = f"<sip:im-leg-{identity}@{address}:{config.sip_port}>;+g.oma.sip-im"  # HDR-02
        session = ParticipatingSession(
            self._functions.legs,
            media,
            contact,
            identity,
            self._ended,
            lambda leg: self._start(self._defer(leg, request, asked)),
        )
        self._sessions[identity] = session
        session.begin(transaction, request, asked)

    def _lost(self, identity: str, reason: str) -> None:
        session = self._sessions.get(identity)
        if session is not None:
            session.lost(reason)

    def _ended(self, session: ParticipatingSession) -> None:
        self._sessions.pop(session.identity, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("participating function", exc_info=error)


def _origin(host: str) -> Origin:
    number = str(int(time.time()))
    return Origin("-", number, int(number), host, "IP6" if ":" in host else "IP4")
