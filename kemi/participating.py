"""Checks that both sides of the participating function share (6.2.2.1, 6.2.6.1)."""

from __future__ import annotations

from typing import Final

from kemi.actions import Refuse, ToWorker, forbidden
from kemi.messages import EndFacts, PagerFacts
from kemi.policy import PAGER_DATAGRAM_LIMIT, Policy
from kemi.request import Request
from kemi.sip_values import (
    asks_for_advertisement_devices,
    asks_for_anonymity,
    carries_feature_tag,
    content_type_allowed,
    expiry,
    media_type,
)

IS_COMPOSING = "application/im-iscomposing+xml"
GROUP_ADVERTISEMENT = "application/vnd.im.group-advertisement+xml"
"""In lower case, as media types compare; E.1.6 writes vnd.IM."""
EXTERNAL_BODY = "message/external-body"
PARTICIPATING: Final = "participating"
"""The function of the worker that has the media of one-to-one sessions."""


def refuse_unidentified(request: Request) -> Refuse | None:
    """The two checks that come before every other (6.2.2.1-1, 5.2)."""
    if not carries_feature_tag(request.accept_contact):
        return forbidden("PAG-01", "Accept-Contact without +g.oma.sip-im")  # PAG-01
    if not request.originator:
        return forbidden("IDN-01", "No authenticated originator")  # IDN-01
    return None


def refuse_oversized(request: Request, policy: Policy) -> Refuse | None:
    """What no facts are needed for: headers out of proportion, and a datagram that is too large."""
    if request.message_length - request.content_length > policy.header_max_size:
        warning = f"Headers exceed {policy.header_max_size} bytes"
        return Refuse(513, "Message Too Large", "SEC-05", warning)  # SEC-05
    if request.method != "MESSAGE" or request.reliable_transport or request.from_trusted_peer:
        return None
    if request.message_length > PAGER_DATAGRAM_LIMIT:
        warning = f"MESSAGE above {PAGER_DATAGRAM_LIMIT} bytes needs TCP, TLS or large message mode"
        return Refuse(513, "Message Too Large", "PAG-10", warning)  # PAG-10
    return None


def refuse_content(request: Request, facts: EndFacts, policy: Policy) -> Refuse | None:
    """Size and content type against operator policy, the user's own value first (6.2.2.1-3, 6.2.6.1-3)."""
    limit = policy.pager_max_size if facts.pager_max_size is None else facts.pager_max_size
    if request.content_length > limit:
        return forbidden("PAG-03", f"Message body exceeds {limit} bytes")  # PAG-03
    allowed = policy.content_types if facts.content_types is None else facts.content_types
    if not content_type_allowed(request.content_type, allowed):
        return forbidden("PAG-03", f"Content type {media_type(request.content_type)} is not allowed")  # PAG-03 PAG-17
    return None


def refuse_large_message(request: Request, facts: EndFacts, policy: Policy) -> Refuse | None:
    """The same for what the offer of a large message announces; the user's own values first (6.2.2.1-3, 6.2.6.1-3)."""
    if request.large_message is None:
        return None
    limit = facts.large_max_size
    if limit is not None and max(request.large_message.sizes, default=0) > limit:
        return forbidden("LRG-06", f"Large message exceeds {limit} bytes")  # LRG-06
    allowed = policy.content_types if facts.content_types is None else facts.content_types
    for kind in request.large_message.types:
        if not content_type_allowed(kind, allowed):
            return forbidden("PAG-03", f"Content type {media_type(kind)} is not allowed")  # PAG-03 PAG-17
    return None


def refuse_expired(request: Request, requirement: str) -> Refuse | None:
    """RFC 3428 section 7 leaves an expired message to local policy; ours is never to deliver it and to say so."""
    when = expiry(request.expires, request.date, request.received)
    if when is not None and when <= request.received:
        return forbidden(requirement, "Message expired")  # PAG-04 DEF-10
    return None


def stay_in_media_path(request: Request, facts: PagerFacts, policy: Policy) -> ToWorker | None:
    """The B2BUA for a session that the operator wants here, whose history one of its users keeps, or whose originator can
    have no other peer, as a browser on WebSocket (6.2.3.2-2, -3).

    With "never" nothing is recorded: the operator's word is the last one. What the worker sends needs no second hop: it has
    the media, be it that a separate core brings its INVITE back. But there the originating side knew nothing of the
    recipient's history.
    """
    if request.method != "INVITE" or request.own or policy.media_path == "never":
        return None
    originator = facts.originator is not None and facts.originator.session_history
    recipient = facts.recipient is not None and facts.recipient.session_history
    if facts.media_at and not (recipient and facts.media_at == PARTICIPATING):
        return None
    if policy.media_path == "always" or originator or recipient or request.websocket:
        return ToWorker(PARTICIPATING, originator, recipient)  # PFS-02 PFS-03 PFS-14 MED-11
    return None


def is_anonymous(request: Request) -> bool:
    """Whether the originator asked for Privacy: id (IDN-04)."""
    return asks_for_anonymity(request.privacy)


def is_composing(request: Request) -> bool:
    """A status message of RFC 3994, which is never stored (PAG-20)."""
    return media_type(request.content_type) == IS_COMPOSING


def is_advertisement(request: Request) -> bool:
    """A group advertisement, by its feature tag or its type (6.2.3.8, E.1.6, E.1.9). One that stands in a multipart body
    and does not ask for devices that take it is found by the exploder."""
    if request.method != "MESSAGE":
        return False
    by_type = media_type(request.content_type) == GROUP_ADVERTISEMENT
    return by_type or asks_for_advertisement_devices(request.accept_contact)
