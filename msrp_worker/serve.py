"""`python -m msrp_worker serve`: open the store, link to Kamailio, serve HTTP, purge; until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import logging
import resource
import secrets
import signal
import sys
import time
from functools import partial

import uvloop
from aiohttp import web

from msrp_worker import PRODUCT, garbage
from msrp_worker.answers import Answers
from msrp_worker.config import Config
from msrp_worker.controlling.conference_notifier import ConferenceNotifier
from msrp_worker.controlling.exploder import Exploder
from msrp_worker.controlling.function import ControllingFunction
from msrp_worker.controlling.overview import FocusView
from msrp_worker.controlling.participant_information import ParticipantInformation
from msrp_worker.controlling.referrals import Referrals
from msrp_worker.deferred.depositing import DepositFunction
from msrp_worker.deferred.function import DeferredFunction
from msrp_worker.functions import Functions
from msrp_worker.group_watch import GroupWatch
from msrp_worker.kamailio_link import KamailioLink, LinkAddress
from msrp_worker.msrp import Destinations, EndpointConfig, MsrpEndpoint
from msrp_worker.msrp.websocket import websocket_handler
from msrp_worker.operating import Operating
from msrp_worker.participating.function import ParticipatingFunction
from msrp_worker.participating.overview import BridgeView
from msrp_worker.readings import Parts, readings
from msrp_worker.sip.restart import Restored, adopt, release
from msrp_worker.sip.shell import LegManager
from msrp_worker.store.errors import StoreError
from msrp_worker.store.store import Store, open_store
from msrp_worker.web import Readings, application
from msrp_worker.web_guard import WebGuard
from msrp_worker.xcap.deferred_list import DeferredList
from msrp_worker.xcap.http import XcapServer

log = logging.getLogger("im.serve")

PURGE_SECONDS = 5.0
"""Between two looks for expired messages. They are never delivered or listed meanwhile; this frees their room."""
PURGE_BATCH = 1000
EXPIRY_SECONDS = 0.5
"""Between two looks for published settings that expired: how late the defaults may be back (SET-04)."""
HTTP_BESIDE_MSRP = 1000
"""HTTP connections, in all and of one address, beside those that MSRP over WebSocket may have; a front end that all users
come through has one address."""
HTTP_KEEP_ALIVE_S = 75.0
"""Seconds that an HTTP connection may be idle between two requests; aiohttp would hold it for an hour."""

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
        parts: Parts | None = None
        more: list[Readings] = []  # of what is made later
        app = application(
            lambda: "" if link.ready else "not linked to Kamailio",
            lambda: itertools.chain(() if parts is None else readings(parts), *(each() for each in more)),
        )
        app.router.add_get("/msrp", websocket_handler(endpoint))  # MED-11
        documents = XcapServer(store, config)  # XDM-01
        documents.mount(app)
        more.append(documents.readings)
        await _listen(stack, app, config, more)
        await _expire_once(store)  # what expired while no worker ran holds for no request
        functions = Functions(link, store.legs, config.domain, lambda: secrets.token_hex(12))
        deferred = DeferredFunction(store, functions, endpoint, config)
        deposits = DepositFunction(store, functions, endpoint, config, deferred.node, answers.large_message_stored)
        await deposits.open()  # before anything can come
        participating = ParticipatingFunction(functions, endpoint, config, deposits.take_over)
        answers.focus, answers.sender = participating.focus, functions.sender
        watch = GroupWatch(store.groups, store.database.revision)
        stack.push_async_callback(_cancel, asyncio.create_task(watch.run()))
        documents.add(DeferredList(store, deferred.notifier.changed))  # DEF-09
        documents.open()
        notifier = ConferenceNotifier(functions, config.conference_notify_interval)
        focus = ControllingFunction(functions, endpoint, store, config, watch, notifier)
        seen = ParticipantInformation(focus, functions, notifier, store.groups, watch, config, focus.start)
        focus.methods["SUBSCRIBE"] = seen.take  # CES-01
        referrals = Referrals(focus, functions, store.groups.get, config)  # CNF-22
        stack.callback(referrals.close)
        exploder = Exploder(store, functions, config, store.groups.get, focus.addresses_of, partial(_hides, focus))
        focus.methods["MESSAGE"] = exploder.take  # PAG-11
        more += focus.readings, notifier.readings, exploder.readings
        operating = Operating(
            lambda after: (FocusView(one) for one in focus.sessions() if one.room.tally.number > after),
            lambda after: (BridgeView(one) for one in participating.sessions() if one.tally.number > after),
        )
        link.operate = operating.answer
        parts = Parts(store, link, answers, endpoint, functions.legs, participating, deferred)
        answers.on_available, answers.on_stored = deferred.available, deferred.stored
        restored = await adopt(functions.legs, store.legs, lambda record: None)
        link.start()
        stack.push_async_callback(link.close)
        stack.push_async_callback(functions.legs.close)
        stack.push_async_callback(deferred.close)  # says BYE, which needs the link
        stack.callback(notifier.close)  # tells the end of the sessions
        stack.push_async_callback(focus.close)  # the same
        stack.push_async_callback(_cancel, asyncio.create_task(_release(functions.legs, restored)))
        stack.push_async_callback(deposits.close)
        await deferred.open()
        await exploder.open()
        stack.push_async_callback(exploder.close)
        stack.push_async_callback(_cancel, asyncio.create_task(_purge(store)))
        stack.push_async_callback(_cancel, asyncio.create_task(_expire_settings(store, link)))
        garbage.settle()
        log.info("%s serves %s, store %s", PRODUCT, config.domain, config.database_shown)
        await stopped.wait()
        log.info("stopping")


async def _listen(stack: contextlib.AsyncExitStack, app: web.Application, config: Config, more: list[Readings]) -> None:
    """Serve HTTP until the stack unwinds, against slow clients too (SEC-02). OSError."""
    guard = WebGuard(
        head_seconds=config.http_seconds,
        stall_seconds=config.msrp_stall_seconds,
        most=config.msrp_max_connections + HTTP_BESIDE_MSRP,
        most_per_address=config.msrp_max_per_address + HTTP_BESIDE_MSRP,
    )
    app.middlewares.append(guard.middleware)
    runner = web.AppRunner(app, keepalive_timeout=HTTP_KEEP_ALIVE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = await guard.serve(runner, config.listen, config.http_port)
    stack.callback(server.close)
    more.append(guard.readings)


def msrp_config(config: Config) -> EndpointConfig:
    """The MSRP endpoint of this configuration: msrp always, msrps with a certificate (SEC-04)."""
    return EndpointConfig(
        listen=config.listen,
        port=config.msrp_port,
        tls_port=config.msrps_port if config.tls_enabled else None,
        tls_certificate=config.tls_certificate,
        tls_key=config.tls_key,
        public_host=config.msrp_public_host or None,
        max_connections=config.msrp_max_connections,
        max_connections_per_address=config.msrp_max_per_address,
        bind_seconds=config.msrp_bind_seconds,  # SEC-02
        destinations=Destinations(
            loopback=ipaddress.ip_address(config.listen).is_loopback,
            own_ports=frozenset(
                (
                    config.sip_port,
                    config.sips_port,
                    config.originating_port,
                    config.terminating_port,
                    config.control_port,
                    config.http_port,
                )
            ),
        ),  # SEC-05
        peer_seconds=config.msrp_peer_seconds,
        stall_seconds=config.msrp_stall_seconds,
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


async def _release(legs: LegManager, restored: Restored) -> None:
    """End the sessions of the worker before us, beside everything else."""
    await release(legs, restored)


def _hides(focus: ControllingFunction, identity: str, user: str) -> bool:
    """Whether a user takes part in the session of an identity under no name (IDN-08)."""
    session = focus.find(identity)
    return session is not None and session.hides(user)


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
