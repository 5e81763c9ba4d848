"""Who asks, and whether the document is theirs (clause 12.1.6, RFC 4825 section 5.7; XDM-06). Pure.

Nobody learns here who is a user: without credentials every URI is answered 401, with them every tree of somebody else 403,
whether it is there or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msrp_worker.address import canonical, user_address

ASSERTED = ("X-3GPP-Asserted-Identity", "X-XCAP-Asserted-Identity")
"""What an aggregation proxy tells of whom it has authenticated."""
MAX_IDENTITIES = 20
"""Public identities of one user in such a header."""


def asserted(values: Iterable[str]) -> tuple[str, ...]:
    """Canonical addresses in the values of those headers: `"sip:alice@example.com", "tel:+15551234"`; unreadable ones do
    not count."""
    found: dict[str, None] = {}
    for value in values:
        for quoted, plain in re.findall(r"\"([^\"]*)\"|([^\s,\"<>]+)", value)[:MAX_IDENTITIES]:
            try:
                found[canonical(quoted or plain)] = None
            except ValueError:
                continue
    return tuple(found)


def owner(xui: str, domain: str) -> str | None:
    """Canonical address of the user whose tree a URI names, None for a name that nobody can have."""
    try:
        return user_address(xui, domain)
    except ValueError:
        return None


def account_of(username: str, domain: str) -> tuple[str, bool] | None:
    """The name in credentials as (name within the domain, whether the domain was part of it); None for a foreign one."""
    name, at, host = username.rpartition("@")
    if not at:
        return (username, False) if username else None
    return (name, True) if name and host.lower() == domain else None
