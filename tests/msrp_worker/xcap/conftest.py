"""A server of documents on a real socket, with a kind of document that users write themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from lxml import etree

from im_client.xcap import XcapClient
from msrp_worker.config import Config
from msrp_worker.store import Store, open_store, prepare_store
from msrp_worker.web_guard import WebGuard
from msrp_worker.xcap.http import XcapServer
from msrp_worker.xcap.report import Conflict, Kind
from msrp_worker.xcap.selector import NodeSelector
from msrp_worker.xcap.usage import READ, WRITE, Change, Document, Done, Lost, Outcome, Place, Usage


class Notes(Usage):
    """Documents kept as they are; at most three children, and no element `bad`."""

    auid = "notes"
    content_type = "application/notes+xml"
    namespace = "urn:notes"
    methods = READ | WRITE

    def __init__(self) -> None:
        self.kept: dict[Place, Document] = {}
        self.meddle: list[bytes] = []
        """Documents that somebody else writes just before each change."""
        self._written = 0

    async def fetch(self, place: Place, node: NodeSelector | None) -> Document | None:
        return self.kept.get(place)

    def check(self, root: etree._Element) -> Conflict | None:
        if root.tag != "{urn:notes}notes":
            return Conflict(Kind.SCHEMA_VALIDATION_ERROR)
        return Conflict(Kind.CONSTRAINT_FAILURE, "at most three notes") if len(root) > 3 else None

    async def change(self, place: Place, change: Change) -> Outcome:
        if self.meddle:
            self.kept[place] = Document(self.meddle.pop(), self._etag())
        if self.kept.get(place) != change.before:
            return Lost()
        if change.body is None:
            del self.kept[place]
            return Done(None)
        self.kept[place] = Document(change.body, self._etag())
        return Done(self.kept[place].etag)

    def _etag(self) -> str:
        self._written += 1
        return f"n{self._written}"


@dataclass
class Site:
    """A running server."""

    port: int
    store: Store
    notes: Notes
    guard: WebGuard
    clock: Any
    server: XcapServer

    @property
    def root(self) -> str:
        """XCAP root URI."""
        return f"http://127.0.0.1:{self.port}/xcap"

    def client(self, user: str = "alice", password: str = "", username: str = "") -> XcapClient:
        """A client of a user."""
        return XcapClient(self.root, f"sip:{user}@example.com", username or user, password or f"{user}-secret")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


Opener = Callable[..., Awaitable[Site]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """`await opened(IM_NAME=value)`: a server with the users alice and bob."""
    runners: list[tuple[web.AppRunner, Store, Any]] = []

    async def open_one(**settings: str) -> Site:
        config = Config.load({"IM_STATE_DIR": str(tmp_path), "IM_DEMO": "0", **settings})
        await prepare_store(config)
        clock = Clock()
        store = await open_store(config, clock)
        for name in ("alice", "bob"):
            await store.users.add(f"sip:{name}@example.com", f"{name}-secret")
        notes = Notes()
        server = XcapServer(store, config, clock)
        server.add(notes)
        server.open()
        guard = WebGuard(head_seconds=0.2, stall_seconds=0.2, most=50, most_per_address=10)
        app = web.Application(middlewares=[guard.middleware])
        server.mount(app)
        runner = web.AppRunner(app)
        await runner.setup()
        listening = await guard.serve(runner, "127.0.0.1", 0)
        runners.append((runner, store, listening))
        return Site(listening.sockets[0].getsockname()[1], store, notes, guard, clock, server)

    yield open_one
    for runner, store, listening in runners:
        listening.close()
        await runner.cleanup()
        await store.close()


@pytest.fixture
async def site(opened: Opener) -> Site:
    return await opened()
