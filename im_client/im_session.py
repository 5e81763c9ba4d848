"""An IM session: a SIP session with its MSRP media, as an application uses it.

Clauses 7.1.1.5, 7.1.1.8, 7.1.1.13 to 7.1.1.16, 7.1.2.2 to 7.1.2.5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from msrp_worker.content_types import essence
from msrp_worker.cpim import Address
from msrp_worker.is_composing import CONTENT_TYPE as COMPOSING
from msrp_worker.is_composing import Composing, Event, Receiver, Sender, State
from msrp_worker.msrp import MessageAborted, OutgoingMessage
from msrp_worker.sdp_msrp import Direction

from .alarm import Alarm
from .body import Body, sdp_of
from .errors import MediaFailedError, SessionEndedError
from .exchange import ReceivedResponse
from .media import MediaLine
from .msrp_peer import ChatMessage, MessageFailedError, MsrpPeer
from .negotiation import NotAcceptableError
from .referring import Referring, invite_users
from .session import Session

log = logging.getLogger(__name__)

INBOX_LIMIT = 10_000
"""Messages nobody has read; the session is held back by MSRP flow control before that."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Who is at the other end. `identity` is the Contact: the IM Session Identity where `focus` is set."""

    uri: str
    identity: str = ""
    focus: bool = False
    automata: bool = False


