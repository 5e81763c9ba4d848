"""Bodies of requests and responses in sessions: one part, or several (RFC 5621 rules for multipart). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sipmessage import Request, Response

from .errors import MalformedMessageError
from .multipart import Part, split

SDP = "application/sdp"


@dataclass(frozen=True, slots=True)
class Body:
    """A body and its type; the empty one stands for none."""

    content_type: str = ""
    data: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.data)

    def fields(self) -> list[tuple[str, str]]:
        return [("Content-Type", self.content_type)] if self.data else []


NOTHING = Body()


def of_message(message: Request | Response) -> Body:
    return Body(message.headers.get("Content-Type") or "", message.body)


def parts(body: Body) -> list[Part]:
    """The parts of a multipart body, or the one there is. Raises MalformedMessageError."""
    if not body:
        return []
    if body.content_type.lower().startswith("multipart/"):
        return split(body.content_type, body.data)
    return [Part(body.content_type, body.data)]


def find(body: Body, media_type: str) -> bytes:
    """The first part of that type, empty where there is none or the body cannot be read."""
    try:
        return next((part.body for part in parts(body) if part.media_type == media_type), b"")
    except MalformedMessageError:
        return b""


def sdp_of(message: Request | Response) -> Body:
    """The session description in a message, alone or among other parts."""
    data = find(of_message(message), SDP)
    return Body(SDP, data) if data else NOTHING
