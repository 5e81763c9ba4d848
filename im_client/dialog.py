"""Dialogs (RFC 3261 section 12) as values: made of a request and its response, they build further requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sipmessage import URI, Request, Response

from .errors import MalformedMessageError
from .transport import DEFAULT_PORTS, Target
from .wire import parse_cseq, parse_name_addr, parse_uri, split_outside_quotes, values

TARGET_REFRESH = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Requests whose Contact becomes the remote target (RFC 3261 12.2, RFC 3311 5.1, RFC 6665 4.4.1, RFC 3515)."""

DialogId = tuple[str, str, str]
"""Call-ID, local tag, remote tag (section 12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialog:
    """`local` and `remote` are the addresses of From and To of our requests, without tags.

    `target` is the remote target URI, `route` the route set in the order of our requests. `remote_cseq` is None
    until the peer has sent a request.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    remote: str
    target: str
    route: tuple[str, ...] = ()
    local_cseq: int = 0
    remote_cseq: int | None = None
    initiator: bool = True  # whether our request made it: we own its Call-ID

    @property
    def id(self) -> DialogId:
        return self.call_id, self.local_tag, self.remote_tag


def of_caller(request: Request, response: Response) -> Dialog:
    """The dialog at the UAC (section 12.1.2); `request` as it was sent.

    A response without Contact, as a provisional one may be, leaves the Request-URI as target. Raises
    MalformedMessageError.
    """
    sender = parse_name_addr(request.headers.get("From") or "")
    recipient = parse_name_addr(response.headers.get("To") or "")
    return Dialog(
        call_id=request.headers.get("Call-ID") or "",
        local_tag=sender.tag or "",
        remote_tag=recipient.tag or "",
        local=_untagged(request.headers.get("From") or ""),
        remote=_untagged(response.headers.get("To") or ""),
        target=_contact(response) or str(request.uri),
        route=tuple(reversed(values(response.headers, "Record-Route"))),
        local_cseq=parse_cseq(request.headers)[0],
    )


def of_callee(request: Request, local_tag: str) -> Dialog:
    """The dialog at the UAS (section 12.1.1). Raises MalformedMessageError for a request without Contact."""
    target = _contact(request)
    if not target:
        raise MalformedMessageError("a request that makes a dialog needs a Contact", request=request)
    sender = parse_name_addr(request.headers.get("From") or "")
    return Dialog(
        call_id=request.headers.get("Call-ID") or "",
        local_tag=local_tag,
        remote_tag=sender.tag or "",
        local=_untagged(request.headers.get("To") or ""),
        remote=_untagged(request.headers.get("From") or ""),
        target=target,
        route=tuple(values(request.headers, "Record-Route")),
        remote_cseq=parse_cseq(request.headers)[0],
        initiator=False,
    )


def build_request(
    dialog: Dialog, method: str, fields: list[tuple[str, str]], body: bytes = b"", number: int = 0
) -> Request:
    """A request in the dialog (section 12.2.1.1), without Via; `number` is its CSeq, set by the sending if 0.

    Raises ValueError where the peer gave no usable target.
    """
    uri, route = _path(dialog)
    request = Request(method, uri, body)
    for value in route:
        request.headers.add("Route", value)
    request.headers.add("Max-Forwards", "70")
    request.headers.add("From", _tagged(dialog.local, dialog.local_tag))
    request.headers.add("To", _tagged(dialog.remote, dialog.remote_tag))
    request.headers.add("Call-ID", dialog.call_id)
    request.headers.add("CSeq", f"{number} {method}")
    for name, value in fields:
        request.headers.add(name, value)
    return request


def next_hop(dialog: Dialog) -> Target | None:
    """Where a request in the dialog is sent (sections 12.2.1.1 and 8.1.2); None where that cannot be read."""
    try:
        uri = parse_uri(parse_name_addr(dialog.route[0]).uri) if dialog.route else parse_uri(dialog.target)
    except (MalformedMessageError, ValueError):
        return None
    transport = (uri.parameters.get("transport") or ("tls" if uri.scheme == "sips" else "udp")).lower()
    if uri.scheme not in ("sip", "sips") or transport not in DEFAULT_PORTS:
        return None
    host = uri.host.strip("[]")
    return Target(host, uri.port or DEFAULT_PORTS[transport], transport)


def in_order(dialog: Dialog, request: Request) -> bool:
    """Whether a request of the peer comes after its last one (section 12.2.2)."""
    return dialog.remote_cseq is None or parse_cseq(request.headers)[0] > dialog.remote_cseq


def received(dialog: Dialog, request: Request) -> Dialog:
    """The dialog after a request of the peer: its number, and its new target (section 12.2.2)."""
    dialog = replace(dialog, remote_cseq=parse_cseq(request.headers)[0])
    return _retargeted(dialog, request) if request.method in TARGET_REFRESH else dialog


def answered(dialog: Dialog, response: Response) -> Dialog:
    """The dialog after a 2xx to a target refresh request of ours (section 12.2.1.2)."""
    return _retargeted(dialog, response) if parse_cseq(response.headers)[1] in TARGET_REFRESH else dialog


def confirmed(dialog: Dialog, response: Response) -> Dialog:
    """The early dialog at the UAC after its 2xx: the route set is taken anew (section 13.2.2.4)."""
    route = tuple(reversed(values(response.headers, "Record-Route")))
    return replace(_retargeted(dialog, response), route=route)


def _retargeted(dialog: Dialog, message: Request | Response) -> Dialog:
    target = _contact(message)
    return replace(dialog, target=target) if target else dialog


def _contact(message: Request | Response) -> str:
    found = values(message.headers, "Contact")
    if not found:
        return ""
    try:
        uri = parse_name_addr(found[0]).uri
        parse_uri(uri)
    except (MalformedMessageError, ValueError):
        return ""
    return uri


def _path(dialog: Dialog) -> tuple[URI, list[str]]:
    """Request-URI and Route: a strict router (without lr) gets its URI as Request-URI (section 12.2.1.1)."""
    target = parse_uri(dialog.target)
    if not dialog.route:
        return target, []
    first = parse_uri(parse_name_addr(dialog.route[0]).uri)
    if "lr" in first.parameters:
        return target, list(dialog.route)
    return first, [*dialog.route[1:], f"<{dialog.target}>"]


def _untagged(value: str) -> str:
    address, *rest = split_outside_quotes(value, ";")
    kept = [part for part in rest if part.partition("=")[0].strip().lower() != "tag"]
    if "<" not in address:  # addr-spec: what follows are parameters of the field, not of the URI (section 20)
        address = f"<{address}>"
    return ";".join([address, *kept])


def _tagged(address: str, tag: str) -> str:
    return f"{address};tag={tag}" if tag else address
