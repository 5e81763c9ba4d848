"""The SIP endpoint: sends requests in transactions of their own, gives incoming requests to their handlers.

Transactions live in `live`, sockets in `network`; here they meet (RFC 3261 sections 8 and 18).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial

from sipmessage import Request, Response

from . import PRODUCT
from .errors import (
    ConnectionFailedError,
    ImClientError,
    MalformedMessageError,
    MessageTooLargeError,
)
from .exchange import IncomingRequest, ReceivedResponse
from .live import Live, LiveTransactions, Outcome
from .matching import check_request, invite_key, server_key
from .network import Network
from .responses import build_ack, build_cancel, build_response, datagram_destination, stream_destination, with_via
from .timers import DEFAULT_TIMERS, BaseTimers
from .transaction import Event, Machine, On, State, Transaction, of_response
from .transport import Address, Flow, Target, UdpFlow
from .wire import (
    COOKIE,
    ViaEntry,
    encode,
    parse,
    parse_cseq,
    parse_vias,
    values,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """What an endpoint needs to know."""

    proxy: Target  # where every request goes
    local: Address = ("", 0)  # address to bind; an empty host is found by itself, port 0 is any free one
    timers: BaseTimers = DEFAULT_TIMERS
    keep_alive: float = 110.0  # seconds between CRLF pings on streams; RFC 5626 section 4.4.1: 95 to 120
    tls: ssl.SSLContext | None = None
    supported: frozenset[str] = frozenset()  # option tags this client understands in Require


Handler = Callable[[IncomingRequest], Awaitable[None]]
ClientKey = tuple[str, str]  # branch, method (RFC 3261 section 17.1.3)


class Endpoint:
    """One SIP user agent's transport and transaction layers.

    `on_connection_lost` is called with the reason when a stream to the proxy has closed.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.users: frozenset[str] = frozenset()
        """User parts of the Request-URIs that are ours; empty: all are."""
        self.on_connection_lost: Callable[[str], None] | None = None
        self._network: Network | None = None
        self._handlers: dict[str, Handler] = {}
        self._live = LiveTransactions(settings.proxy, settings.timers, self._reply_anew)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the sockets.

        Raises ConnectionFailedError, or OSError where the local address cannot be bound.
        """
        settings = self.settings
        self._network = await Network.open(settings.proxy, settings.local, self, settings.tls)
        if settings.keep_alive > 0:
            self._live.call_every("keep-alive", settings.keep_alive, self._network.ping)

    async def connect(self) -> None:
        """Make sure that `local` is what it will be for the next request: over TLS that takes a connection.

        Raises ConnectionFailedError.
        """
        await self._opened().connect()

    def _opened(self) -> Network:
        if self._network is None or self._closed:
            raise ConnectionFailedError("the client is closed" if self._closed else "the client is not started")
        return self._network

    async def close(self) -> None:
        """Close the sockets; requests in progress end with ConnectionFailedError, handlers are cancelled."""
        self._closed = True
        self._live.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._network is not None:
            self._network.close()
        await asyncio.sleep(0)  # let the transports run their closing callbacks

    @property
    def local(self) -> Address:
        """The address this endpoint is reached at. Raises ConnectionFailedError before `start`."""
        return self._opened().local

    @property
    def sent_by(self) -> tuple[str, int]:
        """Host and port of this endpoint as they stand in a URI. Raises ConnectionFailedError before `start`."""
        return self._opened().sent_by

    @property
    def transport(self) -> str:
        """The transport to the proxy: "udp", "tcp" or "tls"."""
        return self.settings.proxy.transport

    @property
    def live_transactions(self) -> int:
        """How many transactions are kept, absorbing ones included."""
        return len(self._live)

    def handle(self, method: str, handler: Handler) -> None:
        """Give new requests of `method` to `handler`, each in its own task."""
        self._handlers[method] = handler

    @property
    def allow(self) -> str:
        """The value of Allow: the methods that have a handler."""
        return ", ".join(sorted({*self._handlers, *(["CANCEL"] if "INVITE" in self._handlers else [])}))

    # --- requests out ---------------------------------------------------------------------------------------

    async def request(
        self, message: Request, *, datagram_limit: int | None = None, next_hop: Target | None = None
    ) -> ReceivedResponse:
        """Send in a client transaction of its own; returns the final response.

        Via is put on top here. Over UDP a request above 1300 bytes goes by TCP, if the proxy takes it; with
        `datagram_limit` (bytes) it raises MessageTooLargeError instead. `next_hop` is where a request in a
        dialog goes in place of the proxy. Raises NoAnswerError, ConnectionFailedError.
        """
        done: asyncio.Future[ReceivedResponse] = asyncio.get_running_loop().create_future()

        def sink(outcome: Outcome) -> None:
            if done.done():
                return
            if isinstance(outcome, ImClientError):
                done.set_exception(outcome)
            elif outcome.message.code >= 200:
                done.set_result(outcome)

        key = await self.start_request(message, sink, datagram_limit=datagram_limit, next_hop=next_hop)
        try:
            return await done
        except asyncio.CancelledError:
            self._live.forget(key)
            raise

    async def start_request(
        self,
        message: Request,
        sink: Callable[[Outcome], None],
        *,
        datagram_limit: int | None = None,
        next_hop: Target | None = None,
    ) -> ClientKey:
        """Send in a client transaction and return its key.

        `sink` gets every response and at most one error, in order; of an INVITE also each further 2xx for
        64*T1. Otherwise as `request`.
        """
        branch = COOKIE + secrets.token_hex(12)
        network = self._opened()
        flow, sent = await self._route(network, message, branch, datagram_limit, next_hop)
        key = (branch, message.method)
        machine = Machine.INVITE_CLIENT if message.method == "INVITE" else Machine.NON_INVITE_CLIENT
        transaction = Transaction(machine, flow.reliable, self.settings.timers)
        request = sent if machine is Machine.INVITE_CLIENT else None
        live = Live(transaction, flow, sink, network.sent_by, request=request)
        self._live.add(key, live, Event(On.START, encode(sent)))
        return key

    async def send_ack(self, message: Request, *, next_hop: Target | None = None) -> Callable[[], None]:
        """Send the ACK to a 2xx, which no transaction carries; the result sends it again (section 13.2.2.4).

        Raises ConnectionFailedError.
        """
        branch = COOKIE + secrets.token_hex(12)
        flow, sent = await self._route(self._opened(), message, branch, None, next_hop)
        data = encode(sent)

        def again() -> None:
            try:
                flow.send(data)
            except ConnectionFailedError as error:
                log.info("an ACK could not be sent: %s", error)

        flow.send(data)
        return again

    def cancel(self, key: ClientKey) -> None:
        """Send the CANCEL of an INVITE in progress, which has had a provisional response (section 9.1)."""
        live = self._live.get(key)
        if live is None or live.request is None:
            return
        request = build_cancel(live.request)
        transaction = Transaction(Machine.NON_INVITE_CLIENT, live.flow.reliable, self.settings.timers)
        cancelling = Live(transaction, live.flow, lambda outcome: None, live.sent_by)
        self._live.add((key[0], "CANCEL"), cancelling, Event(On.START, encode(request)))

    def forget(self, key: ClientKey) -> None:
        """Drop a client transaction: nobody waits for its responses any more."""
        self._live.forget(key)

    async def _route(
        self, network: Network, message: Request, branch: str, datagram_limit: int | None, next_hop: Target | None
    ) -> tuple[Flow, Request]:
        size = 0
        hop = await network.hop(next_hop)
        datagram = network.datagram_flow(hop)
        if datagram is not None:
            sent = with_via(message, datagram.transport, network.sent_by, branch)
            size = len(encode(sent))
            if datagram_limit is not None and size > datagram_limit:
                raise MessageTooLargeError(
                    f"the request has {size} bytes, above the {datagram_limit} allowed over UDP: "
                    "send it in large message mode, or use a proxy over TCP or TLS"
                )
            if datagram_limit is not None:
                return datagram, sent
        flow = await network.flow_for(size, hop)
        return flow, with_via(message, flow.transport, network.sent_by, branch)

    # --- what the sockets tell ------------------------------------------------------------------------------

    def on_message(self, data: bytes, flow: Flow) -> None:
        if not data.strip(b"\r\n\0 \t"):
            return  # keep-alives of NAT boxes and proxies
        message: Request | Response | None = None
        try:
            message = parse(data, datagram=not flow.reliable)
            if isinstance(message, Request):
                self._on_request(message, data, flow)
            else:
                self._on_response(message, data)
        except MalformedMessageError as error:
            log.info("dropping %d bytes from %s: %s", len(data), flow.remote, error)
            request = error.request or message
            if isinstance(request, Request):
                self._refuse_statelessly(request, error.status, str(error), flow)

    def on_failure(self, flow: Flow, error: str) -> None:
        self._live.fail(flow, error)
        if self._closed or self._network is None or self.on_connection_lost is None:
            return
        if self._network.is_proxy_connection(flow):
            self.on_connection_lost(error)

    def _on_response(self, message: Response, raw: bytes) -> None:
        vias = parse_vias(message.headers)
        key = (vias[0].branch, parse_cseq(message.headers)[1])
        live = self._live.get(key)
        # Section 8.1.3.3: more than one Via means misrouted; 18.1.2: a sent-by that is not ours is
        # not for us.
        if live is None or len(vias) != 1 or vias[0].sent_by != live.sent_by:
            log.debug("discarding a stray %d", message.code)
            return
        ack = b""
        if live.request is not None and message.code >= 300:
            ack = encode(build_ack(live.request, message))  # section 17.1.1.3
        self._live.apply(key, Event(of_response(message.code, key[1]), ack), ReceivedResponse(message, raw))

    def _on_request(self, message: Request, raw: bytes, flow: Flow) -> None:
        via, merge_key = check_request(message)
        key = server_key(message, via)
        if message.method == "ACK":
            self._on_ack(key, message, raw, flow)
            return
        if self._live.get(key) is not None:
            self._live.apply(key, Event(On.REQUEST))
            return
        source = flow.remote
        reply_to = None
        if isinstance(flow, UdpFlow):
            flow = flow.socket.flow(datagram_destination(via, flow))
        else:
            reply_to = stream_destination(via, flow)
        machine = Machine.INVITE_SERVER if message.method == "INVITE" else Machine.NON_INVITE_SERVER
        transaction = Transaction(machine, flow.reliable, self.settings.timers)
        live = Live(transaction, flow, merge_key=merge_key, reply_to=reply_to)
        request = IncomingRequest(message, raw, source, secrets.token_hex(8), partial(self._respond, key))
        trying = b""
        if machine is Machine.INVITE_SERVER:
            trying = encode(build_response(message, 100, to_tag="", source=source))
            live.incoming = request
        self._live.add(key, live, Event(On.START, trying))
        if self._live.is_merged(key):
            request.respond(482)  # section 8.2.2.2: the same request by another way
        elif message.method == "CANCEL":
            self._on_cancel(via, request)
        else:
            self._dispatch(request)

    def _on_ack(self, key: Hashable, message: Request, raw: bytes, flow: Flow) -> None:
        """The ACK to a refusal belongs to its transaction, that to a 2xx to the user agent core (section 17.1.1.3)."""
        live = self._live.get(key)
        if live is not None and live.transaction.state is not State.ACCEPTED:
            self._live.apply(key, Event(On.ACK))
        elif (handler := self._handlers.get("ACK")) is not None:
            request = IncomingRequest(message, raw, flow.remote, "", lambda response: None)
            self._spawn(self._run(handler, request))

    def _on_cancel(self, via: ViaEntry, request: IncomingRequest) -> None:
        """Section 9.2: 200 to the CANCEL whether or not the INVITE is still unanswered, 481 where there is none."""
        live = self._live.get(invite_key(request.message, via))
        invite = None if live is None else live.incoming
        if invite is None:
            request.respond(481)
            return
        request.to_tag = invite.to_tag
        request.respond(200)
        invite.cancel()

    def _is_ours(self, message: Request) -> bool:
        """Section 8.2.2.1: an address that somebody else had before may still be bound to him."""
        return not self.users or not message.uri.user or message.uri.user in self.users or ";tag=" in _to(message)

    def _dispatch(self, request: IncomingRequest) -> None:
        method = request.message.method
        unsupported = [t for t in values(request.message.headers, "Require") if t not in self.settings.supported]
        handler = self._handlers.get(method)
        if handler is None:
            request.respond(405, headers=[("Allow", self.allow)])  # section 8.2.1
        elif not self._is_ours(request.message):
            request.respond(404)  # CLI-05
        elif unsupported:
            request.respond(420, headers=[("Unsupported", ", ".join(unsupported))])  # section 8.2.2.3
        else:
            self._spawn(self._run(handler, request))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _reply_anew(self, address: Address, data: bytes) -> None:
        self._spawn(self._send_anew(address, data))

    async def _send_anew(self, address: Address, data: bytes) -> None:
        # RFC 3261 section 18.2.2: the connection of the request is gone, open one to where it said
        # it came from.
        try:
            (await self._opened().connect_to(address)).send(data)
        except ConnectionFailedError as error:
            log.info("a response could not be sent: %s", error)

    async def _run(self, handler: Handler, request: IncomingRequest) -> None:
        try:
            await handler(request)
        except Exception:
            log.exception("the handler of %s failed, Call-ID %s", request.message.method, request.message.call_id)
            request.respond(500)
        if not request.answered and request.message.method != "ACK":
            log.error(
                "the handler of %s did not answer, Call-ID %s",
                request.message.method,
                request.message.call_id,
            )
            request.respond(500)

    def _respond(self, key: Hashable, response: Response) -> None:
        method = parse_cseq(response.headers)[1]
        self._live.apply(key, Event(of_response(response.code, method), encode(response)))

    def _refuse_statelessly(self, request: Request, status: int, text: str, flow: Flow) -> None:
        if request.method == "ACK":
            return
        try:
            via = parse_vias(request.headers)[0]
            response = build_response(
                request,
                status,
                to_tag=secrets.token_hex(8),
                source=flow.remote,
                headers=[("Server", PRODUCT), ("Warning", f'399 im-client "{_printable(text)}"')],
            )
            if isinstance(flow, UdpFlow):
                flow = flow.socket.flow(datagram_destination(via, flow))
            flow.send(encode(response))
        except (ImClientError, ValueError) as error:
            log.debug("cannot refuse it either: %s", error)


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)[:120]


def _to(message: Request) -> str:
    return message.headers.get("To") or ""
