"""What an `m=message` section says: RFC 4975 8, RFC 6135 (setup), RFC 6714 (msrp-cema), RFC 7701 8
(chatroom), RFC 7977 5.2 (WebSocket), RFC 8122 (fingerprint), RFC 5547 (files). Read from and written to
`sdp.Media`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from msrp_worker import content_types, file_transfer
from msrp_worker.file_transfer import FileDescription
from msrp_worker.msrp.uri import MAX_PATH_HOPS, MsrpUri, UriError, parse_uri
from msrp_worker.sdp import Line, Media, SdpError, SessionDescription, attribute, bounded_integer

ACTIVE_PORT = 9
"""The port that says "I connect, you cannot connect to me" (RFC 4145 4.1, RFC 6135 4.2.2)."""

# fingerprint = 2UHEX *(":" 2UHEX)
_DIGEST: Final = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2})*")

TCP: Final = "TCP/MSRP"
TLS: Final = "TCP/TLS/MSRP"


class Direction(Enum):
    """Direction of messages as the describing side sees it (RFC 4975 8.9)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @staticmethod
    def of(sends: bool, receives: bool) -> Direction:
        """The direction that sends and receives so."""
        if sends:
            return Direction.SENDRECV if receives else Direction.SENDONLY
        return Direction.RECVONLY if receives else Direction.INACTIVE

    @property
    def reversed(self) -> Direction:
        """The same direction as the other side sees it."""
        return Direction.of(sends=self.receives, receives=self.sends)


class Purpose(Enum):
    """What an offer asks for (PFS-01, 6.2.3.1)."""

    SESSION = "session"
    LARGE_MESSAGE = "large-message"
    RETRIEVAL = "retrieval"


_PURPOSES = {
    Direction.SENDRECV: Purpose.SESSION,  # PFS-01
    Direction.SENDONLY: Purpose.LARGE_MESSAGE,  # PFS-01
    Direction.RECVONLY: Purpose.RETRIEVAL,  # PFS-01
    Direction.INACTIVE: Purpose.SESSION,  # a session on hold
}


class Setup(Enum):
    """Who connects (RFC 4145 4)."""

    ACTIVE = "active"
    PASSIVE = "passive"
    ACTPASS = "actpass"


def path_uri(text: str) -> MsrpUri:
    """Read one URI of a path; raises SdpError."""
    try:
        return parse_uri(text)
    except UriError as error:
        raise SdpError(f"malformed URI in a=path: {error}") from error


@dataclass(frozen=True, slots=True)
class MsrpMedia:
    """One MSRP media section, either side's."""

    path: tuple[str, ...]
    port: int
    address: str | None = None  # of the c= line that applies; None: not known, or left to the session level
    secure: bool = False  # TCP/TLS/MSRP
    direction: Direction = Direction.SENDRECV
    setup: Setup | None = None  # None: not said, so the offerer connects (RFC 4975 8.5)
    accept_types: tuple[str, ...] = ("*",)
    accept_wrapped_types: tuple[str, ...] = ()
    max_size: int | None = None  # bytes of a whole message, a hint (RFC 4975 8.6)
    chatroom: tuple[str, ...] | None = None  # tokens of RFC 7701 8; None: attribute absent
    cema: bool = False
    fingerprints: tuple[str, ...] = ()  # `sha-256 AB:CD:…`, for `msrp.fingerprint.certificate_matches`
    file: FileDescription | None = None
    title: str | None = None  # i=

    @property
    def purpose(self) -> Purpose:
        """What the describing side wants to do here."""
        return _PURPOSES[self.direction]

    @property
    def uses_relay(self) -> bool:
        """More than one hop in the path (RFC 4975 8.3)."""
        return len(self.path) > 1

    @property
    def websocket(self) -> bool:
        """The describing side is a WebSocket client: nobody can connect to it (RFC 7977 5.2.2)."""  # MED-11
        return path_uri(self.path[-1]).transport == "ws"

    @property
    def takes_private_messages(self) -> bool:
        """RFC 7701 8: without the token private messages must not be sent there."""  # MED-07
        return self.chatroom is not None and "private-messages" in self.chatroom

    def build(self) -> Media:
        """The section for a description."""
        return Media("message", self.port, TLS if self.secure else TCP, ("*",), tuple(self._lines()))

    def _lines(self) -> Iterator[Line]:
        if self.title is not None:
            yield Line("i", self.title)
        if self.address is not None:
            kind = "IP6" if ":" in self.address else "IP4"
            yield Line("c", f"IN {kind} {self.address}")
        if self.direction is not Direction.SENDRECV:
            yield attribute(self.direction.value)
        yield attribute("accept-types", " ".join(self.accept_types))
        if self.accept_wrapped_types:
            yield attribute("accept-wrapped-types", " ".join(self.accept_wrapped_types))
        if self.max_size is not None:
            yield attribute("max-size", str(self.max_size))
        if self.setup is not None:
            yield attribute("setup", self.setup.value)
        if self.cema:
            yield attribute("msrp-cema")
        yield attribute("path", " ".join(self.path))
        for item in self.fingerprints:
            yield attribute("fingerprint", item)
        if self.chatroom is not None:
            yield attribute("chatroom", " ".join(self.chatroom) or None)
        if self.file is not None:
            yield from self.file.lines()


