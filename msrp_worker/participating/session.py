"""One IM session through the participating function as a B2BUA: the caller's leg, the callee's leg, the media between."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kemi.messages import INACCESSIBLE, SipRequest, TransactionId
from msrp_worker.offer_answer import Refusal
from msrp_worker.participating.media import BridgedMedia, read_sdp
from msrp_worker.sdp import SdpError
from msrp_worker.sdp_msrp import Purpose, purpose_of
from msrp_worker.sip.leg_types import (
    Accept,
    Answered,
    Confirmed,
    Ended,
    Invitation,
    LegEvent,
    LegId,
    Offered,
    Refuse,
    RefuseOffer,
    Rejected,
    Release,
    Requested,
    Respond,
    Ring,
    Ringing,
)
from msrp_worker.sip.message import Message, address
from msrp_worker.sip.port import Headers
from msrp_worker.sip.shell import LegManager, TooManyLegs

log = logging.getLogger("im.participating")

PASSED_ON = ("subject", "priority", "referred-by", "privacy", "in-reply-to", "alert-info", "date")
"""Headers of the caller's INVITE that the callee gets as they are."""
FUNCTION_HEADER = "IM-Function"
"""Tells `im.cfg` that the terminating procedures have been through: on to the recipient's devices. It goes no further."""


class ParticipatingSession:
    """Joins two legs; the owner of both (`sip.outbox.LegOwner`)."""

    kind = "participating"

    def __init__(
        self,
        legs: LegManager,
        media: BridgedMedia,
        contact: str,
        identity: str,
        on_end: Callable[[ParticipatingSession], None],
        defer: Callable[[LegId], None],
    ) -> None:
        self.identity = identity
        self._legs = legs
        self._media = media
        self._contact = contact
        self._on_end = on_end
        self._defer = defer
        self._is_large_message = False
        self._caller: LegId | None = None
        self._callee: LegId | None = None
        self._over = False

    def begin(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """Take the caller's INVITE and send ours to the callee (6.2.7.1)."""
        try:
            offered = read_sdp(request.body)
            self._is_large_message = purpose_of(offered) is Purpose.LARGE_MESSAGE
            offer = self._media.offer_across(offered)
        except SdpError as error:
            offer = Refusal(488, str(error))
        if isinstance(offer, Refusal):
            warning = ("Warning", f'399 {self._legs.node} "{offer.reason}"')
            self._legs.reply(transaction, request, offer.status, _phrase(offer.status), (warning,))
            self._end("offer refused")
            return
        self._caller = self._legs.take(transaction, self, self._contact)
        if self._caller is None:
            self._end("cancelled")
            return
        try:
            self._callee = self._legs.call(self._invitation(request, asked, offer.build()), self)
        except TooManyLegs:
            self._legs.order(
                self._caller, Refuse(status=503, reason="Service Unavailable", headers=(("Retry-After", "5"),))
            )

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """See `LegOwner`."""
        if leg_id == self._callee:
            self._from_callee(event)
        elif leg_id == self._caller:
            self._from_caller(event)

    def lost(self, reason: str) -> None:
        """The media path broke: release both sides (PFS-09)."""
        log.info("session %s: media lost: %s", self.identity, reason)
        self._release_all(Release(why='SIP;cause=503;text="Media lost"'))

    def _from_callee(self, event: LegEvent) -> None:
        match event:
            case Ringing():
                self._order(self._caller, Ring(status=event.status, reason=event.reason, headers=_identity(event.response)))
            case Answered():
                self._answered(event)
            case Rejected() if self._is_large_message and event.status in INACCESSIBLE and self._caller is not None:
                caller, self._caller = self._caller, None
                self._defer(caller)  # PFS-16
                self._end("deferred")
            case Rejected():
                headers = () if event.response is None else _failure_headers(event.response)
                self._order(self._caller, Refuse(status=event.status, reason=event.reason, headers=headers))  # PFS-04
            case Ended():
                self._callee = None
                self._order(self._caller, Release(why=event.why))  # PFS-09
                self._end("callee left")
            case _:
                self._within(self._callee, event)

    def _answered(self, event: Answered) -> None:
        try:
            answer = self._media.answer_across(read_sdp(event.sdp))
        except (SdpError, ValueError) as error:
            answer = Refusal(488, str(error))
        if isinstance(answer, Refusal):
            log.info("session %s: the callee's answer cannot be used: %s", self.identity, answer.reason)
            self._order(self._callee, Release(why=f'SIP;cause=488;text="{_phrase(488)}"'))
            self._order(self._caller, Refuse(status=488, reason=_phrase(488)))
            return
        self._order(self._caller, Accept(sdp=answer.build(), headers=_identity(event.message)))  # PFS-12

    def _from_caller(self, event: LegEvent) -> None:
        match event:
            case Ended():
                self._caller = None
                self._order(self._callee, Release(why=event.why))  # PFS-08 PFS-09
                self._end("caller left")
            case Confirmed():
                pass
            case _:
                self._within(self._caller, event)

    def _within(self, leg_id: LegId | None, event: LegEvent) -> None:
        """New terms are not passed on: the paths are ours and stay; other requests have no meaning here."""
        match event:
            case Offered():
                self._order(leg_id, RefuseOffer())  # PFS-05: 488, the session stays as it is
            case Requested():
                respond = Respond(transaction=event.transaction, status=405, reason="Method Not Allowed")
                self._order(leg_id, respond)
            case _:
                pass

    def _invitation(self, request: Message, asked: SipRequest, sdp: bytes) -> Invitation:
        headers: list[tuple[str, str]] = [
            ("Accept-Contact", "*;+g.oma.sip-im;explicit"),  # HDR-02; User-Agent is Kamailio's (HDR-01)
            (FUNCTION_HEADER, self.kind),
        ]
        if asked.originator:
            headers.append(("P-Asserted-Identity", f"<{asked.originator}>"))  # HDR-07
        for name in PASSED_ON:
            headers += [(name.title(), value) for value in request.lines(name)]
        return Invitation(
            request_uri=asked.recipient,
            from_uri=address(request.first("from")),
            to_uri=address(request.first("to")),
            contact=self._contact,
            sdp=sdp,
            headers=tuple(headers),
        )

    def _order(self, leg_id: LegId | None, order: object) -> None:
        if leg_id is not None:
            self._legs.order(leg_id, order)  # type: ignore[arg-type]

    def _release_all(self, release: Release) -> None:
        for leg_id in (self._caller, self._callee):
            self._order(leg_id, release)

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._media.close(reason)
        self._on_end(self)


def _identity(response: Message) -> Headers:
    """The callee's asserted identity and wish for privacy, mapped to the other side (PFS-12)."""
    names = ("p-asserted-identity", "privacy")
    return tuple((name.title(), value) for name in names for value in response.lines(name))


def _failure_headers(response: Message) -> Headers:
    names = ("warning", "retry-after", "reason")
    return tuple((name.title(), value) for name in names for value in response.lines(name))


def _phrase(status: int) -> str:
    return {488: "Not Acceptable Here", 403: "Forbidden"}.get(status, "Refused")
