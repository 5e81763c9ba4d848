"""Sends messages to many: judged, stored, acknowledged with 202, then copied, at a bounded pace (8.3.1.1, RFC 5365).

Each copy goes to the core like any other MESSAGE, which finds the recipient or stores the copy for it. A copy that
nobody could take for the moment is tried again; what is left after a restart is sent then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import msgspec

from kemi.messages import SipRequest, TransactionId
from msrp_worker import address
from msrp_worker.config import Config
from msrp_worker.controlling import refusal
from msrp_worker.controlling.explode import (
    Explosion,
    Refused,
    copy_headers,
    explosion,
    read_list,
    refuse_advertisement,
    refuse_by_group,
    screen,
)
from msrp_worker.controlling.identity import FACTORY_USER, SESSION_PREFIX
from msrp_worker.functions import Functions
from msrp_worker.group import Group
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.sip.message import Message
from msrp_worker.sip.port import SendRequest
from msrp_worker.store.errors import StoreError
from msrp_worker.store.explosions import ExplosionRecord
from msrp_worker.store.store import Store
from msrp_worker.store.trace import TraceEvent
from msrp_worker.web import Reading

log = logging.getLogger("im.exploder")

AT_ONCE = 200
"""Copies under way at once, of all messages together: messaging between two users is not to feel them."""
AT_ONCE_OF_ONE = 20
"""Those of one message, so that a large group does not keep the small ones waiting."""
MOST_PENDING = 1_000
"""Messages to many that are being sent; beyond them 503."""
MOST_PENDING_OF_ONE = 20
"""Those of one originator (SEC-03)."""
ANSWER_S = 40.0
"""How long the response to a copy is waited for, in seconds: its transaction takes 32."""
RETRY_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Pauses before the further tries of a copy that nobody could take, in seconds. Users of this server are never the
reason: what they cannot take is stored. Another domain may be away."""
TRY_AGAIN: Final = frozenset({408, 500, 502, 503, 504})
SAVE_S = 0.2
"""How long outcomes may wait to be written down: what died meanwhile may be sent twice, with the same Call-ID."""

SessionRecipients = Callable[[str], Sequence[str] | None]
"""The participants of an IM session by the user part of its identity, as Request-URIs; None for an unknown one."""
Groups = Callable[[str], Awaitable[Group | None]]


