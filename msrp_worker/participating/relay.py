"""Which headers pass from one leg of a bridged session to the other: pure functions over messages.

Addresses, routes, identities that a client claims and what belongs to one hop do not pass; what a request means does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kemi.messages import SipRequest
from msrp_worker.sip.message import Message, parameters
from msrp_worker.sip.port import Headers

INVITATION = (
    *("subject", "priority", "referred-by", "privacy", "in-reply-to", "reply-to", "alert-info", "date", "replaces"),
    *("conversation-id", "contribution-id", "inreplyto-contribution-id"),  # COMPAT(RCS clients): which chat it belongs to
)
"""Headers of the caller's INVITE that the callee gets as they are. Replaces is in the callee's terms (RFC 3891 section 3);
where a session of ours is meant, the focus has put it so (CNF-11)."""
WITHIN = (
    *("accept", "accept-encoding", "accept-language", "allow-events", "content-disposition", "content-encoding"),
    *("content-id", "content-language", "content-type", "date", "event", "expires", "info-package", "mime-version"),
    *("priority", "privacy", "recv-info", "refer-sub", "refer-to", "referred-by", "require", "subject"),
    *("subscription-state", "suppress-if-match", "target-dialog"),
)
"""Headers of another request within the session that go on with it (6.2.3.4, 6.2.3.5)."""
RESPONSE = (
    *("accept", "allow-events", "content-disposition", "content-type", "date", "event", "expires", "min-expires"),
    *("refer-sub", "retry-after", "unsupported", "warning"),
)
"""Headers of its response that come back."""
CHARGING = ("p-charging-vector", "p-charging-function-addresses")
"""What a core ties the legs of a session together with in its accounts (RFC 7315 sections 4.5, 4.6)."""
NETWORK = (
    *("p-asserted-identity", "p-asserted-service", "p-access-network-info", "p-visited-network-id", "p-served-user"),
    *("p-private-network-indication", "history-info", "request-disposition", "reject-contact"),
)
"""Headers of an INVITE that are between the elements of a core, of which this server is one (PFS-03)."""
NETWORK_RESPONSE = (*CHARGING, "p-asserted-identity", "p-access-network-info", "history-info")
"""Headers of its responses that are."""
FIRST_HOPS = 70
"""Max-Forwards of a request that says nothing about it (RFC 3261 section 8.1.1.6)."""
FAILURE = ("warning", "retry-after", "reason", "error-info", "accept", "unsupported")
"""Headers of a final response that says no (PFS-04); Contact as well where the caller is sent elsewhere."""

_ID = re.compile(r";\s*id\s*=\s*([0-9]{1,10})\s*(?=;|$)", re.IGNORECASE)


def pass_on(message: Message, names: tuple[str, ...]) -> Headers:
    """The header lines of these names, in the order of `names`."""
    return tuple((name.title(), value) for name in names for value in message.lines(name))


def identity(message: Message, *, for_core: bool = False) -> Headers:
    """The asserted identity of a response, and the wish for privacy, which keeps the identity back (PFS-12, IDN-04).

    `for_core`: for an element of a core, which gets all and keeps it back itself at its edge (RFC 3325 section 5).
    """
    if for_core:
        return pass_on(message, (*NETWORK_RESPONSE, "privacy"))
    asserted = () if is_private(message) else pass_on(message, ("p-asserted-identity",))
    return (*asserted, *pass_on(message, ("privacy",)))


def charging(request: Message) -> Headers:
    """What every request of both legs carries, where a core is to account for them."""
    return pass_on(request, CHARGING)


def to_core(request: Message, asked: SipRequest) -> Headers:
    """What our INVITE has of the one that a separate core sent, beside what any callee gets; and for `im.cfg` the socket
    and Max-Forwards to send it with, so that a core that sends it here again and again comes to an end. Kamailio has
    taken one off already."""
    ours = "+g.oma.sip-im"
    wishes = (value for value in request.values("accept-contact") if ours not in value.lower())
    hops = request.number("max-forwards")
    return (
        *(("Accept-Contact", value) for value in wishes),
        *pass_on(request, NETWORK),
        ("IM-Core", _socket(asked.core_socket)),
        ("IM-Max-Forwards", str(FIRST_HOPS if hops is None else min(hops, FIRST_HOPS))),
    )


def _socket(address_and_port: str) -> str:
    host, _, port = address_and_port.rpartition(":")
    return f"{in_brackets(host)}:{port}"


def in_brackets(host: str) -> str:
    """A host as it stands in a URI; that of IPv6 has brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_private(message: Message) -> bool:
    """Whether Privacy asks for `id` (RFC 3325 section 9.3); its values are separated by semicolons (RFC 3323 4.2)."""
    wanted = (part for line in message.lines("privacy") for part in re.split(r"[;,\s]+", line))
    return any(part.lower() == "id" for part in wanted)


def failure(message: Message, *, for_core: bool = False) -> Headers:
    """What of a final response from 300 to 699 goes back to the caller. `for_core`: see `identity`."""
    names = (*FAILURE, "contact") if message.status < 400 else FAILURE
    return pass_on(message, (*names, *NETWORK_RESPONSE) if for_core else names)


def within(message: Message, ids: Mapping[int, int]) -> Headers:
    """The headers of a request within the session, for the other leg. `ids`: see `with_id`."""
    return tuple((name, with_id(value, ids) if name == "Event" else value) for name, value in pass_on(message, WITHIN))


def with_id(event: str, ids: Mapping[int, int]) -> str:
    """An Event value with the id that its REFER has on the other leg: it is the CSeq there (RFC 3515 section 2.4.6)."""
    found = _ID.search(event)
    if found is None or event.partition(";")[0].strip().lower() != "refer" or int(found[1]) not in ids:
        return event
    return f"{event[: found.start()]};id={ids[int(found[1])]}{event[found.end() :]}"


def focus_of(message: Message) -> str:
    """The URI of a focus that sent this: its Contact has `isfocus` (RFC 4579 section 4.1). Empty when it is none."""
    values = message.values("contact")
    if not values or "isfocus" not in parameters(values[0]):
        return ""
    return message.contact
