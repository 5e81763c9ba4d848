"""MSRP: the Message Session Relay Protocol (RFC 4975), whole and on its own. Imports nothing else of the
worker, but for the switch, which reads envelopes (`cpim`).

From the bottom up, each layer usable without the ones above it:

    uri, ranges, media_types, fingerprint     values of the protocol
    frames, codec (usual, end_lines)          frames to bytes and back; no I/O
    session (inbox, outbox), registry         sessions; no I/O, no clock
    link (output)                             one connection and its sessions; no I/O, no clock
    connection, tls, websocket, endpoint      sockets, for asyncio and uvloop
    streams, relay                            messages for coroutines; relays of our own
    hop                                       two sessions joined; no I/O
    switch (fanout, room, nicknames)          the room of a conference; no I/O

How it is used:

    endpoint = MsrpEndpoint(EndpointConfig(listen="0.0.0.0", port=2855))
    await endpoint.start()

    session = endpoint.new_session(handler, options, host=await endpoint.local_host(peer_address))
    ...                                       # a=path: session.local_text, in our offer or answer
    session.set_remote(parse_path(path_of_the_peer), fingerprints)
    await endpoint.connect(session)           # only where we are the active side

    message = session.send(b"hello", "text/plain", success_report=True)
    long = session.open("image/jpeg", total=size)
    long.write(piece)                         # False: congested, wait for handler.writable
    long.finish()
    session.close()

What happens in a session is told to its `SessionHandler`, whose methods are called from the event loop
and must not block. For coroutines there is `streams.MessageStream` as the handler, with `send_from`,
`outcome` and `reported` for the sending side.

Flow control: `write` and `Session.congested` tell of a slow peer; `Session.hold` slows the peer down in
turn. A session never queues more than `SessionOptions.queue_bytes`; a peer that takes nothing for
`EndpointConfig.stall_seconds` is cut, and all that waited for it gets its `done` with 408.
"""

from .config import EndpointConfig
from .destinations import Destinations
from .endpoint import MsrpEndpoint
from .frames import NO, PARTIAL, YES, Request, Response
from .handler import DEFERRED, SessionHandler
from .incoming import IncomingMessage
from .media_types import AcceptTypes, accept_types
from .options import SessionOptions
from .outgoing import OutgoingMessage
from .ranges import ByteRange
from .session import Session
from .state import State
from .streams import MessageAborted, MessageStream, ReceivedMessage, outcome, reported, send_from
from .uri import MsrpUri, UriError, format_path, parse_path, parse_uri

__all__ = [
    "DEFERRED",
    "NO",
    "PARTIAL",
    "YES",
    "AcceptTypes",
    "ByteRange",
    "Destinations",
    "EndpointConfig",
    "IncomingMessage",
    "MessageAborted",
    "MessageStream",
    "MsrpEndpoint",
    "MsrpUri",
    "OutgoingMessage",
    "ReceivedMessage",
    "Request",
    "Response",
    "Session",
    "SessionHandler",
    "SessionOptions",
    "State",
    "UriError",
    "accept_types",
    "format_path",
    "outcome",
    "parse_path",
    "parse_uri",
    "reported",
    "send_from",
]
