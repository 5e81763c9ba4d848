"""Service settings that devices publish (6.2.5): the event state of RFC 3903, and what it amounts to for a user.

Several devices may publish for one user. For each setting the live publication that was made or modified last and speaks
of it decides; a refresh changes nothing. What no publication speaks of has the service-wide default (SET-06). What the
operator bars stays barred. `docs/decisions/0004-service-settings.md` says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec

from msrp_worker.config import Config
from msrp_worker.service_settings import NAMES, Document, Settings, compose, parse_settings
from msrp_worker.store.database import BUMP_REVISION, Database, Statement
from msrp_worker.store.errors import PublicationTooBrief, StoreBusy, UnknownTag, UnknownUser, Unmet
from msrp_worker.store.publications import (
    ANY_EXPIRED,
    DELETE_EXPIRED,
    LIST,
    REFRESH,
    Publication,
    insert,
    read_publication,
    remove,
    still,
)
from msrp_worker.store.users import Users

MOST_PUBLICATIONS = 20
"""Live publications of one user: more devices than a person has. One more takes the place of the next to expire, so that
a device which forgets its entity-tag at each start is never locked out and never fills the table."""
ATTEMPTS = MOST_PUBLICATIONS
"""Tries of a change that another device's got ahead of: all devices of a user may change at the same moment."""
TAG_BYTES = 12
"""Randomness of an entity-tag: 96 bits never repeat (RFC 3903 section 6)."""


class Grant(msgspec.Struct, frozen=True):
    """A publication that was taken."""

    etag: str
    """The new entity-tag; it names nothing when the publication was removed."""
    seconds: int
    """For how long it holds, 0: it was removed."""


class Effective(msgspec.Struct, frozen=True):
    """One setting of a user as it holds now."""

    setting: str
    value: bool
    source: str
    """`operator`, `published` or `default`."""
    entity: str = ""
    """The device that published it, as it names itself."""
    expires_at: float | None = None
    """Until when it is published, seconds since the epoch."""


class _Change(msgspec.Struct, frozen=True):
    """What is asked of a user's publications."""

    etag: str
    """The new entity-tag."""
    replaces: str
    """SIP-If-Match; empty for an initial publication."""
    seconds: int
    expires_at: float
    document: Document | None


