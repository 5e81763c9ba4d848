"""The media plane of one session: its MSRP line, offered or answered, and kept through modifications.

RFC 3264 and RFC 4975 section 8 as `offer_answer` has them; clauses 7.1.1.17 and 7.1.2.2.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from msrp_worker import offer_answer, sdp, sdp_msrp
from msrp_worker.cpim import Address
from msrp_worker.file_transfer import FileDescription
from msrp_worker.msrp import MsrpEndpoint, SessionOptions, parse_path
from msrp_worker.offer_answer import LocalEndpoint, LocalPolicy, Negotiated
from msrp_worker.sdp import Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import ACTIVE_PORT, Direction, MsrpMedia, Setup

from .body import SDP, Body
from .errors import MediaFailedError
from .msrp_peer import MsrpPeer
from .negotiation import NotAcceptableError

CHATROOM = ("nickname", "private-messages")
"""What this client can do in a conference."""
DYNAMIC_ID_BITS = 62
"""Bits of the session identifier in o=, below the 63 that fit everywhere (RFC 8866 section 5.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlan:
    """What this side wants of one session.

    `file` goes into our offer. `max_size` in bytes is announced, and larger messages are refused.
    """

    direction: Direction = Direction.SENDRECV
    file: FileDescription | None = None
    conversation: Address | None = None  # the room, for CPIM envelopes
    chatroom: tuple[str, ...] | None = None  # what this side takes in a conference (RFC 7701 section 8)
    max_size: int | None = None
    chunk_size: int = 2048  # bytes; what every client takes (design.md 7)
    secure: bool = False  # over TLS; for an answer: whether the offer says so
    websocket: str = ""  # URL of MSRP over WebSocket, to connect as a browser does; empty: TCP or TLS
    seconds: float = 30.0  # for the connection to come up


class MediaLine:
    """One MSRP line. `on_peer` is told each MSRP session that carries it: a modification may bring a new one."""

    def __init__(self, endpoint: MsrpEndpoint, identity: Address, plan: MediaPlan) -> None:
        self.plan = plan
        self.on_peer: Callable[[MsrpPeer], None] | None = None
        self.negotiated: Negotiated | None = None
        self._endpoint = endpoint
        self._identity = identity
        self._id = str(secrets.randbits(DYNAMIC_ID_BITS))
        self._version = 1
        self._offered: SessionDescription | None = None  # as it stands, offer or answer
        self._asked: SessionDescription | None = None  # an offer of ours without answer
        self.peer = self._new_peer(plan.secure)

    # --- Media, as a session wants it

    def offer(self) -> Body:
        """Our description as it stands, or the first one; `change` makes another."""
        if self._offered is None:
            self._offered = self._asked = self._describe()
        return Body(SDP, self._offered.build())

    def change(self, direction: Direction) -> Body:
        """An offer of another direction: sendonly or inactive put the session on hold (RFC 3264 section 8.4)."""
        self.plan = replace(self.plan, direction=direction)
        self._version += 1
        self._asked = self._describe()
        return Body(SDP, self._asked.build())

    async def answer(self, offer: Body) -> Body:
        """The answer to an offer of the peer. Raises NotAcceptableError, and then nothing has changed."""
        offered = _parse(offer)
        line = describe(offer)
        if line is not None and line.chatroom is not None:
            self.plan = replace(self.plan, chatroom=CHATROOM)  # MED-07
        before = self.negotiated
        peer = self.peer
        answer = self._answered(offered, peer)
        if before is not None and answer.lines[0].remote.path != before.remote.path:
            # The peer moves to another MSRP session: so do we, for a session is bound to its paths.
            peer = self._new_peer(answer.lines[0].remote.secure)
            answer = self._answered(offered, peer)
        self._take(answer.lines[0], answer.description)
        if peer is not self.peer:
            old, self.peer = self.peer, peer
            old.close()
        return Body(SDP, answer.description.build())

    async def complete(self, answer: Body) -> None:
        """The answer to our offer. Raises NotAcceptableError where nothing comes of it."""
        if self._asked is None:
            return
        try:
            outcome = offer_answer.conclude(self._asked, _parse(answer), self._policy(self.peer))
        except SdpError as error:
            raise NotAcceptableError(488, str(error)) from None
        if isinstance(outcome, offer_answer.Refusal):
            raise NotAcceptableError(outcome.status, outcome.reason)
        moved = self.negotiated is not None and outcome[0].remote.path != self.negotiated.remote.path
        self._take(outcome[0], self._asked)
        self._asked = None
        if moved:
            raise NotAcceptableError(488, "the path changed in an answer")

    def unanswered(self) -> None:
        """Our offer was refused: what was agreed before holds (RFC 3261 section 14.1)."""
        self._asked = None

    def _take(self, line: Negotiated, description: SessionDescription) -> None:
        self.negotiated = line
        self._offered = description
        self.plan = replace(self.plan, secure=line.local.secure)  # for offers of ours that follow

    # --- the connection

    async def start(self) -> None:
        """Bring the MSRP session up, active or passive as agreed. Raises MediaFailedError."""
        line = self.negotiated
        if line is None:
            raise MediaFailedError("nothing was agreed")
        peer = self.peer
        if self.on_peer is not None:
            self.on_peer(peer)
        try:
            async with asyncio.timeout(self.plan.seconds):
                await peer.start(
                    parse_path(" ".join(line.remote.path)),
                    active=line.active,
                    fingerprints=line.remote.fingerprints if line.remote.secure else (),  # MED-04
                    address=line.connect_to,
                )
        except TimeoutError:
            raise MediaFailedError(f"no MSRP connection within {self.plan.seconds:g} s") from None
        except (OSError, ValueError) as error:
            raise MediaFailedError(f"no MSRP connection: {error}") from error

    def close(self) -> None:
        self.peer.close()

    def enter(self, room: Address) -> None:
        """What is sent goes to this room, in message/cpim (RFC 7701 section 5)."""
        self.plan = replace(self.plan, conversation=room)
        self.peer.conversation = room

    # --- descriptions

    def _new_peer(self, secure: bool) -> MsrpPeer:
        plan = self.plan
        options = SessionOptions(collect=0, chunk_size=plan.chunk_size, max_size=plan.max_size)
        return MsrpPeer(
            self._endpoint,
            identity=self._identity,
            conversation=plan.conversation,
            options=options,
            secure=secure,
            websocket=plan.websocket,
        )

    def _ours(self, line: MsrpMedia, peer: MsrpPeer) -> MsrpMedia:
        """Our half of a line; that of a WebSocket client has the path that nobody can connect to."""
        if not self.plan.websocket:
            return line
        return replace(line, path=(peer.path,), port=ACTIVE_PORT, setup=Setup.ACTIVE, cema=False)  # MED-11

    def _describe(self) -> SessionDescription:
        policy = self._policy(self.peer)
        secure = self.plan.secure or bool(self.plan.websocket)  # RFC 7977 section 5.2.2
        line: MsrpMedia = offer_answer.offered_line(
            policy, policy.session_ids[0], self.plan.direction, secure=secure, file=self.plan.file
        )
        return offer_answer.offer(policy.origin, policy.endpoint.address, [self._ours(line, self.peer)])

    def _policy(self, peer: MsrpPeer) -> LocalPolicy:
        uri = parse_path(peer.path)[-1]
        address = uri.host.strip("[]")
        own = self._endpoint.fingerprint
        fingerprints = (own,) if own is not None else ()  # MED-04
        return LocalPolicy(
            endpoint=LocalEndpoint(address, self._endpoint.port, self._endpoint.tls_port, fingerprints=fingerprints),
            origin=Origin("-", self._id, self._version, address, sdp.address_type(address)),
            session_ids=(uri.session_id or "",),
            max_size=self.plan.max_size,
            chatroom=self.plan.chatroom,
            sends=self.plan.direction is not Direction.RECVONLY,
            receives=self.plan.direction is not Direction.SENDONLY,
            behind_nat=bool(self.plan.websocket),
        )

    def _answered(self, offered: SessionDescription, peer: MsrpPeer) -> offer_answer.Answer:
        answer = self._with_our_path(self._answered_unchanged(offered, self._policy(peer)), peer)
        before = self._offered
        if before is not None and before.media != answer.description.media:
            self._version += 1  # RFC 3264 section 8: what has changed has another version
            return self._with_our_path(self._answered_unchanged(offered, self._policy(peer)), peer)
        return answer

    def _with_our_path(self, answer: offer_answer.Answer, peer: MsrpPeer) -> offer_answer.Answer:
        line = answer.lines[0]
        local = self._ours(line.local, peer)
        if local is line.local:
            return answer
        media = list(answer.description.media)
        media[line.index] = local.build()
        description = replace(answer.description, media=tuple(media))
        return replace(answer, description=description, lines=(replace(line, local=local), *answer.lines[1:]))

    @staticmethod
    def _answered_unchanged(offered: SessionDescription, policy: LocalPolicy) -> offer_answer.Answer:
        try:
            answer = offer_answer.answer(offered, policy)
        except SdpError as error:
            raise NotAcceptableError(488, str(error)) from None
        if isinstance(answer, offer_answer.Refusal):
            raise NotAcceptableError(answer.status, answer.reason)
        return answer


def describe(offer: Body) -> MsrpMedia | None:
    """What the first MSRP line of an offer wants; None where there is none or it cannot be read."""
    try:
        session = sdp.parse(offer.data)
        for media in session.media:
            if sdp_msrp.is_msrp(media) and not media.refused:
                return sdp_msrp.parse(session, media)
    except SdpError:
        return None
    return None


def _parse(body: Body) -> SessionDescription:
    try:
        return sdp.parse(body.data)
    except SdpError as error:
        raise NotAcceptableError(488, str(error)) from None
