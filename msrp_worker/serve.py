"""`python -m msrp_worker serve`: open the store, link to Kamailio, serve HTTP, purge; until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial

import uvloop
from aiohttp import web

from msrp_worker import PRODUCT
from msrp_worker.answers import Answers
from msrp_worker.config import Config
from msrp_worker.deferred.depositing import DepositFunction
from msrp_worker.deferred.function import DeferredFunction
from msrp_worker.functions import Functions
from msrp_worker.kamailio_link import KamailioLink, LinkAddress
from msrp_worker.msrp import EndpointConfig, MsrpEndpoint
from msrp_worker.msrp.websocket import websocket_handler
from msrp_worker.participating.function import ParticipatingFunction
from msrp_worker.sip.restart import restore
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store, open_store
from msrp_worker.web import application

log = logging.getLogger("im.serve")

PURGE_SECONDS = 5.0
"""Between two looks for expired messages. They are never delivered or listed meanwhile; this frees their room."""
PURGE_BATCH = 1000
EXPIRY_SECONDS = 0.5
"""Between two looks for published settings that expired: how late the defaults may be back (SET-04)."""

TRACES_COME_SECONDS = 0.15
"""Kamailio sends what it traced ten times a second."""


def main(config: Config) -> int:
    """Run the worker; the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the 1,024 of a shell are for programs that use select()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config))
    except StoreError as error:
        log.error("cannot open the store %s: %s", config.database_shown, error)
        return 1
    except OSError as error:
        log.error("cannot start: %s", error)
        return 1
    return 0


async def _serve(config: Config) -> None:
    store = await open_store(config)
    answers = Answers(store)
    address = LinkAddress(config.state_dir, control_port=config.control_port)
    link = KamailioLink(address, answers, store.database.revision)
    link.settle = partial(_settle, store)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        endpoint = MsrpEndpoint(msrp_config(config))
        await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload_certificate, endpoint)
        app = application(
            lambda: "" if link.ready else "not linked to Kamailio",
            lambda: _readings(store, link, answers, endpoint),
        )
        app.router.add_get("/msrp", websocket_handler(endpoint))  # MED-11
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, config.listen, config.http_port).start()
        await _expire_once(store)  # what expired while no worker ran holds for no request
        functions = Functions(link, store.legs, config.domain, lambda: secrets.token_hex(12))
        deferred = DeferredFunction(store, functions, endpoint, config)

        def large_stored(recipient: str) -> None:
            answers.deferred += 1
            deferred.stored(recipient)

        deposits = DepositFunction(store, functions, endpoint, config, deferred.node, large_stored)
        ParticipatingFunction(functions, endpoint, config, deposits.take_over)
        answers.on_available, answers.on_stored = deferred.available, deferred.stored
        link.start()
        stack.push_async_callback(link.close)
        stack.push_async_callback(functions.legs.close)
        stack.push_async_callback(deferred.close)  # says BYE, which needs the link
        stack.push_async_callback(deposits.close)
        await deposits.open()
        await restore(functions.legs, store.legs, lambda record: None)
        await deferred.open()
        stack.push_async_callback(_cancel, asyncio.create_task(_purge(store)))
        stack.push_async_callback(_cancel, asyncio.create_task(_expire_settings(store, link)))
        log.info("%s serves %s, store %s", PRODUCT, config.domain, config.database_shown)
        await stopped.wait()
        log.info("stopping")


def msrp_config(config: Config) -> EndpointConfig:
    """The MSRP endpoint of this configuration: msrp always, msrps with a certificate (SEC-04)."""
    return EndpointConfig(
        listen=config.listen,
        port=config.msrp_port,
        tls_port=config.msrps_port if config.tls_enabled else None,
        tls_certificate=config.tls_certificate,
        tls_key=config.tls_key,
        public_host=config.msrp_public_host or None,
    )


def _reload_certificate(endpoint: MsrpEndpoint) -> None:
    """SIGHUP: the certificate of msrps was renewed (SEC-04)."""
    try:
        endpoint.reload_certificate()
    except (OSError, ValueError) as error:
        log.error("certificate not reloaded, the old one stays: %s", error)
    else:
        log.info("certificate reloaded")


async def _settle(store: Store) -> None:
    """Have on disk what was traced up to now, for the operator's command that asks."""
    await asyncio.sleep(TRACES_COME_SECONDS)
    await store.trace.flush()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _purge(store: Store) -> None:
    """Delete expired messages and registrations (DEF-10, COR-08)."""
    while True:
        try:
            purged = await store.deferred.purge(time.time(), PURGE_BATCH)
            if purged:
                log.info("DEF-10 purged %d expired messages", len(purged))
            await store.registrations.expire(time.time())
        except StoreError as error:
            purged = []
            log.error("cannot purge: %s", error)
        await asyncio.sleep(0 if len(purged) == PURGE_BATCH else PURGE_SECONDS)


async def _expire_settings(store: Store, link: KamailioLink) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        if await _expire_once(store):
            link.tell_revision()


async def _expire_once(store: Store) -> int:
    """Return users to the defaults whose published settings expired; how many publications there were (SET-04)."""
    try:
        expired = await store.settings.expire(time.time())
    except StoreError as error:
        log.error("cannot expire published settings: %s", error)
        return 0
    if expired:
        log.info("SET-04 %d publications of settings expired", expired)
    return expired


def _readings(
    store: Store, link: KamailioLink, answers: Answers, endpoint: MsrpEndpoint
) -> Iterable[tuple[str, str, float]]:
    counters = link.counters
    yield "link_connected", "1 while Kamailio's control listener is reached", float(link.connected)
    yield "questions_total", "Questions of Kamailio", counters.questions
    yield "trace_events_total", "Trace events of Kamailio", counters.events
    yield "answers_total", "Answers sent to Kamailio", counters.answers
    yield "answers_lost_total", "Answers that found Kamailio away", counters.answers_lost
    yield "questions_late_total", "Questions whose sender had been told 503 before they were read", counters.late
    yield "packets_malformed_total", "Packets of the link not understood", counters.malformed
    yield "failures_total", "Questions that ended in an error", counters.failures
    yield "deferred_total", "Messages stored", answers.deferred
    yield "deferrals_refused_total", "Messages not stored: quota, or the store unavailable", answers.deferrals_refused
    yield "publications_total", "Publications of service settings taken", answers.published
    yield "trace_dropped_total", "Trace events lost because the disk did not keep up", store.trace.dropped
    yield "msrp_connections", "MSRP connections open", endpoint.connections
