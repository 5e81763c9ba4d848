"""Tells the owners of sessions that a group document changed, whoever changed it (CNF-29, XDM-07)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from msrp_worker.group import Group
from msrp_worker.store.errors import StoreError
from msrp_worker.store.groups import Groups

log = logging.getLogger("im.groups")

LOOK_SECONDS: Final = 0.5
"""Between two looks whether the store has changed: how late a session hears of it."""

Changed = Callable[[str, Group | None, Group | None], None]
"""Told the address, the group as it was, and as it is; None as it is: deleted."""


class GroupWatch:
    """Compares the watched groups with the store when its revision moves, in this process or by another."""

    def __init__(self, groups: Groups, revision: Callable[[], int | None]) -> None:
        self._groups = groups
        self._revision = revision
        self._seen: int | None = None
        self._watched: dict[object, tuple[Group | None, str, Changed]] = {}
        self._new = False

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, group: Group, changed: Changed) -> Callable[[], None]:
        """Call `changed` when the document of a group does not say any more what `group` says; once for each change.

        `group` is what the caller acts on, so that a change between its reading and this call is not missed. A deleted
        group that comes back is told too, with None as it was. Returns what ends the watch.
        """
        key = object()
        self._watched[key] = (group, group.uri, changed)
        self._new = True
        return lambda: self._end(key)

    def _end(self, key: object) -> None:
        self._watched.pop(key, None)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StoreError as error:
                log.warning("not known whether groups have changed: %s", error)

    async def look(self) -> None:
        """Compare now, unless nothing can have changed since the last time. StoreError."""
        revision = self._revision()
        if revision is None or (revision == self._seen and not self._new):
            return
        self._new = False
        for key, (old, uri, _) in list(self._watched.items()):
            try:
                new = await self._groups.get(uri)
            except StoreError:
                self._new = True  # look again at those that are left
                raise
            entry = self._watched.get(key)
            if entry is None or new == old:
                continue
            self._watched[key] = (new, uri, entry[2])
            _tell(entry[2], uri, old, new)
        self._seen = revision


def _tell(changed: Changed, uri: str, old: Group | None, new: Group | None) -> None:
    """A bug in one listener keeps the news from no other."""
    try:
        changed(uri, old, new)
    except Exception:
        log.exception("not told that group %s has changed", uri)
