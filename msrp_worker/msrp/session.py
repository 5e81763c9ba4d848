"""One MSRP session, without I/O (RFC 4975 sections 5 to 7).

A `Session` is one end of a session: its own URI, the peer's path, its options, and two halves, `Outbox` and
`Inbox`. Requests reach it from the `Link` it is bound to; what it has to say goes there too. Its user
gives it a `SessionHandler` and calls `send`, `open`, `report`, `answer` and `close`. Nothing here reads a
clock: the link passes the time along with each input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .frames import YES, Request, Response, check_header
from .handler import SessionHandler
from .inbox import Inbox
from .incoming import IncomingMessage
from .options import DEFAULT_OPTIONS, SessionOptions
from .outbox import Outbox
from .outgoing import OutgoingMessage
from .ranges import ByteRange
from .state import TRANSITIONS, State
from .uri import MsrpUri, format_path

if TYPE_CHECKING:
    from .link import Link


class Session:
    """One end of an MSRP session. Its `Registry` makes its URI reachable."""

    __slots__ = (
        "context",
        "fingerprints",
        "finishing",
        "handler",
        "idents",
        "inbox",
        "link",
        "local",
        "local_text",
        "on_closed",
        "on_hold",
        "on_remote",
        "options",
        "outbox",
        "path_block",
        "remote",
        "state",
    )

    def __init__(
        self,
        local: MsrpUri,
        handler: SessionHandler,
        idents: Iterator[str],
        options: SessionOptions = DEFAULT_OPTIONS,
    ) -> None:
        """`idents`: where new Message-IDs and transaction ids come from."""
        self.local = local
        self.local_text = str(local)
        self.remote: tuple[MsrpUri, ...] = ()
        """The peer's path; empty until `set_remote`."""
        self.handler = handler
        self.idents = idents
        self.options = options
        self.state = State.WAITING
        self.link: Link | None = None
        self.fingerprints: tuple[str, ...] = ()
        """Of the peer's certificate, as offered (RFC 8122); empty: none were."""
        self.context: object = None
        """For the user of the session."""
        self.path_block = ""
        """To-Path and From-Path of our requests as header lines; empty until the peer's path is known."""
        self.on_closed: Callable[[Session], None] | None = None
        """For the registry: called once, before the handler."""
        self.on_remote: Callable[[Session], None] | None = None
        """For the registry: the peer's path is known, or known anew."""
        self.on_hold = False
        self.finishing = ""
        """Why the session ends as soon as all that was sent is settled; empty while it goes on."""
        self.outbox = Outbox(self)
        self.inbox = Inbox(self)

    def __repr__(self) -> str:
        return f"<Session {self.local_text} {self.state.name}>"

    def rename(self, local: MsrpUri) -> None:
        """Go by another URI with the same session-id, from the next request on; before anybody was told the old one."""
        self.local = local
        self.local_text = str(local)
        self.path_block = f"To-Path: {format_path(self.remote)}\r\nFrom-Path: {self.local_text}\r\n"

    def set_remote(self, path: tuple[MsrpUri, ...], fingerprints: tuple[str, ...] = ()) -> None:
        """Take the peer's path from its offer or answer; what was waiting for it is sent.

        The first URI is where a connection goes, the last one is the peer (section 8.2). From now on the peer has
        `EndpointConfig.peer_seconds` to connect, if we do not: call it when offer and answer are exchanged. Raises
        ValueError for an empty path.
        """
        if not path:
            raise ValueError("empty path")
        self.remote = path  # MED-06
        self.fingerprints = fingerprints
        self.path_block = f"To-Path: {format_path(path)}\r\nFrom-Path: {self.local_text}\r\n"
        if self.on_remote is not None:
            self.on_remote(self)
        if self.link is not None and not self.link.certificate_matches(fingerprints):
            self.link.refuse("certificate does not match the offered fingerprint")  # MED-04
            return
        self.outbox.unblock()

    def allow_from(self, addresses: frozenset[str]) -> None:
        """Let the session be bound from these addresses only; a connection from elsewhere that was faster is closed."""
        self.options = replace(self.options, peer_addresses=addresses)  # MED-10
        if self.link is not None and self.link.peer_address not in addresses:
            self.link.refuse("the session may not be bound from this address")

    def bind(self, link: Link, *, greet: bool = False) -> None:
        """The connection `link` now belongs to this session; `greet` as the active side, before all else."""  # MED-03
        self.state = TRANSITIONS[self.state, "bind"]
        self.link = link
        link.add(self)
        if greet:
            self.greet()
        self.handler.bound(self)
        self.outbox.unblock()

    def greet(self) -> None:
        """As the active side, issue the first SEND at once (section 5.4): a bodiless one, ahead of what waits.

        The first SEND may have a body, but there are peers that bind by it and then fail on its content (msrplib).
        """  # MED-03
        if self.link is not None:
            self.outbox.greet(self.link)

    def close(self, reason: str = "closed here") -> None:
        """End the session: whatever was under way fails, and the URI is never valid again."""  # MED-10
        if self.state is State.CLOSED:
            return
        self.state = TRANSITIONS[self.state, "close"]
        link, self.link = self.link, None
        self.outbox.close(reason)
        self.inbox.close(reason)
        if link is not None:
            link.remove(self)
        if self.on_closed is not None:
            self.on_closed(self)
        self.handler.closed(self, reason)

    def finish(self, reason: str) -> None:
        """End the session when what was sent has its outcome: at once where nothing is under way, or nothing can go out.

        A peer that is silent holds it for as long as its transactions last.
        """
        if self.link is None or not self.outbox.busy:
            self.close(reason)
        else:
            self.finishing = reason

    def send(
        self,
        body: bytes,
        content_type: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        message_id: str | None = None,
        success_report: bool = False,
        failure_report: str = YES,
        context: object = None,
    ) -> OutgoingMessage:
        """Send a whole message; its bytes are shared, not copied.

        Raises ValueError for header text outside the grammar. A session that is closed or whose queue is full
        gives a handle that has failed already: `status` 408.
        """
        message = self.outbox.open(content_type, len(body), headers, message_id, success_report, failure_report, context)
        if message.status is None and (self.link is None or not self.link.output.send_at_once(message, body)):
            if body:
                message.pieces.append(body)
                message.queued = len(body)
            message.finished = True
            self.outbox.accept(message, len(body))
        return message

    def open(
        self,
        content_type: str,
        *,
        total: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
        message_id: str | None = None,
        success_report: bool = False,
        failure_report: str = YES,
        context: object = None,
    ) -> OutgoingMessage:
        """Begin a message whose content comes through `OutgoingMessage.write` and `finish`; `total` None:
        unknown.

        Errors as in `send`.
        """
        return self.outbox.open(content_type, total, headers, message_id, success_report, failure_report, context)

    @property
    def queued(self) -> int:
        """Bytes of content waiting to be sent."""
        return self.outbox.queued

    @property
    def congested(self) -> bool:
        """True from `congested_bytes` of queued output until half of it is left; then `writable` is
        called."""
        return self.outbox.congested

    def hold(self, *, on: bool = True) -> None:
        """Stop reading from the connection, as what was received cannot be passed on yet; or go on reading.

        Holds back every session on the same connection. What one read has brought is still delivered.
        """  # MED-08
        if on != self.on_hold:
            self.on_hold = on
            if self.link is not None:
                self.link.hold_changed()

    def answer(self, message: IncomingMessage, code: int, comment: str | None = None) -> None:
        """Respond to a message for which the handler returned DEFERRED, once.

        After 200 the success report goes out, if `auto_report`. Which of both is sent depends on what the
        sender asked for.
        """
        self.inbox.answer(message, code, comment)

    def report(
        self,
        message: IncomingMessage,
        code: int,
        comment: str | None = None,
        byte_range: ByteRange | None = None,
    ) -> None:
        """Send a REPORT on a received message if its sender wants one with this code; by default on all
        of it."""
        self.inbox.report(message, code, comment, byte_range)

    def request(
        self,
        method: str,
        headers: Iterable[tuple[str, str]],
        on_answer: Callable[[Response], None],
    ) -> bool:
        """Send a request that is neither SEND nor REPORT, such as NICKNAME (RFC 7701 section 7.1).

        `on_answer` is called once, with the response, or with one of 408 that nobody sent. False, and no
        call, where the session has no connection. Raises ValueError for header text outside the grammar.
        """
        fields = list(headers)
        for name, value in fields:
            check_header(name, value)
        if self.link is None or not self.path_block:
            return False
        self.link.output.request(self, method, fields, on_answer)
        return True

    def receive_other(self, request: Request) -> None:
        """A request of another method: the handler says what to answer."""
        code = self.handler.request(self, request)
        if code is not None and self.link is not None:
            # Responses to anything but SEND go back the whole path (section 7.2).
            self.link.output.respond(request.transaction_id, code, request.from_path, self.local_text)
