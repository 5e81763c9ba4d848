"""The SIP endpoint: transactions on sockets. Sends requests, dispatches incoming ones, owns the one timer.

The pure part is `transaction`; here are the tables of live transactions, the clock and the sockets.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from functools import partial

from sipmessage import Request, Response

from . import PRODUCT
from .errors import (
    ConnectionFailedError,
    ImClientError,
    MalformedMessageError,
    MessageTooLargeError,
    NoAnswerError,
)
from .exchange import IncomingRequest, ReceivedResponse
from .matching import check_request, server_key
from .network import Network
from .responses import build_response, datagram_destination, stream_destination
from .timers import DEFAULT_TIMERS, BaseTimers, TimerQueue
from .transaction import (
    Deliver,
    Effect,
    Event,
    Machine,
    On,
    Send,
    TimedOut,
    Transaction,
    TransportFailed,
    fire,
    step,
)
from .transport import Address, Flow, Target, UdpFlow
from .wire import (
    COOKIE,
    encode,
    header_names,
    host_text,
    parse,
    parse_cseq,
    parse_vias,
    values,
)

log = logging.getLogger(__name__)

KEEP_ALIVE = "keep-alive"


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
Outcome = ReceivedResponse | ImClientError
ClientKey = tuple[str, str]  # branch, method (RFC 3261 section 17.1.3)


@dataclass(slots=True)
class _Live:
    """A transaction in progress; `sink` takes what a client transaction delivers."""

    transaction: Transaction
    flow: Flow
    sink: Callable[[Outcome], None] | None = None  # until the final response
    sent_by: tuple[str, int] | None = None  # what stands in the Via of our request
    merge_key: Hashable = None
    reply_to: Address | None = None  # where a response goes once the stream of its request has closed


class Endpoint:
    """One SIP user agent's transport and transaction layers.

    `on_connection_lost` is called with the reason when a stream to the proxy has closed.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.on_connection_lost: Callable[[str], None] | None = None
        self._network: Network | None = None
        self._handlers: dict[str, Handler] = {}
        self._live: dict[Hashable, _Live] = {}
        self._merge: dict[Hashable, Hashable] = {}
        self._timers: TimerQueue[Hashable] = TimerQueue()
        self._wake: asyncio.TimerHandle | None = None
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
            self._set_timer(KEEP_ALIVE, self._now() + settings.keep_alive)

    async def connect(self) -> None:
        """Make sure that `local` is what it will be for the next request: over TLS that takes a connection.

        Raises ConnectionFailedError.
        """
        await self._opened().connect()

    def _opened(self) -> Network:
        if self._network is None or self._closed:
            raise ConnectionFailedError(
                "the client is closed" if self._closed else "the client is not started"
            )
        return self._network

    async def close(self) -> None:
        """Close the sockets; requests in progress end with ConnectionFailedError, handlers are cancelled."""
        self._closed = True
        for key in list(self._live):
            self._apply(key, Event(On.TRANSPORT_ERROR, error="the client was closed"))
        self._live.clear()
        if self._wake is not None:
            self._wake.cancel()
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
        return ", ".join(sorted(self._handlers))

    # --- requests out ---------------------------------------------------------------------------------------

    async def request(self, message: Request, *, datagram_limit: int | None = None) -> ReceivedResponse:
        """Send in a client transaction of its own; returns the final response.

        Via is put on top here. Over UDP a request above 1300 bytes goes by TCP, if the proxy takes it; with
        `datagram_limit` (bytes) it raises MessageTooLargeError instead. Raises NoAnswerError,
        ConnectionFailedError.
        """
        done: asyncio.Future[ReceivedResponse] = asyncio.get_running_loop().create_future()

        def sink(outcome: Outcome) -> None:
            if done.done():
                return
            if isinstance(outcome, ImClientError):
                done.set_exception(outcome)
            elif outcome.message.code >= 200:
                done.set_result(outcome)

        key = await self.start_request(message, sink, datagram_limit=datagram_limit)
        try:
            return await done
        except asyncio.CancelledError:
            self._forget(key)
            raise

    async def start_request(
        self, message: Request, sink: Callable[[Outcome], None], *, datagram_limit: int | None = None
    ) -> ClientKey:
        """Send in a client transaction and return its key.

        `sink` gets every response and at most one error, in order; otherwise as `request`.
        """
        branch = COOKIE + secrets.token_hex(12)
        network = self._opened()
        flow, data = await self._route(network, message, branch, datagram_limit)
        key = (branch, message.method)
        transaction = Transaction(Machine.NON_INVITE_CLIENT, flow.reliable, self.settings.timers)
        self._live[key] = _Live(transaction, flow, sink, network.sent_by)
        self._apply(key, Event(On.START, data))
        return key

    async def _route(
        self, network: Network, message: Request, branch: str, datagram_limit: int | None
    ) -> tuple[Flow, bytes]:
        size = 0
        datagram = network.datagram_flow()
        if datagram is not None:
            data = encode(self._with_via(message, datagram, network, branch))
            size = len(data)
            if datagram_limit is not None and size > datagram_limit:
                raise MessageTooLargeError(
                    f"the request has {size} bytes, above the {datagram_limit} allowed over UDP: "
                    "send it in large message mode, or use a proxy over TCP or TLS"
                )
            if datagram_limit is not None:
                return datagram, data
        flow = await network.flow_for(size)
        return flow, encode(self._with_via(message, flow, network, branch))

    @staticmethod
    def _with_via(message: Request, flow: Flow, network: Network, branch: str) -> Request:
        copy = Request(message.method, message.uri, message.body)
        host, port = network.sent_by
        copy.headers.add("Via", f"SIP/2.0/{flow.transport} {host}:{port};rport;branch={branch}")
        for name in header_names(message.headers):
            for value in message.headers.getlist(name):
                copy.headers.add(name, value)
        return copy

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
        peer = f"{host_text(flow.remote[0])}:{flow.remote[1]}"
        for key, live in list(self._live.items()):
            if live.flow == flow and live.sent_by is not None:
                self._apply(key, Event(On.TRANSPORT_ERROR, error=f"cannot reach {peer} ({error})"))
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
        on = On.PROVISIONAL if message.code < 200 else On.FINAL
        self._apply(key, Event(on), ReceivedResponse(message, raw))

    def _on_request(self, message: Request, raw: bytes, flow: Flow) -> None:
        via, merge_key = check_request(message)
        key = server_key(message, via)
        if key in self._live:
            self._apply(key, Event(On.REQUEST))
            return
        if message.method == "ACK":
            return  # never answered (section 17)
        if isinstance(flow, UdpFlow):
            flow = flow.socket.flow(datagram_destination(via, flow))
        merged = self._merge.get(merge_key, key) if merge_key is not None else key
        transaction = Transaction(Machine.NON_INVITE_SERVER, flow.reliable, self.settings.timers)
        reply_to = stream_destination(via, flow) if flow.reliable else None
        self._live[key] = _Live(transaction, flow, merge_key=merge_key, reply_to=reply_to)
        request = IncomingRequest(message, raw, flow, secrets.token_hex(8), partial(self.respond, key))
        self._apply(key, Event(On.START))
        if merged != key:
            request.respond(482)  # section 8.2.2.2: the same request by another way
            return
        if merge_key is not None:
            self._merge[merge_key] = key
        self._dispatch(request)

    def _dispatch(self, request: IncomingRequest) -> None:
        method = request.message.method
        unsupported = [
            t for t in values(request.message.headers, "Require") if t not in self.settings.supported
        ]
        handler = self._handlers.get(method)
        if method == "CANCEL" and handler is None:
            request.respond(481)
        elif handler is None:
            request.respond(405, headers=[("Allow", self.allow)])  # section 8.2.1
        elif unsupported and method != "CANCEL":
            request.respond(420, headers=[("Unsupported", ", ".join(unsupported))])  # section 8.2.2.3
        else:
            self._spawn(self._run(handler, request))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            log.exception(
                "the handler of %s failed, Call-ID %s", request.message.method, request.message.call_id
            )
            request.respond(500)
        if not request.answered:
            log.error(
                "the handler of %s did not answer, Call-ID %s",
                request.message.method,
                request.message.call_id,
            )
            request.respond(500)

    def respond(self, key: Hashable, response: Response) -> None:
        """Send a response in its server transaction; of no effect once that has ended."""
        on = On.PROVISIONAL if response.code < 200 else On.FINAL
        self._apply(key, Event(on, encode(response)))

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

    # --- transactions and time ------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _apply(self, key: Hashable, event: Event, received: ReceivedResponse | None = None) -> None:
        live = self._live.get(key)
        if live is None:
            return
        live.transaction, effects = step(live.transaction, event, self._now())
        self._carry_out(key, live, effects, received)

    def _carry_out(
        self, key: Hashable, live: _Live, effects: Iterable[Effect], received: ReceivedResponse | None = None
    ) -> None:
        if live.transaction.terminated:
            self._forget(key)
        else:
            self._set_timer(key, live.transaction.deadline)
        for effect in effects:
            match effect:
                case Send(data):
                    try:
                        live.flow.send(data)
                    except ConnectionFailedError as error:
                        if live.reply_to is not None and not self._closed:
                            self._spawn(self._send_anew(live.reply_to, data))
                        else:
                            self._apply(key, Event(On.TRANSPORT_ERROR, error=str(error)))
                case Deliver():
                    if live.sink is not None and received is not None:
                        live.sink(received)
                        if received.status >= 200:
                            live.sink = None  # what it holds is not needed while retransmissions are absorbed
                case TimedOut():
                    self._report(live, NoAnswerError(self._silence()))
                case TransportFailed(error):
                    self._report(live, ConnectionFailedError(f"{error}; is {self.settings.proxy} right?"))

    def _silence(self) -> str:
        seconds = self.settings.timers.timeout
        proxy = self.settings.proxy
        return f"no answer from {proxy} within {seconds:g} s: is it running, and is that its address?"

    def _report(self, live: _Live, error: ImClientError) -> None:
        if live.sink is not None:
            live.sink(error)
        else:
            log.info("a response could not be sent: %s", error)

    def _forget(self, key: Hashable) -> None:
        live = self._live.pop(key, None)
        if live is not None and live.merge_key is not None and self._merge.get(live.merge_key) == key:
            del self._merge[live.merge_key]
        self._set_timer(key, None)

    def _set_timer(self, key: Hashable, deadline: float | None) -> None:
        self._timers.set(key, deadline)
        following = self._timers.next()
        if self._wake is not None and (following is None or self._wake.when() != following):
            self._wake.cancel()
            self._wake = None
        if self._wake is None and following is not None and not self._closed:
            self._wake = asyncio.get_running_loop().call_at(following, self._on_timer)

    def _on_timer(self) -> None:
        self._wake = None
        now = self._now()
        for key in self._timers.due(now):
            if key == KEEP_ALIVE:
                self._opened().ping()
                self._timers.set(key, now + self.settings.keep_alive)
            elif (live := self._live.get(key)) is not None:
                live.transaction, effects = fire(live.transaction, now)
                self._carry_out(key, live, effects)
        following = self._timers.next()
        if self._wake is None and following is not None and not self._closed:
            self._wake = asyncio.get_running_loop().call_at(following, self._on_timer)


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)[:120]