def is_msrp(media: Media) -> bool:
    """Whether a section is an MSRP one, refused or not."""
    return media.kind.lower() == "message" and media.protocol.upper() in (TCP, TLS)


def purpose_of(offered: SessionDescription) -> Purpose:
    """What an offer asks for with its first MSRP line; a session when it has none (PFS-01)."""
    for media in offered.media:
        if is_msrp(media) and not media.refused:
            return _PURPOSES[_direction(offered, media)]
    return Purpose.SESSION


def parse(session: SessionDescription, media: Media) -> MsrpMedia:
    """Read an MSRP section that is not refused. Raises SdpError where a mandatory attribute is missing or
    one is malformed; unknown attributes are ignored (they stay in `media`)."""
    path = tuple((media.attribute("path") or "").split())
    if not path:
        raise SdpError("MSRP media without a=path")  # RFC 4975 8.2
    if len(path) > MAX_PATH_HOPS:
        raise SdpError(f"more than {MAX_PATH_HOPS} hops in a=path")
    for hop in path:
        path_uri(hop)
    accept_types = _types(media, "accept-types")
    if not accept_types:
        raise SdpError("MSRP media without a=accept-types")  # RFC 4975 8.6: MUST be accompanied
    return MsrpMedia(
        path=path,
        port=media.port,
        address=session.connection(media),
        secure=media.protocol.upper() == TLS,
        direction=_direction(session, media),
        setup=_setup(session, media),
        accept_types=accept_types,
        accept_wrapped_types=_types(media, "accept-wrapped-types"),
        max_size=_max_size(media),
        chatroom=_chatroom(media),
        cema=media.attribute("msrp-cema") is not None,
        fingerprints=_fingerprints(session, media),
        file=file_transfer.parse(media),
        title=media.first("i"),
    )


def _direction(session: SessionDescription, media: Media) -> Direction:
    """Media level wins over session level, sendrecv is the default (RFC 8866 6.7)."""
    for section in (media, session):
        for direction in Direction:
            if section.attribute(direction.value) is not None:
                return direction
    return Direction.SENDRECV


def _setup(session: SessionDescription, media: Media) -> Setup | None:
    value = media.attribute("setup")
    if value is None:
        value = session.attribute("setup")  # RFC 4145 4: session or media level
    try:
        # "holdconn" is to be ignored, as if the attribute were absent (RFC 6135 4.2.1); unknown words alike
        return Setup((value or "").lower())
    except ValueError:
        return None


def _types(media: Media, name: str) -> tuple[str, ...]:
    value = media.attribute(name)
    if value is None:
        return ()
    entries = content_types.parse_list(value)
    if entries is None:
        raise SdpError(f"malformed {name}")
    return entries


def _max_size(media: Media) -> int | None:
    value = media.attribute("max-size")
    return bounded_integer(value, "max-size") if value is not None else None


def _chatroom(media: Media) -> tuple[str, ...] | None:
    value = media.attribute("chatroom")
    return None if value is None else tuple(dict.fromkeys(value.lower().split()))


def _fingerprints(session: SessionDescription, media: Media) -> tuple[str, ...]:
    """Session level applies where the media has none (RFC 8122 5)."""
    values = list(media.attributes("fingerprint")) or list(session.attributes("fingerprint"))
    return tuple(_fingerprint(value) for value in values)


def _fingerprint(value: str) -> str:
    """hash-func SP fingerprint, in the case that RFC 8122 writes; COMPAT(several clients): lower-case
    digits."""
    name, _, digest = value.partition(" ")
    digest = digest.strip().upper()
    if not name or not _DIGEST.fullmatch(digest):
        raise SdpError("malformed fingerprint")
    return f"{name.lower()} {digest}"
