"""A device that takes a push as a test wants: so many messages and no more, or nothing at all."""

from __future__ import annotations

import asyncio
import time
from typing import Self

from im_client.body import Body
from im_client.callee import IncomingCall
from im_client.client import ImClient
from im_client.session import Session as SipSession
from msrp_worker import sdp
from msrp_worker.media_session import accepted_session, new_session_id
from msrp_worker.msrp import (
    DEFERRED,
    EndpointConfig,
    IncomingMessage,
    MsrpEndpoint,
    Session,
    SessionHandler,
    SessionOptions,
)
from msrp_worker.offer_answer import Answer, LocalEndpoint, LocalPolicy, answer
from msrp_worker.sdp import Origin
from tests.scenarios.bed import Instance

ANY = 1 << 30
WHOLE = 1 << 26
"""Bytes up to which a message is looked at as a whole."""


class Device(SessionHandler):
    """A registered client whose MSRP side acknowledges `limit` messages of each session. Use as `async with`."""

    def __init__(
        self,
        instance: Instance,
        user: str,
        *,
        limit: int = ANY,
        accept_types: tuple[str, ...] = ("*",),
        answers: bool = True,
        whole: int = WHOLE,
    ) -> None:
        self.client: ImClient = instance.client(user)
        self.limit = limit
        self.taken: list[list[tuple[str, bytes]]] = []
        """Content type and body of each acknowledged message, for each session."""
        self.message_ids: list[str] = []
        self.seen = 0
        """SENDs that came, acknowledged or not."""
        self.offers: list[IncomingCall] = []
        self.changed = asyncio.Event()
        self._accept_types = accept_types
        self._whole = whole
        self.answers = answers
        self._endpoint = MsrpEndpoint(EndpointConfig(listen="127.0.0.1", port=0))
        self._media: list[Session] = []
        self.sessions: list[SipSession] = []
        self.ended = 0
        self._held: list[tuple[Session, IncomingMessage]] = []

    async def __aenter__(self) -> Self:
        await self._endpoint.start()
        await self.client.start()
        self.client.calls.on_call = self._on_call
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close(deregister=False)
        await self._endpoint.stop()

    async def register(self) -> None:
        """Register for IM."""
        await self.client.register()

    @property
    def bodies(self) -> list[bytes]:
        """All acknowledged bodies in order."""
        return [body for session in self.taken for _, body in session]

    async def until(self, condition: object, seconds: float = 20.0) -> None:
        """Wait until `condition()` holds, which is looked at whenever something has come."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition():
            self.changed.clear()
            async with asyncio.timeout(deadline - time.monotonic()):
                await self.changed.wait()

    def cut(self) -> None:
        """The network is gone: the MSRP connections end."""
        for media in self._media:
            media.close("cut")

    def acknowledge(self) -> None:
        """Acknowledge what is beyond the limit after all."""
        for session, message in self._held:
            session.answer(message, 200)
        self._held.clear()

    # --- the session

    async def _on_call(self, call: IncomingCall) -> None:
        self.offers.append(call)
        self.changed.set()
        if not self.answers:
            return
        host = "127.0.0.1"
        policy = LocalPolicy(
            LocalEndpoint(host, self._endpoint.port),
            Origin("-", "1", 1, host),
            (new_session_id(),),
            accept_types=self._accept_types,
            sends=False,
        )
        agreed = answer(sdp.parse(call.offer.data), policy)
        assert isinstance(agreed, Answer)
        media = accepted_session(self._endpoint, agreed.lines[0], self, SessionOptions(collect=self._whole))
        media.context = len(self.taken)
        self.taken.append([])
        self._media.append(media)
        session = await call.accept(Body("application/sdp", agreed.description.build()))
        self.sessions.append(session)
        session.ended.add_done_callback(self._on_end)
        if agreed.lines[0].active:
            await self._endpoint.connect(media, agreed.lines[0].connect_to)

    def _on_end(self, _: object) -> None:
        self.ended += 1
        self.changed.set()

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        if not body:
            return None  # the first SEND of the active side
        assert isinstance(session.context, int)
        self.seen += 1
        self.changed.set()
        if len(self.taken[session.context]) >= self.limit:
            self._held.append((session, message))
            return DEFERRED
        self.taken[session.context].append((message.content_type, body))
        self.message_ids.append(message.message_id)
        return None
