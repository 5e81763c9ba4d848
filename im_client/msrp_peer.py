"""The media plane of the client: one MSRP session that chats, sends and receives files, and takes nicknames.

    peer = MsrpPeer(endpoint, identity=Address("sip:alice@example.com", "Alice"))
    ...                                                  # peer.path for a=path of our offer or answer
    await peer.start(remote_path, active=True)           # once the other side's is known
    await peer.send("hello")                             # MessageFailedError where it is refused
    message = await peer.receive()
    description = describe_file(Path("cat.jpg"), "image/jpeg")
    await peer.send_file(Path("cat.jpg"), description)

In a conference every message goes out in a message/cpim envelope: give `conversation`, the URI of the room.
What comes in an envelope is taken out of it in any case.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from msrp_worker import cpim, is_composing
from msrp_worker.content_types import CPIM, essence
from msrp_worker.cpim import Address, Envelope, HeadReader
from msrp_worker.file_transfer import FileDescription, FileSelector, format_hash
from msrp_worker.msrp import (
    YES,
    MessageStream,
    MsrpEndpoint,
    MsrpUri,
    OutgoingMessage,
    ReceivedMessage,
    Response,
    SessionOptions,
    outcome,
    parse_path,
    reported,
    send_from,
)

from .local_files import link
from .msrp_websocket import WebSocketConnection, unreachable_host

PIECE_BYTES = 65_536
"""Bytes read from a file at a time."""
MEMORY_BYTES = 16_777_216
"""Longest message kept in memory by `receive`; longer ones are refused with 413. Files go to disk."""
TRANSFER_ID_BYTES = 16
"""Random bytes in a file-transfer-id (RFC 5547 section 8.1)."""


class MessageFailedError(Exception):
    """A message was refused, reported as failed, or not answered (408). `status` is the code."""

    def __init__(self, status: int, comment: str | None) -> None:
        super().__init__(f"{status} {comment or ''}".strip())
        self.status = status


class FileMismatchError(Exception):
    """A file that arrived is not the one announced: its size or hash differs. It is deleted."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message as it came, out of its envelope."""

    content_type: str
    body: bytes
    message_id: str
    envelope: Envelope | None = None
    """From, To, DateTime and IMDN headers, where it came in one."""

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode("utf-8", "replace")

    @property
    def composing(self) -> is_composing.Composing | None:
        """The status, where this is an isComposing message (RFC 3994)."""
        if essence(self.content_type) != is_composing.CONTENT_TYPE:
            return None
        return is_composing.parse(self.body)


class MsrpPeer:
    """One end of one session."""

    def __init__(
        self,
        endpoint: MsrpEndpoint,
        *,
        identity: Address | None = None,
        conversation: Address | None = None,
        options: SessionOptions | None = None,
        secure: bool = False,
        host: str | None = None,
        websocket: str = "",
    ) -> None:
        """`identity` and `conversation`: From and To of envelopes; without the latter messages go out
        bare. `websocket`: the URL to connect to as a browser does, whatever the other side's path says."""
        self.endpoint = endpoint
        self.identity = identity
        self.conversation = conversation
        self.stream = MessageStream()
        # `collect` 0: what comes in is for the stream to keep or to write to disk
        self.session = endpoint.new_session(
            self.stream,
            options or SessionOptions(collect=0),
            secure=secure or bool(websocket),  # RFC 7977 section 5.2.2
            host=unreachable_host() if websocket else host,
            transport="ws" if websocket else "tcp",
        )
        self._websocket = WebSocketConnection(endpoint, self.session, websocket) if websocket else None
        self._incoming = aiter(self.stream)

    @property
    def path(self) -> str:
        """For our a=path."""
        return self.session.local_text

    async def start(
        self,
        remote_path: str | tuple[MsrpUri, ...],
        *,
        active: bool,
        fingerprints: Sequence[str] = (),
        address: tuple[str, int] | None = None,
    ) -> None:
        """Take the other side's a=path; connect where we are active, else wait for its connection.

        `address` overrides where to connect (CEMA). Raises OSError where there is no connection.
        """
        path = parse_path(remote_path) if isinstance(remote_path, str) else remote_path
        self.session.set_remote(path, tuple(fingerprints))
        if self._websocket is not None:
            await self._websocket.open()  # MED-11
        elif active:
            await self.endpoint.connect(self.session, address)
        else:
            await self.stream.wait_bound()

    def close(self) -> None:
        """End the session; the connection ends with its last one."""
        self.session.close()

    # --- sending ------------------------------------------------------------------------------------------

    async def send(
        self,
        body: str | bytes,
        content_type: str = "text/plain; charset=utf-8",
        *,
        to: Address | None = None,
        success_report: bool = False,
        failure_report: str = YES,
        **envelope: str | None,
    ) -> OutgoingMessage:
        """Send a message and wait until it is taken, with `success_report` until its receiver has reported.

        `to`: another To than the conversation, for a private message. `envelope`: further arguments of
        `cpim.compose`, such as `subject` or `disposition_notification`. Raises MessageFailedError.
        """
        data = body.encode() if isinstance(body, str) else body
        head = self._envelope(content_type, to, **envelope)
        message = self.session.send(
            data if head is None else head.head + data,
            content_type if head is None else CPIM,
            success_report=success_report,
            failure_report=failure_report,
        )
        return await _settled(message, success_report)

    async def composing(self, status: is_composing.Composing) -> None:
        """Send an isComposing status; nobody reports on it."""
        await self.send(status.build(), is_composing.CONTENT_TYPE, failure_report="no")

    async def send_file(
        self,
        path: Path,
        description: FileDescription,
        *,
        to: Address | None = None,
        success_report: bool = True,
    ) -> OutgoingMessage:
        """Send a file, or the `range` of it that the description asks for, as one message (RFC 5547 section
        8.5). Raises MessageFailedError."""
        selector = description.selector
        content_type = selector.type or "application/octet-stream"
        start, stop = description.range or (1, None)
        size = (stop or _size(path)) - start + 1
        disposition = _disposition(description)
        head = self._envelope(content_type, to, disposition=disposition)
        message = await send_from(
            self.session,
            _pieces(path, start - 1, size, b"" if head is None else head.head),
            content_type if head is None else CPIM,
            total=size + (0 if head is None else len(head.head)),
            headers=[("Content-Disposition", disposition)] if head is None else [],
            success_report=success_report,
        )
        return await _settled(message, success_report)

    async def nickname(self, nickname: str) -> int:
        """Ask for a nickname, '' gives it up (RFC 7701 section 7): 200, or 403, 424, 425; 408 for no
        answer."""
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        quoted = nickname.replace("\\", "\\\\").replace('"', '\\"')

        def answered(response: Response) -> None:
            if not future.done():
                future.set_result(response)

        if not self.session.request("NICKNAME", [("Use-Nickname", f'"{quoted}"')], answered):
            return 408
        return (await future).code

    def _envelope(
        self,
        content_type: str,
        to: Address | None,
        *,
        disposition: str | None = None,
        **fields: str | None,
    ) -> Envelope | None:
        recipient = to or self.conversation
        if recipient is None:
            return None
        if self.identity is None:
            raise ValueError("an envelope needs the identity of its sender")
        content_headers = [("Content-Disposition", disposition)] if disposition is not None else []
        fields.setdefault("date_time", datetime.now(UTC).isoformat(timespec="seconds"))
        return cpim.compose(self.identity, [recipient], content_type, content_headers=content_headers, **fields)

    # --- receiving ----------------------------------------------------------------------------------------

    async def receive(self) -> ChatMessage:
        """The next message, in memory. Raises ConnectionError when the session has ended, and what
        `ReceivedMessage.read` raises."""
        received = await self._next()
        body = await received.read(MEMORY_BYTES)
        ident = received.message.message_id
        if essence(received.content_type) != CPIM:
            return ChatMessage(received.content_type, body, ident)
        envelope, content = cpim.parse(body)
        return ChatMessage(envelope.content_type, content, ident, envelope)

    async def receive_file(self, directory: Path, description: FileDescription | None = None) -> tuple[Path, FileSelector]:
        """The next message, as a file in `directory`; returns where, and what came with its SHA-1.

        With a description its name is used, and size and hash are held against it: raises FileMismatchError.
        A file of that name is never overwritten: the new one gets a number. Nothing is left of a transfer
        that fails.
        """
        received = await self._next()
        with _IncomingFile(directory, received.content_type) as file:
            async for piece in received:
                file.write(piece)
            return file.keep(description)

    async def _next(self) -> ReceivedMessage:
        try:
            return await anext(self._incoming)
        except StopAsyncIteration:
            raise ConnectionError(self.stream.ended or "session ended") from None