class SettingsStore:
    """The publications of all users."""

    def __init__(
        self,
        database: Database,
        users: Users,
        config: Config,
        clock: Callable[[], float],
        new_tag: Callable[[], str] = lambda: secrets.token_hex(TAG_BYTES),
    ) -> None:
        self._database = database
        self._users = users
        self._config = config
        self._clock = clock
        self._new_tag = new_tag

    async def publish(self, address: str, if_match: str, seconds: int | None, document: bytes) -> Grant:
        """Take a PUBLISH: initial, refresh, modification or removal (RFC 3903 section 4, table 1); durable on return.

        `seconds` None leaves the time to us; without `document` and with `if_match` it is a refresh. In this order:
        UnknownUser, UnknownTag (412), PublicationTooBrief (423), SettingsError (400); StoreBusy, StoreUnavailable.
        """
        if await self._users.facts(address) is None:
            raise UnknownUser(address)
        now = self._clock()
        found = await self._publications(address)
        if if_match and _live(found, if_match, now) is None:
            raise UnknownTag(if_match)  # SET-04
        granted = self._granted(seconds)
        parsed = parse_settings(document) if document and granted else None
        change = _Change(self._new_tag(), if_match, granted, now + granted, parsed)
        if if_match and granted and parsed is None:
            await self._refresh(address, change, now)
        else:
            await self._change(address, change, found, now)
        return Grant(change.etag, granted)

    async def effective(self, address: str) -> list[Effective]:
        """Each setting as it holds now, and where it comes from. UnknownUser."""
        user = await self._users.get(address)
        if user is None:
            raise UnknownUser(address)
        now = self._clock()
        defaults = self._defaults()
        found = {name: Effective(name, bool(getattr(defaults, name)), "default") for name in NAMES}
        for publication in await self._publications(address):
            for name in NAMES:
                value = getattr(publication.settings, name)
                if value is not None and publication.expires_at > now:
                    found[name] = Effective(name, value, "published", publication.entity, publication.expires_at)
        for name in ("session_barred", "pager_barred"):
            if getattr(user, name):
                found[name] = Effective(name, True, "operator")
        return list(found.values())

    async def expire(self, now: float) -> int:
        """Delete publications that expired; the defaults hold from then on (SET-04). How many there were."""
        if not await self._database.read(ANY_EXPIRED, now):
            return 0
        deleted, _ = await self._database.write(Statement(DELETE_EXPIRED, (now,)), BUMP_REVISION)
        return deleted.touched

    def _granted(self, seconds: int | None) -> int:
        if seconds is None:
            return self._config.settings_expires
        if 0 < seconds < self._config.settings_min_expires:
            raise PublicationTooBrief(self._config.settings_min_expires)  # SET-04
        return min(seconds, self._config.settings_max_expires)

    async def _publications(self, address: str) -> list[Publication]:
        """All rows of a user, expired ones that wait for deletion included, the last published last."""
        return [read_publication(row) for row in await self._database.read(LIST, address)]

    async def _refresh(self, address: str, change: _Change, now: float) -> None:
        try:
            await self._database.write(
                Statement(REFRESH, (change.etag, change.expires_at, change.replaces, address, now), 1)
            )
        except Unmet:
            raise UnknownTag(change.replaces) from None

    async def _change(self, address: str, change: _Change, found: list[Publication], now: float) -> None:
        """Write the change if nothing else has changed meanwhile, else look again."""
        for _ in range(ATTEMPTS):
            replaced = _live(found, change.replaces, now)
            if change.replaces and replaced is None:
                raise UnknownTag(change.replaces)
            kept, added = _after(found, replaced, change, now)
            gone = [publication for publication in found if publication not in kept]
            statements = (
                *still(address, found),
                *map(remove, gone),
                *(insert(address, publication) for publication in added),
            )
            try:
                if self._says_the_same(found, [*kept, *added], now):
                    await self._database.write(*statements)
                else:
                    await self._users.change(address, *statements)  # SET-07: caches hear of it in the same transaction
                return
            except Unmet:
                if await self._users.get(address) is None:
                    raise UnknownUser(address) from None
                found = await self._publications(address)
        raise StoreBusy(f"the publications of {address} keep changing")

    def _says_the_same(self, before: Sequence[Publication], after: Sequence[Publication], now: float) -> bool:
        """Whether caches may keep what they know. With a row that expired they may know it with or without that row."""
        if any(publication.expires_at <= now for publication in before):
            return False
        return self._sum(before) == self._sum(after)

    def _sum(self, publications: Sequence[Publication]) -> Settings:
        return compose([self._defaults(), *(publication.settings for publication in publications)])

    def _defaults(self) -> Settings:
        """What holds for a user who published nothing (SET-06)."""
        config = self._config
        return Settings(
            session_barred=False,
            pager_barred=False,
            offline_delivery=config.settings_offline_delivery,
            visible=config.settings_visibility,
            session_history=config.settings_history,
            message_history=config.settings_history,
        )


def _live(publications: Sequence[Publication], etag: str, now: float) -> Publication | None:
    """The publication with this entity-tag, unless it has expired."""
    return next((one for one in publications if one.etag == etag and one.expires_at > now), None)


def _after(
    found: Sequence[Publication], replaced: Publication | None, change: _Change, now: float
) -> tuple[list[Publication], list[Publication]]:
    """The publications that stay, and the new one if there is one."""
    kept = [one for one in found if one.expires_at > now and one is not replaced]
    if not change.seconds or change.document is None:
        return kept, []
    if len(kept) >= MOST_PUBLICATIONS:
        kept.remove(min(kept, key=lambda one: one.expires_at))
    # The clock keeps a number from being used again after its publication is gone, which `still` could not see.
    sequence = max(int(now * 1_000_000), *(one.sequence + 1 for one in found), 0)
    document = change.document
    return kept, [Publication(change.etag, sequence, change.expires_at, document.entity, document.settings)]
