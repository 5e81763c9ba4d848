"""One IM session: its legs, its switch and its participants around the machine of `im_session`."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from msrp_worker.controlling import im_session
from msrp_worker.controlling import session_events as events
from msrp_worker.controlling.conference_state import ConferenceUser
from msrp_worker.controlling.identity import ALLOW_EVENTS, SessionAddress, anonymous_uri
from msrp_worker.controlling.im_session import ImSession
from msrp_worker.controlling.invitation import OUTGOING, Inviter, asks_for_privacy, invitation, plain_name
from msrp_worker.controlling.large_media import LargeMedia
from msrp_worker.controlling.media import Room, SeatMedia
from msrp_worker.controlling.place import Place, Progress
from msrp_worker.controlling.refusal import Refused, too_many
from msrp_worker.controlling.release_policy import SessionKind, Why
from msrp_worker.controlling.roster import roster
from msrp_worker.controlling.seat import Stage
from msrp_worker.controlling.session_policy import SessionPolicy
from msrp_worker.controlling.watcher import Watcher
from msrp_worker.cpim import Address
from msrp_worker.group import Group
from msrp_worker.group_rules import rights
from msrp_worker.multipart import Part
from msrp_worker.sdp import Line
from msrp_worker.sip.leg_types import (
    Accept,
    AcceptOffer,
    Answered,
    Ended,
    LegEvent,
    LegId,
    Offer,
    Offered,
    OfferRefused,
    Refuse,
    RefuseOffer,
    Rejected,
    Release,
    Replied,
    Requested,
    Ring,
    Ringing,
)
from msrp_worker.sip.message import Message, name_of
from msrp_worker.sip.port import Headers
from msrp_worker.sip.reason import with_text
from msrp_worker.sip.shell import LegManager, TooManyLegs
from msrp_worker.uri_list import Recipient

log = logging.getLogger("im.controlling")

RINGING = 180
"""The one provisional response that tells more than progress: somebody is alerted."""
NOTHING_TO_REPLACE = (420, 481)
"""Who answers an INVITE with Replaces so has no such dialog, or does not know the header: it is called without (CNF-11)."""
_SEATS = itertools.count(1)
"""Numbers of seats, each used once by this worker: their o= lines differ too."""


class FocusSession:
    """Owner of all legs of one session (`sip.outbox.LegOwner`) and what the conference package shows (`StateSource`)."""

    kind = "controlling"

    def __init__(
        self,
        address: SessionAddress,
        state: ImSession,
        legs: LegManager,
        room: Room,
        host: str,
        watcher: Watcher,
        policy: SessionPolicy,
        *,
        group: Group | None = None,
        subject: str = "",
    ) -> None:
        """`host`: our MSRP address for those invited."""
        self.address = address
        self.identity = address.user
        self.state = state
        self.room = room
        self.group = group
        self.subject = subject
        self.policy = policy
        self._legs = legs
        self._host = host
        self._watcher = watcher
        self._history: Part | None = None
        self._replaces = self._replaced = ""
        self._anonymous: dict[str, str] = {}
        """The URI that stands for a user in this session, with however many clients and as often as he comes (IDN-08)."""
        self._places: dict[int, Place] = {}
        self._by_leg: dict[LegId, Place] = {}
        self._narrowed: tuple[str, ...] = ()
        """Content types of who answered first (CNF-07)."""
        self._carried: tuple[Line, ...] = ()
        self._text = ""
        """What the operator says about the end."""
        self._told: deque[events.Event] = deque()
        self._telling = False

    @property
    def is_large(self) -> bool:
        """There for one large message, not for conversation (9.3.1.1): nobody joins, is added, or is told of it."""
        return self.room.terms.large

    # --- what the conference package shows (StateSource)

    @property
    def entity(self) -> str:
        """The conference: the group of a predefined session, else the IM Session Identity."""
        return self.address.uri if self.group is None else self.group.uri

    @property
    def contact(self) -> str:
        """Whole Contact value (HDR-03)."""
        return self.address.contact

    @property
    def asserted(self) -> str:
        """P-Asserted-Identity of our responses (HDR-05)."""
        return self.policy.asserted

    @property
    def maximum_users(self) -> int:
        """Most participants."""
        return self.state.limit

    def users(self) -> Sequence[ConferenceUser]:
        """Everybody who takes part, waits or is invited; one entry for each user."""
        return roster(self._places, self.state, self.room.switch)

    def places(self) -> tuple[Place, ...]:
        """All seats with what is kept beside them."""
        return tuple(self._places.values())

    # --- who comes in

    def new_place(self, key: str, uri: str, name: str, *, host: str = "", anonymous: bool = False) -> Place:
        """A seat that nobody has yet; `host`: our MSRP address towards this user."""
        number = next(_SEATS)
        shown = self._stand_in(key) if anonymous else ""
        media = (LargeMedia if self.is_large else SeatMedia)(
            self.room,
            host or self._host,
            number,
            Address(uri, name),
            shown or None,
            lambda reason: self._media_lost(number, reason),
        )
        return Place(number, key, uri, name, media, shown)

    def became(self, kind: SessionKind, history: Part | None) -> None:
        """Before anybody comes: what the list makes of the session. `history`: who else is invited, as all may know it
        (RFC 5366 section 5)."""
        self.state = replace(self.state, kind=kind)
        self._history = history

    def hides(self, key: str) -> bool:
        """Whether a user is known to the others under no name (IDN-08)."""
        return any(place.anonymous for place in self._places.values() if place.key == key)

    def full(self, key: str) -> Refused | None:
        """Whether there is no room for a user (CNF-16)."""
        return None if self.state.has_room(key) else too_many("CNF-16")

    def stand_in_of(self, key: str) -> str:
        """The URI that stands for a user who asked for privacy in this session, empty for others (IDN-08)."""
        return self._anonymous.get(key, "")

    def _stand_in(self, key: str) -> str:
        return self._anonymous.setdefault(key, anonymous_uri())

    def come(self, place: Place, leg_id: LegId, invites: Sequence[Recipient] = (), by: Inviter | None = None) -> None:
        """The INVITE of a user, judged and taken as a leg; `invites` are those whom the beginning session invites."""
        place.leg = leg_id
        self._places[place.number] = place
        self._by_leg[leg_id] = place
        self._carried = self._carried or place.media.carried
        self.tell(events.Asked(place.number, place.key, self._invited(invites, by)))

    def replace(self, header: str, key: str = "") -> None:
        """Before those listed are called: the dialog of the initiator with one of them that the session takes the place of
        (7.1.1.6), as that one knows it. An empty `key`: we cannot know with whom, only that one has it."""  # CNF-11
        self._replaces, self._replaced = header, key

    def invite(self, recipients: Sequence[Recipient], by: Inviter, on_progress: Progress | None = None) -> None:
        """Invite users; who has a seat already is not called again (CNF-22). See `can_add` for the limit."""
        self.tell(events.Invited(self._invited(recipients, by, on_progress)))

    def can_add(self, keys: Sequence[str]) -> bool:
        """Whether these users fit beside those who are here or invited."""
        return len(self.state.everybody | set(keys)) <= self.state.limit

    def remove(self, key: str, why: Why = Why.REMOVED) -> bool:
        """Remove a user (CNF-26); False when there is none."""
        if not self.state.has(key):
            return False
        self.tell(events.Expel(key, why))
        return True

    def release(self, why: Why, text: str = "") -> None:
        """End the session (7.2.2.5); a `text` for its participants takes the place of the one that `why` has."""
        self._text = text
        self.tell(events.Close(why))

    def regroup(self, group: Group | None, limit: int | None = None) -> None:  # CNF-29
        """The document of the group is another one, or is gone: release, or remove who may not be here any more.

        `limit`: most participants from now on; nobody is removed for it.
        """
        if group is None:
            self.tell(events.Close(Why.GROUP_DELETED))
            return
        self.group = group
        self.state = replace(self.state, limit=self.state.limit if limit is None else limit)
        for key in sorted(self.state.everybody):
            if not rights(group, key).join:
                self.tell(events.Expel(key, Why.NOT_ALLOWED))

    def beat(self, now: float) -> None:
        """Let time pass; about once a second."""
        self.room.switch.tick(now)
        deadline = self.state.next_deadline()
        if deadline is not None and now >= deadline:
            self.tell(events.Tick())

    def media_connected(self, media: SeatMedia) -> None:
        """The MSRP connection of a participant stands."""
        place = self._places.get(media.number)
        if place is not None and media.connected:
            self.tell(events.Connected(place.number))

    def cut(self, media: SeatMedia) -> None:
        """A participant that does not read was cut (MED-08): it is removed, another connection would come to the same."""
        place = self._places.get(media.number)
        if place is not None:
            self.tell(events.Remove(place.number, Why.NO_MEDIA))

    def renamed(self, media: SeatMedia) -> None:
        """A participant has another nickname (MED-07)."""
        place = self._places.get(media.number)
        if place is not None:
            self._watcher.changed(self, place.key)

    # --- the machine

    def tell(self, event: events.Event) -> None:
        """Something happened. What an effect brings about is taken after it, in order."""
        self._told.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._told:
                self.state, effects = im_session.step(self.state, self._told.popleft(), self._legs.clock())
                for effect in effects:
                    self._do(effect)
        finally:
            self._telling = False

    def _do(self, effect: events.Effect) -> None:
        match effect:
            case events.Changed(key):
                here = self.state.has(key)
                (self._watcher.changed if here else self._watcher.left)(self, key)
                return
            case events.Over(why):
                self._over(why)
                return
        place = self._places.get(effect.seat)
        if place is None:
            return
        match effect:
            case events.Ring():
                self._order(place, Ring(headers=self._own_headers()))
            case events.Accept():
                answer = place.media.accept(self._narrowed)
                self._order(place, Accept(sdp=answer, headers=self._own_headers()))
            case events.Refuse():
                self._refuse(place, effect)
            case events.Dial():
                self._dial(place)
            case events.Admit():
                place.media.admit()
            case events.Offer():
                self._offer(place)
            case events.Release(why=why):
                if why in (Why.ELSEWHERE, Why.TOO_MANY):
                    place.tell(*((200, "OK") if why is Why.ELSEWHERE else (486, "Busy Here")))
                self._drop(place, why.name.lower())
                self._order(place, Release(why=with_text(why.value, self._text)))
            case events.Unseat():
                self._drop(place, "left")

    def _over(self, why: Why) -> None:
        for place in list(self._places.values()):
            self._drop(place, "session over")
        self.room.switch.close()
        log.info("session %s is over: %s", self.identity, why.name.lower())
        self._watcher.over(self)

    def _refuse(self, place: Place, effect: events.Refuse) -> None:
        warning = Refused(effect.status, effect.reason, effect.requirement, effect.warning).headers(self.address.domain)
        self._drop(place, "refused")
        headers = (*self._own_headers(), *warning)
        self._order(place, Refuse(status=effect.status, reason=effect.reason or "Refused", headers=headers))

    def _drop(self, place: Place, reason: str) -> None:
        """The seat is gone: its media ends; its leg ends by itself, and what it still says is not heard."""
        self._places.pop(place.number, None)
        if place.leg is not None:
            self._by_leg.pop(place.leg, None)
        place.media.close(reason)
        place.tell(487, "Request Terminated")  # unless it has its final response

    def _order(self, place: Place, order: Ring | Accept | Refuse | Release | Offer | AcceptOffer | RefuseOffer) -> None:
        if place.leg is not None:
            self._legs.order(place.leg, order)

    def _own_headers(self) -> Headers:
        return ("P-Asserted-Identity", f"<{self.policy.asserted}>"), ALLOW_EVENTS  # HDR-05

    # --- inviting

    def _invited(
        self, recipients: Sequence[Recipient], by: Inviter | None, on_progress: Progress | None = None
    ) -> tuple[tuple[int, str], ...]:
        """Seats for those to be invited."""
        seats = []
        for recipient in recipients:
            if self.state.has(recipient.uri):
                continue
            place = self.new_place(recipient.uri, recipient.uri, recipient.display_name or self._member_name(recipient.uri))
            place.dialed_in, place.target, place.by = False, recipient.target, by
            place.followers += [] if on_progress is None else [on_progress]
            if self._replaces and self._replaced in ("", place.key) and not self.state.seats:
                place.replaces = self._replaces
            self._places[place.number] = place
            seats.append((place.number, place.key))
        return tuple(seats)

    def _dial(self, place: Place) -> None:  # CNF-06
        assert place.by is not None
        group = self.group
        made = invitation(
            place.by,
            place.target,
            self.address.contact,
            place.media.offer(self._carried),
            group="" if group is None else group.uri,
            group_name="" if group is None else group.display_name,
            nickname=self._member_name(place.by.uri),
            to_name=place.name,
            subject=self.subject,
            replaces=place.replaces,
            history=self._history,
            boundary=self.identity,
        )
        try:
            place.leg = self._legs.call(made, self, OUTGOING)
        except TooManyLegs:
            place.tell(503, "Service Unavailable")
            self.tell(events.Failed(place.number, 503, "Service Unavailable"))
            return
        self._by_leg[place.leg] = place

    def _member_name(self, uri: str) -> str:
        member = None if self.group is None else self.group.member(uri)
        return "" if member is None else member.display_name  # CNF-32

    # --- what the legs tell

    def on_leg_event(self, leg_id: LegId, event: LegEvent) -> None:
        """See `sip.outbox.LegOwner`."""
        place = self._by_leg.get(leg_id)
        if place is None:
            return
        match event:
            case Ringing(status=status, reason=reason):
                place.tell(status, reason)
                if status == RINGING:
                    self.tell(events.Rang(place.number))  # CNF-33
            case Answered():
                self._answered(place, event)
            case Rejected(status=status) if place.replaces and status in NOTHING_TO_REPLACE:
                self._by_leg.pop(leg_id, None)
                place.replaces = ""
                self._dial(place)
            case Rejected():
                place.tell(event.status, event.reason, "" if event.response is None else event.response.first("warning"))
                self.tell(events.Failed(place.number, event.status, event.reason))
            case Ended():
                self.tell(events.Left(place.number))
            case Offered():
                self._offered(place, event)
            case OfferRefused():
                place.media.withdraw()
                if not place.media.connected:
                    self.tell(events.Remove(place.number, Why.NO_MEDIA))
            case Requested():
                self._watcher.requested(self, leg_id, place.key, event)
            case Replied():
                self._watcher.replied(leg_id, event)
            case _:
                pass

    def _answered(self, place: Place, event: Answered) -> None:
        seat = self.state.seats.get(place.number)
        refused = place.media.heard_answer(event.sdp)
        if seat is None or seat.stage is Stage.CONNECTED:
            if refused is not None:
                self.tell(events.Remove(place.number, Why.NO_MEDIA))
            elif place.media.participant is None:
                place.media.admit()  # its INVITE had no offer, its ACK has brought the answer
            return
        place.reached_at(event.message.contact)
        if refused is None:
            refused = self._private(place, event.message)
        if refused is not None:  # CNF-08: a 200 that cannot be used is a failure
            log.info("session %s: the answer of %s cannot be used: %s", self.identity, place.key, refused.warning)
            self._order(place, Release(why=f'SIP;cause={refused.status};text="{refused.reason}"'))
            place.tell(refused.status, refused.reason)
            self.tell(events.Failed(place.number, refused.status, refused.reason))
            return
        if not self._narrowed and not self.state.connected:
            self._narrowed = place.media.wrapped
        place.name = place.name or _asserted_name(event.message)
        self.tell(events.Answered(place.number))
        place.tell(200, "OK")

    def _private(self, place: Place, response: Message) -> Refused | None:
        """Who is invited asks for privacy (7.2.2.2)."""
        if not asks_for_privacy(response):
            return None
        allowed = self.policy.anonymity if self.group is None else rights(self.group, place.key).anonymity
        if allowed:
            place.anonymous = self._stand_in(place.key)  # IDN-04
            place.media.anonymous = place.anonymous
        elif self.policy.releases_anonymous:
            return Refused(403, "Forbidden", "IDN-07", "Anonymity is not allowed")  # IDN-07
        return None

    # --- new terms

    def _offered(self, place: Place, event: Offered) -> None:  # CNF-21
        if not place.media.is_agreed:  # early, by UPDATE: nothing was agreed that could be changed (RFC 3311 section 5.2)
            self._order(place, RefuseOffer(status=491, reason="Request Pending"))
            return
        answer = place.media.renew(event.sdp)
        if isinstance(answer, Refused):
            headers = answer.headers(self.address.domain)
            self._order(place, RefuseOffer(status=488, reason="Not Acceptable Here", headers=headers))
            return
        self._order(place, AcceptOffer(sdp=answer))

    def _offer(self, place: Place) -> None:
        """Offer a new MSRP session in place of the one that broke (7.2.2.6)."""
        self._order(place, Offer(sdp=place.media.offer(), method="UPDATE"))

    def _media_lost(self, number: int, reason: str) -> None:
        log.info("session %s: media of a participant lost: %s", self.identity, reason)
        self.tell(events.Remove(number, Why.NO_MEDIA) if self.is_large else events.Lost(number))


def _asserted_name(message: Message) -> str:
    """The display name that a client's home network vouches for."""
    return plain_name(name_of(message.first("p-asserted-identity")))
