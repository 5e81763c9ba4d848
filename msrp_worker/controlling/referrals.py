"""REFERs to the focus: add participants, remove them, and tell who asked how it goes (7.2.1.7, 7.2.1.8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from kemi.messages import SipRequest, TransactionId
from msrp_worker import notify_dialog
from msrp_worker.config import Config
from msrp_worker.controlling import refer, refer_progress
from msrp_worker.controlling import session_events as events
from msrp_worker.controlling.expansion import FindGroup, expanded
from msrp_worker.controlling.function import ControllingFunction
from msrp_worker.controlling.identity import anonymous_uri, session_user
from msrp_worker.controlling.invitation import Inviter, asks_for_privacy, inviter_of
from msrp_worker.controlling.refer import Referral, Standing
from msrp_worker.controlling.refer_progress import PACKAGE, News
from msrp_worker.controlling.refer_subscription import Channel, NoDialog, OwnDialog, ReferSubscription, SessionDialog
from msrp_worker.controlling.refusal import Refused, forbidden, too_many
from msrp_worker.controlling.release_policy import Why
from msrp_worker.controlling.session import FocusSession
from msrp_worker.event_package import Refused as Unfit
from msrp_worker.functions import Functions
from msrp_worker.sip.leg_types import LegId, Replied, Requested, Respond
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import Headers
from msrp_worker.store.errors import StoreError
from msrp_worker.uri_list import UriList

log = logging.getLogger("im.controlling")

MOST = 10_000
"""Implicit subscriptions of one worker; beyond them REFERs get 503."""
MOST_OF_LEG = 8
"""Those of one session dialog: a person adds users one after the other."""
LAST_NOTIFY_S = 2.0
"""How long a BYE waits for the answer to the last NOTIFY of its dialog."""
BUSY = Refused(503, "Service Unavailable", "SEC-02", "Try again later", (("Retry-After", "5"),))
NO_SESSION = forbidden("CNF-25", "No such session")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a REFER, and how it is answered. `leg_id`: that of the session dialog it came in, else None."""

    transaction: TransactionId
    request: Message
    user: str
    anonymous: bool
    leg_id: LegId | None = None


class _Leaving(NamedTuple):
    """Somebody who removes himself from a session, once the last NOTIFY in his dialog is answered."""

    subscription: ReferSubscription
    session: FocusSession
    user: str
    timer: asyncio.TimerHandle


def _let_go(session: FocusSession, user: str) -> None:
    """He may come back, unlike who is expelled."""
    for number, seat in list(session.state.seats.items()):
        if seat.key == user:
            session.tell(events.Remove(number, Why.REMOVED))


