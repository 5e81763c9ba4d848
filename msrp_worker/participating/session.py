"""One IM session through the participating function as a B2BUA: the caller's leg, the callee's leg, the media between."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import structs

from kemi.messages import INACCESSIBLE, SipRequest, TransactionId
from msrp_worker.offer_answer import Refusal
from msrp_worker.participating import relay
from msrp_worker.participating.media import BridgedMedia, read_sdp
from msrp_worker.participating.relayed import Relayed
from msrp_worker.participating.terms import End
from msrp_worker.sdp import SdpError, SessionDescription
from msrp_worker.sdp_msrp import Purpose, purpose_of
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Answered,
    Confirmed,
    Ended,
    Invitation,
    LegEvent,
    LegId,
    LegPolicy,
    Offer,
    OfferDropped,
    Offered,
    OfferRefused,
    Order,
    Present,
    Refuse,
    RefuseOffer,
    Rejected,
    Release,
    Replied,
    Requested,
    Ring,
    Ringing,
)
from msrp_worker.sip.message import Message, address, name_of, split
from msrp_worker.sip.port import Headers
from msrp_worker.sip.reason import with_text
from msrp_worker.sip.session_timer import TimerPolicy
from msrp_worker.sip.shell import LegManager, TooManyLegs

log = logging.getLogger("im.participating")

FUNCTION_HEADER = "IM-Function"
"""Tells `im.cfg` that the terminating procedures have been through: on to the recipient's devices. It goes no further."""
POLICY = LegPolicy(timer=TimerPolicy(refresher="uas", ask="uas"))
"""The callee of each leg refreshes, where the caller leaves that open (PFS-11, PFS-12)."""
PHRASES = {403: "Forbidden", 413: "Request Entity Too Large", 488: "Not Acceptable Here"}


@dataclass(slots=True)
class Change:
    """A new offer that waits for the answer of the other side (PFS-05)."""

    by: End
    owed: bool = True
    """`by` waits for our answer: not for one of its own in an ACK, and not any more after a CANCEL."""
    dropped: bool = False
    """`by` took it back."""


