"""Values of a leg: its state, what comes in, what its owner orders and what it is told."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from kemi.messages import TransactionId
from msrp_worker.sip.dialog import Dialog
from msrp_worker.sip.invite import Phase
from msrp_worker.sip.message import Message
from msrp_worker.sip.offer_answer import Exchange
from msrp_worker.sip.port import Command, Headers
from msrp_worker.sip.reliable import Reliable
from msrp_worker.sip.session_timer import SessionTimer, TimerPolicy, Wish

LegId: TypeAlias = tuple[str, str]
"""Call-ID and local tag. The Call-ID alone is not enough: a request that started here may come back through the core."""

MAX_FORKS = 16
"""Early dialogs of one INVITE that are kept; more branches than a served user has devices."""
MAX_OPEN = 16
"""Requests of one leg under way in each direction, beyond which new ones are refused."""
TRANSACTION_S = 32.0
"""64*T1: how long a request without INVITE, a missing ACK and a cancelled INVITE are waited for (RFC 3261 17.1.1.1)."""
GRACE_S = 4.0
"""Kamailio's own timer tells first; this backs it up, for events that were lost between the two."""


class Role(StrEnum):
    """Who sent the INVITE."""

    CALLER = "caller"
    CALLEE = "callee"


class Cause(StrEnum):
    """Why a leg is over."""

    BYE = "bye"
    """The peer ended it."""
    CANCELLED = "cancelled"
    """The peer took its INVITE back."""
    RELEASED = "released"
    """The owner ended or refused it."""
    NO_ACK = "no-ack"
    INVITE_EXPIRED = "invite-expired"
    """Nobody answered in time."""
    NO_PRACK = "no-prack"
    SESSION_EXPIRED = "session-expired"
    LOST = "lost"
    """The peer does not know the dialog any more, or does not answer."""
    NO_ANSWER = "no-answer"
    """An offer was accepted without an answer to it."""
    NOT_STORED = "not-stored"
    """The store refused the leg, so nothing could be promised."""
    RESTARTED = "restarted"
    """The worker died and could not go on with it (SEC-06)."""


class LegPolicy(Struct, frozen=True, kw_only=True):
    """How legs behave."""

    timer: TimerPolicy = TimerPolicy()
    allow: tuple[str, ...] = (
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "MESSAGE",
        "OPTIONS",
    )
    """Methods of Allow (HDR-04); others get 405."""
    supported: tuple[str, ...] = ("timer", "100rel", "replaces")
    """Option tags of Supported; another one in Require gets 420."""
    understood: frozenset[str] = frozenset()
    """Further option tags that the owner takes care of."""
    request_headers: Headers = ()
    """In every request of the leg, such as User-Agent and P-Asserted-Identity (HDR-07)."""
    ring_s: float = 180.0
    """How long an INVITE may ring, in seconds: three minutes, as proxies keep it (RFC 3261 16.6, timer C)."""
    offer_s: float = 30.0
    """How long the owner may think about an offer inside the dialog, in seconds: less than the peer's transaction."""


class Fork(Struct, frozen=True, kw_only=True):
    """One early dialog of our INVITE."""

    dialog: Dialog
    exchange: Exchange = Exchange.LOCAL_OFFER
    answer: bytes = b""
    """First session description heard: the answer, whatever follows (RFC 3261 13.2.1)."""
    rseq: int | None = None
    """RSeq of the last reliable response acted on."""
    ended: bool = False
    """A BYE overtook its 2xx."""


class Invitation(Struct, frozen=True, kw_only=True):
    """What the owner asks for: an INVITE with an offer."""

    request_uri: str
    from_uri: str
    to_uri: str
    contact: str
    """Whole Contact value, `<sip:…>;isfocus`."""
    sdp: bytes
    body: bytes = b""
    """The body when it is more than the session description."""
    content_type: str = "application/sdp"
    headers: Headers = ()
    routes: tuple[str, ...] = ()
    next_hop: str = ""
    from_name: str = ""
    """Display name, quoted as it is to stand."""
    to_name: str = ""


class PendingOffer(Struct, frozen=True, kw_only=True):
    """A request of the peer with an offer (or an INVITE that asks for one) which the owner has to answer."""

    transaction: TransactionId
    message: Message
    give_up_at: float
    wish: Wish


class Outgoing(Struct, frozen=True, kw_only=True):
    """A request of ours inside the dialog that has no final response yet."""

    method: str
    cseq: int
    remote_tag: str
    give_up_at: float
    sdp: bytes = b""
    headers: Headers = ()
    """Those of the owner, for a repetition."""
    asked: int = 0
    """Session interval asked for."""
    refresh: bool = False
    tries: int = 1
    rseq: int | None = None


