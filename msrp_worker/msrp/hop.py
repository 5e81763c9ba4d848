"""Two sessions joined back to back: the media plane of a B2BUA (PFS-02). No I/O.

    hop = Hop(registry, policy)
    hop.join(originating_session, terminating_session)

Each leg keeps its own URI, connection, chunk size and limits. Content goes through as it arrives: a message
that came as one chunk leaves as one message, a longer one is re-chunked for the other side and never held as
a whole.

The hop answers 200 for itself, as a relay does (RFC 4976 section 6.4), and from then on owes the sender the
outcome: a response or report of the other side, or its loss, becomes a REPORT (never silence). Success
reports pass once per message. A side that reads slowly stops the reading of the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .frames import NO, YES, Request, Response, encode_request
from .handler import DEFERRED, SessionHandler
from .incoming import IncomingMessage
from .options import DEFAULT_OPTIONS, SessionOptions
from .outgoing import OutgoingMessage
from .session import Session
from .state import State
from .uri import format_path

_OF_ONE_HOP = frozenset(("message-id", "byte-range", "success-report", "failure-report", "content-type", "status"))
"""Header fields that the other session writes anew; all others pass, Content-Disposition among them
(LRG-07)."""

OLDER_CLIENT_CHUNK = 2_048
"""Bytes per chunk towards IM clients of which nothing is known: what every one of them takes."""
RCS_CLIENT_CHUNK = 10_240
"""Bytes per chunk towards RCS clients."""

TIMED_OUT = 408
"""What the sender is told when the other side is gone or does not answer."""


def leg_options(chunk_size: int = OLDER_CLIENT_CHUNK, options: SessionOptions = DEFAULT_OPTIONS) -> SessionOptions:
    """Options of one leg: content goes on as it arrives, and reports are those of the other side.
    `chunk_size` is what this leg's client takes, 0 for as few chunks as possible."""
    return replace(options, collect=0, auto_report=False, chunk_size=chunk_size)


class HopPolicy:
    """Sees all content that passes, and may refuse it: a code such as 403, 413 or 415 stops the message.

    The calls come before the content is passed on. The default lets all pass; a recorder overrides `data` and
    keeps what it wants, the hop keeps nothing.
    """

    __slots__ = ()

    def begin(self, hop: Hop, sender: Session, message: IncomingMessage) -> int | None:
        """A message begins; header fields are known, content not yet."""
        return None

    def data(self, hop: Hop, sender: Session, message: IncomingMessage, data: bytes) -> int | None:
        """The next bytes of its content, in order."""
        return None

    def end(self, hop: Hop, sender: Session, message: IncomingMessage) -> int | None:
        """All of it was seen. A refusal here aborts the message at the receiver, unless it was sent in
        one."""
        return None

    def outcome(self, hop: Hop, sender: Session, message: IncomingMessage, code: int) -> None:
        """What became of it: 200, the code of the receiver's refusal, or 408. Called once per message that
        passed `begin`, an aborted one included (413)."""


