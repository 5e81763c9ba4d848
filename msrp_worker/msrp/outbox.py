"""What a session sends: messages, their chunks under way, their outcome (RFC 4975 sections 7.1 and 7.3.2).

The messages of a session are `OutgoingMessage`s; the link cuts them into chunks when its turn comes, and
tells here what became of each. A message is settled once: by the last response, by an error, or by the
end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from .frames import NO, YES, Request
from .outgoing import OutgoingMessage, check_message_id, message_head
from .ranges import ByteRange, RangeSet
from .state import State

if TYPE_CHECKING:
    from .link import Link
    from .session import Session
    from .transaction import Transaction

MAX_KEPT_MESSAGES = 1_000
"""Sent messages per session kept because a success report for them is still to come; the oldest go first."""

_plain_head = lru_cache(maxsize=512)(message_head)


class Outbox:
    """The sending half of a session."""

    __slots__ = (
        "_blocked",
        "_congested",
        "_kept",
        "_messages",
        "_partial",
        "_unanswered",
        "_waiting",
        "queued",
        "session",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.queued = 0
        """Bytes of content not yet cut into chunks."""
        self._congested = False
        self._unanswered = 0
        self._kept = 0
        self._messages: dict[str, OutgoingMessage] | None = None
        """By Message-ID: those whose outcome or success report is to come."""
        self._blocked: list[OutgoingMessage] | None = None
        """Messages that wait for the peer's path, for a connection, or for answers."""
        self._partial: deque[str] | None = None
        """Transactions of messages with Failure-Report partial, the oldest first."""
        self._waiting: list[Callable[[], None]] | None = None

    def open(
        self,
        content_type: str,
        total: int | None,
        headers: Iterable[tuple[str, str]],
        message_id: str | None,
        success_report: bool,
        failure_report: str,
        context: object,
    ) -> OutgoingMessage:
        """As `Session.open`."""
        fields = tuple(headers)
        build = message_head if fields else _plain_head
        head = build(content_type, fields, success_report, failure_report)
        if message_id is None:
            message_id = next(self.session.idents)
        else:
            check_message_id(message_id)
        message = OutgoingMessage(self, message_id, head, total, success_report, failure_report)
        message.context = context
        if self.session.state is State.CLOSED or self.queued > self.session.options.queue_bytes:
            message.status = 408
            message.comment = "session is closed" if self.session.state is State.CLOSED else "queue is full"
            return message
        if self._messages is None:
            self._messages = {}
        self._messages[message_id] = message
        return message

    def greet(self, link: Link) -> None:
        """Send a SEND without a body. Only an answer of 481 or 506 matters: it ends the session."""
        message = OutgoingMessage(self, next(self.session.idents), "", 0, False, YES)
        message.status = 200
        link.output.send_bodiless(message)

    def accept(self, message: OutgoingMessage, size: int) -> bool:
        """`size` more bytes wait in the message; returns False when congested. For OutgoingMessage only."""
        self.queued += size
        if not message.scheduled:
            self._schedule(message)
        if self.queued >= self.session.options.congested_bytes:
            self._congested = True
            return False
        return True

    def stop(self, message: OutgoingMessage, code: int, comment: str | None, *, tell: bool = False) -> None:
        """No more chunks of this message. An open one ends with `#`; `tell` sends an empty one to say so."""
        if message.status is not None:
            return
        self.queued -= message.queued
        message.queued = 0
        message.pieces.clear()
        message.offset = 0
        begun = message.position > 0
        if self.session.link is not None:
            self.session.link.output.stop(message, tell=tell and begun and not message.is_sent)
        self._settle(message, code, comment)
        self._relieve()

    @property
    def busy(self) -> bool:
        """True while the outcome of a message is unknown."""
        return any(message.status is None for message in (self._messages or {}).values())

    @property
    def congested(self) -> bool:
        """True from `congested_bytes` of queued output until half of it is left."""
        return self._congested

    @property
    def can_send(self) -> bool:
        """True where a chunk may go out now: path known, connection there, window not full."""
        return self.session.path_block != "" and self._unanswered < self.session.options.window

    @property
    def window_left(self) -> int:
        """Chunks that may go out before answers have to come."""
        return self.session.options.window - self._unanswered

    def wait_for_window(self, message: OutgoingMessage) -> None:
        """The link cannot send this message now; it comes back when something changes."""
        if self._blocked is None:
            self._blocked = []
        self._blocked.append(message)

    def expect(self, message: OutgoingMessage, transaction_id: str) -> str | None:
        """A chunk that may be answered is sent; returns a transaction for which to wait no longer, if any.

        With Failure-Report yes the window bounds how many are under way. With partial nothing is answered as
        long as all goes well, so the oldest ones are taken for good to bound what has to be remembered.
        """
        message.unanswered += 1
        if message.failure_report == YES:
            self._unanswered += 1
            return None
        if self._partial is None:
            self._partial = deque()
        self._partial.append(transaction_id)
        return self._partial.popleft() if len(self._partial) > self.session.options.window else None

    def expect_answers(self, message: OutgoingMessage, count: int) -> None:
        """So many chunks with Failure-Report yes are sent."""
        message.unanswered += count
        self._unanswered += count

    def chunk_sent(self, size: int) -> None:
        """The link has cut `size` bytes off the queue."""
        self.queued -= size
        if self._congested:
            self._relieve()

    def _relieve(self) -> None:
        """Tell those who wait once the queue is short enough."""
        if self._congested and self.queued <= self.session.options.congested_bytes // 2:
            self._congested = False
            self._tell_waiting()
            self.session.handler.writable(self.session)

    def message_sent(self, message: OutgoingMessage) -> None:
        """The last chunk of a message is written."""
        if message.status is None and (message.failure_report == NO or not message.unanswered):
            self._settle(message, 200, None)

    def answered(self, transaction: Transaction, code: int, comment: str | None, count: int = 1) -> None:
        """A transaction ended: response, or 408 for a time-out; with 200 for `count` chunks of it at once."""  # MED-01
        message = transaction.message
        message.unanswered -= count
        if message.failure_report == YES:
            self._unanswered -= count
        if self._blocked is not None:
            self.unblock()
        if code == 200:
            if not message.unanswered and message.is_sent and message.status is None:
                self._settle(message, 200, None)
            return
        # 413: MUST NOT send any further chunks; the others leave nothing to hope for either (section 10).
        self.stop(message, code, comment)
        if code in (481, 506):
            self.session.close(f"peer answered {code}")

    def receive_report(self, report: Request) -> None:
        """A REPORT on something sent; never answered (section 7.1.2)."""
        status = report.status
        message = (self._messages or {}).get(report.message_id or "")
        if message is not None and status is not None and status.namespace == "000":
            if status.code == 200:
                self._covered(message, report.byte_range)
            else:
                # Exactly as a response with this code (section 7.3.2).
                message.reported = status.code
                if message.status is None:
                    self.stop(message, status.code, status.comment)
                else:
                    self._report_settled(message)
        self.session.handler.report(self.session, report, message)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once, when the queue is short again or the session ended."""
        if not self._congested or self.session.state is State.CLOSED:
            callback()
            return
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(callback)

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        for callback in waiting or ():
            callback()

    def close(self, reason: str) -> None:
        """The session ended: what is not settled has failed, unless nobody would have told us anyway; what is not
        reported on never will be."""
        self._blocked = None
        for message in list((self._messages or {}).values()):
            if message.status is None:
                settled = message.failure_report != YES and message.is_sent
                self._settle(message, 200 if settled else 408, reason)
            if message.status == 200 and message.success_report:
                self._give_up_report(message, reason)  # MED-02
        self._messages = None
        self.queued = 0
        self._tell_waiting()

    def _schedule(self, message: OutgoingMessage) -> None:
        message.scheduled = True
        if self.session.link is None or not self.can_send:
            self.wait_for_window(message)
        else:
            self.session.link.output.schedule(message)

    def unblock(self) -> None:
        """What waited may go, if it can."""
        if self._blocked is None or self.session.link is None or not self.can_send:
            return
        blocked, self._blocked = self._blocked, None
        for message in blocked:
            self.session.link.output.schedule(message)

    def _settle(self, message: OutgoingMessage, code: int, comment: str | None) -> None:
        """The outcome is known."""
        message.status = code
        message.comment = comment
        if self._messages is not None:
            if code == 200 and message.success_report and message.reported is None:
                self._kept += 1
                if self._kept > MAX_KEPT_MESSAGES:
                    self._forget_oldest()
            else:
                self._forget_output(message)
        if message.on_done is not None:
            message.on_done(message)
        self.session.handler.done(self.session, message)
        if self.session.finishing and not self.busy:
            self.session.close(self.session.finishing)

    def _forget_output(self, message: OutgoingMessage) -> bool:
        """Take a message out of the table; False where it is not in it (any more)."""
        outgoing = self._messages
        if outgoing is None or outgoing.get(message.message_id) is not message:
            return False
        del outgoing[message.message_id]
        return True

    def _forget_oldest(self) -> None:
        outgoing = self._messages or {}
        oldest = next((ident for ident, message in outgoing.items() if message.status is not None), None)
        if oldest is not None:
            self._give_up_report(outgoing.pop(oldest), "no report came")
            self._kept -= 1

    def _give_up_report(self, message: OutgoingMessage, reason: str) -> None:
        """A success report that was asked for will not come, or not be known as one any more."""
        if message.reported is None:
            message.reported = 408
            message.report_missing = True
            message.comment = reason
            if message.on_report is not None:
                message.on_report(message)

    def _covered(self, message: OutgoingMessage, byte_range: ByteRange | None) -> None:
        """A success report for a range; the message is reported once they cover it."""
        if message.reported is not None:
            return
        end = message.position
        if byte_range is None:
            low, high = 0, end
        else:
            low = byte_range.start - 1
            high = end if byte_range.end is None else min(byte_range.end, end)
        if message.covered is None:
            message.covered = RangeSet()
        message.covered.add(low, high)
        if message.finished and not message.queued and message.covered.covers(end):
            message.reported = 200
            self._report_settled(message)

    def _report_settled(self, message: OutgoingMessage) -> None:
        if message.status is not None and self._forget_output(message) and message.success_report:
            self._kept -= 1
        if message.on_report is not None:
            message.on_report(message)
