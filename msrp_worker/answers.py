"""What the worker answers to Kamailio: facts from the store, and the outcome of storing. No procedure is decided here."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from kemi.messages import (
    Answer,
    DeferQuestion,
    Deferred,
    EndFacts,
    Failed,
    Focus,
    FocusQuestion,
    Incoming,
    PagerFacts,
    PagerQuestion,
    Published,
    PublishQuestion,
    Registered,
    RegisterQuestion,
    TraceBatch,
)
from kemi.trace_events import TraceEvent, read_registered_lines, read_trace_lines
from msrp_worker.common_policy import Action, Decision
from msrp_worker.group import Group
from msrp_worker.service_settings import SettingsError
from msrp_worker.sip_message import header_fields, tag_of, without_credentials
from msrp_worker.store import deferred, trace
from msrp_worker.store.errors import (
    PublicationTooBrief,
    QuotaExceeded,
    StoreBusy,
    StoreError,
    UnknownTag,
    UnknownUser,
)
from msrp_worker.store.store import Store
from msrp_worker.store.users import MISS, Miss, UserFacts

log = logging.getLogger("im.answers")

KAMAILIO_CLOCK = 1.0
"""Seconds: the resolution of the time at which Kamailio says that it received a request."""

LONGEST_DETAIL = 200
"""Characters of what is wrong with a document, for a header."""


GROUP = EndFacts(im_allowed=False, group=True)
"""The facts about the address of a group; nobody sends as a group."""


class Answers:
    """Handler of the link: each kind of question has one method. `clock` gives seconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self.on_available: Callable[[str], None] = lambda address: None
        """Told who has registered for IM, or changed the settings that keep messages back (COR-09, DEF-12)."""
        self.on_stored: Callable[[str], None] = lambda address: None
        """Told for whom a message was stored (DEF-08)."""
        self.focus: Callable[[str], str] = lambda user: ""
        """The URI of the focus behind a Contact of a bridged session (PFS-06)."""
        self.sender: Callable[[str, str], str] = lambda call_id, tag: ""
        """Which function of ours sent the INVITE of this Call-ID and From tag, empty when none did (PFS-02)."""
        self.deferred = 0
        self.deferrals_refused = 0
        self.published = 0

    def __call__(self, incoming: Incoming) -> Answer | Awaitable[Answer] | None:
        """Answer at once from memory where possible; a coroutine where the disk is needed."""
        match incoming.message:
            case PagerQuestion() as question:
                return self._pager(question)
            case DeferQuestion() as question:
                return self._defer(question, incoming.content)
            case RegisterQuestion() as question:
                return self._register(question)
            case PublishQuestion() as question:
                return self._publish(question, incoming.content)
            case FocusQuestion() as question:
                return Focus(self.focus(question.user))
            case TraceBatch():
                self._trace(incoming.content)
        return None

    def _pager(self, question: PagerQuestion) -> Answer | Awaitable[Answer]:
        now = self._clock()
        users = self._store.users
        revision = self._store.database.revision()
        originator = users.cached(question.originator) if question.serves_originator else None
        recipient = users.cached(question.recipient) if question.serves_recipient else None
        if originator is MISS or recipient is MISS:
            return self._pager_from_disk(question, now)
        group: Group | Literal[Miss.MISS] | None = None
        if recipient is None and question.serves_recipient:
            group = self._store.groups.cached(question.recipient)
            if group is MISS:
                return self._pager_from_disk(question, now)
        registered = False
        if recipient is not None:
            known = self._store.registrations.cached(question.recipient, now)
            if known is None:
                return self._pager_from_disk(question, now)
            registered = known
        return self._facts(question, originator, recipient, registered, revision, is_group=group is not None)

    async def _pager_from_disk(self, question: PagerQuestion, now: float) -> Answer:
        users = self._store.users
        revision = self._store.database.revision()  # before the facts: they are at least as new
        try:
            originator = await users.facts(question.originator) if question.serves_originator else None
            recipient = await users.facts(question.recipient) if question.serves_recipient else None
            unknown = recipient is None and question.serves_recipient
            group = await self._store.groups.get(question.recipient) if unknown else None
            registered = await self._store.registrations.is_registered(question.recipient, now)
        except StoreError as error:
            log.error("cannot read facts for Call-ID %s: %s", question.call_id, error)
            return Failed("store unavailable")
        return self._facts(question, originator, recipient, registered, revision, is_group=group is not None)

    def _facts(
        self,
        question: PagerQuestion,
        originator: UserFacts | None,
        recipient: UserFacts | None,
        registered: bool,
        revision: int | None,
        *,
        is_group: bool,
    ) -> PagerFacts:
        known = None if recipient is None else _end(recipient, registered=registered, question=question)
        return PagerFacts(
            None if originator is None else _end(originator, registered=False),
            GROUP if is_group else known,
            -1 if revision is None else revision,
            self.sender(question.call_id, question.from_tag) if question.from_tag else "",
        )

    async def _defer(self, question: DeferQuestion, message: bytes) -> Answer:
        if question.expires is not None and question.expires + KAMAILIO_CLOCK <= self._clock():
            return Deferred(refusal="expired")  # DEF-10: it did so while its delivery was tried
        fields = header_fields(message)
        new = deferred.NewDeferred(
            recipient=question.recipient,
            originator=question.originator,
            private=question.anonymous,
            anonymous=question.anonymous,
            call_id=question.call_id,
            cseq=int(fields.get("cseq", "0").split()[0]),
            from_tag=tag_of(fields.get("from", "")),
            message=without_credentials(message),
            content_type=fields.get("content-type", ""),
            subject=fields.get("subject", ""),
            priority=fields.get("priority", ""),
            from_header=fields.get("from", ""),
            to_header=fields.get("to", ""),
            received=question.received,
            expires=question.expires,
            advertisement=question.advertisement,
        )
        try:
            self._store.trace.add(_received(question))
            message_id = await self._store.deferred.add(new)
        except QuotaExceeded as error:
            self.deferrals_refused += 1
            log.warning("DEF-11 Call-ID %s not stored for %s: %s", question.call_id, question.recipient, error)
            return Deferred(refusal="quota")  # DEF-11
        except StoreBusy as error:
            self.deferrals_refused += 1
            log.warning("Call-ID %s not stored: %s", question.call_id, error)
            return Deferred(refusal="unavailable")
        except StoreError as error:
            self.deferrals_refused += 1
            log.error("Call-ID %s not stored: %s", question.call_id, error)
            return Deferred(refusal="unavailable")
        self.deferred += 1
        _tell(self.on_stored, question.recipient)
        return Deferred(message_id=message_id)  # DEF-01: durable now

    def large_message_stored(self, recipient: str) -> None:
        """A large message is durable (LRG-04)."""
        self.deferred += 1
        _tell(self.on_stored, recipient)

    async def _register(self, question: RegisterQuestion) -> Answer:
        users = self._store.users
        registrations = self._store.registrations
        try:
            if await users.facts(question.address) is None:
                return Registered(stored=False)
            if question.seconds and question.capable:
                await registrations.put(question.address, self._clock() + question.seconds)  # COR-06
            else:
                await registrations.remove(question.address)  # COR-08
            if question.seconds and question.capable:
                _tell(self.on_available, question.address)  # COR-09
        except StoreError as error:
            log.error("registration of %s not stored: %s", question.address, error)
            return Failed("store unavailable")
        return Registered(stored=True)

    async def _publish(self, question: PublishQuestion, document: bytes) -> Answer:
        settings = self._store.settings
        try:
            grant = await settings.publish(question.address, question.if_match, question.seconds, document)
        except UnknownUser:
            return Published(refusal="unknown user")
        except UnknownTag:
            return Published(refusal="unknown tag")
        except PublicationTooBrief as error:
            return Published(refusal="too brief", seconds=error.seconds)
        except SettingsError as error:
            return Published(refusal="malformed", detail=str(error)[:LONGEST_DETAIL])
        except StoreError as error:
            log.error("Call-ID %s: settings of %s not stored: %s", question.call_id, question.address, error)
            return Published(refusal="unavailable")
        self.published += 1
        _tell(self.on_available, question.address)  # DEF-06: delivery may have been switched on
        return Published(grant.etag, grant.seconds)  # SET-04: durable now

    def _trace(self, lines: bytes) -> None:
        for address in read_registered_lines(lines):
            _tell(self.on_available, address)  # COR-09
        for event in read_trace_lines(lines):
            if event.received:
                self._note(event, "received", event.received)
            self._note(event, event.kind, event.time)

    def _note(self, event: TraceEvent, kind: str, when: float) -> None:
        step = kind != "received"
        self._store.trace.add(
            trace.TraceEvent(
                time=when,
                call_id=event.call_id,
                kind=kind,
                originator=event.originator,
                recipient=event.recipient,
                status=(event.status or None) if step else None,
                requirement=event.requirement if step else "",
                detail=event.detail if step else "",
            )
        )