class Hop(SessionHandler):
    """The pair of sessions. It is the handler of both."""

    __slots__ = ("_legs", "confirms", "context", "on_leg_closed", "policy")

    def __init__(self, policy: HopPolicy | None = None, *, confirms: bool = False) -> None:
        self.policy = policy
        self.confirms = confirms
        """The last SEND of a message is answered with what the other side has answered, and not before: where a sender
        leaves with that answer, no REPORT could tell it of a failure (LRG-01)."""
        self.context: object = None
        """For the owner's use."""
        self.on_leg_closed: Callable[[Hop, Session, str], None] | None = None
        """For the owner: a leg ended, with the reason. The other one stays until it is closed."""
        self._legs: tuple[Session, ...] = ()

    def join(self, one: Session, other: Session) -> None:
        """Connect two sessions, made with `leg_options`; call again to replace one after a new offer and
        answer."""
        self._legs = (one, other)
        one.handler = other.handler = self

    def other(self, session: Session) -> Session:
        """The leg across."""
        one, two = self._legs
        return two if session is one else one

    def close(self, reason: str = "hop closed") -> None:
        """End both sessions."""
        for leg in self._legs:
            leg.close(reason)

    # --- content ------------------------------------------------------------------------------------------

    def message(self, session: Session, message: IncomingMessage, body: bytes) -> int | None:
        """A message in one piece."""
        policy = self.policy
        if policy is not None:
            refused = policy.begin(self, session, message)
            if refused is None:
                refused = policy.data(self, session, message, body) or policy.end(self, session, message)
                if refused is not None:
                    policy.outcome(self, session, message, refused)
            if refused is not None:
                return refused
        across = self.other(session)
        request = message.request
        out = across.send(
            body,
            request.content_type or "",
            headers=_passing_headers(request),
            message_id=request.message_id,
            success_report=request.success_report,
            failure_report=_towards_receiver(request),
            context=message,
        )
        if out.status is not None and out.status != 200:
            return self._not_sent(session, message, out)
        if request.success_report:
            out.on_report = self._on_report
        if across.congested:
            session.hold()
        return self._taken(request, out)

    def begin(self, session: Session, message: IncomingMessage) -> int | None:
        """A message in parts."""
        policy = self.policy
        if policy is not None:
            refused = policy.begin(self, session, message)
            if refused is not None:
                return refused
        request = message.request
        out = self.other(session).open(
            request.content_type or "",
            total=message.total,
            headers=_passing_headers(request),
            message_id=request.message_id,
            success_report=request.success_report,
            failure_report=_towards_receiver(request),
            context=message,
        )
        if out.status is not None:
            return self._not_sent(session, message, out)
        if request.success_report:
            out.on_report = self._on_report
        message.context = out
        return None

    def data(self, session: Session, message: IncomingMessage, data: bytes) -> int | None:
        """Its next bytes."""
        out = message.context
        assert isinstance(out, OutgoingMessage)
        if out.status is not None:
            return out.status  # the other side refused or is gone: the sender may stop
        if self.policy is not None:
            refused = self.policy.data(self, session, message, data)
            if refused is not None:
                return self._stop(session, message, out, refused, "refused by policy")
        if out.total is not None and message.position + len(data) > out.total:
            return self._stop(session, message, out, 400, "longer than announced")
        if not out.write(data) and out.status is None:
            session.hold()
        return None

    def pieces(self, session: Session, message: IncomingMessage, pieces: Sequence[bytes]) -> bool:
        """Its next bytes, where nobody has to see them and nothing is wrong with them."""
        out = message.context
        if self.policy is not None or not isinstance(out, OutgoingMessage) or out.status is not None:
            return False
        if out.total is not None and message.position + sum(map(len, pieces)) > out.total:
            return False
        if not out.write_pieces(pieces):
            session.hold()
        return True

    def end(self, session: Session, message: IncomingMessage) -> int | None:
        """All of it came."""
        out = message.context
        assert isinstance(out, OutgoingMessage)
        if out.status is not None and out.status != 200:
            return out.status
        if self.policy is not None:
            refused = self.policy.end(self, session, message)
            if refused is not None:
                return self._stop(session, message, out, refused, "refused by policy")
        if out.total is not None and message.position != out.total:
            return self._stop(session, message, out, 400, "shorter than announced")
        taken = self._taken(message.request, out)
        out.finish()
        return taken

    def _taken(self, request: Request, out: OutgoingMessage) -> int | None:
        """What to answer to the last SEND of a message that has come whole."""
        if not self.confirms or request.failure_report != YES:
            return None
        out.on_done = self._confirm  # LRG-01 SEC-06
        return DEFERRED

    def _confirm(self, message: OutgoingMessage) -> None:
        incoming = message.context
        if isinstance(incoming, IncomingMessage) and message.status is not None:
            self.other(message.session).answer(incoming, message.status, message.comment)

    def aborted(self, session: Session, message: IncomingMessage, reason: str) -> None:
        """Its sender gave up, or is gone: so the copy ends with `#`."""
        out = message.context
        if isinstance(out, OutgoingMessage) and out.status is None:
            self._stop(session, message, out, 413, reason)

    def _stop(self, session: Session, message: IncomingMessage, out: OutgoingMessage, code: int, reason: str) -> int:
        """End a copy with `#`. Its sender knows by itself, or by the response: no REPORT."""
        out.context = None
        out.abort(code, reason)
        if self.policy is not None:
            self.policy.outcome(self, session, message, code)
        return code

    def request(self, session: Session, request: Request) -> int | None:
        """NICKNAME passes, and its response back (RFC 7701 section 7.1); of other methods none is for us."""
        if request.method != "NICKNAME":
            return super().request(session, request)

        def answered(response: Response) -> None:
            if session.link is not None:
                session.link.output.respond(
                    request.transaction_id,
                    response.code,
                    request.from_path,
                    session.local_text,
                    response.comment,
                )

        sent = self.other(session).request(request.method, request.headers, answered)  # MED-07
        return None if sent else TIMED_OUT

    # --- outcome ------------------------------------------------------------------------------------------

    def done(self, session: Session, message: OutgoingMessage) -> None:
        """A copy was taken by the other side, or it failed: the sender is told of failure."""
        incoming = message.context
        if not isinstance(incoming, IncomingMessage) or message.status is None:
            return
        sender = self.other(session)
        if self.policy is not None:
            self.policy.outcome(self, sender, incoming, message.status)
        if message.status != 200 and message.on_done is None:  # else the response has said it
            sender.report(incoming, message.status, message.comment)  # MED-02

    def report(self, session: Session, report: Request, message: OutgoingMessage | None) -> None:
        """A REPORT on a message that is settled and forgotten here: failure that comes late passes all the
        same."""
        status = report.status
        if message is not None or status is None or status.code == 200:
            return
        sender = self.other(session)
        if sender.link is None:
            return
        fields = [(name, value) for name, value in report.headers if name.lower() in _REPORT_HEADERS]
        sender.link.output.emit(
            encode_request("REPORT", next(sender.idents), format_path(sender.remote), sender.local_text, fields)
        )  # MED-02

    def writable(self, session: Session) -> None:
        """The queue of a leg is short again: read on from the other one."""
        self.other(session).hold(on=False)

    def closed(self, session: Session, reason: str) -> None:
        """A leg ended, perhaps before there was another. Its messages under way were reported by `done` before."""
        if self._legs:
            self.other(session).hold(on=False)
        if self.on_leg_closed is not None:
            self.on_leg_closed(self, session, reason)

    def _on_report(self, message: OutgoingMessage) -> None:
        """The receiver has reported on the whole message: once to the sender (MED-02)."""
        if message.report_missing:
            return  # it has taken the message with 200, and then said nothing: that is not failure
        incoming = message.context
        if isinstance(incoming, IncomingMessage) and message.reported is not None:
            sender = self.other(message.session)
            if message.reported == 200 or message.status == 200:
                sender.report(incoming, message.reported, message.comment)

    def _not_sent(self, session: Session, message: IncomingMessage, out: OutgoingMessage) -> int:
        """The other side is closed or its queue is full: the response says so."""
        code = out.status or TIMED_OUT
        if self.policy is not None:
            self.policy.outcome(self, session, message, code)
        if self.other(session).state is not State.CLOSED:
            session.hold()
        return code


_REPORT_HEADERS = frozenset(("message-id", "byte-range", "status"))


def _passing_headers(request: Request) -> Sequence[tuple[str, str]]:
    """The header fields that belong to the message, not to this hop."""
    if request.usual:
        return ()
    return [field for field in request.headers if field[0].lower() not in _OF_ONE_HOP]


def _towards_receiver(request: Request) -> str:
    """Failure-Report on the other side. Where the sender wants to know of failures alone (partial), we have
    to know of success, or a receiver that is lost in silence would count as served."""  # MED-02
    return NO if request.failure_report == NO else YES
