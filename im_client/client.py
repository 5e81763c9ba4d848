"""The IM client as one object: register, send and receive pager-mode messages."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import PRODUCT, composing, conference, service_settings
from .body import Body
from .calls import SUPPORTED, Calls
from .conference import Conference
from .config import ClientConfig, Contact
from .deferred import DeferredMessage
from .digest import Authenticator
from .endpoint import Endpoint, EndpointSettings
from .errors import ImClientError
from .exchange import IncomingRequest, ReceivedResponse
from .files import SentFiles, send_files
from .im_session import ImSession
from .message_summary import Summary
from .messaging import InvitationHandler, Messaging, Sent
from .pager import PAGER_LIMIT, Outgoing, PagerMessage, SessionType, answer_fields, build_message
from .publication import Publication
from .recipients import REQUIRE, Recipient, build_body
from .registration import Registration
from .requester import Requester, build_request, new_call_id, new_tag
from .service_settings import ServiceSettings
from .wire import parse_uri, quote
from .xcap import XcapClient

log = logging.getLogger(__name__)

UNLIMITED = 65535
"""Datagram limit of a client that is told to send any size over UDP: what UDP itself can carry."""
UNINTERESTED_LIMIT = 1000
"""Addresses remembered for answering 415 to isComposing; the oldest is forgotten and asked again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler wants a MESSAGE to be answered with. Only messages answered 2xx reach `messages()`."""

    status: int = 200
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


Verdict = Answer | int | None
MessageHandler = Callable[[PagerMessage], Verdict | Awaitable[Verdict]]


class ImClient:
    """One IM user agent. Use as `async with ImClient(config) as client`, or call `start` and `close`.

    `on_message`, if set, sees each MESSAGE before it is answered and may choose the answer: None accepts with
    200, a number or an Answer is sent instead.
    """

    def __init__(self, config: ClientConfig, *, on_message: MessageHandler | None = None) -> None:
        self.config = config
        self.on_message = on_message
        settings = EndpointSettings(
            proxy=config.proxy,
            local=(config.local_host, config.local_port),
            timers=config.timers,
            keep_alive=config.keep_alive,
            tls=config.tls_context(),
            supported=SUPPORTED,
        )
        self.endpoint = Endpoint(settings)
        self.requester = Requester(self.endpoint, Authenticator(config.username or config.user, config.password))
        self.calls = Calls(self.endpoint, self.requester, config)
        self.messaging = Messaging(self.calls, config)
        self.settings = Publication(self.endpoint, self.requester, config, service_settings.EVENT)
        self.registration = Registration(config, self.endpoint, self.requester)
        self.documents = XcapClient(
            config.xcap_root, config.identity, config.username or config.user, config.password, config.https_context()
        )
        self.service_settings = config.settings
        self._entity = new_tag()
        self.registration.on_registered = self._on_registered
        self._inbox: asyncio.Queue[PagerMessage | None] = asyncio.Queue()
        self._pending: dict[str, _Turn] = {}
        self._uninterested: dict[str, None] = {}
        self._starting = asyncio.Lock()
        self._started = False
        self._closed = False
        self.endpoint.handle("MESSAGE", self._on_message)
        self.endpoint.handle("OPTIONS", self._on_options)
        self.endpoint.on_connection_lost = self._on_connection_lost

    async def start(self) -> None:
        """Open the sockets; `register` and `send` do it by themselves."""
        async with self._starting:
            if not self._started:
                await self.endpoint.start()
                await self.messaging.start()
                self._started = True

    async def close(self, *, deregister: bool = True) -> None:
        """Close the sockets, after de-registering if registered and asked for.

        Never raises for a deaf server.
        """
        if self._closed:
            return
        self._closed = True
        self.settings.stop()
        await self.calls.close()
        await self.messaging.close()
        if deregister and self.registration.granted is not None:
            try:
                await self.registration.deregister()
            except Exception as error:
                log.warning("not de-registered: %s", error)
        await self.registration.stop()
        await self.documents.close()
        await self.endpoint.close()
        self._inbox.put_nowait(None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- registration

    async def register(
        self, *, expires: int | None = None, contacts: tuple[Contact, ...] | None = None
    ) -> ReceivedResponse:
        """Register and keep registered (CLI-01).

        Raises RegistrationError, NoAnswerError, ConnectionFailedError.
        """
        await self.start()
        return await self.registration.register(expires=expires, contacts=contacts)

    async def leave_im(self) -> ReceivedResponse:
        """Stay registered without the feature tag: no longer available for IM (CLI-01)."""
        return await self.registration.leave_im()

    async def deregister(self, *, everything: bool = False) -> ReceivedResponse:
        """Remove the bindings of this client, or with `everything` those of all devices (CLI-01)."""
        await self.start()
        return await self.registration.deregister(everything=everything)

    # --- sending

    async def send(
        self,
        to: str,
        body: bytes | str,
        *,
        content_type: str = "text/plain;charset=UTF-8",
        any_size: bool = False,
        **options: Any,
    ) -> ReceivedResponse:
        """Send one MESSAGE; returns the final response, whatever it is. CLI-05.

        `options` are the further fields of `pager.Outgoing`. A second message to the same URI waits for the
        answer to the first (RFC 3428 section 8). Above 1300 bytes over UDP it raises
        MessageTooLargeError, unless `any_size` is set, which is for tests of a server. Raises
        NoAnswerError, ConnectionFailedError, ValueError.
        """
        data = body.encode() if isinstance(body, str) else body
        return await self.send_message(Outgoing(to=to, body=data, content_type=content_type, **options), any_size=any_size)

    async def send_message(self, message: Outgoing, *, any_size: bool = False) -> ReceivedResponse:
        """Send one MESSAGE as `send` does."""
        await self.start()
        request = build_message(message, self.config, call_id=new_call_id(), tag=new_tag(), now=datetime.now(tz=UTC))
        limit = UNLIMITED if any_size else PAGER_LIMIT
        async with self._turn(str(request.uri)):
            return await self.requester.send(request, datagram_limit=limit)

    async def send_to_many(
        self,
        recipients: Sequence[Recipient | str],
        body: bytes | str,
        *,
        content_type: str = "text/plain;charset=UTF-8",
        any_size: bool = False,
        **options: Any,
    ) -> ReceivedResponse:
        """Send one MESSAGE to several users through the conference factory (clause 8.1.1-5). CLI-05.

        A recipient given as text is one of the visible ones (copyControl "to"). `options` as in `send`.
        """
        entries = [Recipient(entry) if isinstance(entry, str) else entry for entry in recipients]
        data = body.encode() if isinstance(body, str) else body
        kind, whole = build_body(content_type, data, entries, boundary=new_call_id())
        options.setdefault("to", str(self.config.factory_uri))
        options.setdefault("session_type", SessionType.ADHOC)
        headers = (REQUIRE, *options.pop("headers", ()))
        message = Outgoing(body=whole, content_type=kind, headers=headers, **options)
        return await self.send_message(message, any_size=any_size)

    async def send_composing(
        self, to: str, *, active: bool = True, refresh: int | None = None, **options: Any
    ) -> ReceivedResponse | None:
        """Tell `to` that the user composes, or has stopped (RFC 3994). CLI-05, PAG-20.

        Returns None, and sends nothing, once `to` has answered 415 to such a message (section 4).
        """
        if to in self._uninterested:
            return None
        document = composing.build(composing.Status(active=active, refresh=refresh, media="text/plain"))
        response = await self.send(to, document, content_type=composing.CONTENT_TYPE, **options)
        if response.status == 415:
            self._uninterested[to] = None
            while len(self._uninterested) > UNINTERESTED_LIMIT:
                del self._uninterested[next(iter(self._uninterested))]
        return response

    def _turn(self, uri: str) -> _Turn:
        turn = self._pending.get(uri)
        if turn is None:
            turn = self._pending[uri] = _Turn(self._pending, uri)
        return turn

    async def request(
        self, method: str, uri: str, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> ReceivedResponse:
        """Send any request outside a dialog, with the fields every request has and `headers`."""
        await self.start()
        name = f"{quote(self.config.display_name)} " if self.config.display_name else ""
        request = build_request(
            method,
            parse_uri(uri),
            from_value=f"{name}<{self.config.identity_uri}>;tag={new_tag()}",
            to_value=f"<{uri}>",
            call_id=new_call_id(),
            headers=headers,
            body=body,
        )
        return await self.requester.send(request)

    # --- sessions

    @property
    def on_invite(self) -> InvitationHandler | None:
        """Decides about each invitation to a session; without it they are refused with 480. CLI-04"""
        return self.messaging.on_invite

    @on_invite.setter
    def on_invite(self, handler: InvitationHandler | None) -> None:
        self.messaging.on_invite = handler

    async def invite(self, to: str, **options: Any) -> ImSession:
        """Start an IM session with a user; see `Messaging.invite` for `options` and errors. CLI-02"""
        await self.start()
        return await self.messaging.invite(to, **options)

    async def start_conference(self, users: Sequence[str], **options: Any) -> Conference:
        """Start an ad-hoc conference; see `conference.start`. CLI-02"""
        await self.start()
        return await conference.start(self.messaging, users, **options)

    async def join_conference(self, uri: str, **options: Any) -> Conference:
        """Join a group, or a session by its identity; see `conference.join`. CLI-02"""
        await self.start()
        return await conference.join(self.messaging, uri, **options)

    async def send_large(self, to: str | Sequence[str], source: bytes | Path, **options: Any) -> Sent:
        """Send a message of any size; see `Messaging.send_large`. LRG-01"""
        await self.start()
        return await self.messaging.send_large(to, source, **options)

    async def send_files(self, to: str | Sequence[str], paths: Sequence[Path], **options: Any) -> SentFiles:
        """Send several files in one session; see `files.send_files`. LRG-05"""
        await self.start()
        return await send_files(self.messaging, to, paths, **options)

    async def send_file(self, to: str | Sequence[str], path: Path, **options: Any) -> Sent:
        """Send a file; see `Messaging.send_file`. LRG-01"""
        await self.start()
        return await self.messaging.send_file(to, path, **options)

    async def deferred_list(self) -> Summary:
        """What waits for this user; see `Messaging.deferred_summary`. CLI-06"""
        await self.start()
        return await self.messaging.deferred_summary()

    async def deferred_get(self, message_ids: Sequence[str] = (), **options: Any) -> list[DeferredMessage]:
        """Fetch the deferred messages named, or all; see `Messaging.deferred_get`. CLI-06"""
        await self.start()
        return await self.messaging.deferred_get(message_ids, **options)

    async def delete_deferred(self, message_ids: Sequence[str] = (), *, everything: bool = False) -> None:
        """Delete deferred messages without fetching them: those named, or all that wait (clause 4.2.3). CLI-06

        Raises XcapError: 404 for a message that is not there, 409 while it is being delivered; what stood before it among
        `message_ids` is deleted. NoAnswerError, ConnectionFailedError.
        """
        if everything:
            await self.documents.delete_all_deferred()
        for message_id in message_ids:
            await self.documents.delete_deferred(message_id)

    async def publish_settings(self, settings: ServiceSettings) -> ReceivedResponse:
        """Publish the service settings, and keep them published (clauses 5.3.2, 6.2.5). CLI-01

        Raises SubscriptionError, NoAnswerError, ConnectionFailedError.
        """
        await self.start()
        self.service_settings = settings
        document = service_settings.build(settings, self._entity)
        return await self.settings.publish(Body(service_settings.CONTENT_TYPE, document))

    # --- receiving

    async def messages(self) -> AsyncIterator[PagerMessage]:
        """The accepted messages in order of arrival, until the client is closed."""
        while (message := await self._inbox.get()) is not None:
            yield message
        self._inbox.put_nowait(None)  # for whoever else is reading

    async def next_message(self, seconds: float | None = 10.0) -> PagerMessage:
        """The next accepted message.

        Raises TimeoutError after `seconds` (None waits for ever), EOFError when the client is closed.
        """
        async with asyncio.timeout(seconds):
            message = await self._inbox.get()
        if message is None:
            self._inbox.put_nowait(None)
            raise EOFError("the client is closed")
        return message

    async def _on_message(self, request: IncomingRequest) -> None:
        message = PagerMessage(request.message, request.raw, datetime.now(tz=UTC))
        verdict: Verdict = None
        if self.on_message is not None:
            outcome = self.on_message(message)
            verdict = await outcome if inspect.isawaitable(outcome) else outcome
        answer = verdict if isinstance(verdict, Answer) else Answer(200 if verdict is None else verdict)
        accepted = 200 <= answer.status < 300
        if accepted and 0 < self.config.inbox_limit <= self._inbox.qsize():
            answer, accepted = Answer(486), False  # clause 8.2.1-1a: not enough resources
        if accepted and self.config.inbox_limit:
            self._inbox.put_nowait(message)  # stored before it is acknowledged (clause 8.2.1-2)
        fields = [*answer_fields(self.config), *answer.headers]
        request.respond(answer.status, reason=answer.reason, headers=fields)  # CLI-05

    async def _on_options(self, request: IncomingRequest) -> None:
        fields = [("Allow", self.endpoint.allow), ("Accept", "*/*"), ("User-Agent", PRODUCT)]
        request.respond(200, headers=fields)

    async def _on_registered(self) -> None:
        """Clause 5.3.2: each initial registration publishes the settings, if there are any to publish. CLI-01"""
        if self.service_settings is None:
            return
        try:
            await self.publish_settings(self.service_settings)
        except ImClientError as error:
            log.warning("the service settings were not published: %s", error)

    def _on_connection_lost(self, error: str) -> None:
        if self.registration.granted is not None and not self._closed:
            log.info("registering again: %s", error)
            self.registration.refresh_now()


class _Turn:
    """One message at a time to one URI; forgotten when nobody uses it."""

    def __init__(self, registry: dict[str, _Turn], uri: str) -> None:
        self._registry = registry
        self._uri = uri
        self._lock = asyncio.Lock()
        self._users = 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._registry.pop(self._uri, None)
