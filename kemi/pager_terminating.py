"""Terminating participating function (6.2.6.1, 6.2.8), the order of checks as the specification has it."""

from __future__ import annotations

from kemi.actions import Action, Ask, Refuse, Respond, ToRecipient, ToWorker, forbidden
from kemi.controlling import controlling
from kemi.deferred_uri import is_deferred_uri, is_foreign_summary
from kemi.messages import INACCESSIBLE, Answer, DeferQuestion, Deferred, EndFacts, PagerFacts, PagerQuestion
from kemi.participating import (
    is_anonymous,
    is_composing,
    refuse_content,
    refuse_expired,
    refuse_large_message,
    refuse_oversized,
    refuse_unidentified,
    stay_in_media_path,
)
from kemi.policy import Policy
from kemi.request import Request
from kemi.sip_values import asks_for_advertisement_devices, expiry, without_session_parameter

STAGE = "terminating"
DEFER_STAGE = "deferring"


def screen(request: Request, policy: Policy) -> Action:
    """Checks that need no facts, then the question (only where the originating side has not asked already)."""
    refusal = refuse_unidentified(request) or refuse_oversized(request, policy)
    if refusal is not None:
        return refusal
    question = PagerQuestion(
        call_id=request.call_id,
        originator=request.originator,
        recipient=request.recipient,
        anonymous=is_anonymous(request),
        serves_originator=False,
        serves_recipient=True,
        method=request.method,
        from_tag=request.from_tag,
    )
    return Ask(question, STAGE)


def decide(request: Request, facts: PagerFacts, policy: Policy) -> Action:
    """The checks of 6.2.6.1 with the facts at hand; then delivery or deferral."""
    recipient = facts.recipient
    if request.method != "MESSAGE" and is_deferred_uri(request.recipient, policy.domain):
        return forbidden("DEF-07", "Deferred messages are for their recipients")  # DEF-07
    if request.method == "SUBSCRIBE" and is_foreign_summary(request):
        return forbidden("DEF-08", "What waits is told to its recipient only")  # DEF-08
    focus = controlling(request, recipient, policy.domain)
    if focus is not None:
        return _to_focus(request, focus, policy)
    if recipient is None:
        return Refuse(404, "Not Found", "COR-04", "No such user")  # COR-04
    refusal = _refuse_by_recipient(request, recipient, policy)
    if refusal is not None:
        return refusal
    if request.method != "MESSAGE":
        return refuse_large_message(request, recipient, policy) or _decide_other(request, facts, recipient, policy)
    refusal = refuse_content(request, recipient, policy) or refuse_expired(request, "DEF-10")
    if refusal is not None:
        return refusal
    if request.unmatched:
        return _unmatched()  # ADV-03
    if not _available(request, recipient):
        return defer(request, "not registered")  # PAG-08
    if not recipient.willing:
        return defer(request, "not willing")  # PAG-08 DEF-12
    return ToRecipient(without_session_parameter(request.request_uri)[0])  # PAG-09


def decide_bridged(request: Request) -> Action:
    """An INVITE of our own participating function: its checks are done, on to the recipient's devices (PFS-02)."""
    if request.unmatched:
        return _unmatched()  # ADV-03
    if not request.available:
        return Refuse(480, "Temporarily Unavailable", "PFS-16", "Recipient is not registered for IM")  # PFS-16
    return ToRecipient(request.request_uri)


def delivery_failed(request: Request, status: int, policy: Policy) -> Action | None:
    """What to do when no binding took the message: defer it when nobody could be reached; None passes the failure on.

    Behind a separate core 480 is how the core says that no device takes what Accept-Contact asks for (RFC 3841 section
    7.2.4): it has the bindings and knows their tags, so a group advertisement ends there as it does with bindings of our
    own, see `_unmatched`.
    """
    if status not in INACCESSIBLE or is_composing(request):
        return None
    if request.separate_core and status == 480 and asks_for_advertisement_devices(request.accept_contact):
        return None  # ADV-03
    if _is_deferrable_invite(request, policy) and not request.from_server:
        return ToWorker("deferring")  # PFS-16: 6.2.8.3
    if request.method != "MESSAGE":
        return None
    return defer(request, f"delivery failed with {status}")  # PAG-08


