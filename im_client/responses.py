"""Build responses to requests, and know where they go (RFC 3261 sections 8.2.6 and 18.2, RFC 3581)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sipmessage import Request, Response

from .config import ClientConfig
from .transport import DEFAULT_PORTS, Address, Flow
from .wire import ViaEntry, header_names, host_text, parse_cseq, parse_name_addr, parse_vias, values

REASONS = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    302: "Moved Temporarily",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
}


def with_via(message: Request, transport: str, sent_by: tuple[str, int], branch: str) -> Request:
    """A copy of the request with our Via on top (RFC 3261 section 8.1.1.7, RFC 3581 section 3)."""
    copy = Request(message.method, message.uri, message.body)
    copy.headers.add("Via", f"SIP/2.0/{transport} {sent_by[0]}:{sent_by[1]};rport;branch={branch}")
    for name in header_names(message.headers):
        for value in message.headers.getlist(name):
            copy.headers.add(name, value)
    return copy


def build_ack(invite: Request, response: Response) -> Request:
    """The ACK to a refusal (RFC 3261 section 17.1.1.3); `invite` as it was sent, with its Via."""
    ack = Request("ACK", invite.uri)
    ack.headers.add("Via", invite.headers.get("Via") or "")
    ack.headers.add("Max-Forwards", "70")
    for name in ("From", "Call-ID"):
        ack.headers.add(name, invite.headers.get(name) or "")
    ack.headers.add("To", response.headers.get("To") or invite.headers.get("To") or "")
    return _same_number(ack, invite)


def build_cancel(invite: Request) -> Request:
    """The CANCEL of an INVITE (section 9.1): its Request-URI, branch, To, From, Call-ID, number and route."""
    cancel = Request("CANCEL", invite.uri)
    for name in ("Via", "Max-Forwards", "From", "To", "Call-ID"):
        cancel.headers.add(name, invite.headers.get(name) or "")
    return _same_number(cancel, invite)


def _same_number(request: Request, invite: Request) -> Request:
    request.headers.add("CSeq", f"{parse_cseq(invite.headers)[0]} {request.method}")
    for value in invite.headers.getlist("Route"):
        request.headers.add("Route", value)
    return request


def build_response(
    request: Request,
    status: int,
    *,
    to_tag: str,
    source: Address,
    reason: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    """A response with Via, From, To, Call-ID and CSeq of the request, then `headers`.

    `to_tag` is added unless To has a tag or the status is 100. Raises MalformedMessageError for a
    request without readable Via or To.
    """
    response = Response(status, REASONS.get(status, "Unknown") if reason is None else reason, body)
    entries = parse_vias(request.headers)
    response.headers.add("Via", _top_via(entries[0], source))
    for entry in entries[1:]:
        response.headers.add("Via", entry.text)
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = request.headers.get(name) or ""
        if name == "To" and status != 100 and parse_name_addr(value).tag is None:
            value += f";tag={to_tag}"
        response.headers.add(name, value)
    for name in values(request.headers, "Record-Route"):
        response.headers.add("Record-Route", name)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _top_via(via: ViaEntry, source: Address) -> str:
    text = via.text
    if "rport" in via.parameters and via.parameters["rport"] is None:
        head, _, tail = text.partition(";")
        fields = [f"rport={source[1]}" if f.strip().lower() == "rport" else f for f in tail.split(";")]
        text = ";".join([head, *fields])
    if "received" not in via.parameters and (via.host != host_text(source[0]) or "rport" in via.parameters):
        text += f";received={source[0]}"
    return text


def datagram_destination(via: ViaEntry, flow: Flow) -> Address:
    """Where the response to a request that came by UDP goes (RFC 3261 section 18.2.2, RFC 3581 section 4)."""
    maddr = via.parameters.get("maddr")
    if maddr and _is_address(maddr):
        return maddr, via.port or 5060
    if "rport" in via.parameters:
        return flow.remote
    return flow.remote[0], via.port or 5060


def stream_destination(via: ViaEntry, flow: Flow) -> Address:
    """Where to connect for a response when the stream of its request has closed (RFC 3261 section 18.2.2)."""
    return flow.remote[0], via.port or DEFAULT_PORTS[flow.transport.lower()]


def _is_address(text: str) -> bool:
    """Whether it is an IP address.

    A name would have to be resolved, which the sending of a response is not worth.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def identity_fields(config: ClientConfig) -> list[tuple[str, str]]:
    """The IM Address as Authenticated Originator's IM Address, the way a client gives it (clause 5.2)."""
    name = "P-Asserted-Identity" if config.trusted else "P-Preferred-Identity"
    return [(name, f"<{config.identity_uri}>")]
