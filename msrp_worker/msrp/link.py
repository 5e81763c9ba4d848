"""One MSRP connection, without I/O: frames in to sessions, frames of sessions out (RFC 4975 sections 5
and 7).

    link.receive(data, now)        # bytes of one read; calls the handlers of the sessions
    for piece in link.take(now):   # bytes to write; call it while the transport takes more
        ...
    link.tick(now)                 # about once a second while `needs_tick`
    link.lost(reason)              # the connection is gone

A link serves any number of sessions. `refused_because` is set when the connection has to be closed. Of
its shell it asks two things: to come and take output, and to stop reading while a session is on hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .codec import DEFAULT_LIMITS, CodecLimits, Parser
from .fingerprint import certificate_matches
from .frames import Answers, Broken, Chunks, Data, End, Malformed, Request, Response
from .logs import limited_logger
from .output import Output, Shell
from .reports import wants_response
from .uri import UriError, parse_path

if TYPE_CHECKING:
    from .registry import Registry
    from .session import Session

log = limited_logger(__name__)

MAX_STRAY_REQUESTS = 5
"""Requests for unknown sessions on a connection that has none, before it is closed (SEC-02)."""


class Link:
    """One connection. Created by the shell that owns the socket."""

    __slots__ = (
        "_arriving",
        "_last_path",
        "_last_session",
        "_parser",
        "_routes",
        "_strays",
        "certificate",
        "local_port",
        "never_bound",
        "output",
        "peer_address",
        "refused_because",
        "registry",
        "secure",
        "sessions",
        "shell",
    )

    def __init__(
        self,
        registry: Registry,
        idents: Iterator[str],
        shell: Shell,
        *,
        peer_address: str = "",
        local_port: int | None = None,
        secure: bool = False,
        certificate: bytes | None = None,
        single_frames: bool = False,
        limits: CodecLimits = DEFAULT_LIMITS,
    ) -> None:
        """`certificate`: the peer's, DER. `single_frames`: the transport needs whole frames (WebSocket)."""
        self.registry = registry
        self.shell = shell
        self.peer_address = peer_address
        self.local_port = local_port
        """Of our end of a TCP connection."""
        self.secure = secure
        self.certificate = certificate
        self.sessions: list[Session] = []
        self.never_bound = True
        """No session has been bound here yet."""
        self.refused_because: str | None = None
        """Set: close the connection, for this reason."""
        self.output = Output(idents, shell, single_frames=single_frames)
        self._parser = Parser(limits)
        self._arriving: Session | None = None
        """The session whose chunk is arriving."""
        self._last_path = ""
        self._last_session: Session | None = None
        """The session that `_last_path` led to; most connections have no other."""
        self._routes: dict[str, Session] | None = None
        """To-Path as spelled by the peer, for connections with several sessions."""
        self._strays = 0

    def add(self, session: Session) -> None:
        """The session is bound here. For Session only."""
        self.sessions.append(session)
        self.never_bound = False

    def remove(self, session: Session) -> None:
        """The session ended. For Session only."""
        if session in self.sessions:
            self.sessions.remove(session)
        if self._last_session is session:
            self._last_path, self._last_session = "", None
        if self._routes:
            self._routes = {path: other for path, other in self._routes.items() if other is not session}
        if self._arriving is session:
            self._arriving = None
        self.output.forget(session)
        if session.on_hold:
            self.hold_changed()
        if not self.sessions:
            self.output.wake()  # the shell has to look at the clock: nobody may need the connection any more

    def hold_changed(self) -> None:
        """A session went on hold or off it. One that holds stops them all: TCP has only one stream."""
        self.shell.hold(any(session.on_hold for session in self.sessions))

    def certificate_matches(self, fingerprints: tuple[str, ...]) -> bool:
        """True where none were offered or the peer showed a certificate with one of them (RFC 8122)."""
        return not fingerprints or certificate_matches(self.certificate, fingerprints)  # MED-04

    def refuse(self, reason: str) -> None:
        """Have the connection closed."""
        if self.refused_because is None:
            self.refused_because = reason
            self.output.wake()

    def receive(self, data: bytes, now: float) -> None:
        """Take the bytes of one read."""
        for event in self._parser.feed_batches(data):
            try:
                if type(event) is Request:
                    self._request(event, now)
                elif type(event) is Response:
                    self.output.answered(event)
                elif type(event) is Chunks:
                    self._chunks(event, now)
                elif type(event) is Answers:
                    self._answers(event)
                else:
                    self._rest(event, now)
            except Exception:
                # A bug in one session's handler must not take the others on this connection with it.
                self._fail()
            if self.refused_because is not None:
                return

    def _chunks(self, chunks: Chunks, now: float) -> None:
        """Chunks like the last one: the session takes them as they are where they are the next ones of their message."""
        count = len(chunks.rows)
        while chunks.taken < count and self.refused_because is None:
            try:
                session = self._last_session
                if chunks.like.to_path != self._last_path:
                    session = None
                if session is not None and session.inbox.receive_chunks(chunks, now):
                    self._arriving = session
                if chunks.taken < count and self.refused_because is None:
                    chunks.taken += 1
                    for event in chunks.events_of(chunks.taken - 1):
                        if type(event) is Request:
                            self._request(event, now)
                        else:
                            self._rest(event, now)
            except Exception:
                self._fail()

    def _answers(self, answers: Answers) -> None:
        """Responses like the last one, mostly to SENDs."""
        output, idents = self.output, answers.transaction_ids
        code, comment = answers.like.code, answers.like.comment
        number = 0
        while number < len(idents) and self.refused_because is None:
            first = number
            number += 1
            try:
                if code == 200 and (count := output.answered_ok(idents, first)):
                    number = first + count
                elif not output.answered_send(idents[first], code, comment):
                    output.answered(answers.response(first))
            except Exception:
                self._fail()

    def _fail(self) -> None:
        session = self._arriving or self._last_session
        log.exception("msrp: %r failed", session)
        if session is None:
            self.refuse("internal error")
        else:
            session.close("internal error")

    def _rest(self, event: object, now: float) -> None:
        session = self._arriving
        if type(event) is Data:
            if session is not None:
                session.inbox.receive_data(event.data, now)
        elif type(event) is End:
            self._arriving = None
            if session is not None:
                session.inbox.receive_end(event.flag)
        elif type(event) is Malformed:
            self.registry.counters.malformed += 1
            log.info("msrp: malformed frame from %s: %s", self.peer_address, event.reason)
            self._reject(event, event.status, event.reason)
        elif type(event) is Broken:
            self.refuse(event.reason)

    def _request(self, request: Request, now: float) -> None:
        session = self._last_session if request.to_path == self._last_path else self._route(request)
        if session is None:
            self._arriving = None
            return
        if request.flag is None:
            self._arriving = session
        if request.method == "SEND":
            session.inbox.receive_send(request, now)
        elif request.method == "REPORT":
            session.outbox.receive_report(request)
        else:
            session.receive_other(request)

    def _route(self, request: Request) -> Session | None:
        """The session a request is for (section 7.3); None after it was answered with an error."""  # MED-03
        session = self._routes.get(request.to_path) if self._routes is not None else None
        if session is None:
            try:
                to_path = parse_path(request.to_path)
                parse_path(request.from_path)
            except UriError as error:
                self._reject(request, 400, str(error))
                return None
            found = self.registry.find(to_path, self)
            if isinstance(found, int):
                self._stray(request, found)
                return None
            session = found
        if self._last_session is not None and self._last_session is not session:
            if self._routes is None:
                self._routes = {}
            self._routes[self._last_path] = self._last_session
        self._last_path = request.to_path
        self._last_session = session
        if self._routes is not None and len(self._routes) > 4 * len(self.sessions):
            self._routes = None  # a peer that spells the same URI in ever new ways
        return session

    def _stray(self, request: Request, code: int) -> None:
        log.info("msrp: %s from %s for %s: %d", request.method, self.peer_address, request.to_path[:200], code)
        self._reject(request, code)
        self.registry.counters.refused(code)
        self._strays += 1
        if not self.sessions and self._strays >= MAX_STRAY_REQUESTS:
            self.registry.counters.never_bound += 1
            self.refuse(f"{self._strays} requests for unknown sessions")  # SEC-02

    def _reject(self, request: Request | Malformed, code: int, comment: str | None = None) -> None:
        """Answer a request that reaches no session."""
        if request.method is None or request.method == "REPORT" or not request.from_path or not request.to_path:
            return
        if not wants_response(request.failure_report, code):
            return
        try:
            path = parse_path(request.from_path)
        except UriError:
            return  # nobody to answer
        to_path = str(path[0]) if request.method == "SEND" else request.from_path
        comment = None if comment is None else comment.encode("ascii", "replace").decode()[:80]
        self.output.respond(request.transaction_id, code, to_path, request.to_path.rpartition(" ")[2], comment)

    # --- output, time and end -----------------------------------------------------------------------------

    def take(self, now: float) -> list[bytes]:
        """The bytes to write now; see `Output.take`."""
        return self.output.take(now)

    @property
    def in_frame(self) -> bool:
        """True where the input so far ends inside a frame."""
        return self._parser.in_frame

    @property
    def needs_tick(self) -> bool:
        """True while something here can time out."""
        if self.output.awaits_answers:
            return True
        for session in self.sessions:  # noqa: SIM110 - any() would make a generator for each write
            if session.inbox.has_open_messages:
                return True
        return False

    def tick(self, now: float) -> None:
        """Let time-outs happen: transactions after 30 seconds, messages of which no more comes."""  # MED-01
        self.output.tick(now)
        for session in list(self.sessions):
            session.inbox.expire(now)

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it all its sessions (section 5.4)."""
        if self.refused_because is None:
            self.refused_because = reason
        self.output.clear()
        for session in list(self.sessions):
            try:
                session.close(reason)
            except Exception:  # of its handler: the others have to be closed all the same
                log.exception("msrp: closing %r", session)
