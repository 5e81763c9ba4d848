"""Third-party REGISTER from the SIP/IP core (6.2.1, COR-06): the user's IM registration as the core tells it."""

from __future__ import annotations

import re

from kemi.actions import Ask, Refuse, Respond
from kemi.messages import Answer, Registered, RegisterQuestion
from kemi.policy import Policy
from kemi.sip_values import contact_capabilities, feature_tags

STAGE = "third-party-register"
_CONTACT = re.compile(r"^(?:contact|m)[ \t]*:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(r"\r?\n[ \t]+")
MAX_EXPIRES = 2**31 - 1
"""Seconds; what a column of the store holds, and 68 years."""
MAX_DIGITS = 64
"""Of the Expires header: leading zeros are legal, megabytes of them are not."""


def screen(call_id: str, address: str, expires: str, capable: bool) -> Ask | Refuse:
    """Read the request; `address` is the canonical To, `expires` the Expires header."""
    if not address:
        return Refuse(400, "Bad Request", "COR-06", "To is not a SIP address")  # COR-06
    if not expires.isascii() or not expires.isdigit():
        return Refuse(400, "Bad Request", "COR-06", "Expires is missing or not a number")  # COR-06
    if len(expires) > MAX_DIGITS or int(expires) > MAX_EXPIRES:
        return Refuse(400, "Bad Request", "COR-06", "Expires is out of range")  # COR-06
    return Ask(RegisterQuestion(call_id, address, int(expires), capable), STAGE)


def capable(contact: str, content: str) -> bool:
    """Whether the registration is one for IM (COR-07): `contact` is the Contact header, `content` the body, in which the
    core may send the client's own REGISTER (message/sip, alone or in a multipart body).

    The client's own contacts decide where they are shown (COR-08). A core that shows none, and passes no feature tags on,
    sends requests by them, so its registrations count as for IM.
    """
    own = [found[1] for found in _CONTACT.finditer(_FOLD.sub(" ", content))]
    if any(is_capable for value in (contact, *own) for _, is_capable, _ in contact_capabilities(value)):
        return True
    return not own and not any(tag.startswith("+g.") for tag in feature_tags(contact))


def decide(answer: Answer, expires: str, policy: Policy) -> Respond | Refuse:
    """200 with the same Expires once stored."""
    if isinstance(answer, Registered) and answer.stored:
        return Respond(200, "OK", (f"Expires: {expires}",))  # COR-06
    if isinstance(answer, Registered):
        return Refuse(404, "Not Found", "COR-06", "No such user")  # COR-06
    return Refuse(503, "Service Unavailable", "COR-06", "Registration not stored", policy.retry_after)
