"""IM sessions of one client: chats, large messages, files, and the deferred messages it fetches or is pushed.

Clauses 7.1, 9.1, 9.2, 10.1 and 10.2.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msrp_worker.cpim import Address
from msrp_worker.file_transfer import FileDescription
from msrp_worker.sdp_msrp import Direction, Purpose

from . import message_summary
from .body import Body, sdp_of
from .callee import IncomingCall
from .caller import OutgoingCall
from .calls import Calls
from .config import ClientConfig
from .deferred import DeferredMessage
from .deferred_intake import DeferredIntake
from .errors import ImClientError, MalformedMessageError, MediaFailedError, SessionRefusedError
from .exchange import ReceivedResponse
from .im_invitation import ImInvitation, peer_info
from .im_session import ImSession
from .invitation import Invite
from .media import MediaLine, MediaPlan
from .media_endpoints import MediaEndpoints
from .media_lines import MediaLines, wanted_lines
from .message_summary import Summary
from .msrp_peer import describe_file
from .multipart import Part, build
from .negotiation import NotAcceptableError
from .pager import SessionType
from .recipients import RESOURCE_LISTS, Recipient, build_list
from .replaces import same_user
from .requester import new_call_id
from .subscriber import MESSAGE_SUMMARY, Subscriber
from .transfer import Progress, Source, describe_message, disposition_of, send_content
from .wire import parse_name_addr, values

log = logging.getLogger(__name__)

RECIPIENT_LIST = (("Content-Disposition", "recipient-list"),)
INVITE_LIST = ("Require", "recipient-list-invite")  # RFC 5366 section 4

InvitationHandler = Callable[[ImInvitation], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a large message or file: `focus` where a server took it for several."""

    size: int
    focus: bool


