"""Which function of the worker takes a request that belongs to no leg yet, and the legs they all share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from kemi.messages import Incoming, LegFunction, SipEvent, SipRequest, TransactionId
from msrp_worker.kamailio_link import LEG_TAG, KamailioLink
from msrp_worker.kamailio_port import KamailioPort
from msrp_worker.sip.leg_types import LegId
from msrp_worker.sip.message import MalformedMessage, Message, read
from msrp_worker.sip.outbox import LegStore
from msrp_worker.sip.port import PortEvent, RequestReceived, RequestTimedOut, ResponseReceived
from msrp_worker.sip.shell import LegManager

log = logging.getLogger("im.functions")

Handler = Callable[[TransactionId, Message, SipRequest], None]
"""Takes an initial request: makes a leg of it with `LegManager.take`, or answers it with `LegManager.reply`."""


class DialogOwner(Protocol):
    """Who owns a dialog that no INVITE made: a subscription (RFC 6665)."""

    def on_request(self, transaction: TransactionId, request: Message) -> None:
        """A request of the peer inside the dialog, to be answered with `LegManager.reply`."""
        ...

    def on_response(self, response: Message | None, cseq: int) -> None:
        """A response to a request of ours inside the dialog, None when none came."""
        ...


class Functions:
    """Routes initial requests to the functions that registered for them; owns the legs."""

    def __init__(self, link: KamailioLink, store: LegStore, node: str, new_id: Callable[[], str]) -> None:
        self._handlers: dict[LegFunction, Handler] = {}
        self._asked: dict[TransactionId, SipRequest] = {}
        self.dialogs: dict[LegId, DialogOwner] = {}
        """Dialogs without a leg, by Call-ID and our tag."""
        self._port = KamailioPort(link, self._heard)
        # Every tag of ours begins so: im.cfg knows the requests of legs by it.
        self.legs = LegManager(self._port, store, node, self._outside, new_id=lambda: LEG_TAG + new_id())

    def register(self, function: LegFunction, handler: Handler) -> None:
        """`handler` takes the initial requests for a function from now on."""
        self._handlers[function] = handler

    def sender(self, call_id: str, from_tag: str) -> str:
        """Kind of the function that sent the INVITE with this Call-ID and From tag, empty when none here did (PFS-02)."""
        owner = self.legs.owner_of((call_id, from_tag))
        return "" if owner is None else owner.kind

    def _heard(self, event: PortEvent, incoming: Incoming) -> None:
        asked = incoming.message
        if isinstance(event, RequestReceived) and isinstance(asked, SipRequest):
            self._asked[event.transaction] = asked
            try:
                self.legs.handle(event)
            finally:
                self._asked.pop(event.transaction, None)
            return
        if not self._in_dialog(event, incoming):
            self.legs.handle(event)

    def _in_dialog(self, event: PortEvent, incoming: Incoming) -> bool:
        """Tell the owner of a dialog without a leg what became of its request."""
        told = incoming.message
        owner = self.dialogs.get((told.call_id, told.from_tag)) if isinstance(told, SipEvent) else None
        if owner is None:
            return False
        if isinstance(event, RequestTimedOut):
            owner.on_response(None, event.cseq)
        elif isinstance(event, ResponseReceived):
            try:
                owner.on_response(read(event.message), event.cseq)
            except MalformedMessage as error:
                log.info("dropped a response that cannot be read: %s", error)
        return True

    def _outside(self, transaction: TransactionId, request: Message) -> None:
        owner = self.dialogs.get((request.call_id, request.to_tag)) if request.to_tag else None
        if owner is not None:
            owner.on_request(transaction, request)
            return
        asked = self._asked.get(transaction)
        handler = None if asked is None else self._handlers.get(asked.function)
        if asked is None or handler is None:
            log.warning("no function takes %s, Call-ID %s", request.method, request.call_id)
            self.legs.reply(transaction, request, 481, "Call/Transaction Does Not Exist")
            return
        handler(transaction, request, asked)
