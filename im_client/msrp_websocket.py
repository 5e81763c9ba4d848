"""MSRP over WebSocket as a browser does it: the connection goes to an HTTP URL, whatever SDP says (RFC 7977)."""

from __future__ import annotations

import asyncio
import secrets
import ssl

import aiohttp

from msrp_worker.msrp import MsrpEndpoint, Session, State
from msrp_worker.msrp.link import Link
from msrp_worker.msrp.websocket import PING_SECONDS, SUBPROTOCOL, WebSocketShell

CONNECT_SECONDS = 15.0
"""Time for DNS, TCP, TLS and the handshake."""


def unreachable_host() -> str:
    """The host of a client that nobody can connect to (RFC 7977 section 5.2.2 and its examples)."""
    return f"{secrets.token_hex(8)}.invalid"


class WebSocketConnection:
    """One connection for one session; `close` ends both."""

    def __init__(self, endpoint: MsrpEndpoint, session: Session, url: str) -> None:
        """`url` is like `wss://im.example.com/msrp`, `ws` where a front end has the TLS."""
        self._endpoint = endpoint
        self._session = session
        self._url = url
        self._task: asyncio.Task[None] | None = None

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Connect, and send the first SEND. Raises OSError where that is not possible; the session is closed then."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(opened, tls), name=f"msrp websocket {self._url}")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await opened
        except (OSError, TimeoutError) as error:
            await self.close()
            self._session.close(f"no WebSocket to {self._url}: {error}")
            raise

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, opened: asyncio.Future[None], tls: ssl.SSLContext | None) -> None:
        def bind(link: Link) -> None:
            if self._session.state is State.WAITING:
                self._session.bind(link, greet=True)  # MED-03
            if not opened.done():
                opened.set_result(None)

        endpoint = self._endpoint
        shell = WebSocketShell(endpoint, self._url)
        endpoint.admit(shell)
        try:
            async with aiohttp.ClientSession() as http:
                socket = await http.ws_connect(
                    self._url,
                    protocols=(SUBPROTOCOL,),
                    heartbeat=PING_SECONDS,
                    max_msg_size=endpoint.config.websocket_max_frame,
                    ssl=tls if tls is not None else True,
                )
                await shell.run(socket, None, secure=True, on_open=bind)
        except (aiohttp.ClientError, OSError) as error:
            if not opened.done():
                opened.set_exception(error if isinstance(error, OSError) else ConnectionError(str(error)))
        finally:
            endpoint.forget(shell)
            if not opened.done():
                opened.cancel()