class ParticipatingSession:
    """Joins two legs; the owner of both (`sip.outbox.LegOwner`)."""

    kind = "participating"

    def __init__(
        self,
        legs: LegManager,
        media: BridgedMedia,
        contact: str,
        identity: str,
        recipient: str,
        on_end: Callable[[ParticipatingSession], None],
    ) -> None:
        """`contact`: the URI of both our legs, resolved back to a focus with `focus`."""
        self.identity = identity
        """Stored with the legs."""
        self.recipient = recipient
        self.originator = ""
        self.anonymous = False
        """The originator asked for privacy (IDN-04)."""
        self.tally = media.tally
        self.uri = contact
        self.side: str = ""
        """Of a separate core, whose INVITE may pass both; empty where there is none."""
        self.answered = False
        """The session stands."""
        self.on_answered: Callable[[ParticipatingSession], None] = lambda session: None
        self.defer: Callable[[LegId, Refuse], None] | None = None
        """Takes the caller's leg of a large message that nobody could be reached for; None: that is another server's."""
        self._legs = legs
        self._media = media
        self._on_end = on_end
        self._ids: dict[End, LegId] = {}
        self._foci: dict[End, str] = {}
        self._relayed = Relayed(legs, self._ids, self.contact)
        self._change: Change | None = None
        self._before: tuple[End, SessionDescription | None] | None = None
        self.is_large_message = False
        self._over = False

    @property
    def focus(self) -> str:
        """URI of the focus that one of the sides is, empty when none is (PFS-06, PFS-11)."""
        return next(iter(self._foci.values()), "")

    def contact(self, end: End) -> str:
        """Our Contact towards a side: a focus across shows as one (PFS-11)."""
        mark = ";isfocus" if end.other in self._foci else ""
        return f"<{self.uri}>;+g.oma.sip-im{mark}"  # HDR-02 HDR-03

    # --- the beginning ---

    def begin(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """Take the caller's INVITE and send ours to the callee (6.2.7.1)."""
        self.originator, self.anonymous, self.side = asked.originator, asked.anonymous, asked.side
        self.is_large_message = _is_large_message(request.sdp)
        policy = structs.replace(POLICY, request_headers=relay.charging(request)) if self.side else POLICY
        offer = self._proposed(End.CALLER, request.sdp)
        if isinstance(offer, Refusal):
            warning = _warning(self._legs.node, offer.reason)
            self._legs.reply(transaction, request, offer.status, _phrase(offer.status), (warning,))
            self._end("offer refused")
            return
        self._note_focus(End.CALLER, request)
        caller = self._legs.take(transaction, self, self.contact(End.CALLER), policy)
        if caller is None:
            self._end("cancelled")
            return
        self._ids[End.CALLER] = caller
        try:
            self._ids[End.CALLEE] = self._legs.call(self._invitation(request, asked, offer.build()), self, policy)
        except TooManyLegs:
            refuse = Refuse(status=503, reason="Service Unavailable", headers=(("Retry-After", "5"),))
            self._order(End.CALLER, refuse)

    def _invitation(self, request: Message, asked: SipRequest, sdp: bytes) -> Invitation:  # PFS-11
        headers: list[tuple[str, str]] = [
            ("Accept-Contact", "*;+g.oma.sip-im;explicit"),  # HDR-02; User-Agent is Kamailio's (HDR-01)
            (FUNCTION_HEADER, self.kind),
        ]
        routes: tuple[str, ...] = ()
        if self.side:
            headers += relay.to_core(request, asked)  # PFS-03
            routes = tuple(split(asked.core_route, ",")) if asked.core_route else ()
        if asked.originator and not any(name == "P-Asserted-Identity" for name, _ in headers):
            headers.append(("P-Asserted-Identity", f"<{asked.originator}>"))  # HDR-07; Kamailio heeds Privacy (IDN-04)
        return Invitation(
            request_uri=asked.target or asked.recipient,
            from_uri=address(request.first("from")),
            from_name=name_of(request.first("from")),
            to_uri=address(request.first("to")),
            contact=self.contact(End.CALLEE),
            sdp=sdp,
            headers=(*headers, *relay.pass_on(request, relay.INVITATION)),
            routes=routes,
        )

    def across(self, leg_id: LegId) -> LegId | None:
        """The leg on the other side of one of ours, by which the other client knows the session (CNF-11)."""
        end = next((end for end, known in self._ids.items() if known == leg_id), None)
        return None if end is None else self._ids.get(end.other)

    # --- events ---

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """See `LegOwner`."""
        end = next((end for end, known in self._ids.items() if known == leg_id), None)
        if end is None:
            return
        match event:
            case Ringing():
                self._ringing(event)
            case Answered():
                if self.answered:
                    self._answer_came(end, event)
                else:
                    self._accepted(event)
            case Rejected():
                headers = () if event.response is None else relay.failure(event.response, for_core=bool(self.side))
                self._failed(Refuse(status=event.status, reason=event.reason, headers=headers))
            case Ended():
                del self._ids[end]
                self._media.finish(end, f"{end.value} left", partial(self._left, end, event.why))
            case Offered():
                self._offered(end, event)
            case OfferDropped():
                self._offer_dropped(end)
            case OfferRefused():
                self._offer_refused(event)
            case Requested():
                self._relayed.forward(end, event, standing=self.answered)  # PFS-06 PFS-07
            case Replied():
                self._relayed.replied(end, event)
            case Confirmed():
                pass

    def _failed(self, failure: Refuse) -> None:
        """The callee did not take it: the caller is told, or its leg goes to who may keep a large message."""
        deferrable = self.is_large_message and failure.status in INACCESSIBLE
        if deferrable and self.defer is not None and End.CALLER in self._ids:
            self.defer(self._ids.pop(End.CALLER), failure)  # PFS-16
            self._end("deferred")
        else:
            self._order(End.CALLER, failure)  # PFS-04

    def _left(self, end: End, why: str) -> None:
        """One side is gone, and the other has all that was acknowledged to it."""
        self._order(end.other, Release(why=why))  # PFS-08 PFS-09 PFS-10
        self._end(f"{end.value} left")

    def fail(self) -> bool:
        """A bug of ours has met it (SEC-05). False when the caller has no leg yet, and waits for an answer."""
        if End.CALLER not in self._ids:
            self._end("failed")
            return False
        self._order(End.CALLER, Refuse(status=500, reason="Server Internal Error"))
        return True

    def lost(self, reason: str) -> None:
        """The media path broke: release both sides (PFS-09)."""
        log.info("session %s: media lost: %s", self.identity, reason)
        self._release_all('SIP;cause=503;text="Media lost"')

    def release(self, text: str) -> None:
        """End it at the operator's wish; `text` is for both sides (PFS-09)."""
        self._release_all(with_text("SIP;cause=200", text))

    def _ringing(self, event: Ringing) -> None:
        self._note_focus(End.CALLEE, event.response)
        self._order(
            End.CALLER,
            Ring(
                status=event.status,
                reason=event.reason,
                headers=relay.identity(event.response, for_core=bool(self.side)),
                reliably="100rel" in event.response.tokens("require"),  # PFS-15
            ),
        )

    def _accepted(self, event: Answered) -> None:
        """The callee's 200: the media are joined, then the caller gets its own."""
        answer = self._agreed(event.sdp)
        if isinstance(answer, Refusal):
            log.info("session %s: the callee's answer cannot be used: %s", self.identity, answer.reason)
            self._order(End.CALLEE, Release(why=f'SIP;cause=488;text="{PHRASES[488]}"'))
            self._order(End.CALLER, Refuse(status=488, reason=PHRASES[488]))
            return
        self.answered = True
        self.on_answered(self)
        self._note_focus(End.CALLEE, event.message)
        headers = relay.identity(event.message, for_core=bool(self.side))
        self._order(End.CALLER, Accept(sdp=answer.build(), headers=headers))  # PFS-12

    # --- new offers (6.2.3.3, 6.2.7.2) ---

    def _offered(self, end: End, event: Offered) -> None:  # PFS-05
        if self._change is not None:
            self._order(end, RefuseOffer(status=491, reason="Request Pending"))
            return
        if not self.answered:
            self._order(end, RefuseOffer())
            return
        self._note_focus(end, event.message)
        ours = self._media.ours(end)
        if not event.sdp and ours is not None:
            self._order(end, AcceptOffer(sdp=ours.build()))  # the answer comes with the ACK
            return
        offer = self._proposed(end, event.sdp)
        if isinstance(offer, Refusal):
            warning = _warning(self._legs.node, offer.reason)
            self._order(end, RefuseOffer(status=offer.status, reason=_phrase(offer.status), headers=(warning,)))
            return
        self._ask(Change(end), offer, event.message.method)

    def _ask(self, change: Change, offer: SessionDescription, method: str = "INVITE") -> None:
        """Offer it to the other side, or finish where nothing changes for that one."""
        self._change = change
        if self._media.changes_across:
            self._order(change.by.other, Offer(sdp=offer.build(), method=method))
        else:
            self._finish(change, None)

    def _answer_came(self, end: End, event: Answered) -> None:
        change = self._change
        if change is None:
            self._answered_in_ack(end, event)
        elif change.by is end:
            log.warning("session %s: an answer that nobody waits for", self.identity)
        elif change.dropped:  # the other side has agreed to what was taken back
            offer = self._media.retract(change.by)
            if not isinstance(offer, Refusal):
                self._ask(Change(change.by, owed=False), offer)
        else:
            self._finish(change, event.sdp)

    def _finish(self, change: Change, sdp: bytes | None) -> None:
        """The other side has agreed, or need not be asked: from now on the media are as offered."""
        self._change = None
        before = self._media.theirs(change.by)
        answer = self._agreed(sdp)
        if isinstance(answer, Refusal):
            log.info("session %s: the answer to a new offer cannot be used: %s", self.identity, answer.reason)
            self._release_all(f'SIP;cause=488;text="{PHRASES[488]}"')
        elif change.owed:
            self._before = change.by, before
            self._order(change.by, AcceptOffer(sdp=answer.build()))

    def _answered_in_ack(self, end: End, event: Answered) -> None:
        """The answer to our offer in the 200 to an INVITE without one: what it changes is news for the other side."""
        known = self._media.theirs(end)
        try:
            answered = read_sdp(event.sdp)
            if known is not None and known.media == answered.media:
                return
            offer = self._media.propose(end, answered, told=True)
        except SdpError as error:
            offer = Refusal(488, str(error))
        if isinstance(offer, Refusal):
            self._release_all(f'SIP;cause=488;text="{PHRASES[488]}"')
            return
        self._ask(Change(end, owed=False), offer)

    def _offer_refused(self, event: OfferRefused) -> None:
        """The other side says no: all stays as it was, and who offered is told (6.2.7.2)."""
        change, self._change = self._change, None
        self._media.abandon()
        if change is None or change.dropped:
            return
        if not change.owed:  # the two sides cannot be brought together any more
            self._release_all(f'SIP;cause=488;text="{PHRASES[488]}"')
            return
        headers: Headers = () if event.response is None else relay.failure(event.response, for_core=bool(self.side))
        self._order(change.by, RefuseOffer(status=event.status, reason=event.reason, headers=headers))

    def _offer_dropped(self, end: End) -> None:
        """A re-INVITE was cancelled, or its answer took too long."""
        change = self._change
        if change is not None:
            if change.by is end:
                change.dropped, change.owed = True, False
        elif self._before is not None and self._before[0] is end and self._before[1] is not None:
            # The CANCEL was first although our 200 was under way: for `end` nothing has changed.
            offer = self._media.propose(end, self._before[1], told=True)
            if not isinstance(offer, Refusal):
                self._ask(Change(end, owed=False), offer)

    def _proposed(self, end: End, body: bytes) -> SessionDescription | Refusal:
        try:
            return self._media.propose(end, read_sdp(body))
        except SdpError as error:
            return Refusal(488, str(error))

    def _agreed(self, body: bytes | None) -> SessionDescription | Refusal:
        try:
            return self._media.agree(None if body is None else read_sdp(body))
        except (SdpError, ValueError) as error:
            return Refusal(488, str(error))

    # --- both ---

    def _note_focus(self, end: End, message: Message) -> None:
        """A focus is recognised by its Contact, from the first message or later (RFC 4579 section 5)."""
        focus = relay.focus_of(message)
        if not focus or focus == self._foci.get(end):
            return
        self._foci[end] = focus
        self._media.name_focus(end, self.uri, focus)
        self._order(end.other, Present(contact=self.contact(end.other)))

    def _order(self, end: End, order: Order) -> None:
        leg_id = self._ids.get(end)
        if leg_id is not None:
            self._legs.order(leg_id, order)

    def _release_all(self, why: str) -> None:
        for end in End:
            self._order(end, Release(why=why))

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._media.close(reason)
        self._on_end(self)


def _warning(host: str, reason: str) -> tuple[str, str]:
    """The reason may have text of the offer in it: what would end or break the quoted-string is left out."""
    text = "".join(one for one in reason if one.isprintable() and one not in '"\\')
    return "Warning", f'399 {host} "{text}"'


def _phrase(status: int) -> str:
    return PHRASES.get(status, "Refused")


def _is_large_message(body: bytes) -> bool:
    try:
        return purpose_of(read_sdp(body)) is Purpose.LARGE_MESSAGE
    except SdpError:
        return False
