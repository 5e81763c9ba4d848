"""Several MSRP lines in one session: one for each file of an invitation (RFC 5547 section 8.2, clause 9.4). LRG-05"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from msrp_worker import sdp, sdp_msrp
from msrp_worker.cpim import Address
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.sdp import Media, SdpError, SessionDescription
from msrp_worker.sdp_msrp import Direction

from .body import SDP, Body
from .media import MediaLine, MediaPlan
from .negotiation import NotAcceptableError


class MediaLines(MediaLine):
    """The first of several lines, with the others in `others`: what a session wants of its media, for all of them.

    A line that the other side refuses has no `negotiated`; with all refused the whole is.
    """

    def __init__(self, endpoint: MsrpEndpoint, identity: Address, plans: Sequence[MediaPlan]) -> None:
        super().__init__(endpoint, identity, plans[0])
        self.others = [MediaLine(endpoint, identity, plan) for plan in plans[1:]]

    @property
    def accepted(self) -> list[MediaLine]:
        """The lines that both sides took, in their order."""
        return [line for line in (self, *self.others) if line.negotiated is not None]

    # --- Media, as a session wants it

    def offer(self) -> Body:
        return _together([super().offer(), *(line.offer() for line in self.others)])

    def change(self, direction: Direction) -> Body:
        return _together([super().change(direction), *(line.change(direction) for line in self.others)])

    async def answer(self, offer: Body) -> Body:
        description = _parse(offer)
        lines = iter([super().answer, *(line.answer for line in self.others)])
        sections: list[Media] = []
        answers: list[SessionDescription] = []
        refused: list[NotAcceptableError] = []
        for section in description.media:
            answering = next(lines, None) if is_line(section) else None
            if answering is None:
                sections.append(section.refuse())
                continue
            try:
                answers.append(_parse(await answering(_alone(description, section))))
            except NotAcceptableError as error:
                refused.append(error)
                sections.append(section.refuse())
            else:
                sections.append(answers[-1].media[0])
        if not answers:
            raise refused[0] if refused else NotAcceptableError(488, "no MSRP media")
        return Body(SDP, replace(answers[0], media=tuple(sections)).build())

    async def complete(self, answer: Body) -> None:
        description = _parse(answer)
        completing = [super().complete, *(line.complete for line in self.others)]
        if len(description.media) != len(completing):
            raise NotAcceptableError(488, "the answer has another number of media")  # RFC 3264 section 6
        refused: list[NotAcceptableError] = []
        for complete, section in zip(completing, description.media, strict=True):
            try:
                await complete(_alone(description, section))
            except NotAcceptableError as error:
                refused.append(error)
        if len(refused) == len(completing):
            raise refused[0]

    def unanswered(self) -> None:
        super().unanswered()
        for line in self.others:
            line.unanswered()

    # --- the connections

    async def start(self) -> None:
        """Bring up every line that was agreed on. Raises MediaFailedError."""
        starts = [super().start()] if self.negotiated is not None else []
        starts += [line.start() for line in self.others if line.negotiated is not None]
        await asyncio.gather(*starts)

    def close(self) -> None:
        super().close()
        for line in self.others:
            line.close()


def is_line(section: Media) -> bool:
    """Whether a section of an offer wants an MSRP session."""
    return sdp_msrp.is_msrp(section) and not section.refused


def wanted_lines(offer: Body) -> list[bool]:
    """The MSRP lines of an offer, whose number `sdp` bounds: of each whether it is over TLS. Empty if it cannot be read."""
    try:
        return [section.protocol.upper() == sdp_msrp.TLS for section in sdp.parse(offer.data).media if is_line(section)]
    except SdpError:
        return []


def _together(bodies: Sequence[Body]) -> Body:
    """One description with the sections of all."""
    descriptions = [_parse(body) for body in bodies]
    return Body(SDP, replace(descriptions[0], media=tuple(one.media[0] for one in descriptions)).build())


def _alone(description: SessionDescription, section: Media) -> Body:
    return Body(SDP, replace(description, media=(section,)).build())


def _parse(body: Body) -> SessionDescription:
    try:
        return sdp.parse(body.data)
    except SdpError as error:
        raise NotAcceptableError(488, str(error)) from None
