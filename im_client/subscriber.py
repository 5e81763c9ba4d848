"""Subscribe to the state of something and take its notifications (RFC 6665, clauses 7.1.1.12 and 10.2.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from sipmessage import Request

from . import dialog, subscription
from .alarm import Alarm
from .body import Body, of_message
from .dialog import Dialog
from .dialogs import DialogLayer, Leg
from .errors import ImClientError, MalformedMessageError, SubscriptionError
from .exchange import IncomingRequest, ReceivedResponse
from .invitation import from_address, privacy_fields
from .pager import ACCEPT_CONTACT
from .requester import build_request, new_call_id, new_tag
from .responses import identity_fields
from .subscription import Due, Subscription
from .timers import BaseTimers
from .wire import parse_name_addr, parse_uri

log = logging.getLogger(__name__)

MESSAGE_SUMMARY = ("message-summary", "application/simple-message-summary")
CONFERENCE = ("conference", "application/conference-info+xml")
"""Event packages as (Event, Accept)."""
WAITING_LIMIT = 1000
"""Notifications nobody has read; further ones are refused with 500, so that a deaf reader costs no memory."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One NOTIFY. `body` is empty where it only tells the state of the subscription."""

    body: Body
    state: str
    request: Request


class Subscriber:
    """One subscription. `start` it, read `notifications`, `end` it; it refreshes itself in between. CLI-03, CLI-06.

    The first notifier counts; others of a fork get 481.
    """

    def __init__(
        self,
        layer: DialogLayer,
        target: str,
        package: tuple[str, str],
        *,
        expires: int = 3600,
        anonymous: bool = False,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`target` is the Request-URI, `expires` seconds asked for; 0 fetches the state once (section 4.4.3)."""
        self.layer = layer
        self.event, self._accept = package
        self._target = parse_uri(target)
        self._expires = expires
        self._fields = [*privacy_fields(anonymous=anonymous), *headers]
        self._from = from_address(layer.config, anonymous=anonymous)
        self.call_id = new_call_id()
        self._tag = new_tag()
        self.state = Subscription()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._leg: Leg | None = None
        self._cseq = 0
        self._alarm = Alarm(self._on_time)
        self._inbox: asyncio.Queue[Notification | None] = asyncio.Queue()

    # --- what the application does

    async def start(self) -> ReceivedResponse:
        """Send the SUBSCRIBE; its 2xx.

        Raises SubscriptionError where it was refused, NoAnswerError, ConnectionFailedError.
        """
        self.layer.expect(self.call_id, self._tag, self)
        self._now(subscription.asked(self.state, self._timers, Alarm.now(), end=self._expires == 0))
        request = build_request(
            "SUBSCRIBE",
            self._target,
            from_value=f"{self._from};tag={self._tag}",
            to_value=f"<{self._target}>",
            call_id=self.call_id,
            headers=[("Contact", self.layer.contact()), *self._of_subscribe(self._expires)],
        )
        try:
            response = await self.layer.requester.send(request, next_cseq=self._next_cseq)
        except ImClientError as error:
            self._now(subscription.answered(self.state, 408, None, Alarm.now()))
            raise error
        if response.ok and self._leg is None:
            request.headers.set("CSeq", f"{self._cseq} SUBSCRIBE")
            self._take_dialog(dialog.of_caller(request, response.message))
        self._on_answer(response)
        if not response.ok:
            raise SubscriptionError(response.status, response.reason, response.warning)
        return response

    async def end(self) -> None:
        """Unsubscribe (section 4.1.2.3); returns when the last notification has come, or did not in time."""
        if not self.state.over and not self.state.closing and self._leg is not None:
            await self._subscribe_again(0)
        await asyncio.shield(self.ended)

    async def next(self, seconds: float | None = 10.0) -> Notification:
        """The next notification. Raises TimeoutError after `seconds`, EOFError when there are no more."""
        async with asyncio.timeout(seconds):
            found = await self._inbox.get()
        if found is None:
            self._inbox.put_nowait(None)
            raise EOFError(f"the subscription is over: {self.state.reason}")
        return found

    async def notifications(self) -> AsyncIterator[Notification]:
        """All notifications, until the subscription is over."""
        while (found := await self._inbox.get()) is not None:
            yield found
        self._inbox.put_nowait(None)

    # --- what the notifier does

    async def on_request(self, request: IncomingRequest) -> None:
        """A NOTIFY of this subscription; the first one may make the dialog (section 4.4.1)."""
        message = request.message
        told = subscription.parse_state(message.headers.get("Subscription-State") or "")
        event = (message.headers.get("Event") or "").partition(";")[0].strip().lower()
        if message.method != "NOTIFY" or self.state.over:
            request.respond(481)
        elif event != self.event:
            request.respond(489)
        elif told is None:
            request.respond(400)
        elif self._inbox.qsize() >= WAITING_LIMIT:
            request.respond(500)
        elif self._is_ours(request):
            request.respond(200)
            self._now(subscription.notified(self.state, told, Alarm.now()))
            found = Notification(of_message(message), told.value, message)
            if found.body or told.value != "terminated":
                self._inbox.put_nowait(found)
            self._tell_end()

    def _is_ours(self, request: IncomingRequest) -> bool:
        """Whether the NOTIFY is of our notifier and in order; answers it where not."""
        message = request.message
        try:
            if self._leg is None:
                found = dialog.of_callee(message, self._tag)
                self._take_dialog(found, initiator=True)
                return True
            if (parse_name_addr(message.headers.get("From") or "").tag or "") != self._leg.dialog.remote_tag:
                request.respond(481)  # another notifier of a fork
                return False
        except MalformedMessageError:
            request.respond(400)
            return False
        return self._leg.take(request)

    def _take_dialog(self, found: Dialog, *, initiator: bool = False) -> None:
        if initiator:  # made by a NOTIFY: the Call-ID is ours all the same, and so are the numbers so far
            found = replace(found, local_cseq=self._cseq, initiator=True)
        self._leg = Leg(self.layer, found)
        self.layer.add(found.id, self)

    # --- refresh and end

    def _of_subscribe(self, expires: int) -> list[tuple[str, str]]:
        return [
            ("Accept-Contact", ACCEPT_CONTACT),  # 7.1.1.1-1
            *identity_fields(self.layer.config),
            ("Event", self.event),
            ("Accept", self._accept),
            ("Expires", str(expires)),
            ("Allow", self.layer.endpoint.allow),
            *self._fields,
        ]

    async def _subscribe_again(self, expires: int) -> None:
        if self._leg is None:
            return
        self._now(subscription.asked(self.state, self._timers, Alarm.now(), end=expires == 0))
        response = await self._leg.try_request("SUBSCRIBE", headers=self._of_subscribe(expires))
        if response is not None:
            self._on_answer(response)
        else:
            self._now(subscription.answered(self.state, 408, None, Alarm.now()))
            self._tell_end()

    def _on_answer(self, response: ReceivedResponse) -> None:
        expires = response.header("Expires") or ""
        granted = int(expires) if expires.isdecimal() and len(expires) < 10 else self._expires
        self._now(subscription.answered(self.state, response.status, granted, Alarm.now()))
        self._tell_end()

    def _on_time(self, now: float) -> None:
        state, due = subscription.tick(self.state, now)
        self._now(state)
        if due is Due.REFRESH:
            self.layer.spawn(self._subscribe_again(self._expires))
        self._tell_end()

    def _now(self, state: Subscription) -> None:
        self.state = state
        self._alarm.set(state.deadline)

    def _tell_end(self) -> None:
        if not self.state.over or self.ended.done():
            return
        log.info("the subscription to %s of %s is over: %s", self.event, self._target, self.state.reason)
        self.layer.expect_no_more(self.call_id, self._tag)
        if self._leg is not None:
            self.layer.remove(self._leg.dialog.id)
        self._inbox.put_nowait(None)
        self.ended.set_result(self.state.reason)

    def _next_cseq(self) -> int:
        self._cseq += 1
        if self._leg is not None:
            return self._leg.next_cseq()
        return self._cseq

    @property
    def _timers(self) -> BaseTimers:
        return self.layer.endpoint.settings.timers
