"""What the worker shows at `/metrics`; `docs/operating.md` lists it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msrp_worker.answers import Answers
from msrp_worker.deferred.function import DeferredFunction
from msrp_worker.kamailio_link import KamailioLink
from msrp_worker.msrp import MsrpEndpoint
from msrp_worker.participating.function import ParticipatingFunction
from msrp_worker.sip.shell import LegManager
from msrp_worker.store.store import Store
from msrp_worker.web import Reading


@dataclass(frozen=True, slots=True)
class Parts:
    """Of whom the readings are."""

    store: Store
    link: KamailioLink
    answers: Answers
    endpoint: MsrpEndpoint
    legs: LegManager
    participating: ParticipatingFunction
    deferred: DeferredFunction


def readings(parts: Parts) -> Iterator[Reading]:
    """All readings, now."""
    yield from _of_the_link(parts.link)
    yield from _of_the_store(parts.store, parts.answers)
    yield from _of_the_legs(parts.legs)
    yield Reading("sessions_bridged", "Sessions with their media through this server", len(parts.participating))
    yield Reading(
        "invitations_storm_total", "Invitations refused: too many ring at their recipient", parts.participating.storms
    )
    yield Reading("deliveries", "Pushes and retrievals of deferred messages under way", len(parts.deferred))
    yield Reading("deliveries_waiting", "Users whose push is under way or waits for its turn", parts.deferred.pushing)
    yield Reading("delivered_total", "Deferred messages delivered", parts.deferred.pushed)
    yield Reading("subscriptions", "Subscriptions to what waits", len(parts.deferred.notifier))
    yield from _of_msrp(parts.endpoint)


def _of_the_link(link: KamailioLink) -> Iterator[Reading]:
    counters = link.counters
    yield Reading("link_connected", "1 while Kamailio's control listener is reached", link.connected)
    yield Reading("questions_total", "Questions of Kamailio", counters.questions)
    yield Reading("trace_events_total", "Trace events of Kamailio", counters.events)
    yield Reading("answers_total", "Answers sent to Kamailio", counters.answers)
    yield Reading("answers_lost_total", "Answers that found Kamailio away", counters.answers_lost)
    yield Reading("questions_late_total", "Questions whose sender had been told 503 before they were read", counters.late)
    yield Reading("packets_malformed_total", "Packets of the link not understood", counters.malformed)
    yield Reading("failures_total", "Questions that ended in an error", counters.failures)


def _of_the_store(store: Store, answers: Answers) -> Iterator[Reading]:
    yield Reading("deferred_total", "Messages stored", answers.deferred)
    yield Reading("deferrals_refused_total", "Messages not stored: quota, or store unavailable", answers.deferrals_refused)
    yield Reading("publications_total", "Publications of service settings taken", answers.published)
    yield Reading("trace_dropped_total", "Trace events lost because the disk did not keep up", store.trace.dropped)


def _of_the_legs(legs: LegManager) -> Iterator[Reading]:
    counters = legs.counters
    yield Reading("legs", "SIP dialogs of sessions and deliveries open", len(legs))
    yield Reading("legs_created_total", "Such dialogs begun", counters.created)
    yield Reading(
        "legs_refused_total", "INVITEs that became none: full, malformed, merged, against a rule", counters.refused
    )
    for cause in sorted(counters.ended):
        yield Reading("legs_ended_total", "Such dialogs over, by cause", counters.ended[cause], ("cause", cause))
    yield Reading("legs_malformed_total", "SIP messages for them that could not be read", counters.malformed)
    yield Reading("legs_unmatched_total", "Requests within dialogs that nobody knows", counters.unmatched)
    yield Reading("legs_stray_total", "Answers that nobody waited for; each was cancelled or released", counters.stray)
    yield Reading("legs_not_stored_total", "Dialogs refused because the store did not take them", counters.not_stored)
    yield Reading(
        "legs_failures_total", "Errors in the rules of a dialog or its owner", counters.failures + counters.owner_errors
    )
    yield Reading("legs_commands_dropped_total", "Commands given up while Kamailio was away", legs.sender.dropped)


def _of_msrp(endpoint: MsrpEndpoint) -> Iterator[Reading]:
    counters = endpoint.registry.counters
    yield Reading("msrp_connections", "MSRP connections open", endpoint.connections)
    yield Reading("msrp_sessions", "MSRP sessions open or waiting for their connection", len(endpoint.registry))
    yield Reading("msrp_accepted_total", "MSRP connections accepted", counters.accepted)
    yield Reading(
        "msrp_over_limit_total", "MSRP connections refused: too many, in all or of one address", counters.over_limit
    )
    yield Reading("msrp_never_bound_total", "MSRP connections closed that named no session in time", counters.never_bound)
    yield Reading("msrp_never_came_total", "MSRP sessions ended whose peer did not connect in time", counters.never_came)
    yield Reading("msrp_stalled_total", "MSRP connections cut because the peer took nothing", counters.stalled)
    yield Reading("msrp_malformed_total", "MSRP frames outside the grammar", counters.malformed)
    refused = (
        ("481", counters.unknown_session),
        ("506", counters.wrong_connection),
        ("403", counters.forbidden),
    )
    for code, value in refused:
        yield Reading("msrp_refused_total", "MSRP requests for no session that may be reached so", value, ("code", code))
