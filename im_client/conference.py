"""A conference as an application uses it: the session with the focus, and who is there.

Clauses 7.1.1.3, 7.1.1.4, 7.1.1.7, 7.1.1.9 to 7.1.1.12; RFC 4579, RFC 5366, RFC 4575.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from . import conference_info
from .calls import Calls
from .conference_info import User
from .dialogs import DialogLayer
from .errors import ImClientError, MalformedMessageError, SubscriptionError
from .im_session import ImSession
from .media import CHATROOM, MediaLine
from .messaging import INVITE_LIST, RECIPIENT_LIST, Messaging
from .multipart import Part
from .pager import SessionType
from .recipients import RESOURCE_LISTS, CopyControl, Recipient, build_list
from .referring import Referring, invite_users
from .subscriber import CONFERENCE, Subscriber

log = logging.getLogger(__name__)

RESUBSCRIBE_S = 1.0
"""Pause before a subscription that ended while the session goes on is made anew, in seconds."""


class Change(Enum):
    """What a notification tells of one user."""

    RINGS = "rings"
    JOINED = "joined"
    LEFT = "left"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Seen:
    """One change, and the user as it is now."""

    change: Change
    user: User


class Conference:
    """One conference. Talk through `session`; `roster` is kept current from the event package. CLI-02, CLI-03."""

    def __init__(self, layer: DialogLayer, session: ImSession) -> None:
        self.session = session
        self.roster = conference_info.Conference()
        self._layer = layer
        self._changes: asyncio.Queue[Seen | None] = asyncio.Queue()
        self._subscriber: Subscriber | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """The IM Session Identity (RFC 4579): for others to join by, and to come back (clause 7.1.1.9)."""
        return self.session.peer.identity

    @property
    def present(self) -> list[User]:
        """The participants who are there, as far as notifications have told."""
        return self.roster.present

    async def watch(self) -> None:
        """Follow who is there (clause 7.1.1.12). Raises SubscriptionError where the focus does not tell."""
        await self._subscribe()
        self._watching = self._layer.spawn(self._follow())

    async def changes(self) -> AsyncIterator[Seen]:
        """Who rings, joins, leaves and changes its name, until the session is over; needs `watch`."""
        while (found := await self._changes.get()) is not None:
            yield found
        self._changes.put_nowait(None)

    async def add(self, users: Sequence[str]) -> Referring:
        """Ask the focus to invite users; see `ImSession.add`. CLI-02"""
        return await self.session.add(users)

    async def remove(self, users: Sequence[str]) -> Referring:
        """Ask the focus to release users; see `ImSession.add`. CLI-02"""
        return await self.session.add(users, remove=True)

    async def leave(self) -> None:
        """Leave (clause 7.1.1.13). Never raises."""
        await self.session.close()
        subscriber = self._subscriber
        if self._watching is not None and subscriber is not None and not subscriber.ended.done():
            try:
                async with asyncio.timeout(self._layer.config.media_seconds):
                    await subscriber.end()
            except (ImClientError, TimeoutError) as error:
                log.info("not unsubscribed: %s", error)
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self._changes.put_nowait(None)

    async def _subscribe(self) -> Subscriber:
        self._subscriber = Subscriber(self._layer, self.identity, CONFERENCE)
        await self._subscriber.start()
        return self._subscriber

    async def _follow(self) -> None:
        """Read notifications; subscribe again where one is missing, or the subscription ended before the session."""
        subscriber = self._subscriber
        while subscriber is not None:
            missing = False
            async for notification in subscriber.notifications():
                if notification.body and not self._take(notification.body.data):
                    missing = True  # RFC 4575 section 4.4: a full document is needed
                    break
            if missing:
                await subscriber.end()
            elif subscriber.state.reason == "noresource" or not self.session.alive:
                break
            await asyncio.sleep(RESUBSCRIBE_S)
            self.roster = conference_info.Conference()
            try:
                subscriber = await self._subscribe()
            except ImClientError as error:
                log.info("who is there is not told any more: %s", error)
                break
        self._changes.put_nowait(None)

    def _take(self, document: bytes) -> bool:
        try:
            after = conference_info.update(self.roster, document)
        except MalformedMessageError as error:
            log.info("a notification was not taken: %s", error)
            return False
        if after is None:
            return False
        before, self.roster = self.roster, after
        for seen in compare(before, after):
            self._changes.put_nowait(seen)
        return True


def compare(before: conference_info.Conference, after: conference_info.Conference) -> list[Seen]:
    """What has changed between two states of a conference. Pure."""
    found = []
    for entity, user in after.users.items():
        known = before.users.get(entity)
        was, now = _stage(known), _stage(user)
        if now != was:
            found.append(Seen(now, user))
        elif known is not None and now is not Change.LEFT and known.name != user.name:
            found.append(Seen(Change.RENAMED, user))
    gone = [user for entity, user in before.users.items() if entity not in after.users and _stage(user) is not Change.LEFT]
    return found + [Seen(Change.LEFT, user) for user in gone]


def _stage(user: User | None) -> Change:
    if user is None or not user.present:
        return Change.LEFT
    return Change.JOINED if "connected" in user.status.values() else Change.RINGS


async def start(
    messaging: Messaging, users: Sequence[str | Recipient], *, most: int | None = None, **options: Any
) -> Conference:
    """Set up an ad-hoc conference through the factory (clause 7.1.1.3); `options` as in `Messaging.invite`. CLI-02

    A user given as text is one of those that the others see (copyControl "to"). Raises ValueError for more users
    than `most`, MAX-ADHOC-GROUP-SIZE as provisioned, and what `Messaging.invite` raises.
    """
    if most is not None and len(users) > most:
        raise ValueError(f"{len(users)} users; an ad-hoc conference has at most {most}")  # 7.1.1.3-4
    entries = [Recipient(user, CopyControl.TO) if isinstance(user, str) else user for user in users]
    part = Part(RESOURCE_LISTS, build_list(entries), RECIPIENT_LIST)
    headers = [INVITE_LIST, *options.pop("headers", ())]
    options.setdefault("session_type", SessionType.ADHOC)
    factory = str(messaging.config.factory_uri)
    options.setdefault("line", _line(messaging, options.get("anonymous", False)))
    session = await messaging.invite(factory, extra=[part], headers=headers, **options)
    return Conference(messaging.calls.layer, session)


async def join(messaging: Messaging, uri: str, **options: Any) -> Conference:
    """Join a group, a public conference, or a session by its identity (clauses 7.1.1.4, 7.1.1.9, 7.1.1.10). CLI-02

    Raises what `Messaging.invite` raises.
    """
    options.setdefault("line", _line(messaging, options.get("anonymous", False)))
    return Conference(messaging.calls.layer, await messaging.invite(uri, **options))


def _line(messaging: Messaging, anonymous: bool) -> MediaLine:
    return messaging.line(replace(messaging.plan(), chatroom=CHATROOM), anonymous=anonymous)


async def refer(calls: Calls, identity: str, users: Sequence[str], *, remove: bool = False) -> Referring:
    """Ask the focus of a session to invite or release users, outside any session (clause 7.1.1.11). CLI-02

    Raises SubscriptionError where the focus refuses, NoAnswerError, ConnectionFailedError, ValueError.
    """
    referring = Referring(calls.layer)
    await referring.outside(identity, invite_users(users, remove=remove))
    return referring


async def fetch(calls: Calls, identity: str, seconds: float = 10.0) -> conference_info.Conference:
    """Who is in a session or group now: one notification (RFC 6665 section 4.4.3). CLI-03

    Raises SubscriptionError where the focus refuses, NoAnswerError, TimeoutError.
    """
    subscriber = Subscriber(calls.layer, identity, CONFERENCE, expires=0)
    await subscriber.start()
    found = conference_info.Conference()
    try:
        while not found.version >= 0:
            body = (await subscriber.next(seconds)).body
            found = (conference_info.update(found, body.data) if body else None) or found
    except EOFError:
        raise SubscriptionError(480, "the focus told nothing") from None
    return found


def names(users: Iterable[User]) -> list[str]:
    """What to show of users: their names, else their addresses without the scheme."""
    return [user.name or user.entity.removeprefix("sip:") for user in users]
