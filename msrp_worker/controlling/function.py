"""The Controlling IM Function: which session a request is for, and the sessions there are (7.2.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from kemi.messages import SipRequest, TransactionId
from msrp_worker.config import Config
from msrp_worker.controlling import joining, set_up
from msrp_worker.controlling.capabilities import allow_but, capabilities
from msrp_worker.controlling.conference_state import StateSource
from msrp_worker.controlling.expansion import expanded
from msrp_worker.controlling.identity import SessionAddress, factory_uri, new_session_user, session_user
from msrp_worker.controlling.im_session import ImSession
from msrp_worker.controlling.invitation import ALLOW, INCOMING, inviter_of, plain_name
from msrp_worker.controlling.large_fanout import LargeSwitch
from msrp_worker.controlling.media import Room
from msrp_worker.controlling.place import Place
from msrp_worker.controlling.refusal import Refused
from msrp_worker.controlling.release_policy import ReleasePolicy, SessionKind, Why
from msrp_worker.controlling.replacing import replacement
from msrp_worker.controlling.room import Observer
from msrp_worker.controlling.session import FocusSession
from msrp_worker.controlling.session_policy import SessionPolicy
from msrp_worker.controlling.terms import RoomTerms, is_large
from msrp_worker.functions import Functions
from msrp_worker.group import Group
from msrp_worker.group_rules import GroupRights, rights
from msrp_worker.group_watch import GroupWatch
from msrp_worker.media_session import source_host
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.msrp.switch import Switch
from msrp_worker.sip.leg_types import LegId, Replied, Requested, Respond
from msrp_worker.sip.message import Message
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store
from msrp_worker.uri_list import Recipient, history_part
from msrp_worker.web import Reading

log = logging.getLogger("im.controlling")

BEAT_S = 1.0
"""Between two looks at the rules of sessions that depend on time; all of them are in seconds."""
MOST_SESSIONS = 20_000
"""Sessions of one worker; beyond them INVITEs that begin one get 503. Legs have a limit of their own."""
GROUP_CEILING = 100_000
"""Most participants of a group whose document names no number."""
LARGE_PATIENCE_S = 60.0
"""How long a large message waits, once somebody has accepted it, for the others called: time for a person to accept."""
ANY = ("0.0.0.0", "::")  # noqa: S104 - not bound, compared with
FAILED = Refused(500, "Server Internal Error", "SEC-06")
UNAVAILABLE = Refused(503, "Service Unavailable", "SEC-02", "Try again later")

Handler = Callable[[TransactionId, Message, SipRequest], None]
Inside = Callable[[FocusSession, LegId, str, Requested], None]
"""Takes a participant's other request inside its dialog: the session, the leg, the user's address, the request."""


class Notifier(Protocol):
    """What tells subscribers of a session: `conference_notifier.ConferenceNotifier`."""

    def changed(self, source: StateSource, key: str) -> None: ...

    def ended(self, source: StateSource) -> None: ...

    def dismiss(self, source: StateSource, key: str) -> None: ...


class Counters(Struct):
    """For `/metrics`."""

    begun: int = 0
    released: int = 0
    joined: int = 0
    """INVITEs of users that became a leg of a session."""
    refused: int = 0


class ControllingFunction:
    """All sessions of this worker. Register handlers of other methods in `methods` and `inside`."""

    def __init__(
        self,
        functions: Functions,
        endpoint: MsrpEndpoint,
        store: Store,
        config: Config,
        watch: GroupWatch | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.counters = Counters()
        self.methods: dict[str, Handler] = {}
        """Initial requests beside INVITE, by method: SUBSCRIBE, REFER, MESSAGE."""
        self.inside: dict[str, Inside] = {}
        """Requests of participants inside their dialogs, by method."""
        self.on_replied: Callable[[LegId, Replied], None] = lambda leg_id, event: None
        """Told the responses to requests of ours inside these dialogs."""
        self._functions = functions
        self._legs = functions.legs
        self._endpoint = endpoint
        self._store = store
        self._config = config
        self._watch = watch
        self._notifier = notifier
        self._sessions: dict[str, FocusSession] = {}
        self._by_group: dict[str, FocusSession] = {}
        self._unwatch: dict[str, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.TimerHandle | None = None
        functions.register("controlling", self._take)

    def __len__(self) -> int:
        return len(self._sessions)

    # --- for others

    def sessions(self) -> Collection[FocusSession]:
        """All sessions, in the order in which they began."""
        return self._sessions.values()

    def find(self, address: str) -> FocusSession | None:
        """The session of an IM Session Identity or IM Group Identity, canonical; None when there is none now."""
        found = self._sessions.get(session_user(address)) or self._by_group.get(address)
        return None if found is None or found.is_large else found

    def addresses_of(self, user: str) -> tuple[str, ...] | None:
        """The participants of the session whose identity has this user part; None when there is none (PAG-13)."""
        session = self._sessions.get(user)
        return None if session is None else tuple(session.state.participants)

    def readings(self) -> Iterable[Reading]:
        """What `/metrics` shows."""
        participants = sum(len(one.state.connected) for one in self._sessions.values())
        yield Reading("conference_sessions", "IM sessions at the focus", len(self._sessions))
        yield Reading("conference_participants", "Participants of these sessions", participants)
        yield Reading("conference_sessions_total", "IM sessions begun", self.counters.begun)
        yield Reading("conference_joins_total", "Users that came into sessions by their own INVITE", self.counters.joined)
        yield Reading("conference_refused_total", "INVITEs refused by the focus", self.counters.refused)

    async def close(self) -> None:
        """Release all sessions, as the worker stops: their participants may come back to the next one."""
        for session in list(self._sessions.values()):
            session.release(Why.STOPPING)
        if self._beat is not None:
            self._beat.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- requests

    def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        if request.method == "INVITE":
            self.start(self._invited(transaction, request, asked))
            return
        handler = self.methods.get(request.method)
        if handler is None:
            self._legs.reply(transaction, request, 405, "Method Not Allowed", allow_but(request.method))
            return
        handler(transaction, request, asked)

    async def _invited(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """An INVITE from outside any dialog, answered in any case."""
        try:
            refused = await self._begin_or_join(transaction, request, asked)
        except StoreError as error:
            log.error("Call-ID %s: store: %s", request.call_id, error)
            refused = UNAVAILABLE
        except Exception:  # a bug is no reason to let a client wait
            log.exception("Call-ID %s", request.call_id)
            refused = FAILED
        if refused is not None:
            self.refuse(transaction, request, refused)

    async def _begin_or_join(self, transaction: TransactionId, request: Message, asked: SipRequest) -> Refused | None:
        if not asked.originator:
            return set_up.judge_initiator("", known=False, allowed=False)  # IDN-01
        host = await self._endpoint.local_host(source_host(asked.source))
        others = await self._endpoint.local_host(None)
        come = Coming(transaction, request, asked, host, others, is_large(request.sdp))
        user = session_user(asked.recipient)
        if user:
            return set_up.judge_body(request) or await self._rejoin(come, user)
        group = await self._store.groups.get(asked.recipient)
        if group is not None:
            return set_up.judge_body(request) or self._join_group(come, group)
        return await self._ad_hoc(come)

    def refuse(self, transaction: TransactionId, request: Message, refused: Refused) -> None:
        """Answer a request with a refusal, and say so in the log."""
        self.counters.refused += 1
        log.info("%s refused %d, Call-ID %s: %s", refused.requirement, refused.status, request.call_id, refused.warning)
        headers = (("Allow", ", ".join(ALLOW)), *refused.headers(self._config.domain))
        self._legs.reply(transaction, request, refused.status, refused.reason, headers)

    # --- 7.2.1.2

    async def _ad_hoc(self, come: Coming) -> Refused | None:
        """Set up an ad-hoc or one-to-one session."""
        originator = come.asked.originator
        facts = await self._store.users.facts(originator)
        refused = set_up.judge_factory(come.asked.recipient, self._config.domain) or set_up.judge_initiator(
            originator, known=facts is not None, allowed=facts is not None and facts.im_allowed
        )
        if refused is not None:
            return refused
        listed = set_up.read_list(come.request, originator)
        invited = listed
        if not isinstance(listed, Refused):
            limit = self._config.adhoc_max_participants
            invited = await expanded(listed, originator, limit, self._store.groups.get)
        # From here on nothing waits: what is decided holds.
        session = self._new_session(SessionKind.AD_HOC, originator, self._config.adhoc_max_participants, come)
        place = self._place(session, come)
        refused = place.media.hear(come.request.sdp)  # CNF-04
        if refused is not None:
            return refused
        if isinstance(listed, Refused):
            return listed
        if isinstance(invited, Refused):
            return invited
        refused = set_up.judge_list(invited, self._config.adhoc_max_participants)  # CNF-05, CNF-06
        if refused is not None:
            return refused
        session.became(set_up.kind_of(len(invited)), history_part(listed))
        if (refused := replacement(session, come.request, self._legs)) is not None:
            return refused
        return self._come(session, place, come, invited.recipients)

    # --- 7.2.1.3, 7.2.1.4

    def _join_group(self, come: Coming, group: Group) -> Refused | None:
        """Come into the session of a group, or begin it. Nothing waits here: of two at once one begins (CNF-17)."""
        session = None if come.large else self._by_group.get(group.uri)
        originator = come.asked.originator
        may = self._rights(group, originator)
        starting = session is None and not come.large  # who may join may send (LRG-02, PAG-14)
        full = None if session is None else session.full(originator)
        refused = joining.judge_group(may, starting=starting, anonymous=come.asked.anonymous, full=full)
        if refused is not None:
            return refused
        if session is not None:
            return self._join(session, come)
        limit = joining.limit_of(group, GROUP_CEILING)
        members = joining.members_to_invite(group, originator, limit, self._rights, all_of_them=come.large)
        session = self._new_session(
            joining.kind_of(group), originator, limit, come, group, is_open=not members and not come.large
        )
        place = self._place(session, come)
        refused = place.media.hear(come.request.sdp)
        if refused is not None:
            return refused
        recipients = tuple(Recipient(one.uri, one.uri, display_name=one.display_name) for one in members)
        return self._come(session, place, come, recipients)

    # --- 7.2.1.5

    async def _rejoin(self, come: Coming, user: str) -> Refused | None:
        """Come (back) into a session by its identity."""
        session = self._sessions.get(user)
        if session is None or session.is_large:
            return Refused(404, "Not Found", "CNF-20", "No such session")  # CNF-20
        originator = come.asked.originator
        if session.group is None:
            refused = joining.judge_adhoc(originator, session.state.admitted)
        else:
            may = self._rights(session.group, originator)
            full = session.full(originator)
            refused = joining.judge_group(may, starting=False, anonymous=come.asked.anonymous, full=full)
        return refused or self._join(session, come)

    def _join(self, session: FocusSession, come: Coming) -> Refused | None:
        place = self._place(session, come)
        refused = session.full(place.key) or place.media.hear(come.request.sdp)  # CNF-16 before CNF-04
        return refused or self._come(session, place, come)

    # --- common steps

    def _come(
        self, session: FocusSession, place: Place, come: Coming, recipients: Sequence[Recipient] = ()
    ) -> Refused | None:
        """Make a leg of the INVITE and tell the session, which is one of ours from now on."""
        begins = session.identity not in self._sessions
        if begins and len(self._sessions) >= MOST_SESSIONS:
            return UNAVAILABLE
        leg_id = self._legs.take(come.transaction, session, session.contact, INCOMING)
        if leg_id is None:
            return None  # cancelled meanwhile, or refused by the rules of SIP
        self.counters.joined += 1
        if begins:
            self._add(session)
        by = inviter_of(come.request, come.asked.originator, place.anonymous)
        session.come(place, leg_id, recipients, by)
        return None

    def _add(self, session: FocusSession) -> None:
        self.counters.begun += 1
        self._sessions[session.identity] = session
        if session.group is not None and not session.is_large:
            self._by_group[session.group.uri] = session
            if self._watch is not None:
                self._unwatch[session.identity] = self._watch.watch(session.group, self._regrouped)
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(BEAT_S, self._tick)

    def _place(self, session: FocusSession, come: Coming) -> Place:
        originator = come.asked.originator
        name = "" if come.asked.anonymous else plain_name(inviter_of(come.request, originator, "").name)
        member = None if session.group is None else session.group.member(originator)
        if member is not None and member.display_name:
            name = member.display_name
        place = session.new_place(originator, originator, name, host=come.host, anonymous=come.asked.anonymous)
        place.reached_at(come.request.contact)
        return place

    def _new_session(
        self,
        kind: SessionKind,
        initiator: str,
        limit: int,
        come: Coming,
        group: Group | None = None,
        *,
        is_open: bool = False,
    ) -> FocusSession:
        """A session that is not one of ours before its first participant has come (CNF-03)."""
        config = self._config
        own = come.host_of_others if config.listen in ANY else config.listen
        own = f"[{own}]" if ":" in own else own
        address = SessionAddress(new_session_user(), f"{own}:{config.sip_port}", config.domain)
        uris = address.uris if group is None else (*address.uris, group.uri)
        observer = Observer()
        large = come.large
        switch = LargeSwitch(uris, observer) if large else Switch(uris, None, observer)
        room = Room(self._endpoint, switch, self._terms(large), self.start, observer.tally)
        policy = ReleasePolicy(auto_release=True)  # a large message is over with its sender (9.1.3)
        if not large:
            policy = ReleasePolicy(
                auto_release=config.auto_release,
                max_seconds=config.session_max_seconds,
                remaining=config.remaining_participants,
            )
        state = ImSession(
            kind=kind,
            initiator=initiator,
            policy=policy,
            limit=limit,
            began=self._legs.clock(),
            open=is_open,
            patience=LARGE_PATIENCE_S if large else 0.0,
            admitted=frozenset({initiator}),
        )
        told = SessionPolicy(
            asserted=factory_uri(config.domain) if group is None else group.uri,
            anonymity=config.anonymity == "allow",
            releases_anonymous=config.anonymous_answers == "release",
        )
        subject = come.request.first("subject")
        host = come.host_of_others
        session = FocusSession(address, state, self._legs, room, host, self, told, group=group, subject=subject)
        observer.session = session
        return session

    def _terms(self, large: bool) -> RoomTerms:
        config, fingerprint = self._config, self._endpoint.fingerprint
        return RoomTerms(
            fingerprints=(fingerprint,) if fingerprint is not None else (),
            tcp_port=self._endpoint.config.public_port or self._endpoint.port,
            tls_port=self._endpoint.config.public_tls_port or self._endpoint.tls_port,
            ws_port=config.http_port,
            wrapped_types=config.content_types,
            max_size=config.large_max_size,
            large=large,
        )

    @staticmethod
    def _rights(group: Group, user: str) -> GroupRights:
        return rights(group, user)

    # --- what sessions tell (`session.Watcher`)

    def changed(self, session: FocusSession, key: str) -> None:
        """See `session.Watcher`."""
        if self._notifier is not None and not session.is_large:
            self._notifier.changed(session, key)

    def requested(self, session: FocusSession, leg_id: LegId, key: str, event: Requested) -> None:
        """See `session.Watcher`."""
        handler = self.inside.get(event.message.method)
        if handler is not None:
            handler(session, leg_id, key, event)
            return
        status, reason, headers = 405, "Method Not Allowed", allow_but(event.message.method)
        if event.message.method == "OPTIONS":  # CNF-34
            status, reason, headers = 200, "OK", capabilities(session.contact)
        self._legs.order(leg_id, Respond(transaction=event.transaction, status=status, reason=reason, headers=headers))

    def replied(self, leg_id: LegId, event: Replied) -> None:
        """See `session.Watcher`."""
        self.on_replied(leg_id, event)

    def left(self, session: FocusSession, key: str) -> None:
        """See `session.Watcher`."""
        if self._notifier is not None and not session.is_large:
            self._notifier.dismiss(session, key)

    def over(self, session: FocusSession) -> None:
        """See `session.Watcher`."""
        self.counters.released += 1
        self._sessions.pop(session.identity, None)
        if session.group is not None and self._by_group.get(session.group.uri) is session:
            del self._by_group[session.group.uri]
        unwatch = self._unwatch.pop(session.identity, None)
        if unwatch is not None:
            unwatch()
        if self._notifier is not None and not session.is_large:
            self._notifier.ended(session)

    def _regrouped(self, uri: str, old: Group | None, new: Group | None) -> None:  # CNF-29
        """The document of a group has changed, or is gone."""
        session = self._by_group.get(uri)
        if session is not None:
            session.regroup(new, None if new is None else joining.limit_of(new, GROUP_CEILING))

    # --- time and tasks

    def _tick(self) -> None:
        now = self._legs.clock()
        for session in list(self._sessions.values()):
            try:
                session.beat(now)
            except Exception:  # a bug in one session keeps no other from being looked at
                log.exception("session %s", session.identity)
        self._beat = asyncio.get_running_loop().call_later(BEAT_S, self._tick) if self._sessions else None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("controlling function", exc_info=error)


class Coming(Struct, frozen=True):
    """An INVITE from outside any dialog."""

    transaction: TransactionId
    request: Message
    asked: SipRequest
    host: str
    """Our MSRP address towards its sender."""
    host_of_others: str
    """That towards those who are invited because of it."""
    large: bool = False
    """It is for a large message."""
