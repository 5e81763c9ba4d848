"""Subscribing to participant information (7.2.2.10): who may, and to what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from kemi.messages import SipRequest, TransactionId
from msrp_worker import notify_dialog
from msrp_worker.config import Config
from msrp_worker.controlling.conference_notifier import ConferenceNotifier
from msrp_worker.controlling.conference_state import ConferenceUser
from msrp_worker.controlling.conference_subscription import PACKAGE, may_subscribe
from msrp_worker.controlling.identity import session_user
from msrp_worker.controlling.refusal import Refused
from msrp_worker.functions import Functions
from msrp_worker.group import Group
from msrp_worker.group_rules import rights
from msrp_worker.group_watch import GroupWatch
from msrp_worker.sip.message import Message
from msrp_worker.store.errors import StoreError
from msrp_worker.store.groups import Groups

if TYPE_CHECKING:
    from msrp_worker.controlling.session import FocusSession

log = logging.getLogger("im.conference")

GROUP_USER = "im-leg-conference"
"""User part of our Contact where a group has no session: `im.cfg` knows requests inside the dialog by its beginning."""
NO_SUCH_CONFERENCE = Refused(404, "Not Found", "CES-01", "Conference URI does not exist")  # CES-01


class Focus(Protocol):
    """What is needed of `function.ControllingFunction`."""

    def find(self, address: str) -> FocusSession | None: ...

    def refuse(self, transaction: TransactionId, request: Message, refused: Refused) -> None: ...


class IdleGroup(Struct, frozen=True):
    """A group without a session: nobody is there, and it is not active (RFC 4575 section 5.5.2). A `StateSource`."""

    entity: str
    contact: str
    subject: str = ""
    maximum_users: int = 0

    @property
    def asserted(self) -> str:
        """The group (HDR-05)."""
        return self.entity

    def users(self) -> Sequence[ConferenceUser]:
        """Nobody."""
        return ()


class ParticipantInformation:
    """Takes the initial SUBSCRIBEs of the focus (`ControllingFunction.methods`)."""

    def __init__(
        self,
        focus: Focus,
        functions: Functions,
        notifier: ConferenceNotifier,
        groups: Groups,
        watch: GroupWatch,
        config: Config,
        start: Callable[..., object],
    ) -> None:
        """`start` runs a coroutine in the background."""
        self._focus = focus
        self._functions = functions
        self._notifier = notifier
        self._groups = groups
        self._watch = watch
        self._start = start
        host = f"[{config.listen}]" if ":" in config.listen else config.listen
        self._contact = f"<sip:{GROUP_USER}@{host}:{config.sip_port}>;+g.oma.sip-im"
        self._unwatch: dict[str, Callable[[], None]] = {}
        notifier.on_forgotten = self._forgotten

    def take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """A SUBSCRIBE outside any dialog."""
        if notify_dialog.granted(self._functions, transaction, request, PACKAGE) is not None:  # CES-08: 489 comes first
            self._start(self._subscribe(transaction, request, asked))

    async def _subscribe(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """The checks in the order of 7.2.2.10; those that need no session were made before (CES-02)."""
        try:
            group = None if session_user(asked.recipient) else await self._groups.get(asked.recipient)
        except StoreError as error:
            log.error("Call-ID %s: store: %s", request.call_id, error)
            self._focus.refuse(transaction, request, Refused(503, "Service Unavailable", "SEC-02", "Try again later"))
            return
        session = self._focus.find(asked.recipient)
        if session is None and group is None:
            self._focus.refuse(transaction, request, NO_SUCH_CONFERENCE)
            return
        if session is not None and session.group is not None:
            group = session.group
        taking_part = frozenset[str]() if session is None else session.state.everybody | session.state.admitted
        allowed = None if group is None else rights(group, asked.originator).conference_state
        refused = may_subscribe(asked.originator, taking_part, allowed)
        if refused is not None:
            self._focus.refuse(transaction, request, refused)
            return
        if session is not None:
            self._notifier.subscribe(transaction, request, asked, session)
        elif group is not None:
            self._notifier.subscribe(transaction, request, asked, self._idle(group.uri))
        if group is not None and group.uri not in self._unwatch and self._notifier.has(group.uri):
            self._unwatch[group.uri] = self._watch.watch(group, self._regrouped)

    def _idle(self, uri: str) -> IdleGroup:
        return IdleGroup(uri, self._contact)

    def _regrouped(self, uri: str, old: Group | None, new: Group | None) -> None:
        """The document of a group has changed, or is gone: who may not see it any more is told no more (CES-02)."""
        if new is None:
            self._notifier.ended(self._focus.find(uri) or self._idle(uri))
        else:
            self._notifier.revoke(uri, lambda user: rights(new, user).conference_state)

    def _forgotten(self, entity: str) -> None:
        unwatch = self._unwatch.pop(entity, None)
        if unwatch is not None:
            unwatch()
