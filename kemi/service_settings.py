"""Service settings procedure (6.2.5): a PUBLISH of the user's own settings, processed as RFC 3903 section 6 says.

The checks of 6.2.5 stand first, then those of RFC 3903 that need no state; the state is the worker's.
"""

from __future__ import annotations

from kemi.actions import Action, Ask, Refuse, Respond, forbidden
from kemi.messages import LARGEST_SETTINGS, Answer, Published, PublishQuestion
from kemi.participating import refuse_oversized
from kemi.policy import Policy
from kemi.request import Request
from kemi.sip_values import carries_feature_tag, delta_seconds, media_type, token

STAGE = "service-settings"
EVENT = "poc-settings"
CONTENT_TYPE = "application/poc-settings+xml"
LONGEST_TAG = 128
"""Characters of an entity-tag; ours have 24."""


def screen(request: Request, event: str, if_match: str, policy: Policy) -> Action:
    """Checks that need no state. `event` and `if_match` are all values of Event and SIP-If-Match, joined by commas."""
    if not carries_feature_tag(request.accept_contact):
        return forbidden("SET-01", "Accept-Contact without +g.oma.sip-im")  # SET-01
    if event.partition(";")[0].strip().lower() != EVENT:
        return Refuse(489, "Bad Event", "SET-02", f"Event is not {EVENT}", headers=(f"Allow-Events: {EVENT}",))  # SET-02
    if not request.originator or request.originator != request.recipient:
        return forbidden("SET-03", "Settings are published by their owner only")  # SET-03
    return refuse_oversized(request, policy) or _screen_publication(request, if_match)


def decide(answer: Answer, policy: Policy) -> Respond | Refuse:
    """The response to what the worker made of it (RFC 3903 section 6, in the order of its steps)."""
    if not isinstance(answer, Published):
        return _unavailable(policy)
    match answer.refusal:
        case "":
            return Respond(200, "OK", (f"SIP-ETag: {answer.etag}", f"Expires: {answer.seconds}"))  # SET-04
        case "unknown user":
            return Refuse(404, "Not Found", "COR-04", "No such user")  # COR-04
        case "unknown tag":
            return Refuse(412, "Conditional Request Failed", "SET-04", "No such publication")  # SET-04
        case "too brief":
            headers = (f"Min-Expires: {answer.seconds}",)
            return Refuse(423, "Interval Too Brief", "SET-04", "Expires is too short", headers=headers)  # SET-04
        case "malformed":
            return Refuse(400, "Bad Request", "SET-05", answer.detail)  # SET-05
        case "unavailable":
            return _unavailable(policy)


def _screen_publication(request: Request, if_match: str) -> Refuse | Ask:
    tag = token(if_match) if if_match else ""
    if if_match and (not tag or len(tag) > LONGEST_TAG):
        return _bad("SIP-If-Match is not one entity-tag")
    seconds = delta_seconds(request.expires) if request.expires else None
    if request.expires and seconds is None:
        return _bad("Expires is not a number")
    if not request.content_length and not tag:
        return _bad("An initial publication needs a document")
    if request.content_length and media_type(request.content_type) != CONTENT_TYPE:
        warning = f"Content type is not {CONTENT_TYPE}"
        return Refuse(415, "Unsupported Media Type", "SET-05", warning, headers=(f"Accept: {CONTENT_TYPE}",))  # SET-05
    if request.content_length > LARGEST_SETTINGS:
        return Refuse(413, "Request Entity Too Large", "SEC-05", f"Settings exceed {LARGEST_SETTINGS} bytes")  # SEC-05
    return Ask(PublishQuestion(request.call_id, request.originator, tag, seconds), STAGE, with_body=True)


def _bad(warning: str) -> Refuse:
    return Refuse(400, "Bad Request", "SET-04", warning)  # SET-04


def _unavailable(policy: Policy) -> Refuse:
    return Refuse(503, "Service Unavailable", "SET-04", "Settings not stored", policy.retry_after)
