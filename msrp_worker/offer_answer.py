"""Offer and answer (RFC 3264) for MSRP: pure functions over `sdp` and `sdp_msrp` values.

    answer(offer, policy) -> Answer | Refusal       # we are asked
    offer(origin, address, lines) -> description    # we ask ...
    conclude(ours, theirs, policy) -> list of Negotiated | Refusal   # ... and got an answer

Refusals are values; SdpError is raised only for input that is not SDP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from msrp_worker import content_types, file_transfer
from msrp_worker.cema import CemaAnswer, CemaOutcome, Resolved, answer_cema, conclude_cema
from msrp_worker.content_types import CPIM
from msrp_worker.file_transfer import FileDescription
from msrp_worker.sdp import Media, Origin, SdpError, SessionDescription, describe
from msrp_worker.sdp_msrp import ACTIVE_PORT, Direction, MsrpMedia, Setup, is_msrp, parse, path_uri

NOT_ACCEPTABLE = 488
FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Refusal:
    """The SIP response that refuses the whole offer, and the text for its Warning header."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """Where this side can be reached. A port of None means that transport is not served."""

    address: str  # IP address or name, without brackets
    tcp_port: int | None = 2855
    tls_port: int | None = None
    ws_port: int | None = None  # HTTP port of MSRP over WebSocket
    relay_path: tuple[str, ...] = ()  # our own relays, the outermost first (RFC 4976)
    fingerprints: tuple[str, ...] = ()  # of our certificate, announced on TLS lines

    def port(self, secure: bool, websocket: bool = False) -> int | None:
        """The port for a kind of line, None when it is not served."""
        if websocket:
            return self.ws_port
        return self.tls_port if secure else self.tcp_port

    def path(self, session_id: str, secure: bool, websocket: bool = False) -> tuple[str, ...]:
        """The value of a=path for one session: our relays, then ourselves."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        scheme, transport = ("msrps" if secure else "msrp"), ("ws" if websocket else "tcp")
        port = self.port(secure, websocket) or ACTIVE_PORT
        uri = f"{scheme}://{host}:{port}/{session_id};{transport}"
        return (*self.relay_path, uri)


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What this side agrees to. One value per answer: `session_ids` and `origin` are used up by it."""

    endpoint: LocalEndpoint
    origin: Origin
    session_ids: tuple[str, ...]
    """Unguessable names (MED-10), one for each MSRP line that may be accepted; further lines are refused."""
    accept_types: tuple[str, ...] = ("*",)
    accept_wrapped_types: tuple[str, ...] = ("*",)
    max_size: int | None = None
    """Bytes of one message that we take; announced, and held against the declared size of a file (LRG-06)."""
    conference: bool = False
    """We are a focus: message/cpim is demanded and the only type answered (CNF-09, RFC 7701 5.2)."""
    chatroom: tuple[str, ...] | None = None
    """Tokens of a=chatroom that the room allows."""
    sends: bool = True
    receives: bool = True
    files: bool = True
    """Take sections that describe a file."""
    between: bool = False
    """We stand between two users: whether there is such a file is for the other one to say."""
    available_files: tuple[FileDescription, ...] = ()
    """Files that a peer may fetch with a recvonly section and a file-selector (RFC 5547 8.3.2)."""
    behind_nat: bool = False
    """Nobody can connect to us: be active wherever the offer lets us (RFC 6135 4.2.2)."""
    require_tls: bool = False
    cema: bool = True
    tolerate_address_mismatch: bool = True
    """See `cema.answer_cema`."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """One MSRP line both sides agreed to."""

    index: int
    local: MsrpMedia
    remote: MsrpMedia
    active: bool
    """We open the connection (and send the first SEND at once, RFC 6135 4.2.2)."""
    connect_to: tuple[str, int] | None
    """Host and port to connect to, None when passive."""
    send_types: tuple[str, ...]
    """Types the other side takes, and ours where we restrict them: nothing else may be sent (RFC 4975
    8.6)."""
    send_wrapped_types: tuple[str, ...]

    @property
    def sends(self) -> bool:
        return self.local.direction.sends

    @property
    def receives(self) -> bool:
        return self.local.direction.receives

    @property
    def max_send_size(self) -> int | None:
        """Bytes of one message that the other side wants at most."""
        return self.remote.max_size


@dataclass(frozen=True, slots=True)
class Answer:
    """The description to send back, and what it agrees to. `refused` holds the reason of each line with port
    0."""

    description: SessionDescription
    lines: tuple[Negotiated, ...]
    refused: tuple[tuple[int, Refusal], ...] = ()


def answer(offered: SessionDescription, policy: LocalPolicy, resolved: Resolved | None = None) -> Answer | Refusal:
    """Answer an offer. Lines that are not MSRP, or not acceptable, get port 0; none acceptable is a Refusal
    (CNF-04).

    A Refusal carries the status all MSRP lines were refused with where that is one and the same, else 488.
    Raises SdpError when an MSRP line is malformed.
    """
    names = iter(policy.session_ids)
    sections: list[Media] = []
    agreed: list[Negotiated] = []
    refused: list[tuple[int, Refusal]] = []
    for index, section in enumerate(offered.media):
        outcome = _answer_line(index, offered, section, policy, resolved)
        name = next(names, None) if isinstance(outcome, _Draft) else None
        if isinstance(outcome, _Draft) and name is not None:
            line = _settle(index, outcome, name, policy)
            agreed.append(line)
            sections.append(line.local.build())
            continue
        if not isinstance(outcome, Refusal):
            outcome = Refusal(NOT_ACCEPTABLE, "too many MSRP media")
        refused.append((index, outcome))
        sections.append(section.refuse())  # CNF-04: refused m-lines port 0
    if not agreed:
        return _whole_refusal([reason for index, reason in refused if is_msrp(offered.media[index])])
    description = describe(policy.origin, policy.endpoint.address, sections, offered.first("t") or "0 0")
    return Answer(description, tuple(agreed), tuple(refused))


def offer(origin: Origin, address: str, lines: Sequence[MsrpMedia]) -> SessionDescription:
    """An offer of MSRP lines. Setup is explicit in every one (RFC 6135 4.2.1): actpass where the line does
    not say active; passive must not be offered."""
    sections = []
    for line in lines:
        setup = Setup.ACTIVE if line.setup is Setup.ACTIVE else Setup.ACTPASS
        sections.append(replace(line, setup=setup).build())
    return describe(origin, address, sections)


def offered_line(
    policy: LocalPolicy,
    session_id: str,
    direction: Direction = Direction.SENDRECV,
    *,
    secure: bool = False,
    file: FileDescription | None = None,
) -> MsrpMedia:
    """One line to offer, made from the local policy."""
    port = policy.endpoint.port(secure)
    return MsrpMedia(
        path=policy.endpoint.path(session_id, secure),
        port=ACTIVE_PORT if policy.behind_nat or port is None else port,
        secure=secure,
        direction=direction,
        setup=Setup.ACTIVE if policy.behind_nat or port is None else Setup.ACTPASS,
        accept_types=(CPIM,) if policy.conference else policy.accept_types,  # CNF-09
        accept_wrapped_types=policy.accept_wrapped_types,
        max_size=policy.max_size,
        chatroom=policy.chatroom,
        cema=policy.cema,
        fingerprints=policy.endpoint.fingerprints if secure else (),
        file=file,
    )


def conclude(
    ours: SessionDescription,
    theirs: SessionDescription,
    policy: LocalPolicy,
    resolved: Resolved | None = None,
) -> tuple[Negotiated, ...] | Refusal:
    """What our offer and their answer agree to, lines with port 0 left out. A Refusal means: end the session
    with a BYE, or offer again without a=msrp-cema where the reason says so (status 488)."""
    if len(ours.media) != len(theirs.media):
        return Refusal(NOT_ACCEPTABLE, "the answer has another number of media")  # RFC 3264 6
    agreed = []
    for index, (mine, section) in enumerate(zip(ours.media, theirs.media, strict=True)):
        if section.refused or mine.refused or not is_msrp(section):
            continue
        local, remote = parse(ours, mine), parse(theirs, section)
        if remote.secure is not local.secure and not remote.websocket:  # which always says TLS (RFC 7977 5.2.2)
            return Refusal(NOT_ACCEPTABLE, "answered with another transport than was offered")  # RFC 3264 6, MED-04
        # RFC 4975 8.5: the offerer connects unless agreed otherwise; nobody connects to a WebSocket client (RFC 7977
        # 5.2.2), but where we are one, the URI in the answer is that of the server.
        client = remote.websocket and not local.websocket
        active = remote.setup is not Setup.ACTIVE and not client  # MED-05, MED-11
        if not active and local.setup is Setup.ACTIVE:
            return Refusal(NOT_ACCEPTABLE, "both sides want to connect")
        outcome = conclude_cema(
            remote,
            we_offered_cema=local.cema,
            we_use_relay=local.uses_relay,
            we_are_active=active,
            resolved=resolved,
        )
        if outcome is CemaOutcome.OFFER_AGAIN and policy.tolerate_address_mismatch:
            # RFC 4975 behaviour without the round trip of a new offer, as in `answer_cema`
            outcome = CemaOutcome.CONNECT_TO_PATH if active else CemaOutcome.WAIT
        if outcome is CemaOutcome.OFFER_AGAIN:
            return Refusal(NOT_ACCEPTABLE, "a middlebox without msrp-cema: offer again without it")
        local = replace(local, setup=Setup.ACTIVE if active else Setup.PASSIVE)
        agreed.append(_negotiated(index, local, remote, policy, outcome))
    return tuple(agreed) if agreed else Refusal(NOT_ACCEPTABLE, "no media accepted")


@dataclass(frozen=True, slots=True)
class _Draft:
    """An acceptable line before it has a name."""

    remote: MsrpMedia
    active: bool
    direction: Direction
    accept_types: tuple[str, ...]
    cema: bool
    file: FileDescription | None


def _answer_line(
    index: int,
    offered: SessionDescription,
    section: Media,
    policy: LocalPolicy,
    resolved: Resolved | None,
) -> _Draft | Refusal:
    """The checks of one line, each with its refusal."""
    if section.refused:
        return Refusal(NOT_ACCEPTABLE, "offered with port 0")
    if not is_msrp(section):
        return Refusal(NOT_ACCEPTABLE, f"media {section.kind} over {section.protocol} not supported")
    remote = parse(offered, section)
    if policy.require_tls and not remote.secure:
        return Refusal(NOT_ACCEPTABLE, "TLS required")
    if policy.endpoint.port(remote.secure, remote.websocket) is None:
        return Refusal(NOT_ACCEPTABLE, f"transport {section.protocol} not served")
    active = _we_connect(remote, policy)
    if active and remote.websocket:
        return Refusal(NOT_ACCEPTABLE, "a WebSocket client has to connect")  # RFC 7977 5.2.2
    types = _answered_types(remote, policy)
    if not types:
        return Refusal(NOT_ACCEPTABLE, "no common content type")  # RFC 4975 8.6
    direction = _answered_direction(remote.direction, policy)
    if direction is None:
        return Refusal(NOT_ACCEPTABLE, "direction not allowed")
    file = _answered_file(remote, policy)
    if isinstance(file, Refusal):
        return file
    choice = CemaAnswer.FALL_BACK
    if policy.cema:
        choice = answer_cema(
            remote,
            we_use_relay=bool(policy.endpoint.relay_path),
            we_are_active=active,
            tolerant=policy.tolerate_address_mismatch,
            resolved=resolved,
        )
    if choice is CemaAnswer.REJECT:
        return Refusal(NOT_ACCEPTABLE, "c= and a=path differ without msrp-cema")  # RFC 6714 4.3
    return _Draft(remote, active, direction, types, choice is CemaAnswer.USE, file)


def _we_connect(remote: MsrpMedia, policy: LocalPolicy) -> bool:
    """RFC 6135 4.2.2 and RFC 4145 4.1; without the attribute the offerer connects (RFC 4975 8.5).

    Where the offer leaves it to us we are active behind a NAT, and where the offerer has a relay and wants
    media anchoring: a relay cannot connect to a middlebox (RFC 6714 4.1).
    """  # MED-05
    if remote.websocket and remote.setup is not Setup.PASSIVE:
        return False  # nobody can connect to it (RFC 7977 5.2.2), MED-11
    if remote.setup is not Setup.ACTPASS:
        return remote.setup is Setup.PASSIVE  # which must not be offered, and means what it says
    anchored = policy.cema and remote.cema and remote.uses_relay and not policy.endpoint.relay_path
    return policy.behind_nat or anchored


def _answered_types(remote: MsrpMedia, policy: LocalPolicy) -> tuple[str, ...]:
    if policy.conference:
        # CNF-09, MED-07: the focus answers message/cpim alone, and only where the offer takes it (RFC 7701
        # 5.2)
        return (CPIM,) if content_types.accepts(remote.accept_types, CPIM) else ()
    return content_types.intersect(remote.accept_types, policy.accept_types)  # CNF-07, MED-12


def _answered_direction(offered: Direction, policy: LocalPolicy) -> Direction | None:
    """RFC 3264 6.1: the reverse of the offer, narrowed to what we do; None when nothing is left of it."""
    wanted = offered.reversed
    ours = Direction.of(wanted.sends and policy.sends, wanted.receives and policy.receives)
    return None if ours is Direction.INACTIVE and wanted is not Direction.INACTIVE else ours


def _answered_file(remote: MsrpMedia, policy: LocalPolicy) -> FileDescription | Refusal | None:
    """The file of the answer (RFC 5547 8.3)."""  # LRG-05
    described = remote.file
    if described is None:
        return None
    if not policy.files:
        return Refusal(FORBIDDEN, "files not allowed")
    if remote.direction is Direction.RECVONLY:
        return None if policy.between else _fetched_file(described, policy)
    size = described.declared_size
    if size is not None and policy.max_size is not None and size > policy.max_size:
        return Refusal(FORBIDDEN, "declared size over the limit")  # LRG-06: refused at INVITE (403)
    kind = described.selector.type
    types = (*policy.accept_types, *policy.accept_wrapped_types)
    if kind is not None and not content_types.accepts(types, kind):
        return Refusal(NOT_ACCEPTABLE, "file type not accepted")  # MED-12
    return None if described.legacy else described.answered_by_receiver()


def _fetched_file(wanted: FileDescription, policy: LocalPolicy) -> FileDescription | Refusal | None:
    """The offerer wants to receive: the file its selector selects among ours (RFC 5547 8.3.2)."""
    if not policy.available_files and not wanted.selector.build():
        return None  # retrieval of messages, not of a file
    file = file_transfer.select(policy.available_files, wanted.selector)
    if file is None:
        return Refusal(NOT_ACCEPTABLE, "the selector selects no single file")
    return replace(file, transfer_id=wanted.transfer_id, range=wanted.range, legacy=False)


def _settle(index: int, draft: _Draft, session_id: str, policy: LocalPolicy) -> Negotiated:
    """Give an acceptable line its name, and write our half."""
    remote, endpoint = draft.remote, policy.endpoint
    port = endpoint.port(remote.secure, remote.websocket)
    assert port is not None  # checked in _answer_line
    local = MsrpMedia(
        path=endpoint.path(session_id, remote.secure, remote.websocket),
        port=port,
        secure=remote.secure,
        direction=draft.direction,
        setup=Setup.ACTIVE if draft.active else Setup.PASSIVE,
        accept_types=draft.accept_types,
        accept_wrapped_types=_wrapped_types(remote, policy),
        max_size=policy.max_size,
        chatroom=policy.chatroom,
        cema=draft.cema,
        fingerprints=endpoint.fingerprints if remote.secure else (),
        file=draft.file,
    )
    outcome = CemaOutcome.WAIT
    if draft.active:
        outcome = CemaOutcome.CONNECT_TO_ADDRESS if draft.cema else CemaOutcome.CONNECT_TO_PATH
    return _negotiated(index, local, remote, policy, outcome)


def _wrapped_types(remote: MsrpMedia, policy: LocalPolicy) -> tuple[str, ...]:
    """What may come inside a wrapper: the room's own list in a conference (RFC 7701 5.2), else the
    intersection."""
    if policy.conference or not remote.accept_wrapped_types:
        return policy.accept_wrapped_types
    return content_types.intersect(remote.accept_wrapped_types, policy.accept_wrapped_types)


def _negotiated(index: int, local: MsrpMedia, remote: MsrpMedia, policy: LocalPolicy, outcome: CemaOutcome) -> Negotiated:
    allowed = (CPIM,) if policy.conference else policy.accept_types
    return Negotiated(
        index,
        local,
        remote,
        active=outcome is not CemaOutcome.WAIT,
        connect_to=_destination(remote, outcome),
        send_types=content_types.intersect(remote.accept_types, allowed),
        send_wrapped_types=content_types.intersect(
            # a type of accept-types may stand inside a wrapper too (RFC 4975 8.6)
            (*remote.accept_wrapped_types, *remote.accept_types),
            policy.accept_wrapped_types,
        ),
    )


def _destination(remote: MsrpMedia, outcome: CemaOutcome) -> tuple[str, int] | None:
    if outcome is CemaOutcome.WAIT:
        return None
    if outcome is CemaOutcome.CONNECT_TO_ADDRESS and remote.address is not None and remote.port != ACTIVE_PORT:
        return remote.address, remote.port
    first = path_uri(remote.path[0])
    if first.port is None:
        raise SdpError("a=path without a port")  # RFC 4975 8.2: MUST include explicit port numbers
    return first.host, first.port


def _whole_refusal(reasons: list[Refusal]) -> Refusal:
    if not reasons:
        return Refusal(NOT_ACCEPTABLE, "no MSRP media offered")
    status = reasons[0].status if len({reason.status for reason in reasons}) == 1 else NOT_ACCEPTABLE
    return Refusal(status, reasons[0].reason)
