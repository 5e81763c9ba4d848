"""Originating participating function (6.2.2.1, 6.2.4.1), the order of checks as the specification has it.

MESSAGE gets every step; INVITE, SUBSCRIBE and REFER get the general ones and go on to the core.
"""

from __future__ import annotations

from kemi.actions import Action, Ask, Refuse, ToCore, ToWorker, forbidden
from kemi.controlling import controlling
from kemi.deferred_uri import is_for_deferred
from kemi.messages import PagerFacts, PagerQuestion
from kemi.participating import (
    is_advertisement,
    is_anonymous,
    refuse_content,
    refuse_expired,
    refuse_large_message,
    refuse_oversized,
    refuse_unidentified,
    stay_in_media_path,
)
from kemi.policy import Policy
from kemi.request import Request
from kemi.sip_values import without_session_parameter

STAGE = "originating"


def screen(request: Request, policy: Policy) -> Action:
    """Checks that need no facts; then one question for both ends, so that the terminating side need not ask again."""
    refusal = refuse_unidentified(request) or refuse_oversized(request, policy)
    if refusal is not None:
        return refusal
    question = PagerQuestion(
        call_id=request.call_id,
        originator=request.originator,
        recipient=request.recipient,
        anonymous=is_anonymous(request),
        serves_originator=True,
        serves_recipient=request.serves_recipient,
        method=request.method,
        from_tag=request.from_tag,
    )
    return Ask(question, STAGE)


def decide(request: Request, facts: PagerFacts, policy: Policy) -> Refuse | ToCore | ToWorker:
    """The checks of 6.2.2.1 and 6.2.4.1 with the facts at hand."""
    if facts.originator is None or not facts.originator.im_allowed:
        return forbidden("PAG-02", "Originator is not allowed to use IM")  # PAG-02
    refusal = (refuse_content if request.method == "MESSAGE" else refuse_large_message)(request, facts.originator, policy)
    if refusal is not None:
        return refusal
    if is_anonymous(request) and not policy.anonymity:
        return forbidden("IDN-05", "Anonymity is not allowed")  # IDN-05
    if is_anonymous(request) and is_advertisement(request):
        return forbidden("ADV-01", "A group advertisement is not anonymous")  # ADV-01
    if request.method == "MESSAGE":
        refusal = refuse_expired(request, "PAG-04")
        if refusal is not None:
            return refusal
    if is_for_deferred(request, policy.domain):
        return ToWorker("deferred")  # DEF-07 DEF-08
    focus = controlling(request, facts.recipient, policy.domain)
    if focus is not None:
        return focus
    bridged = None if request.serves_recipient else stay_in_media_path(request, facts, policy)
    if bridged is not None:
        return bridged  # PFS-02: to somebody served elsewhere; else the terminating side decides with both facts
    uri, _ = without_session_parameter(request.request_uri)  # PAG-16
    return ToCore(uri)  # PAG-05
