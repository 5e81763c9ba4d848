"""Which headers pass from one leg of a bridged session to the other: pure functions over messages.

Addresses, routes, identities that a client claims and what belongs to one hop do not pass; what a request means does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msrp_worker.sip.message import Message, address, parameters
from msrp_worker.sip.port import Headers

INVITATION = ("subject", "priority", "referred-by", "privacy", "in-reply-to", "alert-info", "date", "replaces")
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
FAILURE = ("warning", "retry-after", "reason", "error-info", "accept", "unsupported")
"""Headers of a final response that says no (PFS-04); Contact as well where the caller is sent elsewhere."""

_ID = re.compile(r";\s*id\s*=\s*([0-9]{1,10})\s*(?=;|$)", re.IGNORECASE)


def pass_on(message: Message, names: tuple[str, ...]) -> Headers:
    """The header lines of these names, in the order of `names`."""
    return tuple((name.title(), value) for name in names for value in message.lines(name))


def identity(message: Message) -> Headers:
    """The asserted identity of a response, and the wish for privacy, which keeps the identity back (PFS-12, IDN-04)."""
    asserted = () if is_private(message) else pass_on(message, ("p-asserted-identity",))
    return (*asserted, *pass_on(message, ("privacy",)))


def is_private(message: Message) -> bool:
    """Whether Privacy asks for `id` (RFC 3325 section 9.3); its values are separated by semicolons (RFC 3323 4.2)."""
    wanted = (part for line in message.lines("privacy") for part in re.split(r"[;,\s]+", line))
    return any(part.lower() == "id" for part in wanted)


def failure(message: Message) -> Headers:
    """What of a final response from 300 to 699 goes back to the caller."""
    names = (*FAILURE, "contact") if message.status < 400 else FAILURE
    return pass_on(message, names)


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


def display_name(value: str) -> str:
    """The display name of a From or To as it stands, empty when there is none."""
    uri = address(value)
    name, found, _ = value.partition(f"<{uri}>")
    return name.strip() if found else ""
