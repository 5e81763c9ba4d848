"""Extending a one-to-one session: INVITE to the factory with Replaces (7.1.1.6, RFC 3891, CNF-11)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msrp_worker.address import canonical
from msrp_worker.controlling.refusal import Refused
from msrp_worker.controlling.session import FocusSession
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.sip import replaces
from msrp_worker.sip.leg_types import LegId
from msrp_worker.sip.message import Message
from msrp_worker.sip.shell import LegManager


@runtime_checkable
class Bridge(Protocol):
    """Owner of two legs that are one session, such as the participating function in the media path."""

    def across(self, leg_id: LegId) -> LegId | None:
        """The other leg."""
        ...


def replacement(session: FocusSession, request: Message, legs: LegManager) -> Refused | None:
    """Have the session take the place of the dialog that the Replaces of an INVITE names; the refusal when it cannot.

    The header names the dialog as the other side of it knows it. Where the participating functions only record-route, that
    is the other client, and the header goes on as it is: who of those invited has the dialog cannot be known here. Where
    the worker is between them, it names a leg of ours; the other client knows the dialog of the leg across.
    """
    header = replaces.read(request)
    if header is None:
        return None
    if isinstance(header, replaces.Refused):
        return _refused(header)
    if not header.local_tag.startswith(LEG_TAG):
        session.replace(str(header))
        return None
    found = legs.replaced(header)
    if isinstance(found, replaces.Refused):
        return _refused(found)
    owner: object = legs.owner_of(found)
    leg_id = owner.across(found) if isinstance(owner, Bridge) else None
    leg = None if leg_id is None else legs.find(leg_id)
    if leg is None:
        return _refused(replaces.Refused(481, "Call/Transaction Does Not Exist"))
    dialog = leg.dialog
    mapped = replaces.Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag, header.early_only)
    session.replace(str(mapped), _known(dialog.remote_uri))
    return None


def _known(uri: str) -> str:
    """The address of who is across; empty for an anonymous From, so that whoever has the dialog is meant."""
    try:
        address = canonical(uri)
    except ValueError:
        return ""
    return "" if address.endswith(".invalid") else address


def _refused(found: replaces.Refused) -> Refused:
    return Refused(found.status, found.reason, "CNF-11", "Replaces")
