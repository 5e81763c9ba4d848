"""A good MESSAGE and the facts of two good users, to be spoilt one field at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kemi.messages import EndFacts, PagerFacts
from kemi.policy import Policy
from kemi.request import Request

NOW = 1_795_219_200.0
"""Seconds since 1970 at which every request here is received."""
DATE = "Sat, 21 Nov 2026 00:00:00 GMT"
"""The same moment as a SIP-date."""

POLICY = Policy()
GOOD = Request(
    method="MESSAGE",
    request_uri="sip:bob@example.com",
    call_id="call-1",
    originator="sip:alice@example.com",
    recipient="sip:bob@example.com",
    accept_contact="*;+g.oma.sip-im;explicit",
    privacy="",
    content_type="text/plain",
    content_length=5,
    message_length=500,
    reliable_transport=False,
    from_trusted_peer=False,
    received=NOW,
    available=True,
)
USER = EndFacts(registered=True)
FACTS = PagerFacts(USER, USER)


def request(**changes: Any) -> Request:
    """The good MESSAGE with some fields changed."""
    return replace(GOOD, **changes)


def policy(**changes: Any) -> Policy:
    """The default policy with some fields changed."""
    return replace(POLICY, **changes)


def user(**changes: Any) -> EndFacts:
    """The good user with some facts changed."""
    return replace(USER, **changes)
