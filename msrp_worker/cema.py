"""Media anchoring without an MSRP back-to-back agent (RFC 6714): what to do when `a=path` and the c/m-line
differ.

Names cannot be resolved here: the caller hands in what the resolver said as `resolved`, name in lower case
-> addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum

from msrp_worker.msrp.uri import normal_host
from msrp_worker.sdp_msrp import ACTIVE_PORT, MsrpMedia, Setup, path_uri

Resolved = Mapping[str, Set[str]]


class CemaAnswer(Enum):
    """The answerer's choice (RFC 6714 4.3)."""

    USE = "use"  # a=msrp-cema in the answer; when active, connect to the c/m-line
    FALL_BACK = "fall-back"  # no a=msrp-cema; RFC 4975 behaviour, connect to the path
    REJECT = "reject"  # port 0, or 488


class CemaOutcome(Enum):
    """The offerer's conclusion from an answer (RFC 6714 4.2)."""

    CONNECT_TO_ADDRESS = "connect-to-address"  # active: the c/m-line is the address to connect to
    CONNECT_TO_PATH = "connect-to-path"  # active: the first hop of the path is
    WAIT = "wait"  # passive
    OFFER_AGAIN = "offer-again"  # send a new offer without a=msrp-cema


def same_address(media: MsrpMedia, resolved: Resolved | None = None) -> bool:
    """Whether the c/m-line's address and port are those of one of the path's hops (RFC 6714 4.4).

    A name that `resolved` does not know equals only itself. An active side's port 9 says nothing and matches
    any.
    """
    if media.address is None:
        return True  # nothing to differ from
    known = resolved or {}
    ours = _addresses(media.address, known)
    any_port = media.setup is Setup.ACTIVE and media.port == ACTIVE_PORT
    for hop in media.path:
        uri = path_uri(hop)
        if ours & _addresses(uri.host, known) and (any_port or uri.port in (None, media.port)):
            return True
    return False


def answer_cema(
    offer: MsrpMedia,
    *,
    we_use_relay: bool,
    we_are_active: bool,
    tolerant: bool,
    resolved: Resolved | None = None,
) -> CemaAnswer:
    """The answerer's rules, RFC 6714 4.3, in their order.

    `tolerant`: keep a passive role even where the offer's addresses differ and the offerer does not know
    CEMA. The RFC rejects; but SIP proxies that correct only the c= line of clients behind NAT are common,
    those clients connect to us, and no address of theirs is used then. COMPAT(NAT helpers in SIP proxies).
    """
    if not offer.cema and not same_address(offer, resolved):
        return CemaAnswer.FALL_BACK if tolerant and not we_are_active else CemaAnswer.REJECT
    both_relayed = offer.uses_relay and we_use_relay
    offerer_relayed_and_active = offer.uses_relay and not we_are_active
    we_relayed_and_active = we_use_relay and we_are_active
    if both_relayed or offerer_relayed_and_active or we_relayed_and_active:
        return CemaAnswer.FALL_BACK
    return CemaAnswer.USE


def conclude_cema(
    answer: MsrpMedia,
    *,
    we_offered_cema: bool,
    we_use_relay: bool,
    we_are_active: bool,
    resolved: Resolved | None = None,
) -> CemaOutcome:
    """The offerer's rules on receipt of an answer, RFC 6714 4.2."""
    if not we_offered_cema:
        return CemaOutcome.CONNECT_TO_PATH if we_are_active else CemaOutcome.WAIT
    matches = same_address(answer, resolved)
    if not answer.cema and not matches:
        criteria = (
            not we_are_active,  # 1: we would wait behind a middlebox nobody connects through
            we_use_relay and we_are_active,  # 2
            answer.uses_relay and we_are_active,  # 3
        )
        if any(criteria):
            return CemaOutcome.OFFER_AGAIN
    if not we_are_active:
        return CemaOutcome.WAIT
    if answer.uses_relay and matches:
        return CemaOutcome.CONNECT_TO_PATH  # no middlebox: RFC 4975 behaviour without a new offer
    return CemaOutcome.CONNECT_TO_ADDRESS if answer.address is not None else CemaOutcome.CONNECT_TO_PATH


def _addresses(host: str, resolved: Resolved) -> set[str]:
    return {normal_host(item) for item in resolved.get(host.lower(), {host})}