class Exploder:
    """All messages to many of this worker."""

    def __init__(
        self,
        store: Store,
        functions: Functions,
        config: Config,
        groups: Groups,
        sessions: SessionRecipients = lambda user: None,
        hides: Callable[[str, str], bool] = lambda identity, user: False,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.taken = 0
        """Messages to many acknowledged."""
        self.copies = 0
        """Copies that have their outcome."""
        self._store = store
        self._functions = functions
        self._config = config
        self._groups = groups
        self._sessions = sessions
        self._hides = hides
        """Whether a user is under no name in the session with that identity (IDN-08)."""
        self._clock = clock
        where = f"{config.domain}:{config.state_dir}:{config.sip_port}"
        self.node = hashlib.sha256(where.encode()).hexdigest()[:16]
        self._room = asyncio.Semaphore(AT_ONCE)
        self._pending: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sendings: set[_Sending] = set()

    def __len__(self) -> int:
        return self._pending.total()

    async def open(self) -> None:
        """Go on with what the worker before us has acknowledged and not sent. StoreError."""
        after = ""
        while records := await self._store.explosions.of_node(self.node, after):
            after = records[-1].identity
            for record in records:
                log.info("PAG-11 Call-ID %s: %d copies left from before", record.call_id, len(record.recipients))
                self._begin(_explosion(record))

    async def close(self) -> None:
        """Stop; what has no outcome stays stored."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sending in list(self._sendings):
            await sending.save()

    def readings(self) -> Iterable[Reading]:
        """What `/metrics` shows."""
        yield Reading("exploded_total", "Messages to many acknowledged", self.taken)
        yield Reading("copies_total", "Copies of messages to many that have their outcome", self.copies)
        yield Reading("exploding", "Messages to many whose copies are being sent", len(self))

    def take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        """A MESSAGE to the factory, a group or an IM session (PAG-11, PAG-12, PAG-13)."""
        self.start(self._take(transaction, request, asked))

    async def _take(self, transaction: TransactionId, request: Message, asked: SipRequest) -> None:
        try:
            made = await self._judge(request, asked)
            if isinstance(made, Explosion):
                self._pending[made.originator] += 1  # before the store is waited for: the limit is one for all
                try:
                    await self._store.explosions.add(_record(made, self.node))
                except BaseException:
                    self._pending[made.originator] -= 1
                    raise
        except StoreError as error:
            log.error("Call-ID %s not taken: %s", request.call_id, error)
            made = Refused(503, "Service Unavailable", "PAG-11", "Message store unavailable", (("Retry-After", "5"),))
        legs = self._functions.legs
        if isinstance(made, Refused):
            who = "anonymous" if asked.anonymous else asked.originator
            log.info(
                "refused %d %s MESSAGE Call-ID=%s originator=%s recipient=%s: %s",
                *(made.status, made.requirement, request.call_id, who, asked.recipient, made.warning),
            )
            warning = refusal.Refused(made.status, made.reason, made.requirement, made.warning).headers(legs.node)
            self._trace(request.call_id, asked, "refused", made.status, made.requirement, asked.recipient, made.warning)
            legs.reply(transaction, request, made.status, made.reason, (*warning, *made.headers))
            return
        self.taken += 1
        legs.reply(transaction, request, 202, "Accepted")  # durable now
        self._trace(request.call_id, asked, "exploded", 202, made.requirement, asked.recipient, _count(made.recipients))
        self._send_all(made)

    async def _judge(self, request: Message, asked: SipRequest) -> Explosion | Refused:
        """The checks of 8.3.1.1, then the copies."""
        refused = screen(request) or self._refuse_by_load(asked)
        if refused is not None:
            return refused
        user = asked.recipient.removeprefix("sip:").rpartition("@")[0].lower()
        received = self._clock()
        seconds = request.number("expires")
        listed, sender, requirement, anonymous = None, "", "PAG-11", asked.anonymous
        found: Iterable[str] | Refused
        if user == FACTORY_USER:
            if self._config.message_lists == "refuse":
                return Refused(403, "Forbidden", "PAG-11", "Messages to lists are not served")  # PAG-11
            listed_or_refused = read_list(request, self._config.adhoc_max_participants)
            if isinstance(listed_or_refused, Refused):
                return listed_or_refused
            listed = listed_or_refused
            found = [one.target for one in listed.recipients]
        elif user.startswith(SESSION_PREFIX):
            requirement = "PAG-13"
            participants = self._sessions(user)
            if participants is None:
                return Refused(403, "Forbidden", "PAG-13", "No such session")  # PAG-13
            if not any(_same(uri, asked.originator) for uri in participants):
                return Refused(403, "Forbidden", "PAG-13", "Not a participant of the session")
            found = [uri for uri in participants if not _same(uri, asked.originator)]
            sender = f"<{request.request_uri}>"  # PAG-13
            anonymous = anonymous or self._hides(asked.recipient, asked.originator)  # IDN-08
        else:
            requirement = "PAG-12"
            group = await self._groups(asked.recipient)
            refused = refuse_by_group(group, asked.originator, anonymous=asked.anonymous)
            if refused is not None or group is None:
                return refused or Refused(404, "Not Found", "PAG-12", "No such group")
            found = [member.uri for member in group.members if member.uri != asked.originator]  # PAG-12
        refused = refuse_advertisement(request, anonymous=asked.anonymous)
        if refused is not None:
            return refused
        recipients = await self._expanded(found, asked)
        return explosion(
            request,
            secrets.token_hex(12),
            recipients,
            originator=asked.originator,
            anonymous=anonymous,
            received=received,
            expires=None if seconds is None else received + seconds,
            requirement=requirement,
            listed=listed,
            sender=sender,
        )

    def _refuse_by_load(self, asked: SipRequest) -> Refused | None:
        if self._pending[asked.originator] >= MOST_PENDING_OF_ONE or len(self) >= MOST_PENDING:
            warning = "Too many messages to many are being sent"
            return Refused(503, "Service Unavailable", "SEC-03", warning, (("Retry-After", "10"),))  # SEC-03
        return None

    async def _expanded(self, targets: Iterable[str], asked: SipRequest) -> list[str]:
        """Groups among the recipients give way to their members, each address once, whatever circles there are."""
        waiting = deque(targets)
        seen: set[str] = set()
        found: list[str] = []
        while waiting:
            target = waiting.popleft()
            try:
                key = address.of_record(target)
            except ValueError:
                continue
            if key in seen:
                continue
            seen.add(key)
            group = await self._groups(key)
            if group is None:
                found.append(target)
                continue
            refused = refuse_by_group(group, asked.originator, anonymous=asked.anonymous)
            if refused is not None:
                self._trace("", asked, "refused", refused.status, refused.requirement, key, refused.warning)
                continue
            waiting.extend(member.uri for member in group.members if member.uri != asked.originator)
        return found

    # --- copies ---

    def _begin(self, one: Explosion) -> None:
        self._pending[one.originator] += 1
        self._send_all(one)

    def _send_all(self, one: Explosion) -> None:
        sending = _Sending(self, one)
        self._sendings.add(sending)
        self.start(sending.run())

    def finished(self, sending: _Sending) -> None:
        """Every copy has its outcome."""
        self._sendings.discard(sending)
        originator = sending.one.originator
        self._pending[originator] -= 1
        if not self._pending[originator]:
            del self._pending[originator]

    async def send(self, one: Explosion, recipient: str) -> int:
        """Send one copy; its final status, 408 when there was none."""
        tag = f"{LEG_TAG}{one.identity}"
        headers = copy_headers(one, recipient, tag, self._config.domain)
        call_id = next(value for name, value in headers if name == "Call-ID")
        answered = _Answer()
        async with self._room:
            self._functions.dialogs[call_id, tag] = answered
            try:
                command = SendRequest("MESSAGE", recipient, "", headers, one.body)
                self._functions.legs.sender.send(command, call_id)
                with contextlib.suppress(TimeoutError):
                    return await asyncio.wait_for(answered.status, ANSWER_S)
                return 408
            finally:
                self._functions.dialogs.pop((call_id, tag), None)

    def outcome(self, one: Explosion, recipient: str, status: int) -> None:
        """Note what became of a copy, for `trace` under the Call-ID of the message that came."""
        self.copies += 1
        kind = "copy-deferred" if status == 202 else "copy-delivered" if 200 <= status < 300 else "copy-failed"
        self._store.trace.add(
            TraceEvent(
                time=self._clock(),
                call_id=one.call_id,
                kind=kind,
                originator=one.originator,
                recipient=recipient,
                status=status,
                requirement=one.requirement,
                private=one.anonymous,
            )
        )

    async def left(self, one: Explosion, recipients: Sequence[str]) -> None:
        """Write down who has no outcome yet."""
        try:
            await self._store.explosions.left(one.identity, recipients)
        except StoreError as error:
            log.error("Call-ID %s: outcomes not written down: %s", one.call_id, error)

    def expired(self, one: Explosion) -> bool:
        """Whether the message is of no use any more (PAG-04)."""
        return one.expires is not None and one.expires <= self._clock()

    def _trace(
        self, call_id: str, asked: SipRequest, kind: str, status: int, requirement: str, recipient: str, detail: str
    ) -> None:
        self._store.trace.add(
            TraceEvent(
                time=self._clock(),
                call_id=call_id or asked.call_id,
                kind=kind,
                originator=asked.originator,
                recipient=recipient,
                status=status,
                requirement=requirement,
                detail=detail,
                private=asked.anonymous,
            )
        )

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("exploder", exc_info=error)


class _Sending:
    """The copies of one message: rounds of tries, each with those that nobody could take in the one before."""

    def __init__(self, exploder: Exploder, one: Explosion) -> None:
        self.one = one
        self._exploder = exploder
        self._left = dict.fromkeys(one.recipients)
        self._status: dict[str, int] = {}
        self._saving = False

    async def run(self) -> None:
        """Until every copy has its outcome."""
        for pause in (0.0, *RETRY_S):
            if pause and self._left:
                await asyncio.sleep(pause)
            await self._round()
        for recipient in list(self._left):
            self._done(recipient, self._status.get(recipient, 408))
        await self.save()
        self._exploder.finished(self)

    async def save(self) -> None:
        """Write down who has no outcome yet."""
        await self._exploder.left(self.one, tuple(self._left))

    async def _round(self) -> None:
        waiting = deque(self._left)
        await asyncio.gather(*(self._send_some(waiting) for _ in range(min(AT_ONCE_OF_ONE, len(waiting)))))

    async def _send_some(self, waiting: deque[str]) -> None:
        while waiting:
            recipient = waiting.popleft()
            if self._exploder.expired(self.one):
                self._done(recipient, 408)
                continue
            status = await self._exploder.send(self.one, recipient)
            self._status[recipient] = status
            if status not in TRY_AGAIN:
                self._done(recipient, status)

    def _done(self, recipient: str, status: int) -> None:
        self._left.pop(recipient, None)
        self._exploder.outcome(self.one, recipient, status)
        if not self._saving and self._left:
            self._saving = True
            self._exploder.start(self._save_soon())

    async def _save_soon(self) -> None:
        await asyncio.sleep(SAVE_S)
        self._saving = False
        if self._left:  # else it is over, and written down
            await self.save()


class _Answer:
    """Waits for the final response to a copy; the owner of its transaction (`functions.DialogOwner`)."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_request(self, transaction: TransactionId, request: Message) -> None:
        """A MESSAGE opens no dialog: `Functions` has answered."""

    def on_response(self, response: Message | None, cseq: int) -> None:
        """A response, None when none came."""
        status = 408 if response is None else response.status
        if status >= 200 and not self.status.done():
            self.status.set_result(status)


def _same(uri: str, canonical: str) -> bool:
    try:
        return address.of_record(uri) == canonical
    except ValueError:
        return False


def _count(recipients: Sequence[str]) -> str:
    return f"{len(recipients)} copies" if len(recipients) != 1 else "1 copy"


def _record(one: Explosion, node: str) -> ExplosionRecord:
    return ExplosionRecord(node=node, **msgspec.structs.asdict(one))


def _explosion(record: ExplosionRecord) -> Explosion:
    values = msgspec.structs.asdict(record)
    del values["node"]
    return Explosion(**values)
