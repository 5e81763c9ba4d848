"""The media of one session through the participating function: one hop for each MSRP line (PFS-02, PFS-05).

An offer of either side is proposed to the other one with our own paths (`propose`); the answer makes it true for both
(`agree`), or nothing has happened (`abandon`). Until then the media go on as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from msrp_worker import sdp
from msrp_worker.media_session import new_session_id, reachable, settle
from msrp_worker.msrp import (
    MsrpEndpoint,
    Session,
    SessionHandler,
    SessionOptions,
    accept_types,
    parse_uri,
)
from msrp_worker.msrp.hop import Hop, HopPolicy, leg_options
from msrp_worker.msrp.state import State
from msrp_worker.offer_answer import (
    LocalPolicy,
    Negotiated,
    Refusal,
    answer,
    conclude,
)
from msrp_worker.participating.renaming import LARGEST_RENAMED, RenamingHop, renamed
from msrp_worker.participating.terms import End, Face, only, section_across, section_back
from msrp_worker.sdp import Media, Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import TCP, MsrpMedia, Purpose, is_msrp
from msrp_worker.tally import Tally

log = logging.getLogger("im.participating")

NOT_ACCEPTABLE = 488
MAX_STREAMS = 8
"""MSRP lines of one session that are alive at once: the conversation and some files; further lines get port 0."""


@dataclass(slots=True, eq=False)
class Stream:
    """One MSRP line through us: a session towards each side, joined by a hop."""

    hop: Hop
    sessions: dict[End, Session] = field(default_factory=dict)
    paths: dict[End, tuple[str, ...]] = field(default_factory=dict)
    """The path of each side as it was last agreed to."""

    @property
    def alive(self) -> bool:
        return all(session.state is not State.CLOSED for session in self.sessions.values())

    def close(self, reason: str) -> None:
        """End both sessions; the owner knows."""
        self.hop.on_leg_closed = None
        for session in self.sessions.values():
            session.close(reason)

    def finish(self, by: End, reason: str, then: Callable[[], None]) -> None:
        """`by` has left: what was acknowledged to it still goes to the other side; `then` is called when it is there."""
        self.hop.on_leg_closed = None
        self.sessions[by].close(reason)
        across = self.sessions[by.other]
        if across.state is State.CLOSED:
            then()
            return
        self.hop.on_leg_closed = lambda hop, session, reason: then()
        across.finish(reason)

    def put(self, end: End, session: Session) -> None:
        """Let a session take the place of the one before it: what that had under way is reported as failed."""
        old = self.sessions.get(end)
        if old is session:
            return
        lost, self.hop.on_leg_closed = self.hop.on_leg_closed, None
        if old is not None:
            old.close("replaced by a new offer and answer")
        self.sessions[end] = session
        self.hop.join(self.sessions[End.CALLER], self.sessions[End.CALLEE])
        self.hop.on_leg_closed = lost


@dataclass(slots=True)
class Part:
    """One line of an offer that is proposed to the other side."""

    near: int
    """Its place in the offer, and `far` in ours to the other side."""
    far: int
    stream: Stream
    session: Session
    """Towards the one who offers: the one there is, or a new one where the path is new."""
    fresh: bool
    """The stream is new."""
    line: Negotiated
    """What this server answers for itself: its role in setting the connection up."""


@dataclass(slots=True)
class Proposal:
    """An offer under way."""

    by: End
    offered: SessionDescription
    across: SessionDescription
    parts: list[Part]


class BridgedMedia:
    """Offer and answer of both sides, and the hops. Everything ends with `close`.

    `host` is the address that goes into our paths, `ws_port` where WebSocket clients come to; `origin` makes the o= line
    of a first description, `start` runs a coroutine in the background. `addresses`: from where the caller may connect,
    beside the addresses in its descriptions; None leaves both sides free (MED-10). `observer` sees all content that
    passes (PFS-14); it can be set until the first answer.
    """

    def __init__(
        self,
        endpoint: MsrpEndpoint,
        host: str,
        origin: Callable[[], Origin],
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        max_size: int | None = None,
        ws_port: int | None = None,
        addresses: frozenset[str] | None = None,
        observer: HopPolicy | None = None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.observer = observer
        self.tally = Tally()
        self._endpoint = endpoint
        self._host = host
        self._local = reachable(endpoint, host, ws_port)
        self._addresses = addresses
        self._start = start
        self._max_size = max_size
        self._on_lost = on_lost
        self._faces: dict[End, Face[Stream]] = {end: Face(origin()) for end in End}
        self._proposal: Proposal | None = None
        self._closed = False
        self._focus: tuple[End, str, str] | None = None

    def name_focus(self, end: End, ours: str, theirs: str) -> None:
        """The side `end` is a focus of the URI `theirs`, which the other side knows as `ours` (PFS-11)."""
        self._focus = end, ours, theirs
        parts = [] if self._proposal is None else [part.stream for part in self._proposal.parts]
        for stream in (*self._faces[End.CALLER].slots, *parts):
            for session in () if stream is None else stream.sessions.values():
                session.options = replace(session.options, collect=LARGEST_RENAMED)

    def _renamed(self, stream: Stream, sender: Session, body: bytes) -> bytes:
        if self._focus is None:
            return body
        end, ours, theirs = self._focus
        return renamed(body, theirs, ours) if stream.sessions[end] is sender else renamed(body, ours, theirs)

    # --- offers and answers ---

    def propose(self, by: End, offered: SessionDescription, *, told: bool = False) -> SessionDescription | Refusal:
        """Our offer to the other side for the offer of `by`: its MSRP lines with our paths. SdpError for a malformed line.

        Lines that this server cannot take get port 0 in the answer; a Refusal when none is left. `told`: it is an answer
        of `by` to what we have told it, so our own paths towards it stay.
        """
        self.abandon()
        near, far = self._faces[by], self._faces[by.other]
        if len(offered.media) < len(near.slots):
            return Refusal(NOT_ACCEPTABLE, "fewer media than before")  # RFC 3264 section 8
        parts: list[Part] = []
        sections = [_refused(media) for media in (far.ours.media if far.ours else ())]
        refusals: list[Refusal] = []
        for index, section in enumerate(offered.media):
            if section.refused or not is_msrp(section):
                continue
            judged = self._judge(offered, index) if len(parts) < MAX_STREAMS else Refusal(NOT_ACCEPTABLE, "too many media")
            if isinstance(judged, Refusal):
                refusals.append(judged)
                continue
            part = self._part(by, index, judged, [one.far for one in parts], told=told)
            parts.append(part)
            sections += [Media("message", 0, TCP, ("*",))] * (part.far + 1 - len(sections))
            sections[part.far] = section_across(
                judged.remote, part.stream.sessions[by.other].local, self._max_size, self._local.fingerprints
            )
        if not parts:
            return refusals[0] if refusals else Refusal(NOT_ACCEPTABLE, "No MSRP media offered")
        across = far.say(self._host, sections)
        self._proposal = Proposal(by, offered, across, parts)
        return across

    @property
    def changes_across(self) -> bool:
        """Whether the other side has anything to agree to: a path that is new on one side concerns that side alone."""
        proposal = self._proposal
        return proposal is not None and proposal.across is not self._faces[proposal.by.other].ours

    def agree(self, answered: SessionDescription | None = None) -> SessionDescription | Refusal:
        """Our answer to the one who offered, for the answer of the other side; the media follow it (PFS-05).

        None: the other side was not asked, as nothing changes for it. SdpError when the answer is malformed.
        """
        proposal = self._proposal
        assert proposal is not None
        far_end = proposal.by.other
        near, far = self._faces[proposal.by], self._faces[far_end]
        theirs = answered or far.theirs
        assert theirs is not None
        agreed = conclude(proposal.across, theirs, self._local_policy(()))
        if isinstance(agreed, Refusal):
            return agreed
        across = {one.index: one for one in agreed}
        taken: dict[int, tuple[Part, Negotiated]] = {}
        sections = [section.refuse() for section in proposal.offered.media]
        for part in proposal.parts:
            other = across.get(part.far)
            if other is not None:
                taken[part.near] = part, other
                sections[part.near] = section_back(
                    part.line.local, other.remote, part.session.local, self._max_size, self._local.fingerprints
                )
        self._proposal = None
        self._settle(proposal, taken)
        near.theirs, far.theirs, far.ours = proposal.offered, theirs, proposal.across
        near.ours = near.say(self._host, sections, proposal.offered.first("t") or "0 0")
        return near.ours

    def abandon(self) -> None:
        """The offer under way was refused or taken back: all stays as it was."""
        proposal, self._proposal = self._proposal, None
        if proposal is None:
            return
        for part in proposal.parts:
            if part.fresh:
                part.stream.close("offer refused")
            elif part.session is not part.stream.sessions[proposal.by]:
                part.session.close("offer refused")

    def retract(self, by: End) -> SessionDescription | Refusal:
        """The other side has agreed to what `by` took back: our offer to it of how things are."""
        self.abandon()
        far, standing = self._faces[by.other], self._faces[by].theirs
        assert standing is not None
        far.ours = far.sent
        return self.propose(by, standing)

    def ours(self, end: End) -> SessionDescription | None:
        """What a side was last told, once it was agreed to."""
        return self._faces[end].ours

    def theirs(self, end: End) -> SessionDescription | None:
        """What a side has last told, once it was agreed to."""
        return self._faces[end].theirs

    def finish(self, by: End, reason: str, then: Callable[[], None]) -> None:
        """`by` has left: end all sessions, those of the other side when what is under way has arrived; then call `then`."""
        self._closed = True
        self.abandon()
        streams = [stream for stream in self._faces[End.CALLER].slots if stream is not None]
        left = len(streams)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        if not streams:
            then()
        for stream in streams:
            stream.finish(by, reason, one_less)  # PFS-09

    def close(self, reason: str) -> None:
        """End all sessions."""
        self._closed = True
        self.abandon()
        for stream in self._faces[End.CALLER].slots:
            if stream is not None:
                stream.close(reason)

    # --- lines ---

    def _judge(self, offered: SessionDescription, index: int) -> Negotiated | Refusal:
        """Whether this server can take a line at all (6.2.3.3-1), declared sizes included (LRG-06).

        The path in its answer is a place-holder: the session is made when the line is taken.
        """
        outcome = answer(only(offered, index), self._local_policy(("x",)))
        return outcome if isinstance(outcome, Refusal) else outcome.lines[0]

    def _part(self, by: End, index: int, judged: Negotiated, used: list[int], *, told: bool) -> Part:
        near, far, line = self._faces[by], self._faces[by.other], judged.remote
        stream = near.slots[index] if index < len(near.slots) else None
        if stream is not None and stream.alive:
            session = stream.sessions[by]
            if not told and (stream.paths[by] != line.path or session.local.secure != line.secure):
                session = self._new_session(SessionHandler(), line.secure, line.websocket)  # the hop's once it is agreed to
            return Part(index, far.slots.index(stream), stream, session, False, judged)
        stream = self._new_stream(line, by)
        return Part(index, far.free_slot(used), stream, stream.sessions[by], True, judged)

    def _new_stream(self, line: MsrpMedia, by: End) -> Stream:
        """Both sessions at once: what the other side sends ahead of its answer waits in ours towards the offerer."""
        hop = RenamingHop(self.tally, self.observer, confirms=line.purpose is Purpose.LARGE_MESSAGE)  # LRG-01
        stream = Stream(hop)
        hop.rename = lambda sender, body: self._renamed(stream, sender, body)
        stream.sessions[by] = self._new_session(hop, line.secure, line.websocket)
        # What a WebSocket client says of TLS is about its own hop, whose end is here (RFC 7977 5.2.2).
        stream.sessions[by.other] = self._new_session(hop, line.secure and not line.websocket)
        hop.join(stream.sessions[End.CALLER], stream.sessions[End.CALLEE])
        hop.on_leg_closed = lambda hop, session, reason: self._stream_lost(stream, session, reason)
        return stream

    def _settle(self, proposal: Proposal, taken: dict[int, tuple[Part, Negotiated]]) -> None:
        """Make the media what was agreed: sessions with new paths, those that are over, those that go on."""
        near, far = self._faces[proposal.by], self._faces[proposal.by.other]
        kept = {id(part.stream) for part, _ in taken.values()}
        for stream in (*near.slots, *(part.stream for part in proposal.parts)):
            if stream is not None and id(stream) not in kept:
                stream.close("refused or ended by an offer and answer")
        near.slots = [None] * len(proposal.offered.media)
        far.slots = [None] * len(proposal.across.media)
        for part, other in taken.values():
            stream = part.stream
            near.slots[part.near] = far.slots[part.far] = stream
            replaced = part.session is not stream.sessions[proposal.by]
            stream.put(proposal.by, part.session)
            for end, line, across in ((proposal.by, part.line, other), (proposal.by.other, other, part.line)):
                moved = stream.paths.get(end, line.remote.path) != line.remote.path
                if moved and not (replaced and end is proposal.by):
                    self._renew(stream, end)
                self._restrict(stream.sessions[end], across.remote)
                self._point(stream, end, line)

    def _restrict(self, session: Session, across: MsrpMedia) -> None:
        """A session takes what the side across takes, as its own side was told."""
        sizes = [size for size in (across.max_size, self._max_size) if size is not None]
        session.options = replace(
            session.options,
            accept=accept_types(across.accept_types, across.accept_wrapped_types),
            max_size=min(sizes, default=None),
        )  # MED-12

    def _point(self, stream: Stream, end: End, line: Negotiated) -> None:
        """Tell the session towards `end` of a path that is new to it, and connect where that is ours to do."""
        session = stream.sessions[end]
        stream.paths[end] = line.remote.path
        if session.remote:
            return  # the path, and with it the MSRP session, is what it was (RFC 4975 section 8)
        if self._addresses is not None:
            named = frozenset((parse_uri(line.remote.path[0]).host, line.remote.address or ""))
            session.allow_from(named | self._addresses if end is End.CALLER else named)  # MED-10
        settle(session, line)
        if line.active:
            self._start(self._connect(session, line))

    async def _connect(self, session: Session, agreed: Negotiated) -> None:
        try:
            await self._endpoint.connect(session, agreed.connect_to)
        except (OSError, TimeoutError) as error:  # the session is closed by that, and its stream lost
            log.info("no MSRP connection to %s: %s", agreed.connect_to, error)

    def _stream_lost(self, stream: Stream, session: Session, reason: str) -> None:
        """One MSRP session ended: so does the other, when what is under way to it has arrived."""
        by = next(end for end, known in stream.sessions.items() if known is session)
        stream.finish(by, reason, partial(self._stream_over, reason))

    def _stream_over(self, reason: str) -> None:
        """Without any stream left the session has no media."""
        if not self._closed and not any(one is not None and one.alive for one in self._faces[End.CALLER].slots):
            self._lost(reason)

    def _lost(self, reason: str) -> None:
        if not self._closed:
            self._on_lost(reason)

    def _new_session(self, handler: SessionHandler, secure: bool, websocket: bool = False) -> Session:
        path = self._local.path(new_session_id(), secure, websocket)
        options = leg_options(options=SessionOptions(max_size=self._max_size))
        if self._focus is not None:
            options = replace(options, collect=LARGEST_RENAMED)
        session = Session(parse_uri(path[-1]), handler, self._endpoint.idents, options)
        self._endpoint.registry.add(session)
        return session

    def _renew(self, stream: Stream, end: End) -> None:
        """A session of the same URI, for a peer whose answer has a new path: our offer has told it that URI."""
        old = stream.sessions[end]
        lost, stream.hop.on_leg_closed = stream.hop.on_leg_closed, None
        old.close("replaced by a new answer")
        session = Session(old.local, stream.hop, self._endpoint.idents, old.options)
        self._endpoint.registry.add(session)
        stream.put(end, session)
        stream.hop.on_leg_closed = lost

    def _local_policy(self, names: tuple[str, ...]) -> LocalPolicy:
        return LocalPolicy(
            endpoint=self._local,
            origin=self._faces[End.CALLER].origin,
            session_ids=names,
            max_size=self._max_size,
            between=True,
        )


def _refused(media: Media) -> Media:
    return media if media.refused else media.refuse()


def read_sdp(body: bytes) -> SessionDescription:
    """The description of a message body. SdpError when there is none."""
    if not body.strip():
        raise SdpError("no session description")
    return sdp.parse(body)
