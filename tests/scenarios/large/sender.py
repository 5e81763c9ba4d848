"""A sender of large messages that does as a test wants: declares this, sends that, stops in the middle."""

from __future__ import annotations

from dataclasses import replace

from im_client.client import ImClient
from im_client.im_session import ImSession
from msrp_worker.file_transfer import FileDescription, FileSelector
from msrp_worker.msrp import OutgoingMessage, Session, outcome
from msrp_worker.sdp_msrp import Direction

IMAGE = "image/png"


async def invite_large(
    client: ImClient,
    to: str,
    declared: int | None,
    *,
    direction: Direction = Direction.SENDONLY,
    content_type: str = IMAGE,
    **options: object,
) -> ImSession:
    """A session for a message of `declared` bytes. SessionRefusedError."""
    file = None if declared is None else FileDescription(FileSelector(type=content_type, size=declared))
    plan = replace(client.messaging.plan(direction), file=file)
    return await client.invite(to, line=client.messaging.line(plan), keep_messages=False, **options)  # type: ignore[arg-type]


def msrp_of(session: ImSession) -> Session:
    """The MSRP session, to be used by hand."""
    return session.line.peer.session


def begin(session: ImSession, total: int | None, data: bytes, content_type: str = IMAGE) -> OutgoingMessage:
    """Begin a message and send so much of it."""
    message = msrp_of(session).open(content_type, total=total)
    message.write(data)
    return message


async def send(session: ImSession, data: bytes, content_type: str = IMAGE, **options: object) -> int:
    """Send a whole message; its MSRP status."""
    return await outcome(msrp_of(session).send(data, content_type, **options))  # type: ignore[arg-type]
