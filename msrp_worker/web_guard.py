"""What a slow or greedy HTTP client may cost (SEC-02): time for a request to come, time without taking an answer, and
connections. It stands between the socket and aiohttp, which has no such limits of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from msrp_worker.msrp.logs import limited_logger
from msrp_worker.web import Reading

log = limited_logger("im.http")


class _OwnFault(logging.Filter):
    """Drops what aiohttp logs, with a traceback each, of bodies that their client has sent broken: it was answered, or is
    gone, and anybody can send such things (SEC-05)."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, web.RequestPayloadError | HttpProcessingError)


def quiet() -> None:
    """Let no client write to the log through aiohttp."""
    logger = limited_logger("aiohttp.server")
    if not any(isinstance(known, _OwnFault) for known in logger.filters):
        logger.addFilter(_OwnFault())


class WebGuard:
    """The guards of all connections of one server."""

    def __init__(self, *, head_seconds: float, stall_seconds: float, most: int, most_per_address: int) -> None:
        """Seconds for the head of a request and for some of an answer to be taken; connections in all and of an address."""
        self.head_seconds = head_seconds
        self.stall_seconds = stall_seconds
        self.most = most
        self.most_per_address = most_per_address
        self.open: Counter[str] = Counter()
        self.cut = 0
        """Connections ended because their client was slow."""
        self.over_limit = 0
        """Connections refused because there were too many."""
        self._guards: dict[object, _Guarded] = {}

    async def serve(self, runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
        """Listen for a runner that is set up. OSError."""
        quiet()
        make = runner.server
        assert make is not None

        def guarded() -> asyncio.BaseProtocol:
            return _Guarded(self, make())

        return await asyncio.get_running_loop().create_server(guarded, host, port, backlog=1024, reuse_address=True)

    @property
    def middleware(self) -> Middleware:
        """For the application: it knows when a request has come."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            guard = self._guards.get(request.protocol)
            if guard is not None:
                guard.begun()
            try:
                return await handler(request)
            finally:
                if guard is not None:
                    guard.ended()

        return watch

    def readings(self) -> Iterator[Reading]:
        """For /metrics."""
        yield Reading("http_connections", "HTTP connections open, MSRP over WebSocket included", self.open.total())
        yield Reading("http_slow_total", "HTTP connections cut because their client was slow", self.cut)
        yield Reading(
            "http_over_limit_total", "HTTP connections refused: too many, in all or of one address", self.over_limit
        )

    def enter(self, guard: _Guarded, handler: object, address: str) -> bool:
        """A connection comes; False when it is one too many."""
        self.open[address] += 1
        self._guards[handler] = guard
        return self.open[address] <= self.most_per_address and self.open.total() <= self.most

    def leave(self, handler: object, address: str) -> None:
        """A connection is over."""
        self._guards.pop(handler, None)
        self.open[address] -= 1
        if not self.open[address]:
            del self.open[address]


class _Guarded(asyncio.Protocol):
    """One connection: passes everything on, and ends it when its client is too slow."""

    def __init__(self, owner: WebGuard, handler: Any) -> None:
        self._owner = owner
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._stalled: asyncio.TimerHandle | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._handler.connection_made(transport)
        if not self._owner.enter(self, self._handler, self._address):
            self._owner.over_limit += 1
            log.info("SEC-02 connection of %s refused: there are too many", self._address)
            self._abort()
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        if not self._busy and self._timer is None:
            self._expect()
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        kept: bool | None = self._handler.eof_received()
        return kept

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()
        self.resume()
        self._owner.leave(self._handler, self._address)
        self._handler.connection_lost(error)

    def pause_writing(self) -> None:
        self._handler.pause_writing()
        self._look_again(self._waiting())

    def resume_writing(self) -> None:
        self.resume()
        self._handler.resume_writing()

    # --- time

    def begun(self) -> None:
        """The head of a request has come."""
        self._busy = True
        self._forget()

    def ended(self) -> None:
        """Its answer is known."""
        self._busy = False

    def resume(self) -> None:
        """The client takes what waits."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _expect(self) -> None:
        """The head of a request has to be whole in time."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._owner.head_seconds, self._cut, "no whole request in time")

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, waiting: int) -> None:
        self.resume()
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(self._owner.stall_seconds, self._look, waiting)

    def _look(self, waiting: int) -> None:
        now = self._waiting()
        if now >= waiting:
            self._cut("it takes nothing of its answer")
        else:
            self._look_again(now)

    def _waiting(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _cut(self, why: str) -> None:
        self._owner.cut += 1
        log.info("SEC-02 connection of %s cut: %s", self._address, why)
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
