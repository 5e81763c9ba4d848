"""The media of one session through the participating function: one hop for each MSRP line (PFS-02)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

from msrp_worker import sdp
from msrp_worker.media_session import new_session_id, offered_session, settle
from msrp_worker.msrp import MsrpEndpoint, Session, accept_types, parse_path
from msrp_worker.msrp.hop import Hop, HopPolicy, leg_options
from msrp_worker.offer_answer import (
    LocalEndpoint,
    LocalPolicy,
    Negotiated,
    Refusal,
    answer,
    conclude,
    offer,
)
from msrp_worker.participating.lines import answered_across, offered_across
from msrp_worker.sdp import Origin, SdpError, SessionDescription
from msrp_worker.sdp_msrp import MsrpMedia

log = logging.getLogger("im.participating")


@dataclass(slots=True)
class Line:
    """One MSRP line of the offer: the sessions towards both sides, joined by a hop from the beginning.

    The callee may connect and send before its answer has come here; what it says then waits for the caller.
    """

    index: int
    caller: Session
    callee: Session
    hop: Hop


class BridgedMedia:
    """Offer and answer of both sides, and the hops. Everything ends with `close`.

    `local` says where we can be reached, its address goes into our paths; `origin` makes the o= line of a description,
    `start` runs a coroutine in the background. `addresses`: from where the caller may connect, beside the addresses in
    its description; None leaves both sides free (MED-10).
    """

    def __init__(
        self,
        endpoint: MsrpEndpoint,
        local: LocalEndpoint,
        origin: Callable[[], Origin],
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        max_size: int | None = None,
        addresses: frozenset[str] | None = None,
        policy: HopPolicy | None = None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._endpoint = endpoint
        self._local = local
        self._origin = origin
        self._start = start
        self._max_size = max_size
        self._addresses = addresses
        self._policy = policy
        self._on_lost = on_lost
        self._lines: list[Line] = []
        self._offered: SessionDescription | None = None
        self._ours: SessionDescription | None = None
        self._closed = False

    def offer_across(self, offered: SessionDescription) -> SessionDescription | Refusal:
        """Our offer to the callee for the caller's: its lines with our paths. SdpError when a line is malformed."""
        ours = answer(offered, self._local_policy(("-",) * len(offered.media)))
        if isinstance(ours, Refusal):
            return ours  # what we cannot answer, the callee need not be troubled with: MED-04, MED-05, LRG-06
        taken = {line.index: line.remote for line in ours.lines}
        sections = (section if index in taken else section.refuse() for index, section in enumerate(offered.media))
        media = [self._new_line(index, taken[index]) for index in sorted(taken)]
        self._offered = replace(offered, media=tuple(sections))
        self._ours = offer(self._origin(), self._local.address, media)
        return self._ours

    def answer_across(self, answered: SessionDescription) -> SessionDescription | Refusal:
        """Our answer to the caller for the callee's: what both took. SdpError when it is malformed."""
        assert self._offered is not None and self._ours is not None
        agreed = conclude(self._ours, answered, self._local_policy(()))
        if isinstance(agreed, Refusal):
            return agreed
        taken = {self._lines[one.index].index: (self._lines[one.index], one) for one in agreed}
        sections = (section if index in taken else section.refuse() for index, section in enumerate(self._offered.media))
        names = tuple(taken[index][0].caller.local.session_id or "" for index in sorted(taken))
        outcome = answer(replace(self._offered, media=tuple(sections)), self._local_policy(names))
        if isinstance(outcome, Refusal):
            return outcome
        described = list(outcome.description.media)
        for theirs in outcome.lines:
            line, across = taken[theirs.index]
            theirs = replace(theirs, local=answered_across(theirs.local, across.remote))
            described[theirs.index] = theirs.local.build()
            self._agree(line.callee, across)
            self._agree(line.caller, theirs, self._addresses or frozenset())
        self._drop(line for line in self._lines if line.index not in taken)
        return replace(outcome.description, media=tuple(described))

    def close(self, reason: str) -> None:
        """End all sessions."""
        self._closed = True
        for line in self._lines:
            line.hop.close(reason)

    def _new_line(self, index: int, line: MsrpMedia) -> MsrpMedia:
        """Make both sessions of a line; what the callee is offered."""
        local, endpoint = self._local, self._endpoint
        # What a WebSocket client says of TLS is about its own hop, whose end is here (RFC 7977 5.2.2).
        secure = line.secure and not line.websocket
        ours = MsrpMedia(
            path=local.path(new_session_id(), secure),
            port=local.port(secure) or 0,
            secure=secure,
            max_size=self._max_size,
            fingerprints=local.fingerprints if secure else (),
        )
        media = offered_across(line, ours)
        hop = Hop(self._policy)
        hop.on_leg_closed = lambda hop, session, reason: self._lost(reason)
        towards_caller = replace(ours, path=local.path(new_session_id(), line.secure, line.websocket))
        caller = offered_session(endpoint, towards_caller, hop, leg_options())
        callee = offered_session(endpoint, media, hop, leg_options())  # MED-12
        hop.join(caller, callee)
        self._lines.append(Line(index, caller, callee, hop))
        return media

    def _agree(self, session: Session, agreed: Negotiated, addresses: frozenset[str] = frozenset()) -> None:
        """A session takes what was agreed with its side, and connects where that is ours to do."""
        local, remote = agreed.local, agreed.remote
        session.options = replace(
            session.options,
            accept=accept_types(local.accept_types, local.accept_wrapped_types),
            max_size=local.max_size,
        )  # MED-12
        if self._addresses is not None:
            named = {parse_path(hop)[0].host for hop in remote.path[:1]} | {remote.address or ""}
            session.allow_from(addresses | named)  # MED-10
        settle(session, agreed)
        if agreed.active:
            self._start(self._connect(session, agreed))

    async def _connect(self, session: Session, agreed: Negotiated) -> None:
        try:
            await self._endpoint.connect(session, agreed.connect_to)
        except (OSError, TimeoutError) as error:
            log.info("no MSRP connection to %s: %s", agreed.connect_to, error)
            self._lost(f"no connection: {error}")

    def _drop(self, lines: Iterable[Line]) -> None:
        """End the sessions of lines that the callee refused."""
        for line in lines:
            line.hop.on_leg_closed = None
            line.hop.close("line refused")

    def _lost(self, reason: str) -> None:
        if not self._closed:
            self._on_lost(reason)

    def _local_policy(self, names: tuple[str, ...]) -> LocalPolicy:
        return LocalPolicy(
            endpoint=self._local,
            origin=self._origin(),
            session_ids=names,
            max_size=self._max_size,
            between=True,
        )


def read_sdp(body: bytes) -> SessionDescription:
    """The description of a message body. SdpError when there is none."""
    if not body.strip():
        raise SdpError("no session description")
    return sdp.parse(body)