def defer(request: Request, reason: str) -> Action:
    """Ask the store to take the message; the 202 follows its answer (DEF-01)."""
    if is_composing(request):
        return Refuse(480, "Temporarily Unavailable", "PAG-20", "isComposing is not stored")  # PAG-20
    question = DeferQuestion(
        call_id=request.call_id,
        originator=request.originator,
        recipient=request.recipient,
        anonymous=is_anonymous(request),
        received=request.received,
        expires=expiry(request.expires, request.date, request.received),
        reason=reason,
        advertisement=asks_for_advertisement_devices(request.accept_contact),
    )
    return Ask(question, DEFER_STAGE, with_message=True)


def deferred(answer: Answer, policy: Policy) -> Refuse | Respond:
    """202 once the store has it durable, else a clear refusal (DEF-01, DEF-11)."""
    if not isinstance(answer, Deferred) or answer.refusal == "unavailable":
        return Refuse(503, "Service Unavailable", "DEF-01", "Message store unavailable", policy.retry_after)
    if answer.refusal == "expired":
        return forbidden("DEF-10", "Message expired")  # DEF-10
    if answer.refusal == "quota":
        return Refuse(480, "Temporarily Unavailable", "DEF-11", "Recipient's message store is full")  # DEF-11
    return Respond(202, "Accepted")  # PAG-08 DEF-01


def _to_focus(request: Request, focus: Refuse | ToWorker, policy: Policy) -> Action:
    """The request of somebody who is not served here, so that no originating side has judged it (IDN-05, PAG-03)."""
    if is_anonymous(request) and not policy.anonymity:
        return forbidden("IDN-05", "Anonymity is not allowed")  # IDN-05
    if request.method != "MESSAGE":
        return focus
    return refuse_content(request, EndFacts(), policy) or refuse_expired(request, "PAG-04") or focus


def _refuse_by_recipient(request: Request, recipient: EndFacts, policy: Policy) -> Refuse | None:
    pager = request.method == "MESSAGE"
    if recipient.pager_barred if pager else recipient.session_barred and request.method == "INVITE":
        reason = "Temporarily Unavailable" if policy.barred_response == 480 else "Refused"
        return Refuse(policy.barred_response, reason, "PAG-06" if pager else "PFS-13")  # PAG-06 PFS-13
    if recipient.originator_rejected if pager else recipient.session_originator_rejected and request.method == "INVITE":
        return forbidden("PAG-07" if pager else "PFS-13", "Not accepted by the recipient")  # PAG-07 PFS-13
    return None


def _decide_other(request: Request, facts: PagerFacts, recipient: EndFacts, policy: Policy) -> Action:
    if request.unmatched:
        return _unmatched()  # ADV-03
    available = _available(request, recipient)
    if not (available and recipient.willing) and _is_deferrable_invite(request, policy):
        return ToWorker("deferring")  # PFS-16 LRG-04 DEF-12
    if not available:
        return Refuse(480, "Temporarily Unavailable", "PFS-16", "Recipient is not registered for IM")  # PFS-16
    uri = without_session_parameter(request.request_uri)[0]
    return stay_in_media_path(request, facts, policy) or ToRecipient(uri)  # PFS-02 PFS-03


def _is_deferrable_invite(request: Request, policy: Policy) -> bool:
    """A large message; not the push of what is stored already."""
    return request.large_message is not None and not is_deferred_uri(request.originator, policy.domain)


def _unmatched() -> Refuse:
    """The recipient is registered, with devices that do not take group advertisements alone.

    E.1.9 routes an advertisement to a device that supports it, so the others do not get it. RFC 3841 section 7.2.4 answers
    480 where explicit preferences leave no target: who states them agrees that the request may fail. It is not deferred
    either: 6.2.6.1-5 and 6.2.8.2 defer for a user who is not registered or cannot be reached, and this one can.
    """
    return Refuse(480, "Temporarily Unavailable", "ADV-03", "No device of the recipient takes group advertisements")


def _available(request: Request, recipient: EndFacts) -> bool:
    return recipient.registered if request.separate_core else request.available
