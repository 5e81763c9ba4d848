"""Dialogs after RFC 3261 section 12: how they come to be, number their requests and find their way."""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from msrp_worker.sip.message import MAX_CSEQ, MalformedMessage, Message, address, sip_uri
from msrp_worker.sip.port import Headers, SendRequest

MAX_ROUTES = 64
"""Proxies in one route set; Max-Forwards starts at 70."""
TARGET_REFRESHING = frozenset({"INVITE", "UPDATE"})
"""Requests whose Contact moves the remote target (RFC 3261 section 12.2, RFC 3311 section 5.1)."""

_LOOSE = re.compile(r";\s*lr\b", re.IGNORECASE)
_NOT_IN_REQUEST_URI = re.compile(r"(\?.*|;method=[^;?]*)", re.IGNORECASE)

DialogId = tuple[str, str, str]
"""Call-ID, local tag, remote tag."""


class Dialog(Struct, frozen=True, kw_only=True):
    """One dialog; before the first response with a To tag, `remote_tag` is empty and `remote_target` is where the INVITE
    went."""

    call_id: str
    local_tag: str
    remote_tag: str = ""
    local_uri: str
    """URI of our side, as From (of what we send) names it."""
    remote_uri: str
    remote_target: str
    """URI of the peer's Contact."""
    route_set: tuple[str, ...] = ()
    """URIs of the proxies on the way, nearest first, in angle brackets with what followed them."""
    contact: str
    """Our Contact with its parameters."""
    local_cseq: int
    """Number of our last request."""
    remote_cseq: int = 0
    """Highest number of the peer's requests; 0 before the first."""

    @property
    def identity(self) -> DialogId:
        """Call-ID, local tag and remote tag (12)."""
        return self.call_id, self.local_tag, self.remote_tag


def as_callee(request: Message, local_tag: str, contact: str) -> Dialog:
    """The dialog that our responses to an INVITE create (12.1.1). MalformedMessage without a usable Contact."""
    if not request.contact:
        raise MalformedMessage("an INVITE needs a Contact with a SIP URI")
    return Dialog(
        call_id=request.call_id,
        local_tag=local_tag,
        remote_tag=request.from_tag,
        local_uri=_plain(request.first("to")),
        remote_uri=_plain(request.first("from")),
        remote_target=request.contact,
        route_set=_routes(request),
        contact=contact,
        local_cseq=0,
        remote_cseq=request.cseq,
    )


def as_caller(base: Dialog, response: Message) -> Dialog:
    """The dialog that a response to our INVITE creates (12.1.2), from what was sent.

    COMPAT(callees that leave Contact out of a provisional response): the target stays where the INVITE went.
    MalformedMessage when a route cannot be used.
    """
    return replace(
        base,
        remote_tag=response.to_tag,
        remote_target=response.contact or base.remote_target,
        route_set=tuple(reversed(_routes(response))),
    )


def confirmed(early: Dialog, response: Message) -> Dialog:
    """An early dialog after the 2xx: route set anew, target from its Contact, numbers kept (13.2.2.4)."""
    return replace(
        early,
        remote_target=response.contact or early.remote_target,
        route_set=tuple(reversed(_routes(response))),
    )


def request(
    dialog: Dialog, method: str, headers: Headers = (), body: bytes = b"", names: tuple[str, str] = ("", "")
) -> tuple[Dialog, SendRequest]:
    """The next request of ours (12.2.1.1), with Contact where it refreshes the target.

    `names`: display names of From and To, quoted as they are to stand; only an INVITE has them.
    """
    dialog = replace(dialog, local_cseq=dialog.local_cseq + 1)
    uri, routes = dialog.remote_target, dialog.route_set
    if routes and not _LOOSE.search(routes[0]):  # a strict router of RFC 2543
        uri = _NOT_IN_REQUEST_URI.sub("", sip_uri(routes[0]))
        routes = (*routes[1:], f"<{dialog.remote_target}>")
    next_hop = sip_uri(dialog.route_set[0]) if dialog.route_set else ""
    from_name, to_name = (f"{name} " if name else "" for name in names)
    to = f"{to_name}<{dialog.remote_uri}>" + (f";tag={dialog.remote_tag}" if dialog.remote_tag else "")
    fixed: list[tuple[str, str]] = [
        ("From", f"{from_name}<{dialog.local_uri}>;tag={dialog.local_tag}"),
        ("To", to),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{dialog.local_cseq} {method}"),
    ]
    fixed += [("Route", route) for route in routes]
    if method in TARGET_REFRESHING or method in ("SUBSCRIBE", "NOTIFY", "REFER"):
        fixed.append(("Contact", dialog.contact))
    return dialog, SendRequest(method, uri, next_hop, (*fixed, *headers), body)


def in_order(dialog: Dialog, message: Message) -> bool:
    """Whether a request of the peer is newer than all before (12.2.2). An old one is refused 500.

    An equal number is refused too: repetitions of the same request end at the transaction layer.
    """
    return message.cseq > dialog.remote_cseq


def received(dialog: Dialog, message: Message) -> Dialog:
    """The dialog after a request of the peer was taken: its number, and no other change yet."""
    return replace(dialog, remote_cseq=max(dialog.remote_cseq, message.cseq))


def retargeted(dialog: Dialog, message: Message) -> Dialog:
    """The dialog after an accepted INVITE or UPDATE of the peer, or its 2xx to ours: its Contact counts (12.2.2)."""
    return replace(dialog, remote_target=message.contact) if message.contact else dialog


def _routes(message: Message) -> tuple[str, ...]:
    routes = tuple(message.values("record-route"))
    if len(routes) > MAX_ROUTES or not all(sip_uri(route) and route.isascii() and route.isprintable() for route in routes):
        raise MalformedMessage("a Record-Route cannot be used")
    return routes


def _plain(value: str) -> str:
    """Only the URI of From or To: the tags identify the dialog, a display name need not come back (12.2.1.1)."""
    uri = address(value)
    if not uri.isascii() or not uri or any(char in uri for char in ' \t<>"'):
        raise MalformedMessage("From or To has no usable URI")
    return uri


def next_number(local_cseq: int) -> int:
    """First number after a gap in our memory: a restarted worker may have sent more requests than were stored.

    RFC 3261 section 12.2.2 lets the peer's numbers have gaps.
    """
    return min(local_cseq + RESTART_GAP, MAX_CSEQ - RESTART_GAP)


RESTART_GAP = 1000
"""More requests than a leg sends between two changes that are stored."""
