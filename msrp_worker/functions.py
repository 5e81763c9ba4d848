"""Which function of the worker takes a request that belongs to no leg yet, and the legs they all share."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kemi.messages import Incoming, LegFunction, SipRequest, TransactionId
from msrp_worker.kamailio_link import LEG_TAG, KamailioLink
from msrp_worker.kamailio_port import KamailioPort
from msrp_worker.sip.message import Message
from msrp_worker.sip.outbox import LegStore
from msrp_worker.sip.port import PortEvent, RequestReceived
from msrp_worker.sip.shell import LegManager

log = logging.getLogger("im.functions")

Handler = Callable[[TransactionId, Message, SipRequest], None]
"""Takes an initial request: makes a leg of it with `LegManager.take`, or answers it with `LegManager.reply`."""


class Functions:
    """Routes initial requests to the functions that registered for them; owns the legs."""

    def __init__(self, link: KamailioLink, store: LegStore, node: str, new_id: Callable[[], str]) -> None:
        self._handlers: dict[LegFunction, Handler] = {}
        self._asked: dict[TransactionId, SipRequest] = {}
        self._port = KamailioPort(link, self._heard)
        # Every tag of ours begins so: im.cfg knows the requests of legs by it.
        self.legs = LegManager(self._port, store, node, self._outside, new_id=lambda: LEG_TAG + new_id())

    def register(self, function: LegFunction, handler: Handler) -> None:
        """`handler` takes the initial requests for a function from now on."""
        self._handlers[function] = handler

    def _heard(self, event: PortEvent, incoming: Incoming) -> None:
        asked = incoming.message
        if isinstance(event, RequestReceived) and isinstance(asked, SipRequest):
            self._asked[event.transaction] = asked
            try:
                self.legs.handle(event)
            finally:
                self._asked.pop(event.transaction, None)
            return
        self.legs.handle(event)

    def _outside(self, transaction: TransactionId, request: Message) -> None:
        asked = self._asked.get(transaction)
        handler = None if asked is None else self._handlers.get(asked.function)
        if asked is None or handler is None:
            log.warning("no function takes %s, Call-ID %s", request.method, request.call_id)
            self.legs.reply(transaction, request, 481, "Call/Transaction Does Not Exist")
            return
        handler(transaction, request, asked)
