"""What a session wants: the options its user chooses, each with its unit and reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from .media_types import AcceptTypes, accept_types


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What one side of a session wants. One object may serve any number of sessions."""

    accept: AcceptTypes = field(default_factory=accept_types)
    """Content that is taken; anything else is refused with 415."""
    max_size: int | None = None
    """Largest message taken, in bytes; larger ones are refused with 413. None: any."""
    collect: int = 10_240
    """Messages up to this many bytes are handed over whole even when they come in parts; 0: as they
    arrive."""
    chunk_size: int = 2_048
    """Bytes of content per chunk sent. 2,048 suits every client (section 7.1.1); RCS clients take 10,240.
    0: as few chunks as possible, interrupted only for other traffic."""
    auto_report: bool = True
    """Send the success report by ourselves once a message is accepted; False where its real recipient is
    behind us and `Session.report` passes on what that one says."""
    congested_bytes: int = 262_144
    """Queued output at which `write` and `send` say so, and below half of which `writable` is called. One
    full read of uvloop: with less, long messages stop and go at every read."""
    queue_bytes: int = 1_048_576
    """Queued output beyond which new messages fail at once: the bound on memory per session."""
    window: int = 512
    """Chunks sent and not yet answered; more wait, so that a peer that never answers costs no memory."""
    open_messages: int = 32
    """Incomplete messages coming in at the same time; more are refused with 413."""
    match_session_id_only: bool = False
    """Accept requests whose To-Path differs from our URI in anything but the session-id, as behind
    session border controllers that rewrite addresses (the "sessmatch" practice)."""
    peer_addresses: frozenset[str] | None = None
    """Addresses from which the session may be bound; None: any (MED-10)."""


DEFAULT_OPTIONS = SessionOptions()
