"""An invitation to an IM session, as an application decides about it (clause 7.1.2.1 with change request D). CLI-04"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.sdp_msrp import MsrpMedia, Purpose

from .callee import IncomingCall
from .errors import MalformedMessageError, SessionEndedError
from .im_session import ImSession, PeerInfo
from .media import MediaLine, describe
from .media_lines import MediaLines
from .negotiation import NotAcceptableError
from .wire import parse_name_addr


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that came, with what is known of it; its size and hash are those announced."""

    path: Path
    selector: FileSelector
    sender: str


GiveWay = Callable[[IncomingCall], Awaitable[None]]


class ImInvitation:
    """`accept`, `accept_file` or `reject` it; `ring` before, as often as wanted."""

    def __init__(
        self, call: IncomingCall, line: MediaLine, give_way: GiveWay, remember: Callable[[ImSession], None]
    ) -> None:
        self.call = call
        self._line = line
        self._give_way = give_way
        self._remember = remember
        self.session: ImSession | None = None  # once accepted
        self.media: MsrpMedia | None = describe(call.offer) if call.offer else None

    @property
    def line(self) -> MediaLine:
        """The media that `accept` brings up."""
        return self._line

    @property
    def sender(self) -> str:
        """The asserted identity of who invites, or what From says."""
        return self.call.caller

    @property
    def subject(self) -> str:
        return self.call.header("Subject") or ""

    @property
    def purpose(self) -> Purpose:
        """A session, a large message to us, or somebody who wants something sent."""
        return self.media.purpose if self.media is not None else Purpose.SESSION

    @property
    def file(self) -> FileDescription | None:
        """The file that is offered; without a name it is a large message."""
        return self.media.file if self.media is not None else None

    @property
    def peer(self) -> PeerInfo:
        return peer_info(self.call.message.headers.getlist("Contact"), self.sender)

    async def ring(self, status: int = 180) -> None:
        """Say that the user is told. Raises SessionEndedError where the invitation has ended."""
        await self.call.ring(status)

    def reject(self, status: int = 603, reason: str | None = None, *, warning: str = "") -> None:
        """Refuse: 603 or 486 where the user is busy or unwilling."""
        headers = [("Warning", f'399 im-client "{warning}"')] if warning else []
        self.call.reject(status, reason, headers=headers)
        self.forget()

    def forget(self) -> None:
        """Let go of the media, unless there is a session that uses it."""
        if self.session is None:
            self._line.close()

    async def accept(self, headers: Iterable[tuple[str, str]] = (), *, keep_messages: bool = True) -> ImSession:
        """Accept; returns when the session and its media are up.

        An offer that cannot be accepted is refused with 488. The caller may have released it by then, with its ACK
        lost or overtaken: what has come over MSRP was acknowledged, and is there to be read. Raises SessionEndedError
        where there is no session after all, MediaFailedError, NotAcceptableError.
        """
        offer = self.call.offer
        try:
            answer = await self._line.answer(offer) if offer else self._line.offer()
        except NotAcceptableError as error:
            self.reject(error.status, warning=error.warning)
            raise
        try:
            session = await self.call.accept(answer, headers)
        except SessionEndedError:
            self.forget()
            raise
        self.session = found = ImSession(session, self._line, self.peer, keep_messages=keep_messages)
        self._remember(found)
        if not offer:
            await session.established  # the ACK brings the answer
        await found.start()
        try:
            await session.established
        except SessionEndedError:  # CLI-05: the media was up, and a large message may be whole
            return found
        await self._give_way(self.call)
        return found

    async def accept_file(self, directory: Path) -> ReceivedFile:
        """Accept, take the file into `directory` and check it against its description (RFC 5547 section 8.3).

        Raises as `accept`, and FileMismatchError, MessageAborted, ConnectionError for a transfer that fails.
        """
        file = self.file
        session = await self.accept(keep_messages=False)
        try:
            path, selector = await session.line.peer.receive_file(directory, file)
        except BaseException:
            await session.close([("Reason", "SIP;cause=500")])
            raise
        return ReceivedFile(path, selector, self.sender)

    async def accept_files(self, directory: Path) -> list[ReceivedFile]:
        """Accept, and take every file that is offered into `directory`, as `accept_file` does. LRG-05

        Raises as `accept_file` for the first that fails, when all have come or failed: the others are there.
        """
        session = await self.accept(keep_messages=False)
        lines = self._line.accepted if isinstance(self._line, MediaLines) else [self._line]
        taking = [line.peer.receive_file(directory, _file_of(line)) for line in lines]
        try:
            found = await asyncio.gather(*taking, return_exceptions=True)
            for one in found:
                if isinstance(one, BaseException):
                    raise one
        except BaseException:
            await session.close([("Reason", "SIP;cause=500")])
            raise
        return [ReceivedFile(*one, self.sender) for one in found if not isinstance(one, BaseException)]


def _file_of(line: MediaLine) -> FileDescription | None:
    return None if line.negotiated is None else line.negotiated.remote.file


def peer_info(contacts: list[str], uri: str) -> PeerInfo:
    """Who is at the other end, of the Contact of an INVITE or a 2xx."""
    try:
        contact = parse_name_addr(contacts[0]) if contacts else None
    except MalformedMessageError:
        contact = None
    if contact is None:
        return PeerInfo(uri)
    return PeerInfo(uri, contact.uri, "isfocus" in contact.parameters, "automata" in contact.parameters)
