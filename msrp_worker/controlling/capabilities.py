"""What the focus can do, told to who asks in the dialog of a session (RFC 3261 section 11, RFC 4579 section 5.13)."""

from __future__ import annotations

from typing import Final

from msrp_worker.controlling.identity import ALLOW_EVENTS
from msrp_worker.controlling.invitation import ALLOW, SDP, SUPPORTED
from msrp_worker.sip.port import Headers
from msrp_worker.uri_list import RESOURCE_LISTS

ACCEPT: Final = (SDP, "multipart/mixed", RESOURCE_LISTS)
"""Bodies of requests."""


def capabilities(contact: str) -> Headers:
    """Header fields of the 200 to an OPTIONS; `contact` is the whole Contact value of the session (HDR-04, CNF-34)."""
    return (
        ("Contact", contact),
        ("Allow", ", ".join(ALLOW)),
        ("Supported", ", ".join(SUPPORTED)),
        ("Accept", ", ".join(ACCEPT)),
        ALLOW_EVENTS,
    )


def allow_but(method: str) -> Headers:
    """Allow of a 405: not what has just been refused (RFC 3261 section 21.4.6)."""
    return (("Allow", ", ".join(one for one in ALLOW if one != method)),)
