"""Invite somebody: one INVITE with its provisional responses, forks, CANCEL and the session it becomes.

RFC 3261 sections 9.1 and 13.2, RFC 3262, RFC 4028; clauses 7.1.1.1 and 7.1.1.15.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sipmessage import Request

from . import body, dialog, glare, reliable, session_timer
from .alarm import Alarm
from .body import NOTHING
from .call import Do, State, What, step
from .dialog import DialogId
from .dialogs import DialogLayer, Leg
from .endpoint import ClientKey
from .errors import ConnectionFailedError, ImClientError, MalformedMessageError, SessionRefusedError
from .exchange import IncomingRequest, ReceivedResponse
from .glare import Exchange
from .live import Outcome
from .session import Session
from .session_timer import SessionExpires, SessionTimer, TimerPolicy
from .wire import parse_cseq, parse_name_addr

log = logging.getLogger(__name__)

MAX_INTERVALS = 3
"""Times an INVITE is sent again because of a 422: each proxy and the callee may have a Min-SE of its own."""
EARLY_LIMIT = 64
"""Early dialogs of one INVITE; more forks than that are no forks."""


@dataclass(slots=True)
class _Early:
    """An early dialog: its leg, and the RSeq received last."""

    leg: Leg
    rseq: int | None = None
    pracks: list[asyncio.Task[ReceivedResponse | None]] = field(default_factory=list)


class OutgoingCall:
    """One invitation of ours. `run` carries it out, `cancel` gives it up.

    `on_progress` sees each provisional response above 100.
    """

    def __init__(
        self,
        layer: DialogLayer,
        request: Request,
        *,
        policy: TimerPolicy,
        on_progress: Callable[[ReceivedResponse], None] | None = None,
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`request` without Session-Expires; `fields` go into every further request of the session."""
        self._layer = layer
        self._request = request
        self._policy = policy
        self._on_progress = on_progress
        self._fields = list(fields)
        self._next_cseq = itertools.count(1).__next__
        self.state = State.INVITING
        self._key: ClientKey | None = None
        self._done: asyncio.Future[ReceivedResponse] | None = None
        self._early: dict[str, _Early] = {}
        self._winner: DialogId | None = None
        self._answer: ReceivedResponse | None = None
        self._sent = request
        self._session: Session | None = None
        # By remote tag, dialogs that were released at once; what sends their ACK again
        self._forks: dict[str, Callable[[], None] | None] = {}
        self._alarm = Alarm(lambda now: self._happen(What.CANCEL_TIMEOUT))
        self.identities: list[str] = []  # the Contact of each response (clause 7.1.1.1)

    @property
    def call_id(self) -> str:
        return self._request.headers.get("Call-ID") or ""

    @property
    def target(self) -> str:
        """The URI of who is invited."""
        return parse_name_addr(self._request.headers.get("To") or "").uri

    def cancel(self) -> None:
        """Give up: CANCEL as soon as it may be sent, BYE should a 200 cross it (clause 7.1.1.15). CLI-03."""
        self._happen(What.CANCEL)

    async def run(self) -> tuple[Session, ReceivedResponse]:
        """The session and the 2xx it came with.

        Raises SessionRefusedError for any other end, NoAnswerError, ConnectionFailedError.
        """
        try:
            response, asked = await self._invite()
            if not response.ok:
                self._happen(What.FAILURE)
                raise SessionRefusedError(response.status, response.reason, response.warning)
            if self._winner is None:
                raise _cancelled()
            return await self._start(response, asked)
        except asyncio.CancelledError:
            self._abandon()
            raise
        finally:
            self._leave_early()

    async def _invite(self) -> tuple[ReceivedResponse, SessionExpires | None]:
        timer = SessionTimer()
        for _ in range(MAX_INTERVALS + 1):
            fields = session_timer.request_fields(self._policy, timer.min_se)
            request = _with(self._request, fields)
            response = await self._layer.requester.send(request, next_cseq=self._next_cseq, transmit=self._transmit)
            larger = session_timer.too_small(timer, response.message.headers) if response.status == 422 else None
            if larger is None:
                break
            timer = larger
        return response, session_timer.parse_session_expires(request.headers)

    async def _transmit(self, request: Request) -> ReceivedResponse:
        self._happen(What.RETRY)
        if self.state is State.ENDED:
            raise _cancelled()
        self._sent = request
        done: asyncio.Future[ReceivedResponse] = asyncio.get_running_loop().create_future()
        self._done = done
        self._key = await self._layer.endpoint.start_request(request, self._on_outcome)
        return await done

    def _abandon(self) -> None:
        """Nobody waits any more: cancel, or release what comes all the same."""
        self._happen(What.CANCEL)
        if self.state is State.ESTABLISHED and self._session is None and self._answer is not None:
            self._release_soon(self._answer)

    # --- responses

    def _on_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, ImClientError):
            self._resolve(outcome)
        elif outcome.status < 200:
            self._on_provisional(outcome)
        elif outcome.ok:
            self._on_success(outcome)
            self._resolve(outcome)
        else:
            self._resolve(outcome)

    def _resolve(self, outcome: Outcome) -> None:
        if self._done is None or self._done.done():
            return
        if isinstance(outcome, ImClientError):
            self._happen(What.FAILURE)
            self._done.set_exception(outcome)
        else:
            self._done.set_result(outcome)

    def _on_provisional(self, response: ReceivedResponse) -> None:
        self._happen(What.PROVISIONAL)
        tag = _tag(response)
        if response.status == 100 or not tag or self.state is not State.RINGING:
            return
        early = self._early.get(tag)
        if early is None and len(self._early) < EARLY_LIMIT:
            early = self._early[tag] = _Early(Leg(self._layer, dialog.of_caller(self._sent, response.message)))
            self._layer.add(early.leg.dialog.id, EarlyDialog(early.leg, self))
        if early is not None and not self._confirm(early, response):
            return  # repeated, or before its turn: it comes again
        self.identities += response.header_values("Contact")
        if self._on_progress is not None:
            self._on_progress(response)

    def _confirm(self, early: _Early, response: ReceivedResponse) -> bool:
        """PRACK, where one is due (RFC 3262 section 4); False for a reliable response that is not the next. PFS-15."""
        early.rseq, rack = reliable.rack(early.rseq, response.message)
        if rack:
            early.leg.dialog = dialog.answered(early.leg.dialog, response.message)
            prack = early.leg.try_request("PRACK", headers=[("RAck", rack), *self._fields])
            early.pracks.append(self._layer.spawn(prack))
        return bool(rack) or not reliable.required(response.message)

    def _on_success(self, response: ReceivedResponse) -> None:
        found = dialog.of_caller(self._sent, response.message)
        if found.id == self._winner:
            self._happen(What.SUCCESS)
        elif found.remote_tag in self._forks:
            if (again := self._forks[found.remote_tag]) is not None:
                again()
        elif self._winner is None and self.state is not State.ENDED:
            self._answer = response
            self._happen(What.SUCCESS)
            if self.state is State.ESTABLISHED:
                self._winner = found.id
        else:
            self._release_soon(response)  # a second phone was picked up as well (section 13.2.2.4)

    def _release_soon(self, response: ReceivedResponse) -> None:
        self._forks[_tag(response)] = None
        self._layer.spawn(self._release(response))

    async def _release(self, response: ReceivedResponse) -> None:
        """Acknowledge and hang up."""
        found = dialog.of_caller(self._sent, response.message)
        leg = Leg(self._layer, found)
        try:
            ack = leg.build("ACK", number=parse_cseq(response.message.headers)[0])
            hop = dialog.next_hop(leg.dialog)
            self._forks[found.remote_tag] = await self._layer.endpoint.send_ack(ack, next_hop=hop)
        except (ConnectionFailedError, ValueError) as error:
            log.info("a second answer to %s could not be acknowledged: %s", self.call_id, error)
        await leg.try_request("BYE", headers=self._fields)

    # --- the end

    async def _start(self, response: ReceivedResponse, asked: SessionExpires | None) -> tuple[Session, ReceivedResponse]:
        headers = response.message.headers
        found = dialog.of_caller(self._sent, response.message)
        early = self._early.pop(found.remote_tag, None)
        leg = Leg(self._layer, found)
        if early is not None:
            leg.dialog = dialog.confirmed(early.leg.dialog, response.message)
        session = Session(
            leg,
            State.ESTABLISHED,
            headers,
            policy=self._policy,
            timer=session_timer.granted(SessionTimer(), asked, headers, Alarm.now()),
            fields=self._fields,
        )
        self._session = session
        self.identities += response.header_values("Contact")
        await session.acknowledge(parse_cseq(headers)[0], NOTHING)
        return session, response

    def _leave_early(self) -> None:
        for early in self._early.values():
            self._layer.remove(early.leg.dialog.id)
        self._early.clear()

    def _happen(self, what: What) -> None:
        self.state, doing = step(self.state, what)
        if self.state is State.ENDED:
            self._alarm.set(None)
        for do in doing:
            match do:
                case Do.SEND_CANCEL if self._key is not None:
                    self._layer.endpoint.cancel(self._key)
                    self._alarm.set(Alarm.now() + self._layer.endpoint.settings.timers.timeout)
                case Do.ACK if self._session is not None:
                    self._session.acknowledge_again()
                case Do.ACK_AND_BYE if self._answer is not None:
                    self._release_soon(self._answer)
                case Do.FORGET if self._key is not None:
                    self._layer.endpoint.forget(self._key)
                case Do.FAIL if what is What.CANCEL_TIMEOUT and self._done is not None and not self._done.done():
                    self._done.set_exception(_cancelled())
                case _:
                    pass  # TELL, START and FAIL are what `run` returns or raises


