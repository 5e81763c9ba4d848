"""What the focus offers and answers in SDP: policy of a room, and what it reads out of the other side's lines. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from msgspec import Struct

from msrp_worker import sdp
from msrp_worker.content_types import CPIM, IMDN, IS_COMPOSING, essence, intersect
from msrp_worker.msrp import AcceptTypes, SessionOptions, accept_types
from msrp_worker.offer_answer import LocalEndpoint, LocalPolicy, offered_line
from msrp_worker.sdp import Line, Media, Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import Direction, MsrpMedia, Purpose, is_msrp, parse

CHATROOM: Final = ("nickname", "private-messages")
"""What the room allows (RFC 7701 section 8)."""
ALWAYS: Final = (IS_COMPOSING, IMDN)
"""Content that is no content: it passes whatever types the operator allows (MED-09)."""
OURS: Final = frozenset(
    (
        *("sendrecv", "sendonly", "recvonly", "inactive"),
        *("accept-types", "accept-wrapped-types", "max-size", "setup", "connection", "path", "msrp-cema", "chatroom"),
        *("fingerprint", "file-selector", "file-transfer-id", "file-disposition", "file-date", "file-icon", "file-range"),
        *("filename", "filetype", "filesize", "filelength", "disposition"),
    )
)
"""Attributes of an MSRP line that each side of the switch says for itself; all others are carried across (CNF-07)."""
MOST_CARRIED = 32
"""Attributes carried from one offer into the offers of the focus, each multiplied by the number of those invited."""
MOST_FILES = 20
"""Files in one large message to many: each is an MSRP session with everybody who takes it."""


class RoomTerms(Struct, frozen=True, kw_only=True):
    """What holds for every participant of every room of this server."""

    tcp_port: int | None
    tls_port: int | None
    ws_port: int | None = None
    fingerprints: tuple[str, ...] = ()
    """Of our certificate (MED-04)."""
    wrapped_types: tuple[str, ...] = ("*",)
    """Content types that the operator allows."""
    max_size: int | None = None
    """Bytes of one message."""
    large: bool = False
    """The session is there for one large message alone (9.3.1.1)."""

    def policy(
        self, host: str, origin: Origin, session_ids: tuple[str, ...], narrowed: tuple[str, ...] = ()
    ) -> LocalPolicy:
        """The policy of one line. `narrowed`: types of the other side that the answer is to be cut down to (CNF-07)."""
        wrapped = self.wrapped_types
        endpoint = LocalEndpoint(host, self.tcp_port, self.tls_port, ws_port=self.ws_port, fingerprints=self.fingerprints)
        if self.large:
            return LocalPolicy(endpoint, origin, session_ids, wrapped, wrapped, self.max_size, cema=False)  # LRG-02
        if "*" not in wrapped:
            wrapped = (*wrapped, *(kind for kind in ALWAYS if kind not in wrapped))
        if narrowed:
            wrapped = intersect(narrowed, wrapped) or wrapped
        return LocalPolicy(
            endpoint=endpoint,
            origin=origin,
            session_ids=session_ids,
            accept_types=(CPIM,),
            accept_wrapped_types=wrapped,
            max_size=self.max_size,
            conference=True,  # CNF-09
            chatroom=CHATROOM,  # MED-07
            cema=False,
        )

    def line(self, policy: LocalPolicy) -> MsrpMedia:
        """The line for who is invited to a conversation."""
        return offered_line(policy, policy.session_ids[0])

    def file_line(self, policy: LocalPolicy, name: str, sent: MsrpMedia) -> MsrpMedia:
        """The line of one file for who is invited: it says what its sender's said (9.3.2.1-4). `name`: of the session."""
        line = offered_line(policy, name, Direction.SENDONLY, file=sent.file)
        return replace(line, accept_types=sent.accept_types, accept_wrapped_types=sent.accept_wrapped_types)  # LRG-02

    @property
    def options(self) -> SessionOptions:
        """Of the MSRP sessions: what a large message came to is reported when it is known."""
        return SessionOptions(auto_report=False) if self.large else SessionOptions()


def is_large(body: bytes) -> bool:
    """Whether an offer is one of a large message or of files, by its first MSRP line (9.1.1.2, RFC 5547)."""
    try:
        description = read(body)
        for media in description.media:
            if is_msrp(media) and not media.refused:
                return _is_file(description, media)
    except SdpError:
        pass  # refused where the offer is judged
    return False


def only_files(description: SessionDescription) -> SessionDescription:
    """An offer of a large message, with all lines refused that carry no content. SdpError where there are too many."""
    sections = [
        media if is_msrp(media) and not media.refused and _is_file(description, media) else media.refuse()
        for media in description.media
    ]
    count = sum(not media.refused for media in sections)
    if count > MOST_FILES:
        raise SdpError(f"{count} files at once, at most {MOST_FILES} go to several users: send the rest by itself", 488)
    return replace(description, media=tuple(sections))


def _is_file(description: SessionDescription, media: Media) -> bool:
    line = parse(description, media)
    return line.purpose is Purpose.LARGE_MESSAGE and line.file is not None


def read(body: bytes) -> SessionDescription:
    """The description of a message. SdpError, also for none."""
    if not body.strip():
        raise SdpError("no session description", 488)
    return sdp.parse(body)


def taken_by(remote: MsrpMedia) -> AcceptTypes:
    """What a participant's client takes.

    COMPAT(clients that list message/cpim alone): without a word on what may be wrapped, everything may.
    """
    return accept_types((CPIM,), wrapped_of(remote))  # MED-12


def wrapped_of(remote: MsrpMedia) -> tuple[str, ...]:
    """The types that a side takes within message/cpim: those it lists as wrapped, and those that may also stand alone."""
    alone = tuple(kind for kind in remote.accept_types if essence(kind) != CPIM)
    return (*remote.accept_wrapped_types, *alone) or ("*",)


def carried(description: SessionDescription) -> tuple[Line, ...]:
    """Attributes of the first MSRP line that are nobody's here: they go to the other side as they are (7.2.2.2-3a)."""
    for media in description.media:
        if is_msrp(media) and not media.refused:
            return carried_by(media)
    return ()


def carried_by(media: Media) -> tuple[Line, ...]:
    """The same of one line."""
    return tuple(line for line in media.lines if line.letter == "a" and _name(line) not in OURS)[:MOST_CARRIED]


def _name(line: Line) -> str:
    return line.value.partition(":")[0].strip().lower()
