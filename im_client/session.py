"""A SIP session: an INVITE-initiated dialog with two ends that can modify, refresh and release it.

RFC 3261 sections 12 to 15, RFC 3311, RFC 4028; clauses 7.1.1.5, 7.1.1.8, 7.1.1.13, 7.1.2.2, 7.1.2.3. What is
described in the bodies is the business of `media`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from sipmessage import Headers, Request

from . import body, dialog, glare, repetition, session_timer
from .alarm import Alarm
from .body import NOTHING, Body
from .call import Do, State, What, step
from .dialogs import GONE, Leg
from .errors import ConnectionFailedError, ImClientError, NoAnswerError, SessionEndedError
from .exchange import IncomingRequest, ReceivedResponse
from .glare import Exchange
from .live import Outcome
from .negotiation import Media, NotAcceptableError
from .repetition import Due, Repetition
from .session_timer import SessionTimer, TimerPolicy
from .wire import parse_cseq, values

log = logging.getLogger(__name__)

MAX_RETRIES = 4
"""Attempts at one modification that ends in 491 or 422 each time."""


class Session:
    """One session, either side; made by `OutgoingCall` or `IncomingCall`.

    `ended` tells why it is over. `peer_allow` are the methods the peer supports (clause 7.1.1.1).
    """

    def __init__(
        self,
        leg: Leg,
        state: State,
        peer: Headers,
        *,
        policy: TimerPolicy,
        timer: SessionTimer | None = None,
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`fields` go into every request of ours: Privacy, where the user wants to be anonymous."""
        self.leg = leg
        self.state = state
        self.media: Media | None = None
        self.refer_notified: Callable[[IncomingRequest], None] | None = None
        self.on_prack: Callable[[IncomingRequest], None] | None = None
        loop = asyncio.get_running_loop()
        self.established: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.peer_allow = frozenset(method.upper() for method in values(peer, "Allow"))
        self.timer = timer or SessionTimer()
        self._policy = policy
        self._fields = list(fields)
        self._exchange = Exchange()
        self._changed = asyncio.Event()  # of `_exchange`, or of the end
        self._modifying = asyncio.Lock()
        self._why = ""
        self._release_fields: list[tuple[str, str]] = []
        self._bye: asyncio.Task[ReceivedResponse | None] | None = None
        self._refreshing = False
        self._unconfirmed: _Unconfirmed | None = None
        self._again: Callable[[], None] | None = None  # sends the ACK to our last INVITE again
        self._alarm = Alarm(self._on_time)
        leg.layer.add(leg.dialog.id, self)
        if state is State.ESTABLISHED:
            self.established.set_result(None)
        self._arm()

    def __repr__(self) -> str:
        return f"<Session {self.leg.dialog.call_id} {self.state.name}>"

    @property
    def why(self) -> str:
        """Why it has ended; empty while it has not."""
        return self._why

    @property
    def alive(self) -> bool:
        return self.state is not State.ENDED

    # --- what the application does

    async def close(self, headers: Iterable[tuple[str, str]] = (), *, why: str = "closed") -> None:
        """Release with BYE (clause 7.1.1.13); before the ACK has come, once it has. Never raises. CLI-03."""
        self._release_fields = list(headers)
        self._happen(What.CLOSE, why)
        await asyncio.shield(self.ended)
        if self._bye is not None:
            await asyncio.gather(asyncio.shield(self._bye), return_exceptions=True)

    async def request(self, method: str, *, headers: Iterable[tuple[str, str]] = (), data: bytes = b"") -> ReceivedResponse:
        """Any request within the dialog; 481, 408 and silence end the session (section 12.2.1.2).

        Raises SessionEndedError, NoAnswerError, ConnectionFailedError.
        """
        return await self._guarded(self.leg.request(method, headers=[*headers, *self._fields], body=data))

    async def modify(self, offer: Body = NOTHING, *, method: str | None = None) -> ReceivedResponse:
        """Offer another description, or with none only refresh, by UPDATE where the peer takes it, else by re-INVITE.

        `method` chooses between them. A 491 is tried again as section 14.1 says, a 422 with its interval. Returns
        the final response; a 2xx has its answer in the body, for the caller to take. Raises as `request`.
        CLI-02, CLI-03
        """
        method = method or ("UPDATE" if "UPDATE" in self.peer_allow else "INVITE")
        async with self._modifying:
            for _ in range(MAX_RETRIES):
                response = await self._attempt(method, offer)
                if response.status == 491:
                    await asyncio.sleep(
                        glare.retry_seconds(owner=self.leg.dialog.initiator, fraction=random.random())  # noqa: S311
                    )
                elif response.status == 422 and (timer := session_timer.too_small(self.timer, response.message.headers)):
                    self.timer = timer
                else:
                    return response
            return response

    async def _attempt(self, method: str, offer: Body) -> ReceivedResponse:
        while self.alive and not self._exchange.free:  # section 14.1: our turn comes when the peer's is through
            self._changed.clear()
            await self._changed.wait()
        if not self.alive:
            raise SessionEndedError(f"the session has ended: {self._why}")
        if method == "INVITE" and not offer and self.media is not None:
            offer = self.media.offer()
        fields = [("Supported", self._supported()), *session_timer.refresh_fields(self.timer), *offer.fields()]
        asked = session_timer.wanted(self.timer)
        self._now_under_way(inviting=method == "INVITE", offering=bool(offer))
        try:
            sending = (
                self._invite(fields, offer) if method == "INVITE" else self.request(method, headers=fields, data=offer.data)
            )
            response = await sending
        finally:
            self._now_under_way(inviting=False, offering=False)
        if response.ok:
            self.timer = session_timer.granted(self.timer, asked, response.message.headers, Alarm.now())
            self._arm()
        return response

    async def _invite(self, fields: list[tuple[str, str]], offer: Body) -> ReceivedResponse:
        layer, hop = self.leg.layer, dialog.next_hop(self.leg.dialog)

        async def transmit(request: Request) -> ReceivedResponse:
            done: asyncio.Future[ReceivedResponse] = asyncio.get_running_loop().create_future()
            key = await layer.endpoint.start_request(request, lambda outcome: self._on_outcome(outcome, done), next_hop=hop)
            try:
                return await done
            except asyncio.CancelledError:
                layer.endpoint.forget(key)
                raise

        self._again = None
        request = self.leg.build("INVITE", [*fields, *self._fields], offer.data)
        response = await self._guarded(
            layer.requester.send(request, next_cseq=self.leg.next_cseq, transmit=transmit, follow=False)
        )
        if response.ok:
            self.leg.dialog = dialog.answered(self.leg.dialog, response.message)
            await self.acknowledge(parse_cseq(response.message.headers)[0])
        return response

    def _on_outcome(self, outcome: Outcome, done: asyncio.Future[ReceivedResponse]) -> None:
        if isinstance(outcome, ImClientError):
            if not done.done():
                done.set_exception(outcome)
        elif outcome.status >= 200 and not done.done():
            done.set_result(outcome)
        elif outcome.status >= 200:
            self.acknowledge_again()

    async def acknowledge(self, number: int, answer: Body = NOTHING) -> None:
        """Send the ACK to the 2xx of our INVITE with that CSeq (section 13.2.2.4)."""
        ack = self.leg.build("ACK", answer.fields(), answer.data, number)
        try:
            hop = dialog.next_hop(self.leg.dialog)
            self._again = await self.leg.layer.endpoint.send_ack(ack, next_hop=hop)
        except ConnectionFailedError as error:
            log.info("the ACK of %s could not be sent: %s", self.leg.dialog.call_id, error)

    def acknowledge_again(self) -> None:
        """The peer repeats its 2xx: our ACK was lost."""
        if self._again is not None:
            self._again()

    async def _guarded(self, sending: Coroutine[Any, Any, ReceivedResponse]) -> ReceivedResponse:
        if not self.alive:
            sending.close()
            raise SessionEndedError(f"the session has ended: {self._why}")
        try:
            response = await sending
        except NoAnswerError:
            self._happen(What.GONE, "no answer")
            raise
        if response.status in GONE:
            self._happen(What.GONE, f"{response.status} {response.reason}")
        return response

    def _supported(self) -> str:
        return ", ".join(sorted(self.leg.layer.endpoint.settings.supported))

    # --- what the peer does

    async def on_request(self, request: IncomingRequest) -> None:
        method = request.message.method
        if method == "ACK":
            await self._on_ack(request)
        elif not self.alive:
            request.respond(481)
        elif self.leg.take(request):
            await self._on_fresh(method, request)

    async def _on_fresh(self, method: str, request: IncomingRequest) -> None:
        match method:
            case "BYE":
                request.respond(200)  # clause 7.1.2.3 CLI-04
                reason = request.message.headers.get("Reason")
                self._happen(What.BYE, f"released by the peer: {reason}" if reason else "released by the peer")
            case "INVITE":
                self._confirmed()  # who sends the next INVITE has seen our 2xx
                await self._on_offer(request, glare.on_invite(self._exchange))
            case "UPDATE":
                offer = bool(body.sdp_of(request.message))
                await self._on_offer(request, glare.on_update(self._exchange, offer=offer))
            case "PRACK" if self.on_prack is not None:
                self.on_prack(request)
            case "NOTIFY" if self.refer_notified is not None:
                self.refer_notified(request)
            case _:
                request.respond(481)

    async def _on_offer(self, request: IncomingRequest, refusal: glare.Refusal | None) -> None:
        """A re-INVITE or UPDATE (clause 7.1.2.2). CLI-04"""
        if refusal is not None:
            wait = [("Retry-After", str(random.randrange(glare.RETRY_AFTER_LIMIT)))] if refusal.retry_after else []  # noqa: S311
            request.respond(refusal.status, headers=wait)
            return
        small = session_timer.refusal(self._policy, request.message.headers)
        if small is not None:
            request.respond(422, headers=small)
            return
        invite = request.message.method == "INVITE"
        self._now_under_way(invited=invite, updating=not invite)
        request.on_cancel = lambda: request.respond(487)
        try:
            answer = await self._answer(request)
        except NotAcceptableError as error:
            warning = [("Warning", f'399 im-client "{error.warning}"')] if error.warning else []
            request.respond(error.status, headers=warning)
            return
        finally:
            self._now_under_way(invited=False, updating=False)
        self._accept(request, answer)

    async def _answer(self, request: IncomingRequest) -> Body:
        offer = body.sdp_of(request.message)
        if not offer and request.message.method == "UPDATE":
            return NOTHING
        if self.media is None:
            raise NotAcceptableError
        return await self.media.answer(offer) if offer else self.media.offer()

    def _accept(self, request: IncomingRequest, answer: Body) -> None:
        if request.answered or not self.alive:
            request.respond(487)
            return
        self.timer, fields = session_timer.grant(self.timer, self._policy, request.message.headers, Alarm.now())
        fields = [*self.leg.layer.answer_fields(), *fields, *answer.fields()]
        request.respond(200, headers=fields, body=answer.data)
        if request.message.method == "INVITE":
            self.await_ack(request, offering=not body.sdp_of(request.message))
        self._arm()

    def await_ack(self, request: IncomingRequest, *, offering: bool) -> None:
        """Our 2xx to `request` has gone out: repeat it until its ACK; `offering`: that brings the answer."""
        timers = self.leg.layer.endpoint.settings.timers
        number = parse_cseq(request.message.headers)[0]
        self._now_under_way(offering=offering)
        self._unconfirmed = _Unconfirmed(request, number, repetition.of_success(timers, Alarm.now()))
        self._arm()

    def _now_under_way(self, **changes: bool) -> None:
        self._exchange = replace(self._exchange, **changes)
        self._changed.set()

    async def _on_ack(self, request: IncomingRequest) -> None:
        waiting = self._unconfirmed
        if waiting is None or waiting.number != parse_cseq(request.message.headers)[0]:
            return
        answer = body.sdp_of(request.message)
        late = self._exchange.offering
        self._confirmed()
        if late and self.media is not None:
            try:
                await self.media.complete(answer)
            except NotAcceptableError as error:
                await self.close([("Reason", f"SIP;cause={error.status}")], why=f"the answer cannot be used: {error}")

    def confirmed_by_media(self) -> None:
        """What comes at the address in our 2xx shows that it has arrived, whatever became of its ACK. CLI-05"""
        if not self._exchange.offering:
            self._confirmed()

    def _confirmed(self) -> None:
        if self._unconfirmed is not None:
            self._unconfirmed = None
            self._now_under_way(offering=False)
            self._happen(What.ACK)
            self._arm()

    # --- time

    def _arm(self) -> None:
        times = [self.timer.expires_at, None if self._refreshing else self.timer.refresh_at]
        if self._unconfirmed is not None:
            times.append(self._unconfirmed.repetition.deadline)
        self._alarm.set(min((time for time in times if time is not None), default=None) if self.alive else None)

    def _on_time(self, now: float) -> None:
        if self._unconfirmed is not None:
            self._unconfirmed.repetition, due = repetition.fire(self._unconfirmed.repetition, now)
            request = self._unconfirmed.request
            if due is Due.AGAIN and request.last is not None:
                request.repeat(request.last)
            elif due is Due.GIVE_UP:
                self._unconfirmed = None
                self._happen(What.ACK_MISSING, "the peer does not acknowledge")
        if self.timer.expires_at is not None and self.timer.expires_at <= now:
            self._happen(What.EXPIRED, "the session timer expired")
        elif self.timer.refresh_at is not None and self.timer.refresh_at <= now and not self._refreshing and self.alive:
            self._refreshing = True
            self.leg.layer.spawn(self._refresh())
        self._arm()

    async def _refresh(self) -> None:
        """Clause 7.1.1.8. A refusal that leaves the session up is tried again until the session expires."""
        try:
            response = await self.modify()
            if not response.ok and self.alive:
                log.info("the refresh of %s was refused: %d", self.leg.dialog.call_id, response.status)
                await asyncio.sleep(self.leg.layer.endpoint.settings.timers.t2)
        except ImClientError as error:
            log.info("the refresh of %s failed: %s", self.leg.dialog.call_id, error)
        finally:
            self._refreshing = False
            self._arm()

    # --- the table

    def _happen(self, what: What, why: str = "") -> None:
        self.state, doing = step(self.state, what)
        for do in doing:
            match do:
                case Do.START:
                    self.established.set_result(None)
                case Do.BYE:
                    fields = [*self._release_fields, *self._fields]
                    self._bye = self.leg.layer.spawn(self.leg.try_request("BYE", headers=fields))
                case Do.END:
                    self._end(why)
                case _:
                    raise AssertionError(f"{do} is not for a session")

    def _end(self, why: str) -> None:
        self._why = why
        self._alarm.set(None)
        self._changed.set()
        self._unconfirmed = None
        self.leg.layer.remove(self.leg.dialog.id)
        if not self.ended.done():  # who waited for it may have given up
            self.ended.set_result(why)
        if not self.established.done():
            self.established.set_exception(SessionEndedError(why))
            self.established.exception()  # seen, should nobody wait for it


class _Unconfirmed:
    """An INVITE whose 2xx has no ACK yet."""

    def __init__(self, request: IncomingRequest, number: int, pending: Repetition) -> None:
        self.request = request
        self.number = number
        self.repetition = pending
