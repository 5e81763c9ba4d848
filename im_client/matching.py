"""Which transaction a message belongs to (RFC 3261 sections 8.2.2.2, 17.1.3 and 17.2.3)."""

from __future__ import annotations

from collections.abc import Hashable

from sipmessage import Request

from .errors import MalformedMessageError
from .wire import COOKIE, ViaEntry, parse_cseq, parse_name_addr, parse_vias


def check_request(message: Request) -> tuple[ViaEntry, Hashable]:
    """The top Via and the key of merged requests (None in a dialog).

    Raises MalformedMessageError: section 8.1.1.
    """
    via = parse_vias(message.headers)[0]
    number, method = parse_cseq(message.headers)
    from_value, to_value, call_id = (message.headers.get(name) for name in ("From", "To", "Call-ID"))
    if from_value is None or to_value is None or not call_id or method != message.method:
        raise MalformedMessageError("From, To, Call-ID or a fitting CSeq is missing")
    sender, recipient = parse_name_addr(from_value), parse_name_addr(to_value)
    if recipient.tag is not None or method in ("ACK", "CANCEL"):
        return via, None
    return via, ("merge", sender.tag, call_id, number, method)


def invite_key(message: Request, via: ViaEntry) -> Hashable:
    """The key of the INVITE transaction that an ACK or a CANCEL belongs to (sections 9.2 and 17.2.3)."""
    return _key(message, via, "INVITE")


def server_key(message: Request, via: ViaEntry) -> Hashable:
    """RFC 3261 section 17.2.3, with its rule for RFC 2543 peers, whose branches are not unique."""
    return _key(message, via, "INVITE" if message.method == "ACK" else message.method)


def _key(message: Request, via: ViaEntry, method: str) -> Hashable:
    if via.branch.startswith(COOKIE):
        return "server", via.branch, via.sent_by, method
    headers = message.headers
    sender = parse_name_addr(headers.get("From") or "").tag
    number = parse_cseq(headers)[0]
    return "server", str(message.uri), sender, headers.get("Call-ID"), number, via.text, method
