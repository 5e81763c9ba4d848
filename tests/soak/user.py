"""A user of the soak: a reference client that comes, goes and vanishes; every message that it gets is noted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from im_client.client import ImClient
from im_client.deferred import DeferredMessage
from im_client.errors import ImClientError, RegistrationError, SessionRefusedError
from im_client.im_invitation import ImInvitation
from im_client.msrp_peer import MessageFailedError
from im_client.negotiation import NotAcceptableError
from im_client.pager import PagerMessage
from im_client.session import Session
from tests.soak.books import Books, Outcome, Sending, Way, content

log = logging.getLogger(__name__)

SENDING_SECONDS = 90.0
"""After that a sending counts as undecided: 64*T1 for each of the attempts that authentication needs, and some more."""

READING_SECONDS = 5.0
"""How long a device that is about to vanish goes on with the sessions that it has."""


class User:
    """`make` gives a new device: a client that is not registered."""

    def __init__(self, name: str, make: Callable[[], ImClient], books: Books) -> None:
        self.name = name
        self._make = make
        self._books = books
        self._client: ImClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._taking = 0
        self._lock = asyncio.Lock()
        self.registrations_refused: list[str] = []

    # --- coming and going

    async def register(self) -> bool:
        """Register the device, switched on if need be; whether that was granted."""
        async with self._lock:
            try:
                await self._device().register()
            except RegistrationError as error:
                self.registrations_refused.append(f"{error.status}")
            except ImClientError:
                pass
            else:
                return True
            return False

    async def deregister(self) -> None:
        """De-register; the device stays on."""
        async with self._lock:
            try:
                await self._device().deregister()
            except ImClientError:
                pass

    async def fetch(self) -> None:
        """Ask for whatever is stored; a refusal says that there is nothing."""
        try:
            async with asyncio.timeout(SENDING_SECONDS):
                for message in await self._device().deferred_get():
                    self._note_deferred(Way.FETCH, message)
        except (ImClientError, ConnectionError, TimeoutError):
            pass

    async def vanish(self) -> None:
        """The device is gone without a word, its binding stays."""
        async with self._lock:
            client, reader = self._client, self._reader
            self._client = self._reader = None  # whoever wants something now switches on another
            if client is not None and reader is not None:
                client.on_invite = None
                await self._read_out(client)
                await client.close(deregister=False)
                reader.cancel()
                self._drain(client)

    def _device(self) -> ImClient:
        if self._client is None:
            self._client = client = self._make()
            client.on_message = self._on_message
            client.on_invite = self._on_invite
            self._reader = asyncio.create_task(self._read(client))
        return self._client

    # --- sending

    async def send(self, sending: Sending, to: str) -> None:
        """Send it, and note what became of it."""
        body = content(sending.ident, sending.size)
        try:
            async with asyncio.timeout(SENDING_SECONDS):
                if sending.large:
                    await self._device().send_large(to, body, content_type="text/plain", subject=sending.ident)
                    self._decide(sending, Outcome.ACCEPTED, "acknowledged")
                else:
                    subject = (("Subject", sending.ident),)
                    response = await self._device().send(to, body, content_type="text/plain", headers=subject)
                    outcome = Outcome.ACCEPTED if response.ok else Outcome.REFUSED
                    self._decide(sending, outcome, f"{response.status}{response.warning_text}")
        except SessionRefusedError as error:
            self._decide(sending, Outcome.REFUSED, str(error))
        except (ImClientError, MessageFailedError, ConnectionError, TimeoutError) as error:
            self._decide(sending, Outcome.UNKNOWN, f"{type(error).__name__} {error}")

    def _decide(self, sending: Sending, outcome: Outcome, why: str) -> None:
        sending.outcome, sending.why, sending.ended = outcome, why, time.monotonic()

    # --- what comes

    def _on_message(self, message: PagerMessage) -> None:
        self._note(Way.PAGER, message.call_id, message.body)

    async def _on_invite(self, invitation: ImInvitation) -> None:
        self._taking += 1
        try:
            await self._take(invitation)
        finally:
            self._taking -= 1

    async def _take(self, invitation: ImInvitation) -> None:
        try:
            session = await invitation.accept()
        except (ImClientError, NotAcceptableError) as error:
            log.info("%s did not take a large message: %s", self.name, error)  # nor has it acknowledged it
            return
        async for message in session.messages():
            self._note(Way.LARGE, message.message_id, message.body)

    async def _read(self, client: ImClient) -> None:
        while True:
            self._note_deferred(Way.PUSH, await client.messaging.pushed.get())

    async def _read_out(self, client: ImClient) -> None:
        """Let it read what it has acknowledged: nobody but the device can know of that."""
        deadline = time.monotonic() + READING_SECONDS
        while self._taking or any(isinstance(usage, Session) for _, usage in client.calls.layer.usages()):
            if time.monotonic() > deadline:
                log.warning("%s vanishes in the middle of a session", self.name)
                return
            await asyncio.sleep(0.05)

    def _drain(self, client: ImClient) -> None:
        while not client.messaging.pushed.empty():
            self._note_deferred(Way.PUSH, client.messaging.pushed.get_nowait())

    def _note_deferred(self, way: Way, message: DeferredMessage) -> None:
        """A repetition is told by what the message had from its sender: Call-ID of a MESSAGE, Message-ID of a SEND."""
        self._note(way, message.headers.get("Call-ID") or message.message_id, message.body)

    def _note(self, way: Way, key: str, body: bytes) -> None:
        self._books.arrive(self.name, way, key, body, time.monotonic())
