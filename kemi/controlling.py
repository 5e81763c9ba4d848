"""Which requests are for the Controlling IM Function, and the checks on them that need no session (7.2.1, 8.3.1.1).

What depends on a session, a list or a group document is decided where those are: in the worker.
"""

from __future__ import annotations

from kemi.actions import Refuse, ToWorker, forbidden
from kemi.messages import EndFacts
from kemi.request import Request
from kemi.sip_values import feature_tags, host_of

FACTORY_USER = "conference-factory"
"""User part of the Conference-factory-URI, which is the exploder for MESSAGE with a URI-list as well (PAG-11)."""
SESSION_PREFIX = "im-session-"
"""How the user part of every IM Session Identity begins (CNF-03); `im.cfg` knows requests within their dialogs by it."""


def is_factory(address: str, domain: str) -> bool:
    """Whether a canonical address is the Conference-factory-URI."""
    return _user(address).lower() == FACTORY_USER and host_of(address) == domain.lower()


def is_session_identity(address: str) -> bool:
    """Whether a canonical address has the form of an IM Session Identity, of whichever server."""
    return _user(address).lower().startswith(SESSION_PREFIX)


def controlling(request: Request, recipient: EndFacts | None, domain: str) -> Refuse | ToWorker | None:
    """To the focus, refused on the way there, or None for a request that is not the focus's.

    `recipient` are the facts about the Request-URI: the store knows which addresses are groups.
    """
    ours = request.serves_recipient or host_of(request.recipient) == domain.lower()
    factory = is_factory(request.recipient, domain)
    group = recipient is not None and recipient.group
    if not factory and not group and not (ours and is_session_identity(request.recipient)):
        return None
    if request.method == "SUBSCRIBE" and factory:
        return Refuse(404, "Not Found", "CES-01", "The conference factory is no conference")  # CES-01
    if request.method == "REFER" and factory:
        return Refuse(404, "Not Found", "CNF-22", "The conference factory is no conference")
    if request.method == "INVITE" and "isfocus" in feature_tags(request.contact):
        return forbidden("CNF-13", "isfocus already assigned")  # CNF-13
    return ToWorker("controlling")  # CNF-01


def _user(address: str) -> str:
    return address.removeprefix("sip:").rpartition("@")[0]