class EarlyDialog:
    """What a callee may ask while it still rings."""

    def __init__(self, leg: Leg, call: OutgoingCall) -> None:
        self._leg = leg
        self.call = call

    async def on_request(self, request: IncomingRequest) -> None:
        method = request.message.method
        if method == "ACK" or not self._leg.take(request):
            return
        if method != "UPDATE":
            request.respond(481)
            return
        # Our INVITE has an offer without final answer (RFC 3311 section 5.2).
        offer = bool(body.sdp_of(request.message))
        refusal = glare.on_update(Exchange(inviting=True, offering=True), offer=offer)
        request.respond(refusal.status if refusal else 200, headers=self._leg.layer.answer_fields())


def _cancelled() -> SessionRefusedError:
    return SessionRefusedError(487, "Request Terminated", "cancelled")


def _with(request: Request, fields: Iterable[tuple[str, str]]) -> Request:
    copy = Request(request.method, request.uri, request.body)
    for name in request.headers.keys():  # noqa: SIM118  (Headers iterates over nothing)
        for value in request.headers.getlist(name):
            copy.headers.add(name, value)
    for name, value in fields:
        copy.headers.add(name, value)
    return copy


def _tag(response: ReceivedResponse) -> str:
    try:
        return parse_name_addr(response.header("To") or "").tag or ""
    except MalformedMessageError:
        return ""