class Again(Struct, frozen=True, kw_only=True):
    """An offer or refresh that waits for its turn."""

    at: float
    request: Outgoing


class Leg(Struct, frozen=True, kw_only=True):
    """One INVITE dialog with one peer, seen from this side; changed only by `leg.step`."""

    role: Role
    phase: Phase
    policy: LegPolicy
    dialog: Dialog
    invite_cseq: int
    exchange: Exchange
    timer: SessionTimer = SessionTimer()
    invite_limit: float = float("inf")
    """When the initial INVITE is given up, by either side."""
    local_sdp: bytes = b""
    remote_sdp: bytes = b""
    why: str = ""
    """Reason of a BYE that has to wait: for the ACK, or for the 2xx that crosses a CANCEL."""
    peer_allow: frozenset[str] = frozenset()
    # caller
    invitation: Invitation | None = None
    asked: int = 0
    forks: tuple[Fork, ...] = ()
    extra_tags: tuple[str, ...] = ()
    """To tags of branches that answered too late and got a BYE."""
    # callee
    transaction: TransactionId | None = None
    """The initial INVITE, until its final response."""
    invite_wish: Wish = Wish()
    reliable: Reliable | None = None
    """None when the caller does not know 100rel."""
    must_be_reliable: bool = False
    held: Accept | None = None
    """Our 2xx, waiting for a PRACK."""
    # both
    ack_cseq: int = 0
    """CSeq of the INVITE whose 2xx has no ACK yet; 0 for none."""
    ack_limit: float = float("inf")
    undo: tuple[TransactionId, bytes, bytes] | None = None
    """The re-INVITE of `ack_cseq`, and the descriptions before it: a CANCEL may turn out to have been first."""
    offer: PendingOffer | None = None
    outgoing: tuple[Outgoing, ...] = ()
    again: Again | None = None
    requests: tuple[TransactionId, ...] = ()
    """Requests of the peer that the owner has to answer."""

    @property
    def identity(self) -> LegId:
        """Call-ID and local tag."""
        return self.dialog.call_id, self.dialog.local_tag

    @property
    def peer_allows_update(self) -> bool:
        """Whether Allow of the peer named UPDATE (PFS-05)."""
        return "update" in self.peer_allow

    def next_deadline(self) -> float | None:
        """When `step(leg, Tick(), now)` has something to do, on the clock of `now`; None for never."""
        found = [self.invite_limit, self.ack_limit]
        found += [one.give_up_at for one in self.outgoing]
        if self.offer is not None:
            found.append(self.offer.give_up_at)
        if self.again is not None:
            found.append(self.again.at)
        if self.reliable is not None and (at := self.reliable.deadline()) is not None:
            found.append(at)
        if self.phase in (Phase.CONFIRMED, Phase.ACCEPTED) and (at := self.timer.deadline()) is not None:
            # a refresh that cannot be sent beside another request waits for that, not for the clock
            found.append(at if not self.refresh_blocked else max(at, self.timer.expires_at))
        first = min(found)
        return None if first == float("inf") else first

    @property
    def refresh_blocked(self) -> bool:
        """Whether a refresh of ours has to wait for another request, which is one itself when it succeeds."""
        busy = any(one.method in ("INVITE", "UPDATE") for one in self.outgoing)
        return self.timer.refreshes_here and (busy or self.again is not None)


# --- what comes in ------------------------------------------------------------------------------------------------


class Request(Struct, frozen=True):
    """A request inside the dialog; not ACK, not CANCEL."""

    transaction: TransactionId
    message: Message


class Ack(Struct, frozen=True):
    """The ACK to a 2xx of ours."""

    message: Message


class Cancelled(Struct, frozen=True):
    """An INVITE of the peer was cancelled and has its 487."""

    transaction: TransactionId


class Response(Struct, frozen=True):
    """A response to a request of ours."""

    message: Message


class TimedOut(Struct, frozen=True):
    """A request of ours has no final response and will have none."""

    method: str
    cseq: int
    remote_tag: str


class Tick(Struct, frozen=True):
    """`next_deadline` has come."""


class NotStored(Struct, frozen=True):
    """What the last step promised (the INVITE, the 2xx to one) could not be stored and was not sent."""


# --- what the owner orders ----------------------------------------------------------------------------------------