class _IncomingFile:
    """A file being received: hashed as it comes, and gone at the end of the context unless it was kept."""

    def __init__(self, directory: Path, content_type: str) -> None:
        self._directory = directory
        self._content_type = content_type
        self._head = HeadReader() if essence(content_type) == CPIM else None
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._size = 0
        self._file = NamedTemporaryFile(dir=directory, prefix=".incoming-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> _IncomingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """The next bytes, those of an envelope first where there is one."""
        if self._head is not None:
            found = self._head.feed(piece)
            if found is None:
                return
            envelope, piece = found
            self._head, self._content_type = None, envelope.content_type
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def keep(self, description: FileDescription | None) -> tuple[Path, FileSelector]:
        """Check what came, and give it a name of its own."""
        announced = description.selector if description is not None else FileSelector()
        found_hash = (("sha-1", format_hash(self._digest.digest())),)
        came = FileSelector(announced.name, essence(self._content_type), self._size, found_hash)
        whole = description is None or description.range is None
        check = announced if whole else replace(announced, size=None, hashes=())
        if not check.matches(came):
            raise FileMismatchError(f"announced {check.build()}, came {came.build()}")
        self._file.flush()
        return link(Path(self._file.name), self._directory / announced.safe_name), came


def describe_file(path: Path, content_type: str, *, disposition: str = "attachment") -> FileDescription:
    """All that an offer says about a file: name, type, size, SHA-1, and a new transfer identifier."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
        size = file.tell()
    selector = FileSelector(path.name, content_type, size, (("sha-1", format_hash(digest.digest())),))
    transfer_id = secrets.token_hex(TRANSFER_ID_BYTES)
    return FileDescription(selector, transfer_id=transfer_id, disposition=disposition)


async def _pieces(path: Path, start: int, size: int, head: bytes) -> AsyncIterator[bytes]:
    if head:
        yield head
    with path.open("rb") as file:
        file.seek(start)
        while size and (piece := file.read(min(PIECE_BYTES, size))):
            size -= len(piece)
            yield piece


async def _settled(message: OutgoingMessage, success_report: bool) -> OutgoingMessage:
    code = await (reported(message) if success_report else outcome(message))
    if code != 200:
        raise MessageFailedError(code, message.comment)
    return message


def _disposition(description: FileDescription) -> str:
    """Content-Disposition of RFC 2183, whose values are those of the description (RFC 5547 section 6)."""
    parts = [description.disposition or "render"]
    selector = description.selector
    if selector.name is not None:
        name = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in selector.name)
        parts.append(f'filename="{name}"')
    if selector.size is not None:
        parts.append(f"size={selector.size}")
    return "; ".join(parts)


def _size(path: Path) -> int:
    return path.stat().st_size
