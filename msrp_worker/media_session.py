"""From what SDP agreed to sessions of the MSRP endpoint: the step between `offer_answer` and `msrp`.

reply = answer(sdp.parse(body), policy)              # pure; ids in the policy from `new_session_id`
for line in reply.lines:
    session = accepted_session(endpoint, line, handler)
    if line.active:
        await endpoint.connect(session, line.connect_to)

line = offered_line(policy, new_session_id())        # the other way round
session = offered_session(endpoint, line, handler)   # reachable before the answer comes
for agreed in conclude(ours, theirs, policy):
    settle(session, agreed)
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from msrp_worker.msrp import (
    MsrpEndpoint,
    MsrpUri,
    Session,
    SessionHandler,
    SessionOptions,
    accept_types,
    parse_uri,
)
from msrp_worker.msrp.options import DEFAULT_OPTIONS
from msrp_worker.offer_answer import LocalEndpoint, Negotiated
from msrp_worker.sdp_msrp import MsrpMedia

SESSION_ID_BYTES = 16
"""Random bytes of a session-id: 128 bits, so that nobody guesses one (MED-10)."""


def new_session_id() -> str:
    """A name for `LocalPolicy.session_ids`, used once."""  # MED-10
    return secrets.token_urlsafe(SESSION_ID_BYTES)


def source_host(source: str) -> str | None:
    """The address in `address:port;transport`, without the brackets that IPv6 may have; None when there is none."""
    return source.partition(";")[0].rpartition(":")[0].strip("[]") or None


def reachable(endpoint: MsrpEndpoint, host: str, ws_port: int | None = None) -> LocalEndpoint:
    """Where the sessions of an endpoint are reached, for `LocalPolicy`. `host` comes from `MsrpEndpoint.local_host`;
    `ws_port` is where WebSocket clients come to."""
    fingerprint = endpoint.fingerprint
    return LocalEndpoint(
        host,
        endpoint.port,
        endpoint.tls_port,
        ws_port=ws_port,  # MED-11
        fingerprints=(fingerprint,) if fingerprint is not None else (),  # MED-04
    )


def accepted_session(
    endpoint: MsrpEndpoint,
    line: Negotiated,
    handler: SessionHandler,
    options: SessionOptions = DEFAULT_OPTIONS,
) -> Session:
    """The session for a line of our answer; it knows its peer's path. `options`: all but what SDP says."""
    session = offered_session(endpoint, line.local, handler, options)
    settle(session, line)
    return session


def offered_session(
    endpoint: MsrpEndpoint,
    media: MsrpMedia,
    handler: SessionHandler,
    options: SessionOptions = DEFAULT_OPTIONS,
) -> Session:
    """A session with the path of our half of a line. What we announced is what it takes: 415 and 413 for the
    rest.

    Raises ValueError for a session-id that is in use.
    """
    options = replace(
        options,
        accept=accept_types(media.accept_types, media.accept_wrapped_types),
        max_size=media.max_size,  # MED-12
    )
    session = Session(parse_uri(media.path[-1]), handler, endpoint.idents, options)
    endpoint.registry.add(session)
    return session


def settle(session: Session, line: Negotiated) -> None:
    """Tell a session the path and the certificate of its peer, from the other half of the line."""
    fingerprints = line.remote.fingerprints if line.remote.secure else ()
    session.set_remote(to_path(line), fingerprints)  # MED-04, MED-06


def to_path(line: Negotiated) -> tuple[MsrpUri, ...]:
    """The To-Path of our requests: out through our relays, then along the peer's path (RFC 4976 section
    5.1)."""
    ours = reversed(line.local.path[:-1])
    return tuple(parse_uri(hop) for hop in (*ours, *line.remote.path))
