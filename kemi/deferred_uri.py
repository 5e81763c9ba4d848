"""Which requests are for the Deferred Messaging Function (10.1.1, 10.3.1, 10.3.2.6, Appendix K)."""

from __future__ import annotations

from kemi.request import Request
from kemi.sip_values import host_of

USER = "deferred"
EVENT = "message-summary"


def is_deferred_uri(address: str, domain: str) -> bool:
    """Whether a canonical address is the function's URI, or has an escaped Message-ID as its user part (DEF-07)."""
    user = address.removeprefix("sip:").rpartition("@")[0]
    return host_of(address) == domain.lower() and (user.lower() == USER or "%40" in user)


def is_for_deferred(request: Request, domain: str) -> bool:
    """Whether the request of a served user is the function's: retrieval (DEF-07), or a subscription to what waits for the
    user itself (DEF-08)."""
    if request.method == "INVITE":
        return is_deferred_uri(request.recipient, domain)
    if request.method != "SUBSCRIBE":
        return False
    if is_deferred_uri(request.recipient, domain):
        return True
    return _is_summary(request) and request.recipient == request.originator


def is_foreign_summary(request: Request) -> bool:
    """A subscription to what waits for somebody else."""
    return request.method == "SUBSCRIBE" and _is_summary(request)


def _is_summary(request: Request) -> bool:
    return request.event.partition(";")[0].strip().lower() == EVENT