class Referrals:
    """Takes REFERs for a `ControllingFunction`, and keeps their implicit subscriptions."""

    def __init__(self, focus: ControllingFunction, functions: Functions, find_group: FindGroup, config: Config) -> None:
        self._focus = focus
        self._functions = functions
        self._legs = functions.legs
        self._find_group = find_group
        self._config = config
        self._subscriptions: set[ReferSubscription] = set()
        self._of_leg: dict[LegId, list[ReferSubscription]] = {}
        self._leaving: dict[LegId, _Leaving] = {}
        focus.methods["REFER"] = self.take
        focus.inside["REFER"] = self.take_inside
        focus.inside["SUBSCRIBE"] = self.subscribe_inside
        focus.on_replied = self.replied

    def __len__(self) -> int:
        return len(self._subscriptions)

    def take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """A REFER outside any dialog, to a session identity or a group."""
        sender = Sender(transaction, request, asked.originator, asked.anonymous)
        self._focus.start(self._serve(sender, lambda: self._focus.find(asked.recipient)))

    def take_inside(self, session: FocusSession, leg_id: LegId, key: str, event: Requested) -> None:
        """A REFER in the dialog of a participant."""
        sender = Sender(event.transaction, event.message, key, asks_for_privacy(event.message), leg_id)
        self._focus.start(self._serve(sender, lambda: session))

    def subscribe_inside(self, session: FocusSession, leg_id: LegId, key: str, event: Requested) -> None:
        """A SUBSCRIBE that refreshes or ends an implicit subscription (RFC 3515 section 2.4.4)."""
        request = event.message
        seconds = PACKAGE.screen(request.first("event"), request.values("accept"), request.number("expires"))
        if isinstance(seconds, Unfit):
            self._respond(leg_id, event.transaction, seconds.status, seconds.reason, seconds.headers)
            return
        asked = request.first("event").replace(" ", "").lower().partition(";id=")[2].partition(";")[0]
        found = [one for one in self._of_leg.get(leg_id, ()) if asked in ("", one.channel.name)]
        if not found:
            self._respond(leg_id, event.transaction, 403, "Forbidden")
            return
        headers = (("Expires", str(seconds)), ("Contact", session.contact))
        self._respond(leg_id, event.transaction, 200, "OK", headers)
        found[0].tell(refer_progress.Refreshed(seconds))

    def replied(self, leg_id: LegId, event: Replied) -> None:
        """The response to a NOTIFY of ours in the dialog of a participant."""
        if event.method != "NOTIFY":
            return
        for subscription in list(self._of_leg.get(leg_id, ())):
            if event.cseq in (0, subscription.channel.sent):
                subscription.tell(refer_progress.Notified(event.status))
        leaving = self._leaving.get(leg_id)
        if leaving is not None and leaving.subscription.over and event.cseq in (0, leaving.subscription.channel.sent):
            self._leave(leg_id)

    def close(self) -> None:
        """Stop all timers."""
        for subscription in self._subscriptions:
            subscription.stop()
        for leaving in self._leaving.values():
            leaving.timer.cancel()

    # --- the procedures

    async def _serve(self, sender: Sender, find: Callable[[], FocusSession | None]) -> None:
        """One REFER, answered in any case."""
        try:
            refused = await self._judge_and_do(sender, find)
        except StoreError as error:
            log.error("Call-ID %s: store: %s", sender.request.call_id, error)
            refused = BUSY
        if refused is not None:
            self._refuse(sender, refused)

    async def _judge_and_do(self, sender: Sender, find: Callable[[], FocusSession | None]) -> Refused | None:
        referral = refer.read_referral(sender.request)
        if isinstance(referral, Refused):
            return referral
        session = find()
        if session is None or session.is_large or session.state.over is not None:
            return NO_SESSION
        if not referral.silent and self._is_full(sender.leg_id):
            return BUSY
        if referral.asked is refer.Asked.BYE:
            return self._remove(sender, referral, session)
        refused = self._judge_adding(sender, session)
        if refused is not None:
            return refused
        users = await expanded(referral.users, sender.user, session.state.limit, self._find_group)
        # From here on nothing waits: what is decided holds. What was true before may not be so any more: a session that is
        # over has no participants.
        refused = self._judge_adding(sender, session)
        if refused is not None:
            return refused
        return users if isinstance(users, Refused) else self._add(sender, referral, session, users)

    def _standing(self, sender: Sender, session: FocusSession) -> Standing:
        return Standing(
            sender.user,
            session.state.participants,
            session.state.initiator,
            session.group,
            self._config.adhoc_adding == "any",
        )

    def _judge_adding(self, sender: Sender, session: FocusSession) -> Refused | None:
        refused = refer.judge_adding(self._standing(sender, session), anonymous=sender.anonymous)
        if refused is None and sender.anonymous and session.group is None and not session.policy.anonymity:
            return forbidden("IDN-05", "Anonymity is not allowed")  # IDN-05
        return refused

    def _add(self, sender: Sender, referral: Referral, session: FocusSession, users: UriList) -> Refused | None:
        """7.2.1.7-3 to -11."""
        found = refer.sort_out(users, session.state.everybody, session.group)
        if isinstance(found, Refused):
            return found
        if not session.can_add([one.uri for one in found.fresh]):
            return too_many("CNF-22")  # CNF-22
        calling = frozenset(key for key in found.present if key not in session.state.inside)
        # Who takes part under no name is not given away: it looks as if he were called (IDN-08).
        hidden = [key for key in found.present if key not in calling and key != sender.user and session.hides(key)]
        known = [
            *(News(key, 200, "OK") for key in found.present if key not in calling and key not in hidden),
            *(News(key, 403, "Forbidden") for key in found.barred),
        ]
        pending = calling | {one.uri for one in found.fresh} | set(hidden)
        if not pending and not known:
            known = [News(sender.user, 200, "OK")]  # only itself was named, and is here
        subscription = self._accepted(sender, referral, session)
        if subscription is None:
            return None
        subscription.tell(refer_progress.Began(pending, tuple(subscription.named(one) for one in known)))
        for place in session.places():
            if place.key in calling and not referral.silent:
                place.followers.append(subscription.heard)
        for key in hidden:
            subscription.tell(refer_progress.Told(subscription.named(self._unreachable(key))))
        by = self._inviter(sender, session)
        session.invite(found.fresh, by, None if referral.silent else subscription.heard)
        return None

    def _unreachable(self, key: str) -> News:
        """What is told of who is not registered, as the terminating participating function says it (PFS-16)."""
        warning = f'399 {self._config.domain} "Recipient is not registered for IM"'
        return News(key, 480, "Temporarily Unavailable", warning=warning)

    def _inviter(self, sender: Sender, session: FocusSession) -> Inviter:
        """Who invites, as those invited are told: who is anonymous in the session is so here too (IDN-08)."""
        own = [one for one in session.places() if one.key == sender.user]
        hidden = next((one.anonymous for one in own if one.anonymous), "") or (anonymous_uri() if sender.anonymous else "")
        by = inviter_of(sender.request, sender.user, hidden)
        if hidden and not asks_for_privacy(sender.request):
            by = replace(by, privacy=("id",))
        return by

    def _remove(self, sender: Sender, referral: Referral, session: FocusSession) -> Refused | None:
        """7.2.1.8: the sender itself by the identity of the session, others by their address as RFC 4579 has it."""
        meant = {one.uri: self._meant(one.uri, sender, session) for one in referral.users.recipients}
        keys = list(dict.fromkeys(filter(None, meant.values())))
        here = session.state.everybody
        refused = refer.judge_removing(self._standing(sender, session), keys, here)
        if refused is not None:
            return refused
        subscription = self._accepted(sender, referral, session)
        if subscription is None:
            return None
        # Told before it is done: the dialog of the sender may end with it. Nothing comes between.
        # Each by the URI that the sender has written: his own address is not told of who has no name here (IDN-08).
        known = [News(uri, 200, "OK") if key in here else News(uri, 403, "Forbidden") for uri, key in meant.items()]
        subscription.tell(refer_progress.Began(frozenset(), tuple(subscription.named(one) for one in known)))
        for key in keys:
            if key != sender.user:
                session.remove(key)  # CNF-25, CNF-26
        if sender.user in keys:  # last: the session may end with it
            if sender.leg_id is None or not subscription.channel.sent:
                _let_go(session, sender.user)
            else:
                self._leave(sender.leg_id)  # who asks twice does not wait for both
                timer = asyncio.get_running_loop().call_later(LAST_NOTIFY_S, self._leave, sender.leg_id)
                self._leaving[sender.leg_id] = _Leaving(subscription, session, sender.user, timer)
        return None

    def _leave(self, leg_id: LegId) -> None:
        """What the dialog had to tell has been told: it ends now. Sent together, the BYE may overtake the NOTIFY."""
        leaving = self._leaving.pop(leg_id, None)
        if leaving is not None:
            leaving.timer.cancel()
            _let_go(leaving.session, leaving.user)

    @staticmethod
    def _meant(uri: str, sender: Sender, session: FocusSession) -> str:
        """The user whom an address in Refer-To means: by session identity, group or the URI that others see. Nobody where
        it is that of a user whom others see under no name: who asks is not to find out that he is here (IDN-08)."""
        if session_user(uri) == session.identity or (session.group is not None and uri == session.group.uri):
            return sender.user
        seats = [one for one in session.places() if uri in (one.key, one.anonymous)]
        if uri != sender.user and seats and all(one.key == uri and one.anonymous for one in seats):
            return ""
        return seats[0].key if seats else uri

    # --- answers

    def _accepted(self, sender: Sender, referral: Referral, session: FocusSession) -> ReferSubscription | None:
        """Answer 202 and make the implicit subscription; None when that could not be done, which is answered."""
        headers = refer.answer_headers(referral, session.contact, outside=sender.leg_id is None)
        if sender.leg_id is None:
            headers = (*headers, ("P-Asserted-Identity", f"<{session.asserted}>"))  # HDR-05
        channel = self._channel(sender, referral, session)
        if channel is None:
            return None
        subscription = ReferSubscription(channel, self._over, several=referral.several, silent=referral.silent)
        if not referral.silent:
            self._subscriptions.add(subscription)
            if isinstance(channel, OwnDialog):
                channel.dialog.own(subscription)
            elif sender.leg_id is not None:
                self._of_leg.setdefault(sender.leg_id, []).append(subscription)
        channel.accept(sender.transaction, headers)  # CNF-22
        return subscription

    def _channel(self, sender: Sender, referral: Referral, session: FocusSession) -> Channel | None:
        if sender.leg_id is not None:
            return SessionDialog(self._legs, sender.leg_id, sender.request.cseq)
        if referral.silent:
            return NoDialog(self._legs, sender.request)
        made = notify_dialog.begin(self._functions, sender.transaction, sender.request, session.contact, PACKAGE.event)
        return None if made is None else OwnDialog(made)

    def _over(self, subscription: ReferSubscription) -> None:
        self._subscriptions.discard(subscription)
        channel = subscription.channel
        if isinstance(channel, SessionDialog):
            left = [one for one in self._of_leg.pop(channel.leg_id, []) if one is not subscription]
            if left:
                self._of_leg[channel.leg_id] = left

    def _is_full(self, leg_id: LegId | None) -> bool:
        return len(self) >= MOST or (leg_id is not None and len(self._of_leg.get(leg_id, ())) >= MOST_OF_LEG)

    def _refuse(self, sender: Sender, refused: Refused) -> None:
        if sender.leg_id is None:
            self._focus.refuse(sender.transaction, sender.request, refused)
            return
        log.info("%s refused %d, Call-ID %s", refused.requirement, refused.status, sender.request.call_id)
        headers = refused.headers(self._config.domain)
        self._respond(sender.leg_id, sender.transaction, refused.status, refused.reason, headers)

    def _respond(self, leg_id: LegId, transaction: TransactionId, status: int, reason: str, headers: Headers = ()) -> None:
        self._legs.order(leg_id, Respond(transaction=transaction, status=status, reason=reason, headers=headers))
