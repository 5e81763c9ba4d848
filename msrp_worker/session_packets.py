"""What the operator's `session` command and the worker say to each other about sessions: JSON behind a packet of the link.

Answers come in pages, so that neither side holds thousands of sessions at once and each page fits one packet of the socket.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec import Struct

ANONYMOUS = "anonymous"
"""In the place of an address whose user asked for privacy, where no other name stands for it (IDN-04)."""
LONGEST_REASON = 200
"""Characters of an operator's reason: a sentence that clients may show."""


class Kind(StrEnum):
    """What a session is to its operator."""

    CONFERENCE = "conference"
    """Ad-hoc, at our focus."""
    GROUP = "group"
    ONE_TO_ONE = "one-to-one"
    """At our focus with one invited user, or between two users with its media through this server."""
    CONFERENCE_LEG = "conference-leg"
    """A user's way into a conference, with its media through this server."""
    LARGE_MESSAGE = "large-message"


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One session."""

    number: int
    """For the next page."""
    identity: str
    kind: Kind
    group: str = ""
    """The group, or the focus of a CONFERENCE_LEG."""
    initiator: str
    began: float
    """Seconds since 1970."""
    participants: int
    invited: int
    """Invitations without an answer."""
    messages: int
    idle: int
    """Seconds since the last message, or since the session began."""
    who: tuple[str, ...] = ()
    """Some of those in it or invited; `ShowSession` tells all."""


class ParticipantInfo(Struct, frozen=True, kw_only=True):
    """One seat of a session."""

    number: int
    address: str
    """The user's address; what stands for it where privacy holds and the operator did not ask for more."""
    shown_as: str
    """What the other participants see."""
    name: str
    status: str
    joined: str
    """dialed-in or dialed-out."""


class ListSessions(Struct, frozen=True, tag="list"):
    """Ask for the sessions behind the number `after`; `reveal`: with the addresses of those who asked for privacy."""

    after: int = 0
    reveal: bool = False


class ShowSession(Struct, frozen=True, tag="show"):
    """Ask for a session and its participants behind the number `after`."""

    identity: str
    after: int = 0
    reveal: bool = False


class ReleaseSession(Struct, frozen=True, tag="release"):
    """Have a session end; `reason` is a text for its participants, empty for the usual one."""

    identity: str
    reason: str = ""


class SessionPage(Struct, frozen=True, tag="page"):
    """Sessions in the order in which they began."""

    sessions: tuple[SessionInfo, ...]
    more: bool


class SessionDetail(Struct, frozen=True, tag="detail"):
    """One session, and those of its participants that fit."""

    session: SessionInfo
    participants: tuple[ParticipantInfo, ...]
    more: bool


class Released(Struct, frozen=True, tag="released"):
    """The session as it was; it is over."""

    session: SessionInfo


class NoSession(Struct, frozen=True, tag="none"):
    """There is no such session, or not any more."""


class NotUnderstood(Struct, frozen=True, tag="not-understood"):
    """The worker could not answer; its log says why."""


Request: TypeAlias = ListSessions | ShowSession | ReleaseSession
Answer: TypeAlias = SessionPage | SessionDetail | Released | NoSession | NotUnderstood

encode = msgspec.json.encode
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def read_request(data: bytes) -> Request:
    """ValueError when it is none."""
    try:
        return _requests.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def read_answer(data: bytes) -> Answer:
    """ValueError when it is none."""
    try:
        return _answers.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