class ImSession:
    """One session, either side. Read `messages`, `send`, tell `typing`, `close`."""

    def __init__(self, session: Session, line: MediaLine, peer: PeerInfo, *, keep_messages: bool = True) -> None:
        """`keep_messages` False leaves what comes in to whoever reads the MSRP session: a file transfer."""
        self.session = session
        self.line = line
        self.peer = peer
        self._inbox: asyncio.Queue[ChatMessage | None] = asyncio.Queue(INBOX_LIMIT)
        self._pumps: set[asyncio.Task[None]] = set()
        self._composing = Sender()
        self._others: dict[str, Receiver] = {}
        self._alarm = Alarm(self._on_time)
        self.composing_changed = asyncio.Event()
        if peer.focus and line.plan.conversation is None:
            line.enter(Address(peer.identity))  # a conference speaks message/cpim
        if keep_messages:
            line.on_peer = self._pump
        session.media = self
        session.ended.add_done_callback(lambda _: self._on_end())

    # --- life

    async def start(self) -> None:
        """Bring the media up; the session is released where that fails. Raises MediaFailedError."""
        try:
            await self.line.start()
        except MediaFailedError as error:
            await self.session.close(why=str(error))
            raise

    @property
    def alive(self) -> bool:
        return self.session.alive

    @property
    def why(self) -> str:
        """Why it has ended."""
        return self.session.why

    @property
    def ended(self) -> asyncio.Future[str]:
        """Done when the session is over, with the reason."""
        return self.session.ended

    async def close(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Leave (clause 7.1.1.13): BYE, then the end of the media. Never raises. CLI-03"""
        await self.session.close(headers)

    async def modify(self, direction: Direction = Direction.SENDRECV) -> ReceivedResponse:
        """Offer another direction; the final response. Raises SessionEndedError, NoAnswerError. CLI-02"""
        before = self.line.plan.direction
        response = await self.session.modify(self.line.change(direction))
        if not response.ok:
            self.line.change(before)
            self.line.unanswered()
        elif answer := sdp_of(response.message):
            try:
                await self.line.complete(answer)
            except NotAcceptableError as error:
                await self.close([("Reason", "SIP;cause=488")])
                raise MediaFailedError(f"the answer cannot be used: {error}") from None
        return response

    async def refresh(self) -> ReceivedResponse:
        """Refresh the session now (clause 7.1.1.8). Raises as `modify`. CLI-03"""
        return await self.session.modify()

    async def add(self, users: Sequence[str], *, remove: bool = False) -> Referring:
        """Ask the focus to invite `users`, or with `remove` to release them (clause 7.1.1.7). CLI-02

        What is told of one user, the result tells. Raises SubscriptionError, SessionEndedError, NoAnswerError.
        """
        referring = Referring(self.session.leg.layer)
        await referring.within(self.session, invite_users(users, remove=remove))
        return referring

    # --- messages

    async def send(
        self,
        body: str | bytes,
        content_type: str = "text/plain; charset=utf-8",
        *,
        to: Address | None = None,
        success_report: bool = False,
        failure_report: str = "yes",
    ) -> OutgoingMessage:
        """Send a message; returns when the next hop has taken it, with `success_report` when its receiver has.

        Raises MessageFailedError, SessionEndedError, and ValueError for content the peer does not take.
        """
        self._check_alive()
        self._compose(Event.SENT)
        return await self.line.peer.send(
            body, content_type, to=to, success_report=success_report, failure_report=failure_report
        )

    async def receive(self, seconds: float | None = 10.0) -> ChatMessage:
        """The next message. Raises TimeoutError after `seconds`, EOFError when the session is over."""
        async with asyncio.timeout(seconds):
            found = await self._inbox.get()
        if found is None:
            self._stop_reading()
            raise EOFError(f"the session is over: {self.why}")
        return found

    async def messages(self) -> AsyncIterator[ChatMessage]:
        """All messages until the session is over."""
        while (found := await self._inbox.get()) is not None:
            yield found
        self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._inbox.full():
            self._inbox.put_nowait(None)  # for whoever else reads

    def _check_alive(self) -> None:
        if not self.alive:
            raise SessionEndedError(f"the session is over: {self.why}")

    # --- isComposing (RFC 3994, clause 7.1.1.16)

    def typing(self) -> None:
        """The user has touched a key: others are told, and told again as long as it goes on. CLI-03"""
        self._compose(Event.COMPOSE)

    @property
    def composing(self) -> list[str]:
        """Who composes now: URIs of From in a conference, else the peer."""
        now = Alarm.now()
        self._others = {uri: watcher.tick(now) for uri, watcher in self._others.items()}
        return [uri for uri, watcher in self._others.items() if watcher.state is State.ACTIVE]

    def _compose(self, event: Event) -> None:
        self._composing, status = self._composing.step(event, Alarm.now())
        self._tell(status)

    def _on_time(self, now: float) -> None:
        self._composing, status = self._composing.tick(now)
        self._tell(status)

    def _tell(self, status: Composing | None) -> None:
        if status is not None and self.alive:
            self.session.leg.layer.spawn(self._send_status(status))
        self._alarm.set(self._composing.deadline() if self.alive else None)

    async def _send_status(self, status: Composing) -> None:
        try:
            await self.line.peer.composing(status)
        except (MessageFailedError, ValueError) as error:
            log.info("the composing status was not taken: %s", error)

    def _watch(self, message: ChatMessage) -> bool:
        """Note what a message says of its sender; True for a status, which is no message."""
        sender = message.envelope.sender.uri if message.envelope and message.envelope.sender else self.peer.uri
        watcher = self._others.setdefault(sender, Receiver())
        if essence(message.content_type) != COMPOSING:
            self._others[sender] = watcher.content()
            return False
        try:
            status = message.composing
        except ValueError:  # a malformed status says nothing
            status = None
        if status is not None:
            self._others[sender] = watcher.receive(status, Alarm.now())
            self.composing_changed.set()
        return True

    # --- the media plane of the session

    def offer(self) -> Body:
        return self.line.offer()

    async def answer(self, offer: Body) -> Body:
        before = self.line.peer
        answer = await self.line.answer(offer)
        if self.line.peer is not before:
            self.session.leg.layer.spawn(self._restart())
        return answer

    async def complete(self, answer: Body) -> None:
        await self.line.complete(answer)

    async def _restart(self) -> None:
        try:
            await self.start()
        except MediaFailedError as error:
            log.info("the session with %s has lost its media: %s", self.peer.uri, error)

    # --- reading

    def _pump(self, peer: MsrpPeer) -> None:
        task = self.session.leg.layer.spawn(self._read(peer))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _read(self, peer: MsrpPeer) -> None:
        """Move messages into the inbox until the MSRP session ends; if it is the one in use, so does the session."""
        while True:
            try:
                message = await peer.receive()
            except ConnectionError as error:
                if peer is self.line.peer and self.alive:
                    await self.session.close([("Reason", "SIP;cause=503")], why=f"the media has ended: {error}")
                return
            except (ValueError, MessageAborted) as error:
                log.info("a message from %s was not taken: %s", self.peer.uri, error)
                continue
            self.session.confirmed_by_media()
            if not self._watch(message) and message.body:
                await self._inbox.put(message)

    def _on_end(self) -> None:
        self._alarm.set(None)
        self.session.leg.layer.spawn(self._finish())

    async def _finish(self) -> None:
        """Close the media, let the messages that have come be read, then tell that there are no more."""
        self.line.close()
        for task in list(self._pumps):
            if task is not asyncio.current_task():
                await asyncio.gather(task, return_exceptions=True)
        await self._inbox.put(None)
