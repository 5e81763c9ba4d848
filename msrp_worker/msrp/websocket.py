"""MSRP over WebSocket (RFC 7977), as a handler of the worker's HTTP application.

    app.router.add_get("/msrp", websocket_handler(endpoint))

One chunk is one WebSocket message, in both directions. The handler lives as long as the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, web

from .endpoint import MsrpEndpoint
from .link import Link
from .logs import limited_logger

log = limited_logger(__name__)

WebSocket = web.WebSocketResponse | ClientWebSocketResponse
SUBPROTOCOL = "msrp"
"""RFC 7977 section 4.1."""
PING_SECONDS = 30.0
"""Between two pings that keep NAT bindings and proxies alive (section 6)."""


def websocket_handler(endpoint: MsrpEndpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler for this endpoint."""  # MED-11

    async def handle(request: web.Request) -> web.StreamResponse:
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if SUBPROTOCOL not in offered:
            raise web.HTTPBadRequest(text="this is an MSRP server: offer the WebSocket subprotocol msrp\n")
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            heartbeat=PING_SECONDS,
            max_msg_size=endpoint.config.websocket_max_frame,
            compress=False,
        )
        origin = request.headers.get("Origin")
        if origin is not None:
            # Section 7. It gives nothing away: what protects a session is its URI.
            socket.headers["Access-Control-Allow-Origin"] = origin
        shell = WebSocketShell(endpoint, request.remote or "")
        refused = endpoint.admit(shell)
        try:
            if refused is not None:
                log.warning("SEC-02 msrp: websocket from %s refused: %s", shell.address, refused)
                raise web.HTTPServiceUnavailable(text="too many connections\n")
            endpoint.registry.counters.accepted += 1
            await socket.prepare(request)
            await shell.run(socket, request.transport, secure=request.secure or endpoint.config.websocket_is_secure)
        finally:
            endpoint.forget(shell)
        return socket

    return handle


class WebSocketShell:
    """The shell around a `Link` on one WebSocket: a reading loop and a writing task."""

    key: tuple[str, int, bool] | None = None

    def __init__(self, endpoint: MsrpEndpoint, address: str) -> None:
        self.endpoint = endpoint
        self.address = address
        self.link: Link | None = None
        self.timed = False
        self._since = endpoint.now()
        self._sending_since: float | None = None
        self._output = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._text = False
        """The peer's last message was text: it gets text where that is possible."""
        self._transport: asyncio.Transport | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(
        self,
        socket: WebSocket,
        transport: asyncio.Transport | None,
        *,
        secure: bool,
        on_open: Callable[[Link], None] = lambda link: None,
    ) -> None:
        """Serve the connection until it ends. `on_open` gets its link before anything is read."""
        link = Link(
            self.endpoint.registry,
            self.endpoint.idents,
            self,
            peer_address=self.address,
            secure=secure,
            single_frames=True,
            limits=self.endpoint.config.codec,
        )
        self.link = link
        self._transport = transport
        self.endpoint.watch(self)
        self._writer = asyncio.create_task(self._write(socket, link), name=f"msrp websocket {self.address}")
        try:
            on_open(link)
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    self._text, data = False, message.data
                elif message.type is WSMsgType.TEXT:
                    self._text, data = True, message.data.encode()
                else:
                    break
                link.receive(data, self.endpoint.now())
                if link.in_frame:
                    link.refuse("a WebSocket message that is not whole frames")
                if link.refused_because is not None:
                    break
                await self._readable.wait()
            await asyncio.sleep(0)  # let the last responses out
        finally:
            self._writer.cancel()
            link.lost(link.refused_because or "closed by peer")
            self.link = None
            if not socket.closed:
                code = WSCloseCode.POLICY_VIOLATION if link.refused_because else WSCloseCode.GOING_AWAY
                await socket.close(code=code, message=(link.refused_because or "").encode()[:120])

    async def _write(self, socket: WebSocket, link: Link) -> None:
        while True:
            await self._output.wait()
            self._output.clear()
            while frames := link.take(self.endpoint.now()):
                for frame in frames:
                    self._sending_since = self.endpoint.now()
                    text = _as_text(frame) if self._text else None
                    try:
                        if text is not None:
                            await socket.send_str(text)
                        else:
                            await socket.send_bytes(frame)
                    except ConnectionError:
                        return  # the reading side sees it too
                    self._sending_since = None
            if link.refused_because is not None:
                await socket.close(code=WSCloseCode.POLICY_VIOLATION)
                return

    # --- what the link and the endpoint call --------------------------------------------------------------

    def wake(self) -> None:
        """See `output.Shell`."""
        self._output.set()

    def hold(self, on: bool) -> None:
        """See `output.Shell`."""
        if on:
            self._readable.clear()
        else:
            self._readable.set()

    def flush(self, now: float) -> None:
        """The writing task does it."""

    def tick(self, now: float) -> bool:
        """As `Connection.tick`."""
        link = self.link
        if link is None:
            return False
        config = self.endpoint.config
        link.tick(now)
        if self._sending_since is not None and now - self._sending_since >= config.stall_seconds:
            self.endpoint.registry.counters.stalled += 1
            self.close(f"peer took nothing for {config.stall_seconds:.0f} s", abort=True)
            return False
        if link.sessions:
            self._since = now
        elif now - self._since >= (config.bind_seconds if link.never_bound else config.linger_seconds):
            self.endpoint.registry.counters.never_bound += link.never_bound  # SEC-02
            self.close("no session" if link.never_bound else "no session left")
        return True

    def close(self, reason: str, *, abort: bool = False) -> None:
        """As `Connection.close`."""
        link, writer = self.link, self._writer
        if link is None or writer is None:
            return
        log.info("msrp: websocket of %s closed: %s", self.address, reason)
        link.refuse(reason)
        self._readable.set()
        if abort:
            writer.cancel()
            if self._transport is not None:
                self._transport.abort()


def _as_text(frame: bytes) -> str | None:
    try:
        return frame.decode()
    except UnicodeDecodeError:
        return None
