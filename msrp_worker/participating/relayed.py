"""Requests within a bridged session that are not about its terms: from one leg to the other, and their responses back.

REFER and SUBSCRIBE for a session whose focus is elsewhere, their NOTIFY, INFO and MESSAGE (6.2.3.4, 6.2.3.5).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from kemi.messages import TransactionId
from msrp_worker.participating import relay
from msrp_worker.participating.terms import End
from msrp_worker.sip.leg_types import LegId, Replied, Requested, Respond, Send
from msrp_worker.sip.shell import LegManager

MAX_REFERS = 64
"""REFER requests of one side whose numbers are remembered for their NOTIFYs; the oldest go first."""
WITH_CONTACT = frozenset({"SUBSCRIBE", "REFER", "NOTIFY"})
"""Requests whose success carries a Contact (RFC 6665 section 4.4.1)."""


class Relayed:
    """Requests under way from one leg to the other."""

    def __init__(self, legs: LegManager, ids: Mapping[End, LegId], contact: Callable[[End], str]) -> None:
        self._legs = legs
        self._ids = ids
        self._contact = contact
        self._open: dict[tuple[End, int], tuple[TransactionId, str]] = {}
        """By the side that was asked and our CSeq there: the transaction that waits, and its method."""
        self._refers: dict[End, OrderedDict[int, int]] = {end: OrderedDict() for end in End}
        """CSeq of each REFER on the leg towards this side, as received or sent, and on the other leg."""

    def forward(self, end: End, event: Requested, *, standing: bool) -> None:
        """A request of the side `end` goes to the other one; 491 while the session does not stand."""  # PFS-06 PFS-07
        message, across = event.message, end.other
        if not standing or across not in self._ids:
            self._respond(end, event.transaction, 491, "Request Pending")
            return
        leg_id = self._ids[across]
        before = self._number(leg_id)
        headers = relay.within(message, self._refers[end])
        self._legs.order(leg_id, Send(method=message.method, headers=headers, body=message.body))
        number = self._number(leg_id)
        if number == before:  # the leg is about to end
            self._respond(end, event.transaction, 481, "Call/Transaction Does Not Exist")
            return
        self._open[across, number] = event.transaction, message.method
        if message.method == "REFER":
            self._note(end, message.cseq, number)

    def replied(self, end: End, event: Replied) -> None:
        """The response of the side `end`, for the one that asked."""
        asked = self._open.pop((end, event.cseq), None)
        if asked is None:
            return
        transaction, method = asked
        if event.response is None:
            self._respond(end.other, transaction, event.status, "Request Timeout")
            return
        headers = relay.pass_on(event.response, relay.RESPONSE)
        if method in WITH_CONTACT and event.status < 300:
            headers = (*headers, ("Contact", self._contact(end.other)))
        respond = Respond(
            transaction=transaction,
            status=event.status,
            reason=event.response.reason,
            headers=headers,
            body=event.response.body,
        )
        if end.other in self._ids:
            self._legs.order(self._ids[end.other], respond)

    def _note(self, end: End, received: int, sent: int) -> None:
        for side, number, other in ((end, received, sent), (end.other, sent, received)):
            numbers = self._refers[side]
            numbers[number] = other
            if len(numbers) > MAX_REFERS:
                numbers.popitem(last=False)

    def _respond(self, end: End, transaction: TransactionId, status: int, reason: str) -> None:
        if end in self._ids:
            self._legs.order(self._ids[end], Respond(transaction=transaction, status=status, reason=reason))

    def _number(self, leg_id: LegId) -> int:
        leg = self._legs.find(leg_id)
        return 0 if leg is None else leg.dialog.local_cseq
