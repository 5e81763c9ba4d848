"""The media of one session through the participating function: one hop for each MSRP line (PFS-02)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from msrp_worker import sdp
from msrp_worker.msrp import MsrpEndpoint, Session, SessionOptions, parse_path
from msrp_worker.msrp.hop import Hop, HopPolicy, leg_options
from msrp_worker.offer_answer import (
    Answer,
    LocalEndpoint,
    LocalPolicy,
    Negotiated,
    Refusal,
    answer,
    conclude,
    offer,
)
from msrp_worker.sdp import Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import MsrpMedia, Purpose, Setup, is_msrp, parse

log = logging.getLogger("im.participating")

NOT_ACCEPTABLE = 488


@dataclass(slots=True)
class Line:
    """One MSRP line of the offer: the session towards the callee, later the one towards the caller, and their hop."""

    index: int
    callee: Session
    caller: Session | None = None
    hop: Hop = field(default_factory=Hop)


class BridgedMedia:
    """Offer and answer of both sides, and the hops. Everything ends with `close`.

    `host` is the address that goes into our paths; `origin` makes the o= line of a description, `start` runs a
    coroutine in the background.
    """

    def __init__(
        self,
        endpoint: MsrpEndpoint,
        host: str,
        origin: Callable[[], Origin],
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        max_size: int | None = None,
        policy: HopPolicy | None = None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._endpoint = endpoint
        self._host = host
        self._origin = origin
        self._start = start
        self._max_size = max_size
        self._policy = policy
        self._on_lost = on_lost
        self._lines: list[Line] = []
        self._offered: SessionDescription | None = None
        self._ours: SessionDescription | None = None
        self._closed = False

    def offer_across(self, offered: SessionDescription) -> SessionDescription | Refusal:
        """Our offer to the callee for the caller's: its lines with our paths. SdpError when a line is malformed."""
        media: list[MsrpMedia] = []
        for index, section in enumerate(offered.media):
            if section.refused or not is_msrp(section):
                continue
            line = parse(offered, section)
            declared = None if line.file is None else line.file.declared_size
            if self._max_size is not None and declared is not None and declared > self._max_size:
                return Refusal(403, "Declared size over the limit")  # LRG-06
            secure = line.secure and self._endpoint.tls_port is not None
            session = self._new_session(secure=secure)
            self._lines.append(Line(index, session, hop=self._new_hop(confirms=line.purpose is Purpose.LARGE_MESSAGE)))
            media.append(
                replace(
                    line,
                    path=(session.local_text,),
                    port=session.local.port or 0,
                    address=None,
                    secure=secure,
                    setup=Setup.ACTPASS,
                    cema=False,
                    fingerprints=(),
                )
            )
        if not media:
            return Refusal(NOT_ACCEPTABLE, "No MSRP media offered")
        self._offered = offered
        self._ours = offer(self._origin(), self._host, media)
        return self._ours

    def answer_across(self, answered: SessionDescription) -> SessionDescription | Refusal:
        """Our answer to the caller for the callee's: what both took. SdpError when it is malformed."""
        assert self._offered is not None and self._ours is not None
        agreed = conclude(self._ours, answered, self._local_policy((), ("*",), None))
        if isinstance(agreed, Refusal):
            return agreed
        taken = {self._lines[one.index].index: (self._lines[one.index], one) for one in agreed}
        sections = (section if index in taken else section.refuse() for index, section in enumerate(self._offered.media))
        offered = replace(self._offered, media=tuple(sections))
        for index in sorted(taken):
            line = taken[index][0]
            line.caller = self._new_session(secure=parse(self._offered, self._offered.media[index]).secure)
        names = tuple(self._session_id(taken[index][0].caller) for index in sorted(taken))
        first = agreed[0].remote
        outcome = answer(offered, self._local_policy(names, first.accept_types, first.max_size))
        if isinstance(outcome, Refusal):
            return outcome
        self._join(taken, outcome)
        return outcome.description

    def close(self, reason: str) -> None:
        """End all sessions."""
        self._closed = True
        for line in self._lines:
            for session in (line.callee, line.caller):
                if session is not None:
                    session.close(reason)

    def _join(self, taken: dict[int, tuple[Line, Negotiated]], outcome: Answer) -> None:
        for theirs in outcome.lines:
            line, across = taken[theirs.index]
            assert line.caller is not None
            line.hop.join(line.caller, line.callee)
            for session, agreed in ((line.callee, across), (line.caller, theirs)):
                session.set_remote(parse_path(" ".join(agreed.remote.path)), agreed.remote.fingerprints)
                if agreed.active:
                    self._start(self._connect(session, agreed))

    async def _connect(self, session: Session, agreed: Negotiated) -> None:
        try:
            await self._endpoint.connect(session, agreed.connect_to)
        except (OSError, TimeoutError) as error:
            log.info("no MSRP connection to %s: %s", agreed.connect_to, error)
            self._lost(f"no connection: {error}")

    def _new_hop(self, *, confirms: bool) -> Hop:
        hop = Hop(self._policy, confirms=confirms)
        hop.on_leg_closed = lambda hop, session, reason: self._lost(reason)
        return hop

    def _lost(self, reason: str) -> None:
        if not self._closed:
            self._on_lost(reason)

    def _new_session(self, *, secure: bool) -> Session:
        options = leg_options(options=SessionOptions(max_size=self._max_size))
        return self._endpoint.new_session(Hop(), options, host=self._host, secure=secure)

    def _session_id(self, session: Session | None) -> str:
        assert session is not None
        return session.local.session_id or ""

    def _local_policy(self, names: tuple[str, ...], accept_types: tuple[str, ...], max_size: int | None) -> LocalPolicy:
        return LocalPolicy(
            endpoint=LocalEndpoint(self._host, self._endpoint.port, self._endpoint.tls_port),
            origin=self._origin(),
            session_ids=names,
            accept_types=accept_types,
            max_size=max_size,
            cema=False,
        )


def read_sdp(body: bytes) -> SessionDescription:
    """The description of a message body. SdpError when there is none."""
    if not body.strip():
        raise SdpError("no session description")
    return sdp.parse(body)
