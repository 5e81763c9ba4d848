"""The checks of an INVITE to the Conference-factory-URI (7.2.1.2 with change request B), in their order. Pure."""

from __future__ import annotations

from typing import Final

from msrp_worker.controlling.identity import FACTORY_USER, user_of
from msrp_worker.controlling.invitation import SDP
from msrp_worker.controlling.refusal import Refused, forbidden, too_many
from msrp_worker.controlling.release_policy import SessionKind
from msrp_worker.multipart import media_type
from msrp_worker.sip.message import Message
from msrp_worker.uri_list import Problem, UriList, UriListError, read_uri_list

RECIPIENT_LIST_INVITE: Final = "recipient-list-invite"
"""Option tag of an INVITE with a list (RFC 5366)."""


def judge_factory(recipient: str, domain: str) -> Refused | None:
    """Whether the Request-URI is the factory of this server."""
    user, _, host = user_of(recipient).lower(), None, recipient.rpartition("@")[2]
    if user != FACTORY_USER or host.lower() != domain.lower():
        return Refused(404, "Not Found", "CNF-01", "No such conference factory or group")  # CNF-01 CNF-12
    return None


def judge_initiator(originator: str, *, known: bool, allowed: bool) -> Refused | None:
    """Whether this user may set up sessions here: a user of this server whom the operator lets use IM."""
    if not originator:
        return forbidden("IDN-01", "No authenticated identity")  # IDN-01
    if not known:
        return forbidden("CNF-02", "Sessions are set up at the home network of their initiator")  # CNF-02
    if not allowed:
        return forbidden("CNF-02", "IM is not allowed")  # CNF-02
    return None


def judge_body(request: Message) -> Refused | None:
    """Whether a group or a session can do with the body of an INVITE: lists are the factory's (RFC 5366 section 5), and
    what is no description cannot be answered (RFC 3261 section 8.2.3)."""
    if RECIPIENT_LIST_INVITE in request.tokens("require"):
        return Refused(420, "Bad Extension", "CNF-06", more=(("Unsupported", RECIPIENT_LIST_INVITE),))  # CNF-06
    kind = media_type(request.first("content-type"))
    if not request.body or kind in ("", SDP) or kind.startswith("multipart/"):
        return None
    return Refused(415, "Unsupported Media Type", "CNF-04", more=(("Accept", SDP),))  # CNF-04


def read_list(request: Message, originator: str) -> UriList | Refused:
    """Who is to be invited: the recipient-list of the request without the initiator, each once (CNF-06)."""
    disposition = request.first("content-disposition")
    try:
        found = read_uri_list(request.first("content-type"), request.body, disposition)
    except UriListError as error:
        if error.problem is Problem.TOO_LONG:
            return too_many("CNF-05")  # CNF-05
        reason = "Unsupported Media Type" if error.status == 415 else "Bad Request"
        return Refused(error.status, reason, "CNF-06", str(error))  # CNF-06
    if found is None:
        return Refused(400, "Bad Request", "CNF-06", "URI-list: there is none")  # CNF-06
    return found


def judge_list(invited: UriList, limit: int) -> Refused | None:
    """How many they are, groups replaced by their members and the initiator left out: `limit` counts participants."""
    if not len(invited):
        return Refused(400, "Bad Request", "CNF-06", "URI-list: nobody to invite")  # CNF-06
    if len(invited) + 1 > limit:
        return too_many("CNF-05")  # CNF-05
    return None


def kind_of(invited: int) -> SessionKind:
    """One listed user makes a one-to-one session of it (CNF-10)."""
    return SessionKind.ONE_TO_ONE if invited == 1 else SessionKind.AD_HOC  # CNF-10
