"""Be invited: one INVITE, from the ringing to the session, the refusal or the CANCEL.

RFC 3261 sections 9.2 and 13.3, RFC 3262, RFC 4028; clause 7.1.2.1 with change request D.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sipmessage import Request, Response

from . import body, dialog, glare, reliable, repetition, session_timer
from .alarm import Alarm
from .body import NOTHING, Body
from .call import Do, State, What, step
from .dialog import DialogId
from .dialogs import DialogLayer, Leg
from .errors import MalformedMessageError, SessionEndedError
from .exchange import IncomingRequest
from .glare import Exchange
from .repetition import Due, Repetition
from .session import Session
from .session_timer import SessionTimer, TimerPolicy
from .wire import parse_cseq, parse_name_addr, values

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Unacknowledged:
    """A reliable provisional response without PRACK."""

    response: Response
    repetition: Repetition
    has_sdp: bool


class IncomingCall:
    """One invitation to us. The handler calls `ring` as often as it likes, then `accept` or `reject`.

    `cancelled` is set when the caller has given up.
    """

    def __init__(self, layer: DialogLayer, request: IncomingRequest, policy: TimerPolicy) -> None:
        """Raises MalformedMessageError for an INVITE that cannot make a dialog."""
        self.request = request
        self.leg = Leg(layer, dialog.of_callee(request.message, request.to_tag))
        self.state = State.RECEIVED
        self.cancelled = asyncio.Event()
        self.replaces: DialogId | None = None  # the session this one takes the place of (RFC 3891)
        self._layer = layer
        self._policy = policy
        self._sent = reliable.Sent(parse_cseq(request.message.headers)[0], _first_rseq())
        self._waiting: _Unacknowledged | None = None
        self._acknowledged = asyncio.Event()
        self._acknowledged.set()
        self._ringing = asyncio.Lock()
        self._refusal: tuple[int, str | None, list[tuple[str, str]]] = (480, None, [])
        self._alarm = Alarm(self._on_time)
        layer.add(self.leg.dialog.id, self)
        request.on_cancel = lambda: self._happen(What.CANCELLED)
        if request.cancelled:
            self._happen(What.CANCELLED)

    # --- what the invitation says

    @property
    def message(self) -> Request:
        return self.request.message

    @property
    def offer(self) -> Body:
        """The session description; none where the caller wants us to offer."""
        return body.sdp_of(self.message)

    @property
    def body(self) -> Body:
        return body.of_message(self.message)

    @property
    def caller(self) -> str:
        """The URI of P-Asserted-Identity, or of From where there is none."""
        return self.asserted_identity or parse_name_addr(self.message.headers.get("From") or "").uri

    @property
    def asserted_identity(self) -> str:
        """The first URI of P-Asserted-Identity, empty without one."""
        return _address(self.message, "P-Asserted-Identity")

    @property
    def referred_by(self) -> str:
        """The URI of Referred-By (RFC 3892), empty without one."""
        return _address(self.message, "Referred-By")

    def header(self, name: str) -> str | None:
        return self.message.headers.get(name)

    # --- what the application does

    async def ring(
        self,
        status: int = 180,
        *,
        reliably: bool | None = None,
        answer: Body = NOTHING,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a provisional response; a reliable one returns with its PRACK. PFS-15.

        `reliably` None: where the caller knows it. With `answer` it carries the answer to the offer. Raises
        SessionEndedError where the invitation has ended, ValueError for what the caller does not support.
        """
        possible = reliable.offered(self.message)
        if reliably and not possible:
            raise ValueError("the caller does not support reliable provisional responses")
        async with self._ringing:
            self._check_open()
            fields = [*self._layer.answer_fields(), *answer.fields(), *headers]
            if reliable.required(self.message) or (possible and reliably is not False):
                await self._ring_reliably(status, fields, answer)
            else:
                self.request.respond(status, headers=fields, body=answer.data)

    async def _ring_reliably(self, status: int, fields: list[tuple[str, str]], answer: Body) -> None:
        self._sent, more = reliable.number(self._sent)
        self.request.respond(status, headers=[*fields, *more], body=answer.data)
        response = self.request.last
        assert response is not None
        pending = repetition.of_provisional(self._layer.endpoint.settings.timers, Alarm.now())
        self._waiting = _Unacknowledged(response, pending, bool(answer))
        self._alarm.set(pending.deadline)
        self._acknowledged.clear()
        await self._acknowledged.wait()
        self._check_open()

    async def accept(
        self, answer: Body, headers: Iterable[tuple[str, str]] = (), *, fields: Iterable[tuple[str, str]] = ()
    ) -> Session:
        """Accept with 200 (clause 7.1.2.1 as changed); the session may not be used before its `established`. CLI-04.

        `answer` is our offer where the invitation had none. `headers` go into the 200, `fields` into every request
        of ours. Raises SessionEndedError where the caller has cancelled.
        """
        if self._waiting is not None and self._waiting.has_sdp:
            await self._acknowledged.wait()  # RFC 3262 section 3
        self._check_open()
        self._stop_ringing()
        self._happen(What.ACCEPT)
        timer, more = session_timer.grant(SessionTimer(), self._policy, self.message.headers, Alarm.now())
        shown = [*self._layer.answer_fields(), *more, *headers, *answer.fields()]
        session = Session(self.leg, State.ANSWERED, self.message.headers, policy=self._policy, timer=timer, fields=fields)
        session.on_prack = self._on_prack
        self.request.respond(200, headers=shown, body=answer.data)
        session.await_ack(self.request, offering=not self.offer)
        return session

    def reject(self, status: int = 603, reason: str | None = None, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse (clause 7.1.2.1-1): 486 or 603 where the user is busy, 488 where the offer is of no use. CLI-04."""
        if self.state is State.RECEIVED:
            self._refusal = (status, reason, list(headers))
            self._happen(What.REFUSE)

    def _check_open(self) -> None:
        if self.state is not State.RECEIVED:
            raise SessionEndedError("the invitation was cancelled" if self.cancelled.is_set() else "it has its answer")

    # --- what the caller does

    async def on_request(self, request: IncomingRequest) -> None:
        method = request.message.method
        if method == "ACK" or not self.leg.take(request):
            return
        if method == "PRACK":
            self._on_prack(request)
        elif method == "BYE":
            request.respond(200)
            self._happen(What.BYE)
        elif method == "UPDATE":
            # The offer of the INVITE has no answer yet (RFC 3311 section 5.2).
            refusal = glare.on_update(Exchange(invited=True), offer=bool(body.sdp_of(request.message)))
            wait = [("Retry-After", "1")] if refusal is not None and refusal.retry_after else []
            request.respond(refusal.status if refusal else 200, headers=[*wait, *self._layer.answer_fields()])
        else:
            request.respond(491 if method == "INVITE" else 481)

    def _on_prack(self, request: IncomingRequest) -> None:
        acknowledged = reliable.acknowledge(self._sent, request.message)
        if acknowledged is None:
            request.respond(481)
            return
        self._sent = acknowledged
        request.respond(200)
        self._stop_ringing()

    def _stop_ringing(self) -> None:
        self._waiting = None
        self._alarm.set(None)
        self._acknowledged.set()

    def _on_time(self, now: float) -> None:
        if self._waiting is None:
            return
        self._waiting.repetition, due = repetition.fire(self._waiting.repetition, now)
        if due is Due.GIVE_UP:
            self.reject(504)  # RFC 3262 section 3: a 5xx, nobody acknowledges
            return
        if due is Due.AGAIN:
            self.request.repeat(self._waiting.response)
        self._alarm.set(self._waiting.repetition.deadline)

    def _happen(self, what: What) -> None:
        self.state, doing = step(self.state, what)
        for do in doing:
            match do:
                case Do.TERMINATE:
                    self.cancelled.set()
                    self.request.respond(487)  # clause 7.1.2.4 CLI-04
                case Do.REFUSE:
                    status, reason, headers = self._refusal
                    fields = [("Allow", self._layer.endpoint.allow), *headers]
                    self.request.respond(status, reason=reason, headers=fields)
                case Do.END:
                    self._layer.remove(self.leg.dialog.id)
                    self._stop_ringing()
                case _:
                    pass  # ANSWER is `accept` itself


def _first_rseq() -> int:
    return secrets.randbelow(reliable.FIRST_LIMIT)  # one is added before the first use


def _address(message: Request, name: str) -> str:
    found = values(message.headers, name)
    try:
        return parse_name_addr(found[0]).uri if found else ""
    except MalformedMessageError:
        return ""