class Messaging:
    """The sessions of one client. `on_invite` decides about invitations; pushes need no decision."""

    def __init__(self, calls: Calls, config: ClientConfig) -> None:
        self.calls = calls
        self.config = config
        self.on_invite: InvitationHandler | None = None
        self.pushed: asyncio.Queue[DeferredMessage] = asyncio.Queue()
        self.identity = Address(str(config.identity_uri), config.display_name)
        self._endpoints: MediaEndpoints | None = None
        calls.on_call = self._on_call

    async def start(self) -> None:
        """Open the MSRP listeners. Raises OSError where a port is taken, ValueError for a certificate without use."""
        self._endpoints = MediaEndpoints(self.config, self.calls.layer.endpoint.local[0])
        await self._endpoints.start()

    async def close(self) -> None:
        """Close the media; the sessions have been released."""
        if self._endpoints is not None:
            await self._endpoints.close()

    @property
    def endpoints(self) -> MediaEndpoints:
        """Where the MSRP sessions live, once started."""
        assert self._endpoints is not None, "start comes first"
        return self._endpoints

    def line(self, plan: MediaPlan | None = None, *, anonymous: bool = False) -> MediaLine:
        """A media line that is not agreed yet."""
        endpoints = self.endpoints
        return MediaLine(endpoints.anonymous if anonymous else endpoints.named, self.identity, plan or self.plan())

    def lines(self, plans: Sequence[MediaPlan]) -> MediaLines:
        """Several lines of one session, none of them agreed yet. LRG-05"""
        return MediaLines(self.endpoints.named, self.identity, plans)

    def plan(self, direction: Direction = Direction.SENDRECV) -> MediaPlan:
        """The plan of the configuration."""
        config = self.config
        return MediaPlan(
            direction=direction,
            chunk_size=config.msrp_chunk_size,
            seconds=config.media_seconds,
            secure=config.msrps,
            websocket=config.msrp_websocket,
        )

    # --- inviting

    async def invite(
        self,
        to: str,
        *,
        line: MediaLine | None = None,
        extra: Sequence[Part] = (),
        session_type: SessionType | None = None,
        anonymous: bool = False,
        nickname: str = "",
        subject: str = "",
        headers: Sequence[tuple[str, str]] = (),
        on_progress: Callable[[ReceivedResponse], None] | None = None,
        keep_messages: bool = True,
    ) -> ImSession:
        """Invite a user, or whatever else is at a URI; returns when session and media are up. CLI-02

        `line` is made by `self.line`, with `anonymous` where the invitation is. `extra` are body parts beside the
        description. Cancelling the task cancels the invitation. Raises
        SessionRefusedError, NoAnswerError, ConnectionFailedError, MediaFailedError.
        """
        line = line or self.line(anonymous=anonymous)
        invite = Invite(
            to=to,
            body=_with_parts(line.offer(), extra),
            session_type=session_type,
            anonymous=anonymous,
            nickname=nickname,
            subject=subject,
            headers=tuple(headers),
        )
        call = self.calls.outgoing(invite, on_progress=on_progress)
        try:
            return await self._run(call, line, keep_messages)
        except BaseException:
            line.close()
            raise

    async def _run(self, call: OutgoingCall, line: MediaLine, keep_messages: bool) -> ImSession:
        try:
            async with asyncio.timeout(self.config.ring_seconds):
                session, response = await call.run()
        except TimeoutError:
            raise MediaFailedError(
                f"no answer within {self.config.ring_seconds:g} s; the invitation was cancelled"
            ) from None
        asserted = values(response.message.headers, "P-Asserted-Identity")
        peer = peer_info(response.message.headers.getlist("Contact"), _uri(asserted) or call.target)
        try:
            await line.complete(sdp_of(response.message))
        except NotAcceptableError as error:
            await session.close([("Reason", "SIP;cause=488")])
            raise MediaFailedError(f"the answer cannot be used: {error}") from None
        found = ImSession(session, line, peer, keep_messages=keep_messages)
        self._remember(found)
        await found.start()
        return found

    def _remember(self, session: ImSession) -> None:
        self.calls.remember(session.session, session.peer.uri)

    # --- large messages and files

    async def send_large(
        self,
        to: str | Sequence[str],
        source: Source,
        *,
        content_type: str = "text/plain;charset=UTF-8",
        progress: Progress | None = None,
        success_report: bool = False,
        subject: str = "",
    ) -> Sent:
        """Send one message of any size: INVITE sendonly, SEND, BYE after the last acknowledged chunk. LRG-01

        To several users it goes through the conference factory (clause 9.1.1.2-3). Raises as `invite`, and
        MessageFailedError.
        """
        file = describe_message(source, content_type)
        return await self._transfer(to, source, content_type, file, "", progress, success_report, subject)

    async def send_file(
        self,
        to: str | Sequence[str],
        path: Path,
        *,
        content_type: str = "application/octet-stream",
        progress: Progress | None = None,
        success_report: bool = False,
        subject: str = "",
    ) -> Sent:
        """Send a file with its name, size and hash (RFC 5547). Raises as `send_large`, and OSError. LRG-01, LRG-05"""
        file = await asyncio.to_thread(describe_file, path, content_type)
        disposition = disposition_of(file.selector.name or "")
        return await self._transfer(to, path, content_type, file, disposition, progress, success_report, subject)

    async def invite_to_take(self, to: str | Sequence[str], line: MediaLine, subject: str = "") -> ImSession:
        """Invite to a large message or files, several users through the conference factory. Raises as `invite`."""
        target, users = (to, []) if isinstance(to, str) else (str(self.config.factory_uri), list(to))
        return await self.invite(
            target,
            line=line,
            extra=[_list_part(users)] if users else [],
            session_type=SessionType.ADHOC if users else None,
            subject=subject,
            headers=[INVITE_LIST] if users else [],
            keep_messages=False,
        )

    async def _transfer(
        self,
        to: str | Sequence[str],
        source: Source,
        content_type: str,
        file: FileDescription,
        disposition: str,
        progress: Progress | None,
        success_report: bool,
        subject: str,
    ) -> Sent:
        plan = replace(self.plan(Direction.SENDONLY), file=file)
        session = await self.invite_to_take(to, self.line(plan), subject)
        try:
            size = file.selector.size or 0
            negotiated = session.line.negotiated
            limit = negotiated.max_send_size if negotiated is not None else None
            if limit is not None and size > limit:
                raise MediaFailedError(f"{size} bytes are more than the {limit} the other side takes")
            await send_content(
                session.line.peer,
                source,
                content_type,
                disposition=disposition,
                progress=progress,
                # 9.1.1.2: a focus has only taken the message; what it came to, its report tells
                success_report=success_report or session.peer.focus,
            )
            return Sent(size, session.peer.focus)
        finally:
            await session.close()  # 9.1.3

    # --- deferred messages

    async def deferred_summary(self, seconds: float = 10.0) -> Summary:
        """What waits (clause 10.3.2.6): the summary is fetched once. CLI-06

        Raises SubscriptionError, NoAnswerError, MalformedMessageError, TimeoutError.
        """
        subscriber = Subscriber(self.calls.layer, str(self.config.identity_uri), MESSAGE_SUMMARY, expires=0)
        await subscriber.start()
        try:
            while True:
                found = await subscriber.next(seconds)
                if found.body:
                    return message_summary.parse(found.body.data)
        except EOFError:
            raise MalformedMessageError("the notification had no message summary") from None

    async def watch_deferred(self, expires: int = 3600) -> Subscriber:
        """Subscribe to the summary: each notification's body is for `message_summary.parse`. Raises as above."""
        subscriber = Subscriber(self.calls.layer, str(self.config.identity_uri), MESSAGE_SUMMARY, expires=expires)
        await subscriber.start()
        return subscriber

    async def deferred_get(
        self,
        message_ids: Sequence[str] = (),
        *,
        escaped: bool = False,
        seconds: float = 60.0,
        directory: Path | None = None,
        progress: Progress | None = None,
    ) -> list[DeferredMessage]:
        """Fetch the messages named, or all (clause 10.1.1): INVITE recvonly to the Deferred Messaging Function. CLI-06

        `escaped` names a single one in the user part of the Request-URI (Appendix K). Large content goes to files in
        `directory`; without one it stays with the server from 16 MiB on. `progress` is told of each message by itself.
        Returns when the function releases the session, or after `seconds` in which nothing came. Raises as `invite`.
        """
        target, extra = str(self.config.deferred_uri), []
        if escaped and len(message_ids) == 1:
            target = f"sip:{quote(message_ids[0], safe='')}@{self.config.deferred_uri.host}"
        elif message_ids:
            extra = [_list_part([f"sip:{ident.removeprefix('sip:')}" for ident in message_ids])]
        found: list[DeferredMessage] = []
        session, intake = await self._ask_for_deferred(target, extra, found.append, directory, progress)
        try:
            while not session.ended.done():
                intake.changed.clear()
                changed = asyncio.ensure_future(intake.changed.wait())
                either: list[asyncio.Future[Any]] = [changed, session.ended]
                done, _ = await asyncio.wait(either, timeout=seconds, return_when=FIRST_COMPLETED)
                changed.cancel()
                if not done:
                    break
            return found
        finally:
            await session.close()

    async def _ask_for_deferred(
        self,
        target: str,
        extra: Sequence[Part],
        on_message: Callable[[DeferredMessage], None],
        directory: Path | None,
        progress: Progress | None,
    ) -> tuple[ImSession, DeferredIntake]:
        """INVITE recvonly; a server that reads lists without knowing the option tag of RFC 5366 is asked again
        without it (RFC 3261 section 8.1.3.5).
        """
        plan = self.plan(Direction.RECVONLY)
        for headers in ([INVITE_LIST], []) if extra else ([],):
            line = self.line(plan)
            intake = _intake(line, on_message, directory, progress)
            try:
                session = await self.invite(target, line=line, extra=extra, headers=headers, keep_messages=False)
            except SessionRefusedError as error:
                if error.status != 420 or not headers:
                    raise
            else:
                return session, intake
        raise AssertionError("the last try returns or raises")

    # --- being invited

    async def _on_call(self, call: IncomingCall) -> None:
        plans = [replace(self.plan(), secure=secure) for secure in wanted_lines(call.offer)] if call.offer else []
        line = self.lines(plans) if len(plans) > 1 else self.line(*plans)
        invitation = ImInvitation(call, line, self.calls.give_way, self._remember)
        try:
            if self._is_push(invitation):
                await self._take_push(invitation)
            elif self.on_invite is not None:
                await self.on_invite(invitation)
            else:
                invitation.reject(480)
        finally:
            invitation.forget()

    def _is_push(self, invitation: ImInvitation) -> bool:
        """Deferred messages come from the function's own address (clause 10.3.2.3)."""
        return invitation.purpose is Purpose.LARGE_MESSAGE and same_user(invitation.sender, str(self.config.deferred_uri))

    async def _take_push(self, invitation: ImInvitation) -> None:
        _intake(invitation.line, self.pushed.put_nowait, self.config.deferred_directory, None)
        try:
            session = await invitation.accept(keep_messages=False)
        except (ImClientError, NotAcceptableError) as error:
            log.info("a push of deferred messages came to nothing: %s", error)
            return
        await session.ended


def _intake(
    line: MediaLine, on_message: Callable[[DeferredMessage], None], directory: Path | None, progress: Progress | None
) -> DeferredIntake:
    """Have a line take deferred messages."""
    intake = DeferredIntake(line.peer.stream, on_message, directory, progress)
    line.peer.session.handler = intake
    return intake


def _list_part(users: Sequence[str]) -> Part:
    return Part(RESOURCE_LISTS, build_list([Recipient(user, None) for user in users]), RECIPIENT_LIST)


def _with_parts(description: Body, extra: Sequence[Part]) -> Body:
    """The description alone, or with other parts in a multipart/mixed (clause 7.1.1.1-7)."""
    if not extra:
        return description
    return Body(*build([Part(description.content_type, description.data), *extra], new_call_id()))


def _uri(found: list[str]) -> str:
    try:
        return parse_name_addr(found[0]).uri if found else ""
    except MalformedMessageError:
        return ""
