"""The sessions of one client at the level of SIP: invite, be invited, have a session replaced."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from . import replaces
from .body import SDP
from .callee import IncomingCall
from .caller import EarlyDialog, OutgoingCall
from .config import ClientConfig
from .dialog import DialogId
from .dialogs import DialogLayer
from .endpoint import Endpoint
from .errors import MalformedMessageError, SessionEndedError
from .exchange import IncomingRequest, ReceivedResponse
from .invitation import Abilities, Invite, build, privacy_fields
from .replaces import Candidate, Standing
from .requester import Requester, new_call_id, new_tag
from .session import Session
from .session_timer import TimerPolicy, refusal

log = logging.getLogger(__name__)

SUPPORTED = frozenset({"100rel", "timer", "replaces", "norefersub"})
"""Option tags of this client (Supported, and what it understands in Require)."""
REMEMBERED = 64
"""Sessions remembered after their end, so that a late Replaces gets 603 (RFC 3891 section 3)."""
CLOSE_SECONDS = 2.0
"""How long the end of a client waits for the answers to its BYEs."""

CallHandler = Callable[[IncomingCall], Awaitable[None]]


class Calls:
    """`on_call` decides about each invitation; without it they are refused with 480."""

    def __init__(self, endpoint: Endpoint, requester: Requester, config: ClientConfig) -> None:
        self.layer = DialogLayer(endpoint, requester, config)
        self.config = config
        self.policy = TimerPolicy(interval=config.session_expires, min_se=config.min_se)
        self.on_call: CallHandler | None = None
        self._peers: dict[DialogId, str] = {}
        self._ended: OrderedDict[DialogId, str] = OrderedDict()
        self.layer.handle_outside("INVITE", self._on_invite)

    def abilities(self) -> Abilities:
        """What the requests of this client say of it."""
        return Abilities(
            contact=self.layer.contact(),
            allow=self.layer.endpoint.allow,
            supported=", ".join(sorted(self.layer.endpoint.settings.supported)),
        )

    def outgoing(self, invite: Invite, *, on_progress: Callable[[ReceivedResponse], None] | None = None) -> OutgoingCall:
        """An invitation, not sent yet: `run` of the result sends it. Raises ValueError for an unusable URI."""
        request = build(invite, self.config, self.abilities(), call_id=new_call_id(), tag=new_tag())
        return OutgoingCall(
            self.layer,
            request,
            policy=self.policy,
            on_progress=on_progress,
            fields=privacy_fields(anonymous=invite.anonymous),
        )

    def remember(self, session: Session, peer: str) -> None:
        """`peer` is the asserted identity of the other side, which a Replaces is checked against."""
        key = session.leg.dialog.id
        self._peers[key] = peer
        session.ended.add_done_callback(lambda _: self._forget(key))

    def _forget(self, key: DialogId) -> None:
        self._ended[key] = self._peers.pop(key, "")
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    async def close(self) -> None:
        """Release every session, then stop; peers that do not answer are not waited for."""
        closing = []
        for _, usage in self.layer.usages():
            if isinstance(usage, Session):
                closing.append(asyncio.ensure_future(usage.close(why="the client was closed")))
            elif isinstance(usage, IncomingCall):
                usage.reject(480)
        if closing:
            _, late = await asyncio.wait(closing, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        await self.layer.close()

    async def _on_invite(self, request: IncomingRequest) -> None:
        small = refusal(self.policy, request.message.headers)
        if small is not None:
            request.respond(422, headers=small)
            return
        try:
            call = IncomingCall(self.layer, request, self.policy)
        except MalformedMessageError as error:
            request.respond(error.status)
            return
        verdict = replaces.decide(
            request.message, self._candidates(), asserted=call.asserted_identity, referred_by=call.referred_by
        )
        if isinstance(verdict, replaces.Refusal):
            warning = [("Warning", f'399 im-client "{verdict.warning}"')] if verdict.warning else []
            call.reject(verdict.status, headers=warning)
            return
        call.replaces = verdict
        if call.body and not call.offer:
            call.reject(415, headers=[("Accept", f"{SDP}, multipart/mixed")])  # section 8.2.3: nothing in it is SDP
            return
        if self.on_call is None:
            call.reject(480)
            return
        try:
            await self.on_call(call)
        except SessionEndedError as error:
            log.info("the invitation of %s: %s", call.caller, error)
        if not request.answered:
            log.info("nobody decided about the invitation of %s", call.caller)
            call.reject(480)

    async def give_way(self, call: IncomingCall) -> None:
        """End what `call`, accepted now, takes the place of: BYE, or CANCEL of our INVITE (RFC 3891 section 3)."""
        found = next((usage for key, usage in self.layer.usages() if key == call.replaces), None)
        if isinstance(found, Session):
            await found.close(why="replaced")
        elif isinstance(found, EarlyDialog):
            found.call.cancel()

    def _candidates(self) -> dict[DialogId, Candidate]:
        found = {key: Candidate(Standing.TERMINATED, peer) for key, peer in self._ended.items()}
        for key, usage in self.layer.usages():
            if isinstance(usage, Session):
                found[key] = Candidate(Standing.CONFIRMED, self._peers.get(key, ""))
            elif isinstance(usage, IncomingCall):
                found[key] = Candidate(Standing.EARLY_THEIRS, usage.asserted_identity)
            elif isinstance(usage, EarlyDialog):
                found[key] = Candidate(Standing.EARLY_OURS, usage.call.target)
            else:
                found[key] = Candidate(Standing.NO_SESSION)
        return found
