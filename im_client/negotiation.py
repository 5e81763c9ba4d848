"""What a session asks of its media plane: descriptions to offer and to answer with."""

from __future__ import annotations

from typing import Protocol

from .body import Body


class NotAcceptableError(Exception):
    """A media plane that cannot answer an offer; `status` is the refusal."""

    def __init__(self, status: int = 488, warning: str = "") -> None:
        super().__init__(f"{status} {warning}".strip())
        self.status = status
        self.warning = warning


class Media(Protocol):
    """What negotiates the bodies of a session. Answers are prompt: a user is not asked (RFC 3311 section 5.2)."""

    def offer(self) -> Body:
        """The description as it stands, unchanged where nothing has changed (RFC 4028 section 7.4)."""

    async def answer(self, offer: Body) -> Body:
        """The answer to a new offer. Raises NotAcceptableError, and then nothing has changed."""

    async def complete(self, answer: Body) -> None:
        """The answer to our offer has come."""