def _tell(listener: Callable[[str], None], address: str) -> None:
    """Tell of what is durable. A bug in who listens must not turn a stored message into a refusal: it would come twice."""
    try:
        listener(address)
    except Exception:
        log.exception("not told about %s", address)


def _end(user: UserFacts, *, registered: bool, question: PagerQuestion | None = None) -> EndFacts:
    who = None if question is None or question.anonymous else question.originator
    rules = None if question is None else user.rules
    return EndFacts(
        im_allowed=user.im_allowed,
        pager_max_size=user.pager_max_size,
        content_types=user.content_types,
        large_max_size=user.large_max_size,
        pager_barred=user.pager_barred,
        session_barred=user.session_barred,
        willing=user.willing,
        offline_delivery=user.offline_delivery,
        visible=user.visible,
        session_history=user.session_history,
        message_history=user.message_history,
        originator_rejected=rules is not None and rules.decide(Action.PAGER_MODE_MESSAGE, who) is Decision.REJECT,
        session_originator_rejected=rules is not None and rules.decide(Action.SESSION, who) is Decision.REJECT,
        registered=registered,
        has_rules=user.rules is not None,
    )


def _received(question: DeferQuestion) -> trace.TraceEvent:
    return trace.TraceEvent(
        time=question.received,
        call_id=question.call_id,
        kind="received",
        originator=question.originator,
        recipient=question.recipient,
        private=question.anonymous,
    )
