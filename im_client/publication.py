"""Publish event state and keep it published (RFC 3903), as the service settings are (clauses 5.3.2, 6.2.5). CLI-01"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .alarm import Alarm
from .body import NOTHING, Body
from .config import ClientConfig
from .endpoint import Endpoint
from .errors import ImClientError, SubscriptionError
from .exchange import ReceivedResponse
from .invitation import from_address
from .pager import ACCEPT_CONTACT
from .requester import Requester, build_request, new_call_id, new_tag
from .responses import identity_fields

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""After a refresh that failed for a while (no answer, 5xx), unless the state expires before."""
MAX_ATTEMPTS = 4
"""Requests for one change: a 412 and a 423 each cost one."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the compositor holds of ours. `etag` is empty while it holds nothing. Times of the caller's clock."""

    etag: str = ""
    refresh_at: float | None = None
    expires: int = 3600  # seconds asked for; grows with a 423


def fields(published: Published, event: str, body: Body, *, remove: bool = False) -> list[tuple[str, str]]:
    """The fields of the operation (RFC 3903 table 1)."""
    condition = [("SIP-If-Match", published.etag)] if published.etag else []
    expires = 0 if remove else published.expires
    return [("Event", event), ("Expires", str(expires)), *condition, *body.fields()]


def answered(
    published: Published, response: ReceivedResponse, now: float, *, remove: bool = False
) -> tuple[Published, bool]:
    """What holds after a response, and whether to send again at once (sections 4.1 to 4.6)."""
    if response.ok:
        if remove:
            return replace(published, etag="", refresh_at=None), False
        granted = response.header("Expires") or ""
        seconds = int(granted) if granted.isdecimal() and len(granted) < 10 else published.expires
        etag = response.header("SIP-ETag") or ""
        return Published(etag, now + seconds / 2 if etag else None, published.expires), False
    if response.status == 412:  # our state is gone: publish it anew, without condition
        return replace(published, etag="", refresh_at=None), not remove
    shortest = response.header("Min-Expires") or ""
    if response.status == 423 and shortest.isdecimal() and published.expires < int(shortest[:9]):
        return replace(published, expires=int(shortest[:9])), not remove
    return published, False


class Publication:
    """The state of one event package of one user, refreshed until it is removed."""

    def __init__(
        self, endpoint: Endpoint, requester: Requester, config: ClientConfig, event: str, *, expires: int = 3600
    ) -> None:
        self._endpoint = endpoint
        self._requester = requester
        self._config = config
        self._event = event
        self._body = NOTHING
        self._lock = asyncio.Lock()  # section 4: one PUBLISH at a time
        self._alarm = Alarm(self._on_time)
        self._task: asyncio.Task[None] | None = None
        self.published = Published(expires=expires)

    async def publish(self, body: Body) -> ReceivedResponse:
        """Publish `body`, or change what is published to it. Raises SubscriptionError, NoAnswerError, …"""
        self._body = body
        return await self._put(body)

    async def remove(self) -> None:
        """Remove the state; of no effect where there is none. Raises as `publish`."""
        self._stop()
        if self.published.etag:
            await self._put(NOTHING, remove=True)

    def stop(self) -> None:
        """End the refreshing; the state stays until it expires."""
        self._stop()

    def _stop(self) -> None:
        self._alarm.set(None)
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _put(self, body: Body, *, remove: bool = False) -> ReceivedResponse:
        async with self._lock:
            for _ in range(MAX_ATTEMPTS):
                response = await self._send(fields(self.published, self._event, body, remove=remove), body)
                now = Alarm.now()
                self.published, again = answered(self.published, response, now, remove=remove)
                self._alarm.set(self.published.refresh_at)
                if not again:
                    break
                body = self._body
        if not response.ok and not (remove and response.status == 412):
            raise SubscriptionError(response.status, response.reason, response.warning)
        return response

    async def _send(self, more: Iterable[tuple[str, str]], body: Body) -> ReceivedResponse:
        uri = self._config.identity_uri
        request = build_request(
            "PUBLISH",
            uri,
            from_value=f"{from_address(self._config)};tag={new_tag()}",
            to_value=f"<{uri}>",
            call_id=new_call_id(),
            headers=[("Accept-Contact", ACCEPT_CONTACT), *identity_fields(self._config), *more],
            body=body.data,
        )
        return await self._requester.send(request)

    def _on_time(self, now: float) -> None:
        self._task = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._put(NOTHING)
        except ImClientError as error:
            log.warning("the publication of %s was not refreshed: %s", self._event, error)
            self._alarm.set(Alarm.now() + RETRY_SECONDS)