class Ring(Struct, frozen=True, kw_only=True):
    """A provisional response, 101 to 199; sent reliably when asked to and possible, or when the caller insists."""

    status: int = 180
    reason: str = "Ringing"
    headers: Headers = ()
    sdp: bytes = b""
    reliably: bool = False


class Accept(Struct, frozen=True, kw_only=True):
    """The 200 to the INVITE; `sdp` is the answer, or the offer when the INVITE had none."""

    sdp: bytes = b""
    headers: Headers = ()


class Refuse(Struct, frozen=True, kw_only=True):
    """The final response 300 to 699 to the INVITE."""

    status: int
    reason: str
    headers: Headers = ()


class Offer(Struct, frozen=True, kw_only=True):
    """A new offer of ours, in a re-INVITE or an UPDATE; UPDATE only where the peer allows it, else re-INVITE (PFS-05)."""

    sdp: bytes
    method: str = "INVITE"
    headers: Headers = ()


class AcceptOffer(Struct, frozen=True, kw_only=True):
    """The 200 to the peer's offer; `sdp` is the answer, or the offer when it asked for one."""

    sdp: bytes
    headers: Headers = ()


class RefuseOffer(Struct, frozen=True, kw_only=True):
    """The refusal of the peer's offer; the session stays as it was."""

    status: int = 488
    reason: str = "Not Acceptable Here"
    headers: Headers = ()


class Send(Struct, frozen=True, kw_only=True):
    """Another request inside the dialog: INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE."""

    method: str
    headers: Headers = ()
    body: bytes = b""


class Respond(Struct, frozen=True, kw_only=True):
    """Final response to a request that was told as `Requested`."""

    transaction: TransactionId
    status: int
    reason: str
    headers: Headers = ()
    body: bytes = b""


class Present(Struct, frozen=True, kw_only=True):
    """From now on our Contact is this whole value: the session has, or has no longer, a focus (RFC 4579 section 5)."""

    contact: str


class Release(Struct, frozen=True, kw_only=True):
    """The owner is done: CANCEL, BYE or a final response, whatever the phase asks for.

    `status` and `reason` are those of the final response; `why` is a Reason value for the BYE (RFC 3326).
    """

    status: int = 480
    reason: str = "Temporarily Unavailable"
    why: str = ""
    cause: Cause = Cause.RELEASED


Order: TypeAlias = Ring | Accept | Refuse | Offer | AcceptOffer | RefuseOffer | Send | Respond | Present | Release
Input: TypeAlias = Request | Ack | Cancelled | Response | TimedOut | Tick | NotStored | Order


# --- what the owner is told ---------------------------------------------------------------------------------------


class Ringing(Struct, frozen=True):
    """A provisional response above 100 to our INVITE; `sdp` when it has a description."""

    status: int
    reason: str
    response: Message
    sdp: bytes


class Answered(Struct, frozen=True):
    """An offer of ours has its answer: in the 2xx to the INVITE (then the session stands), in a PRACK or ACK, or later."""

    sdp: bytes
    message: Message


class Confirmed(Struct, frozen=True):
    """The ACK to our 2xx came."""


class Offered(Struct, frozen=True):
    """The peer offers new terms: answer with AcceptOffer or RefuseOffer. Empty `sdp`: it asks for an offer."""

    sdp: bytes
    message: Message


class OfferDropped(Struct, frozen=True):
    """The peer's offer needs no answer any more: cancelled, or not answered in time."""


class OfferRefused(Struct, frozen=True):
    """Our offer was refused; the session stays as it was."""

    status: int
    reason: str
    response: Message | None = None


class Requested(Struct, frozen=True):
    """Another request inside the dialog, to be answered with Respond."""

    transaction: TransactionId
    message: Message


class Replied(Struct, frozen=True):
    """Final response to a request of `Send`; None when there was none."""

    method: str
    cseq: int
    status: int
    response: Message | None = None


class Rejected(Struct, frozen=True):
    """Our INVITE failed; the leg is over. `response` is None when none came (408) or nothing was sent (503)."""

    status: int
    reason: str
    response: Message | None = None


class Ended(Struct, frozen=True):
    """The leg is over: the last thing told. `why` is the Reason header of the peer's BYE, or of ours."""

    cause: Cause
    why: str = ""
    message: Message | None = None


LegEvent: TypeAlias = (
    Ringing | Answered | Confirmed | Offered | OfferDropped | OfferRefused | Requested | Replied | Rejected | Ended
)
Effect: TypeAlias = Command | LegEvent
