"""A message on its way in: chunks put in order, bounded (RFC 4975 section 7.3.1)."""

from __future__ import annotations

from enum import Enum, auto

from .frames import Request

REORDER_BYTES = 262_144
"""Bytes of one message held because earlier ones are missing. Connections keep order; only relays that use
several connections at once mix chunks, and then by little."""


_OWN = frozenset(("message-id", "byte-range", "success-report", "failure-report", "content-type", "status"))


class Progress(Enum):
    """Where an incoming message stands."""

    COLLECTING = auto()
    """Short so far: kept until it is complete, for one `message` call."""
    STREAMING = auto()
    """`begin` was called, `data` follows."""
    REFUSED = auto()
    """Its sender was told to stop; further chunks get the same answer."""
    OVER = auto()
    """Complete or aborted."""


class IncomingMessage:
    """One message, identified by its Message-ID within the session."""

    __slots__ = (
        "chunk_position",
        "collected",
        "context",
        "held",
        "held_bytes",
        "position",
        "progress",
        "request",
        "size",
        "status",
        "touched",
        "transaction_id",
    )

    def __init__(self, request: Request, now: float) -> None:
        self.request = request
        """The SEND that began the message, without its body."""
        self.transaction_id = request.transaction_id
        """Of the chunk that came last: the one an answer goes to."""
        self.position = 0
        """Bytes delivered to the handler, or collected, so far."""
        self.chunk_position = 0
        """Offset in the message of the next byte of the current chunk."""
        self.size: int | None = None
        """Length of the whole message; known from the chunk with `$` on."""
        self.progress = Progress.COLLECTING
        self.collected: bytearray | None = None
        self.held: dict[int, bytes] | None = None
        self.held_bytes = 0
        self.status = 0
        """The response code of a refused message."""
        self.touched = now
        self.context: object = None
        """For the handler's use."""

    @property
    def message_id(self) -> str:
        """Empty only for a request without one, which is no message."""
        return self.request.message_id or ""

    @property
    def content_type(self) -> str:
        """The value of Content-Type, parameters included."""
        return self.request.content_type or ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Header fields of the first chunk but the paths, in order, unknown ones included."""
        return self.request.headers

    @property
    def extra_headers(self) -> list[tuple[str, str]]:
        """Header fields that are not MSRP's own, in order: those a hop passes on with `Session.send`."""
        return [field for field in self.request.headers if field[0].lower() not in _OWN]

    @property
    def total(self) -> int | None:
        """Length of the whole message as far as it is known or announced."""
        if self.size is not None:
            return self.size
        return self.request.byte_range.total if self.request.byte_range is not None else None

    @property
    def success_report(self) -> bool:
        """True where the sender asked for a success report."""
        return self.request.success_report

    @property
    def failure_report(self) -> str:
        """`yes`, `no` or `partial`."""
        return self.request.failure_report

    @property
    def follows(self) -> bool:
        """True where the next bytes of the current chunk are the next ones of the message."""
        return self.chunk_position == self.position and not self.held

    def in_order(self, data: bytes) -> list[bytes] | None:
        """Take the next bytes of the current chunk; return the pieces that now follow `position` without
        a gap.

        None where more than REORDER_BYTES would have to wait. Of bytes that come twice the first ones count,
        as they have been handed on already (section 7.3.1 allows it).
        """
        offset = self.chunk_position
        self.chunk_position = offset + len(data)
        if offset == self.position and not self.held:
            return [data]
        if offset > self.position:
            held = self.held if self.held is not None else {}
            if self.held_bytes + len(data) > REORDER_BYTES:
                return None
            known = held.get(offset, b"")
            if len(data) > len(known):
                held[offset] = data
                self.held_bytes += len(data) - len(known)
            self.held = held
            return []
        pieces = [data[self.position - offset :]] if offset + len(data) > self.position else []
        self._release(self.position + sum(map(len, pieces)), pieces)
        return pieces

    def _release(self, front: int, pieces: list[bytes]) -> None:
        """Append the held pieces that `front` has reached."""
        if not self.held:
            return
        for offset in sorted(self.held):
            if offset > front:
                break
            data = self.held.pop(offset)
            self.held_bytes -= len(data)
            if offset + len(data) > front:
                pieces.append(data[front - offset :])
                front = offset + len(data)
