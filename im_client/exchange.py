"""A response as received, and an incoming request that wants an answer: what applications handle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sipmessage import Request, Response

from . import PRODUCT
from .responses import build_response
from .transport import Address
from .wire import unquote, values


@dataclass(frozen=True, slots=True)
class ReceivedResponse:
    """A response with the bytes it came in."""

    message: Response
    raw: bytes

    @property
    def status(self) -> int:
        return self.message.code

    @property
    def reason(self) -> str:
        return self.message.phrase

    @property
    def ok(self) -> bool:
        return 200 <= self.message.code < 300

    def header(self, name: str) -> str | None:
        """The first value of a field; bytes outside UTF-8 are surrogate escapes."""
        return self.message.headers.get(name)

    def header_values(self, name: str) -> list[str]:
        """All values of a field."""
        return values(self.message.headers, name)

    @property
    def warning(self) -> str:
        """The text of the first Warning, without code and agent (RFC 3261 section 20.43).

        Empty if there is none.
        """
        found = self.header_values("Warning")
        return unquote(found[0].split(" ", 2)[-1]) if found else ""

    @property
    def warning_text(self) -> str:
        """The warning as the tail of a sentence: " (text)", or nothing."""
        return f" ({self.warning})" if self.warning else ""


@dataclass(slots=True)
class IncomingRequest:
    """A new request from the network. The handler calls `respond`, once with a final status."""

    message: Request
    raw: bytes
    source: Address
    to_tag: str
    _send: Callable[[Response], None]
    answered: int = 0  # the final status sent
    cancelled: bool = False  # a CANCEL has come (RFC 3261 section 9.2)
    on_cancel: Callable[[], None] | None = None
    last: Response | None = None  # the response sent last

    def cancel(self) -> None:
        """The INVITE was cancelled; of no effect once it has a final response."""
        if not self.answered and not self.cancelled:
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()

    def repeat(self, response: Response) -> None:
        """Send a response again: a 2xx without ACK, a reliable provisional without PRACK."""
        self._send(response)

    def respond(
        self,
        status: int,
        *,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a response.

        HDR-01 is seen to. A second final response is ignored (RFC 3261 section 17.2.2).
        """
        if self.answered:
            return
        product = [("Server", PRODUCT)]  # HDR-01
        response = build_response(
            self.message,
            status,
            to_tag=self.to_tag,
            source=self.source,
            reason=reason,
            headers=[*product, *headers],
            body=body,
        )
        self.last = response
        self._send(response)
        if status >= 200:
            self.answered = status
