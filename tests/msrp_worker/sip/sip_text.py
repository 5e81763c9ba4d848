"""SIP messages for the tests, and what Kamailio's transaction module makes of commands."""

from __future__ import annotations

from collections.abc import Iterable

from sipmessage import Message as Judge

from msrp_worker.sip.message import Message, read
from msrp_worker.sip.port import Reply, SendRequest

CALL_ID = "call-1"
CALLER_CONTACT = "<sip:alice@198.51.100.1:5060>;+g.oma.sip-im"
CALLEE_CONTACT = "<sip:im@192.0.2.1:5060>;isfocus"
OFFER = b"v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\nm=message 2855 TCP/MSRP *\r\n"
ANSWER = b"v=0\r\no=- 9 1 IN IP4 192.0.2.1\r\nm=message 2855 TCP/MSRP *\r\n"
OTHER_OFFER = OFFER.replace(b" 1 1 ", b" 1 2 ")
OTHER_ANSWER = ANSWER.replace(b" 9 1 ", b" 9 2 ")

Lines = Iterable[tuple[str, str]]


def text(start: str, lines: Lines, body: bytes = b"") -> bytes:
    """A message from its parts; with Content-Length."""
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    kind = "" if not body or "content-type" in head.lower() else "Content-Type: application/sdp\r\n"
    return f"{start}\r\n{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


def request(
    method: str,
    cseq: int,
    *,
    call_id: str = CALL_ID,
    from_tag: str = "a",
    to_tag: str = "",
    lines: Lines = (),
    body: bytes = b"",
    contact: str = CALLER_CONTACT,
) -> bytes:
    """A request of the peer; its From is alice."""
    fixed = [
        ("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1"),
        ("From", f'"Alice, A" <sip:alice@example.com>;tag={from_tag}'),
        ("To", "<sip:im@example.com>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]
    if contact:
        fixed.append(("Contact", contact))
    return text(f"{method} sip:im@example.com SIP/2.0", [*fixed, *lines], body)


def as_read(data: bytes) -> Message:
    """The message as the legs see it."""
    return read(data)


def on_the_wire(command: SendRequest) -> bytes:
    """The request as tm sends it. sipmessage is the judge of its syntax."""
    via = ("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx")
    data = text(
        f"{command.method} {command.request_uri} SIP/2.0",
        [via, ("Max-Forwards", "70"), *command.headers],
        command.body,
    )
    Judge.parse(data)
    return data


def reply_on_the_wire(command: Reply, answered: Message, record_routes: Lines = ()) -> bytes:
    """The response as tm builds it: Via, From, To, Call-ID, CSeq and Record-Route as the request had them."""
    to = answered.first("to")
    if not answered.to_tag:
        to += f";tag={command.to_tag}"
    lines = [
        ("Via", answered.first("via")),
        *(("Record-Route", value) for value in answered.lines("record-route") if 180 <= command.status < 300),
        *record_routes,
        ("From", answered.first("from")),
        ("To", to),
        ("Call-ID", answered.call_id),
        ("CSeq", answered.first("cseq")),
        *command.headers,
    ]
    data = text(f"SIP/2.0 {command.status} {command.reason}", lines, command.body)
    Judge.parse(data)
    return data


def response(
    sent: SendRequest,
    status: int,
    reason: str = "Whatever",
    *,
    to_tag: str = "b",
    lines: Lines = (),
    body: bytes = b"",
    contact: str = "<sip:bob@203.0.113.5>",
) -> Message:
    """A response of the peer to a request of ours."""
    command = Reply((0, 0), status, reason, to_tag, (*lines, *((("Contact", contact),) if contact else ())), body)
    return read(reply_on_the_wire(command, read(on_the_wire(sent))))


def header(command: SendRequest | Reply, name: str) -> str:
    """All values of a header of a command, joined as one line would."""
    return ", ".join(value for key, value in command.headers if key.lower() == name.lower())
