"""The dialog of one subscription as its notifier sees it (RFC 6665 section 4.2): what our event packages share."""

from __future__ import annotations

import secrets
from typing import Final

from kemi.messages import TransactionId
from msrp_worker.event_package import Package, Refused
from msrp_worker.functions import DialogOwner, Functions
from msrp_worker.kamailio_link import LEG_TAG
from msrp_worker.sip import dialog
from msrp_worker.sip.dialog import Dialog
from msrp_worker.sip.message import MalformedMessage, Message
from msrp_worker.sip.port import Headers, Reply

UNDERSTOOD: Final = frozenset({"norefersub", "timer", "100rel", "replaces"})
"""Option tags that a SUBSCRIBE may require: they ask nothing of one."""


class NotifyDialog:
    """Answers the SUBSCRIBEs of one dialog and sends its NOTIFYs."""

    def __init__(self, functions: Functions, made: Dialog, event: str) -> None:
        """`event` is the Event of the SUBSCRIBE, which its NOTIFYs repeat with its id."""
        self._functions = functions
        self._dialog = made
        self._event = event

    @property
    def contact(self) -> str:
        """Our Contact."""
        return self._dialog.contact

    def own(self, owner: DialogOwner) -> None:
        """`owner` hears what comes inside the dialog from now on."""
        self._functions.dialogs[self._dialog.call_id, self._dialog.local_tag] = owner

    def close(self) -> None:
        """The dialog is over; what comes for it gets 481."""
        self._functions.dialogs.pop((self._dialog.call_id, self._dialog.local_tag), None)

    def accept(self, transaction: TransactionId, seconds: int, headers: Headers = ()) -> None:
        """Answer 200; the NOTIFY has to follow at once (section 4.2.1.2)."""
        fields: Headers = (("Expires", str(seconds)), ("Contact", self._dialog.contact), *headers)
        reply = Reply(transaction, 200, "OK", self._dialog.local_tag, fields)
        self._functions.legs.sender.send(reply, self._dialog.call_id)

    def accept_referral(self, transaction: TransactionId, headers: Headers) -> None:
        """Answer the REFER that made the dialog with 202; the NOTIFY has to follow at once (RFC 3515 section 2.4.4)."""
        reply = Reply(transaction, 202, "Accepted", self._dialog.local_tag, headers)
        self._functions.legs.sender.send(reply, self._dialog.call_id)

    def refreshed(self, transaction: TransactionId, request: Message, package: Package) -> int | None:
        """The seconds granted to a request inside the dialog, to be accepted; None when it is refused, which is done."""
        legs = self._functions.legs
        if request.from_tag != self._dialog.remote_tag:  # somebody else's dialog (RFC 3261 section 12.2.2, CES-08)
            legs.reply(transaction, request, 481, "Call/Transaction Does Not Exist")
            return None
        if request.method != "SUBSCRIBE":
            legs.reply(transaction, request, 405, "Method Not Allowed", (("Allow", "SUBSCRIBE"),))
            return None
        if not dialog.in_order(self._dialog, request):
            legs.reply(transaction, request, 500, "Server Internal Error", (("Retry-After", "1"),))
            return None
        self._dialog = dialog.retargeted(dialog.received(self._dialog, request), request)
        return granted(self._functions, transaction, request, package)

    def notify(self, state: str, headers: Headers, body: bytes) -> None:
        """Send a NOTIFY; `state` is the value of Subscription-State."""
        fields: Headers = (("Event", self._event), ("Subscription-State", state), *headers)
        self._dialog, command = dialog.request(self._dialog, "NOTIFY", fields, body)
        self._functions.legs.sender.send(command, self._dialog.call_id)

    def is_final(self, response: Message | None, cseq: int) -> bool:
        """Whether this settles the NOTIFY that is out: a final response to it, or None for none."""
        return cseq == self._dialog.local_cseq and (response is None or response.status >= 200)


def granted(functions: Functions, transaction: TransactionId, request: Message, package: Package) -> int | None:
    """The seconds that a SUBSCRIBE gets; None when it is refused, which is done."""
    unknown = sorted(request.tokens("require") - UNDERSTOOD)
    if unknown:
        unsupported = (("Unsupported", ", ".join(unknown)),)
        functions.legs.reply(transaction, request, 420, "Bad Extension", unsupported)  # RFC 3261 section 8.2.2.3
        return None
    seconds = package.screen(request.first("event"), request.values("accept"), request.number("expires"))
    if isinstance(seconds, Refused):
        functions.legs.reply(transaction, request, seconds.status, seconds.reason, seconds.headers)
        return None
    return seconds


def begin(
    functions: Functions, transaction: TransactionId, request: Message, contact: str, event: str = ""
) -> NotifyDialog | None:
    """The dialog that the 2xx to an initial SUBSCRIBE or REFER makes; None when it cannot, which is answered 400. `event`:
    that of NOTIFYs, where the request has none."""
    try:
        made = dialog.as_callee(request, LEG_TAG + secrets.token_hex(8), contact)
    except MalformedMessage as error:
        legs = functions.legs
        legs.reply(transaction, request, 400, "Bad Request", (("Warning", f'399 {legs.node} "{error}"'),))
        return None
    return NotifyDialog(functions, made, event or request.first("event"))
