"""Transactions: requests sent and not yet answered, and where their identifiers come from (RFC 4975 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import Response
    from .outgoing import OutgoingMessage
    from .session import Session

TRANSACTION_SECONDS = 30.0
"""Without a response for this long after its last byte, a SEND has probably failed (RFC 4975 7.1.1)."""

_IDENTS_PER_REFILL = 512


def idents(random_bytes: Callable[[int], bytes]) -> Iterator[str]:
    """Endless transaction ids or Message-IDs: 64 fresh random bits each (section 7.1), as 16 hex digits.

    Randomness is taken in bulk, as one system call per message would show in every profile.
    """
    while True:
        pool = random_bytes(8 * _IDENTS_PER_REFILL).hex()
        for at in range(0, len(pool), 16):
            yield pool[at : at + 16]


class Transaction:
    """A SEND under way: of which message, and when to give up waiting. Chunks written together share one.

    `deadline` is None until the last byte of the chunk is handed to the transport.
    """

    __slots__ = ("deadline", "message")

    def __init__(self, message: OutgoingMessage, deadline: float | None) -> None:
        self.message = message
        self.deadline = deadline


class PendingRequest:
    """A request that is not SEND, such as NICKNAME, waiting for its response."""

    __slots__ = ("deadline", "on_answer", "session")

    def __init__(self, session: Session, on_answer: Callable[[Response], None]) -> None:
        self.session = session
        self.on_answer = on_answer
        self.deadline: float | None = None
