"""Requests for a session whose focus is elsewhere, at the Contact that a B2BUA here gave for it (6.2.3.4, 6.2.7.1-8).

Such a Contact leads to the worker, which knows the focus behind it; the request then goes on as if it were for that one.
"""

from __future__ import annotations

from kemi.actions import Ask, Refuse, ToFocus, server_unavailable
from kemi.messages import Answer, Focus, FocusQuestion
from kemi.participating import refuse_oversized, refuse_unidentified
from kemi.policy import Policy
from kemi.request import Request

STAGE = "focus"
USER = "im-leg-"
"""Every Contact user part of a leg of the worker begins so."""


def is_for_leg(request: Request) -> bool:
    """Whether the Request-URI is a Contact of ours, in a request outside its dialog."""
    return request.serves_recipient and request.recipient.startswith(f"sip:{USER}")


def screen(request: Request, policy: Policy) -> Refuse | Ask:
    """The checks that every request meets first; then the question which focus is meant."""
    refusal = refuse_unidentified(request) or refuse_oversized(request, policy)
    if refusal is not None:
        return refusal
    user = request.recipient.removeprefix("sip:").partition("@")[0]
    return Ask(FocusQuestion(request.call_id, user), STAGE)


def decide(answer: Answer, policy: Policy) -> Refuse | ToFocus:
    """On to the focus; 404 when the session is over, or never had one."""
    if not isinstance(answer, Focus):
        return server_unavailable("IM worker could not be asked", policy.retry_after)
    if not answer.uri:
        return Refuse(404, "Not Found", "PFS-06", "No such session")  # PFS-06
    return ToFocus(answer.uri)  # PFS-06 PFS-07 PFS-11
