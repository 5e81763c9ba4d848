"""The two hosts of a soak: the server on one, all clients on the other, and the wire between them."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from im_client.client import ImClient
from msrp_worker.store import Store
from tests.scenarios.bed import DOMAIN, Instance, instance_with
from tests.scenarios.cluster import new_database, temporary_cluster
from tests.scenarios.namespaces import Namespace
from tests.soak.books import Trouble
from tests.soak.netem import Wire
from tests.soak.plan import ABSENT, PRESENT
from tools.deployment import Process

SERVER, CLIENTS = "10.91.0.1", "10.91.0.2"
"""Addresses inside the namespaces only."""
SETTINGS = {
    "IM_LISTEN": SERVER,
    "IM_SETTINGS_OFFLINE_DELIVERY": "yes",
    "IM_USER_RATE": "0",
    "IM_SOURCE_RATE": "1000000",
    "IM_DEMO": "0",
}
REGISTERED_SECONDS = 240
"""What a device asks for, so that the bindings of those that vanished go before there are too many."""
BUG = re.compile(r"Traceback|CRITICAL|child process \d+ exited by a signal|BUG:|released? the transaction|SystemError")
"""What no log may have: an exception nobody caught, a dead child, a complaint of Kamailio about the use of its memory."""


class Site:
    """A server that can be killed, at the other end of a wire that can be bad."""

    def __init__(self, instance: Instance, wire: Wire) -> None:
        self.instance = instance
        self.wire = wire

    def client(self, user: str) -> ImClient:
        """A device of a user: every other user's speaks UDP, the others' TCP."""
        transport = "udp" if int(re.sub(r"\D", "", user)) % 2 else "tcp"
        options: dict[str, Any] = {"expires": REGISTERED_SECONDS, "media_seconds": 15.0, "ring_seconds": 15.0}
        return self.instance.client(user, transport=transport, inbox_limit=0, **options)

    def kill_worker(self) -> Trouble:
        """kill -9, and start it again; when that was."""
        return self._kill(self.instance.deployment.worker, self.instance.deployment.start_worker)

    def kill_kamailio(self) -> Trouble:
        """kill -9 for all its processes, and start it again; when that was."""
        return self._kill(self.instance.deployment.kamailio, self.instance.deployment.start_kamailio)

    def freeze_worker(self) -> None:
        """It stops where it is, and everything it has open stays open."""
        self.instance.deployment.worker.send(signal.SIGSTOP)

    def thaw_worker(self) -> None:
        """It goes on."""
        self.instance.deployment.worker.send(signal.SIGCONT)

    def _kill(self, process: Process, restart: Callable[[], None]) -> Trouble:
        began = time.monotonic()
        process.kill()
        self.instance.beside(restart)
        self.instance.beside(self.instance.deployment.wait_ready)
        return Trouble(f"{process.name} killed", began, time.monotonic())

    def transactions(self) -> int:
        """SIP transactions that Kamailio has now."""
        statistics = self.instance.deployment.rpc("tm.stats")
        return int(statistics["current"]) - int(statistics["waiting"])

    def list_transactions(self) -> str:
        """What each of them is, for whoever looks for the reason."""
        return str(self.instance.deployment.rpc("tm.list"))

    def waiting(self) -> dict[str, int]:
        """How many messages are stored for whom."""

        async def count(store: Store) -> dict[str, int]:
            found = {name: (await store.deferred.usage(f"sip:{name}@{DOMAIN}")).messages for name in PRESENT + ABSENT}
            return {name: number for name, number in found.items() if number}

        return self.instance.in_store(count)

    def stored(self) -> list[tuple[str, str, str]]:
        """Name, recipient and Call-ID of every message in the store, as the operator's command lists them.

        The name is in the Subject; a large message is told by its Message-ID, which the listing has not.
        """
        rows = [(name, row) for name in PRESENT + ABSENT for row in self.instance.stored(name)]
        return [(row["subject"], name, "" if row["content_path"] else row["call_id"]) for name, row in rows]

    def keep(self) -> Path:
        """Copy the database to where the logs are, for whoever looks into a breach; the copy."""
        source, copy = self.instance.state_dir / "im.sqlite", self.instance.directory / "im.sqlite"
        copy.unlink(missing_ok=True)
        with sqlite3.connect(source) as database:
            database.execute("VACUUM INTO ?", (str(copy),))
        return copy

    def bugs(self) -> list[str]:
        """Lines of both logs that no operation explains."""
        logs = {"Kamailio": self.instance.kamailio_log(), "worker": self.instance.worker_log()}
        return [f"{name} logged: {line}" for name, log in logs.items() for line in log.splitlines() if BUG.search(line)]


@contextmanager
def site(
    directory: Path, seed: int, settings: Mapping[str, str] | None = None, *, postgresql: bool = False
) -> Iterator[Site]:
    """Make it, with the calling thread on the clients' host; `settings` (`IM_…`) win over SETTINGS.

    With `postgresql` the store is one on the server's host. Raises NamespaceError without the privilege.
    """
    own = SETTINGS | dict(settings or {})
    with ExitStack() as stack:
        server, clients = (_host(stack, role) for role in ("server", "clients"))
        wire = Wire(seed, server, SERVER, clients, CLIENTS)
        stack.callback(wire.close)
        if postgresql:
            with server.entered():
                cluster = stack.enter_context(temporary_cluster())
                own["IM_DATABASE"] = asyncio.run(new_database(cluster.port))
        stack.enter_context(clients.entered())
        instance = stack.enter_context(instance_with(directory, own, namespace=server))
        instance.in_store(_add_users)
        yield Site(instance, wire)


def _host(stack: ExitStack, role: str) -> Namespace:
    host = Namespace.create(role)
    stack.callback(host.close)
    return host


async def _add_users(store: Store) -> None:
    for name in PRESENT + ABSENT:
        await store.users.add(f"sip:{name}@{DOMAIN}", f"{name}-secret")
